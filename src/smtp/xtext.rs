//! xtext.
