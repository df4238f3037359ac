//! What happens to a message between the protocol and the wire.
pub mod maildir;
pub mod recipients;
