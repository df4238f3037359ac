//! The event loop and everything that touches a socket.

pub mod arrivals;
pub mod ceiling;
pub mod confine;
pub mod control;
pub mod dialling;
pub mod doors;
pub mod event_loop;
pub mod http;
pub mod inbound;
pub mod inherited;
pub mod listener;
pub mod log;
pub mod mailboxes;
pub mod names;
pub mod outbound;
pub mod outbounds;
pub mod places;
pub mod proxy;
pub mod reload;
pub mod responder;
pub mod restraint;
pub mod secrets;
pub mod tls;
pub mod transport;
