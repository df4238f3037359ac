//! What no single key can tell: whether they fit together.
