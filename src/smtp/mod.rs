//! The SMTP protocol without any I/O: both sides take octets and return octets and actions.
pub mod buffer;
