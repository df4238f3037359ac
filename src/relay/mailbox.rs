//! Where a recipient's Maildir lies.

use heapless::String;

use crate::config::Maildir;
use crate::limits::MAILBOX_PATH_OCTETS;
use crate::smtp::reply::Reply;

/// The folder of the Maildir for `forward_path` (canonical, without brackets), or the reply to a
/// recipient whose name can't be a folder's.
pub fn directory(maildir: &Maildir, forward_path: &str) -> Result<String<MAILBOX_PATH_OCTETS>, Reply> {
    let _ = (maildir, forward_path);
    todo!()
}

/// [`directory`], and that it is there where the route demands it (`recipients = "existing"`): 550
/// 5.1.1 if not. Asks the file system. The postmaster is always there (RFC 5321 4.5.1).
pub fn check(maildir: &Maildir, forward_path: &str) -> Result<(), Reply> {
    let _ = (maildir, forward_path);
    todo!()
}
