//! How the program ends: the exit codes of sysexits(3), as far as they are used.

use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Ok = 0,
    /// 64: the command line is wrong.
    Usage = 64,
    /// 65: the input is wrong.
    Data = 65,
    /// 67: there is no such recipient.
    NoUser = 67,
    /// 69: something needed is not there.
    Unavailable = 69,
    /// 70: we are wrong.
    Software = 70,
    /// 73: a file can't be made.
    CannotCreate = 73,
    /// 74: reading or writing failed.
    Io = 74,
    /// 75: try later; also a spool that another process holds.
    TryLater = 75,
    /// 77: not allowed.
    Permission = 77,
    /// 78: the configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
