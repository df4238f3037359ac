//! `pillarbox`: a small mail relay. This page is the map; [`manual`] is the book.
//!
//! | module | what it does | may use |
//! |---|---|---|
//! | [`limits`] | every maximum | nothing |
//! | [`smtp`] | the protocol, both sides: octets in, octets and actions out | `limits` |
//! | [`mail`] | the text of messages: header fields, notices to senders | `smtp` and below |
//! | [`spool`] | keeps messages safe on disk | `mail` and below |
//! | [`relay`] | who may send what, where it goes, and when | `spool` and below, `config` |
//! | [`net`] | the event loop, slots, listeners, the work of helper threads | `relay` and below |
//! | [`cli`] | the commands | everything |
//!
//! `config`, `dns`, `helper` (threads for what blocks) and `sys` stand at the side. Imports go one way, down this table; a test
//! (`tests/tidy.rs`) reads the `use` lines and fails when one goes up.
//!
//! Without the feature `std` only the protocol core remains (`limits`, `smtp`, `mail`, the codec of `dns`),
//! which needs no operating system.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod dns;
pub mod limits;
pub mod mail;
pub mod manual;
pub mod smtp;

#[cfg(feature = "std")]
pub mod cli;
#[cfg(feature = "std")]
pub mod config;
#[cfg(feature = "std")]
pub mod helper;
#[cfg(feature = "std")]
pub mod net;
#[cfg(feature = "std")]
pub mod relay;
#[cfg(feature = "std")]
pub mod spool;
#[cfg(feature = "std")]
pub mod sys;
