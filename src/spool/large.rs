//! One file a message.
/// Status entries of large files that no sync has covered yet.
#[derive(Debug)]
pub struct Unsynced;
