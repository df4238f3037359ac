//! Content octets.
