//! The operating system: clocks, signals, privileges. The only place where `unsafe` is allowed.
