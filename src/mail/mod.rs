//! The text of messages without any I/O: header fields, addresses in them, dates, bounces.
pub mod address_list;
pub mod bounce;
pub mod date;
mod field;
pub mod header;
mod lexer;
pub mod qualify;
pub mod received;
pub mod rewrite;
