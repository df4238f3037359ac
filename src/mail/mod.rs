//! The text of messages without any I/O: header fields, addresses in them, dates, notices to senders.
pub mod address_list;
pub mod date;
pub mod dsn;
mod field;
pub mod header;
mod lexer;
pub mod qualify;
pub mod received;
pub mod rewrite;
mod section;
pub mod seven_bit;
