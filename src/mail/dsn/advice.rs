//! What the reader of a notice can do about it, in one sentence.

use super::{Action, detail};

/// Advice by the reply's enhanced code (RFC 3463), or by its first digit; empty if there is nothing
/// to do.
pub(super) fn on(action: Action, reply: &str) -> &'static str {
    match action {
        Action::Failed => on_failure(reply),
        Action::Delayed => "There is nothing to do. Do not send it again: it is safe in the queue.",
        Action::Relayed | Action::Delivered => "",
    }
}

fn on_failure(reply: &str) -> &'static str {
    match detail(reply) {
        Some((1, 1 | 6)) => "Check the part before the @: there is no such mailbox, by what was said.",
        Some((1, 2 | 10)) => "Check the part behind the @: no mail can be sent there, by what was said.",
        Some((1, 3)) => "Check the address: it is not understood.",
        Some((1, 7 | 8)) => {
            "The sender's address is refused: set another one on the device, or in the relay."
        }
        Some((2, 1)) => "The mailbox does not take mail: ask its owner by another way.",
        Some((2, 2)) => "The mailbox is full: its owner has to make room. Then send it again.",
        Some((2 | 3, 3 | 4)) => "The message is too large for them: send it smaller, or in parts.",
        Some((4, 4)) => "Check the part behind the @: no mail server belongs to it.",
        Some((4, 6)) => "It went round in circles: the routes of the servers on its way lead to each other.",
        Some((4, 7)) => "Find out why that server can't be reached (see the last reply), then send it again.",
        Some((6, 7)) => "The address has letters that this server can't handle: use one in plain letters.",
        Some((7, 8 | 9 | 14)) => "The relay's name or password is not taken there: check its configuration.",
        Some((7, _)) => "It is forbidden there: if the reason does not help, ask whoever runs that server.",
        _ => "If the reason does not help, show it to whoever runs the server that gave it.",
    }
}
