//! The SMTP protocol without any I/O: both sides take octets and return octets and actions.
pub mod address;
pub mod buffer;
pub mod client;
pub mod command;
pub mod content;
pub mod keyword;
pub mod line;
pub mod offered;
pub mod reply;
pub mod reply_reader;
pub mod sasl;
pub mod server;
pub mod stuffing;
pub mod xtext;
