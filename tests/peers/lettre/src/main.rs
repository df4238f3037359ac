//! Sends one message by the `lettre` package: `lettre-send PORT FROM TO SUBJECT BODY`.
use std::{env, process::ExitCode};

use lettre::message::{MultiPart, SinglePart};
use lettre::{Message, SmtpTransport, Transport};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, from, to, subject, body] = arguments.as_slice() else {
        eprintln!("usage: lettre-send PORT FROM TO SUBJECT BODY");
        return ExitCode::from(64);
    };
    match send(port, from, to, subject, body) {
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
) -> Result<(), Box<dyn std::error::Error>> {
    let parts = MultiPart::alternative()
        .singlepart(SinglePart::plain(body.to_owned()))
        .singlepart(SinglePart::html(format!("<p>{body}</p>")));
    let message = Message::builder().from(from.parse()?).to(to.parse()?).subject(subject).multipart(parts)?;
    SmtpTransport::builder_dangerous("127.0.0.1").port(port.parse()?).build().send(&message)?;
    Ok(())
}
