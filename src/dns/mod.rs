//! Names into addresses and mail exchangers: a small resolver that blocks, for the `names` helper.
//!
//! [`name`] and [`message`] are the codec; they do no I/O and need no operating system. [`server`]
//! asks one name server, [`resolver`] asks all of them and remembers the answers in a [`cache`],
//! [`system`] reads the two files in which a system says what it knows, and [`mx`] decides which hosts
//! take a domain's mail.

pub mod message;
pub mod name;

#[cfg(feature = "std")]
pub mod cache;
#[cfg(feature = "std")]
pub mod mx;
#[cfg(feature = "std")]
pub mod resolver;
#[cfg(feature = "std")]
pub mod server;
#[cfg(feature = "std")]
pub mod system;
