//! Many messages, one sync.
