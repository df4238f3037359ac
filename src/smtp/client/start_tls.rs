//! STARTTLS on the client's side (RFC 3207).

#[cfg(test)]
mod tests;

use super::Outcome;
use crate::smtp::reply::Reply;

/// What is done about TLS where the connection began in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTls {
    /// Nothing: there is to be none, or there is already.
    Never,
    /// STARTTLS is said if the server offers it.
    IfOffered,
    /// Without it nothing else is said.
    Required,
}

/// Octets came in the clear behind the server's answer to STARTTLS. No server sends them; whoever sits
/// on the line may want them to be taken for what came through TLS.
pub(super) fn injected() -> Outcome {
    let text = "octets came behind the server's answer to STARTTLS: somebody may tamper with the connection";
    Outcome::destination(Reply::new(451, (7, 5), text))
}
