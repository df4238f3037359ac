//! The event loop and everything that touches a socket.
pub mod helper;
pub mod listener;
pub mod names;
pub mod transport;
