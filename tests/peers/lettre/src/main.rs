//! Sends one message by the `lettre` package: `lettre-send PORT FROM TO SUBJECT BODY [USER PASSWORD]`.
use std::{env, process::ExitCode};

use lettre::message::{MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
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
    transport.build().send(&message)?;
    Ok(())
}
