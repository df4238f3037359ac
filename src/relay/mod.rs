//! What happens to a message between the protocol and the wire.
pub mod access;
pub mod client;
pub mod mailbox;
pub mod maildir;
pub mod recipients;
pub mod route;
