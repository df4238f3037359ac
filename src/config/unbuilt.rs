//! Keys whose feature is not in this version yet.
