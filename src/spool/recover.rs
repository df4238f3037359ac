//! The scan at start.

use super::status::Status;
use super::store::Message;

/// A message that is not done.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The message.
    pub message: Message,
    /// What became of it so far.
    pub status: &'a Status,
}

/// What a scan has not reported.
#[derive(Debug)]
pub struct Rest;
