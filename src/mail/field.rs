//! (outline follows)
