//! Giving up root, and what a crash leaves behind.

use std::ffi::CString;

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, User, geteuid, getresgid, getresuid, initgroups, setgid, setgroups, setuid};

/// Becomes `user` for good, with the groups it is in. An error is a sentence; whoever gets one must not
/// go on: half of it may be done.
pub fn become_user(user: &User) -> Result<(), String> {
    let fail = |what: &str, e: Errno| format!("can't become the user {:?}: {what}: {e}", user.name);
    let name = CString::new(user.name.as_str()).map_err(|_| "a user's name has no NUL".to_owned())?;
    initgroups(&name, user.gid).map_err(|e| fail("its groups", e))?;
    setgid(user.gid).map_err(|e| fail("its group", e))?;
    setuid(user.uid).map_err(|e| fail("its number", e))?;
    verify(user).map_err(|what| format!("root is not given up: {what}"))
}

/// That there is no way back.
fn verify(user: &User) -> Result<(), String> {
    let (uids, gids) = (getresuid(), getresgid());
    if uids.is_ok_and(|ids| [ids.real, ids.effective, ids.saved].iter().any(|id| *id != user.uid)) {
        return Err("another user's number is left".to_owned());
    }
    if gids.is_ok_and(|ids| [ids.real, ids.effective, ids.saved].iter().any(|id| *id != user.gid)) {
        return Err("another group's number is left".to_owned());
    }
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err("setuid(0) brings it back".to_owned());
    }
    if setgroups(&[Gid::from_raw(0)]).is_ok() || user.gid.as_raw() != 0 && setgid(Gid::from_raw(0)).is_ok() {
        return Err("its group can be had again".to_owned());
    }
    Ok(())
}

/// Gives up what a service manager lent to a user who is not root, as the right to bind port 25.
#[allow(unsafe_code)]
pub fn drop_capabilities() -> Result<(), Errno> {
    if geteuid().is_root() {
        // Who asked to stay root meant the rights as well.
        return Ok(());
    }
    // capget(2): two words for each set, and the version that says so.
    const VERSION_3: u32 = 0x2008_0522;
    let head = [VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: both structures are plain numbers of the documented size, read during the call and not
    // kept; the ambient set, which is at most the inheritable one, is emptied by the same.
    let done = unsafe { libc::syscall(libc::SYS_capset, head.as_ptr(), none.as_ptr()) };
    Errno::result(done).map(drop)
}

/// Mail and passwords in memory are nobody's business: no core file, and no debugger of the same user.
pub fn forbid_core_dumps() {
    // Neither can fail in a way that matters: lowering a limit and a switch of this process.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = nix::sys::prctl::set_dumpable(false);
}
