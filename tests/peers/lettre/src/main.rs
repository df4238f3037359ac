//! Sends one message by the `lettre` package: `lettre-send PORT FROM TO SUBJECT BODY [USER PASSWORD]`.
//!
//! `LETTRE_TLS`: `starttls` or `immediate`, else in clear; `LETTRE_CA`: whom it believes, a PEM file.
use std::{env, process::ExitCode};

use lettre::message::{MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (message, login) = arguments.split_at(arguments.len().min(5));
    let ([port, from, to, subject, body], [] | [_, _]) = (message, login) else {
        eprintln!("usage: lettre-send PORT FROM TO SUBJECT BODY [USER PASSWORD]");
        return ExitCode::from(64);
    };
    match send(port, from, to, subject, body, login) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lettre-send: {error}");
            ExitCode::FAILURE
        }
    }
}

fn send(
    port: &str,
    from: &str,
    to: &str,
    subject: &str,
    body: &str,
    login: &[String],
) -> Result<(), Box<dyn std::error::Error>> {
    let parts = MultiPart::alternative()
        .singlepart(SinglePart::plain(body.to_owned()))
        .singlepart(SinglePart::html(format!("<p>{body}</p>")));
    let message = Message::builder().from(from.parse()?).to(to.parse()?).subject(subject).multipart(parts)?;
    let mut transport = SmtpTransport::builder_dangerous("127.0.0.1").port(port.parse()?);
    if let [user, password] = login {
        transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
    }
    if let Ok(start) = env::var("LETTRE_TLS") {
        let mut parameters = TlsParameters::builder("localhost".to_owned());
        if let Ok(file) = env::var("LETTRE_CA") {
            parameters = parameters.add_root_certificate(Certificate::from_pem(&std::fs::read(file)?)?);
        }
        let parameters = parameters.build_rustls()?;
        transport = transport.tls(match start.as_str() {
            "immediate" => Tls::Wrapper(parameters),
            _ => Tls::Required(parameters),
        });
    }
    transport.build().send(&message)?;
    Ok(())
}
