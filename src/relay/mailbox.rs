//! Where a recipient's Maildir lies, and whether it is there.
//!
//! What a sender wrote becomes part of a path here, so a name that could lead anywhere but one
//! folder down is no mailbox at all.

#![allow(
    clippy::result_large_err,
    reason = "a reply is the ordinary answer to a name that nobody has; nothing is boxed"
)]

use std::fmt::Write;
use std::io::ErrorKind;

use heapless::String;

use crate::config::{Maildir, Recipients};
use crate::limits::{LOCAL_PART_OCTETS, MAILBOX_PATH_OCTETS};
use crate::smtp::address::Address;
use crate::smtp::reply::Reply;

type Folder = String<MAILBOX_PATH_OCTETS>;

/// The folder of the Maildir for `forward_path` (canonical, without brackets), or 550 5.1.3 if no
/// folder can have its name.
pub fn directory(maildir: &Maildir, forward_path: &str) -> Result<String<MAILBOX_PATH_OCTETS>, Reply> {
    folder(maildir, forward_path).ok_or_else(|| Reply::new(550, (1, 3), "no mailbox can have this name"))
}

fn folder(maildir: &Maildir, forward_path: &str) -> Option<Folder> {
    let address = Address::parse(forward_path)?;
    // A name cut short would be somebody else's.
    if address.local.len() > LOCAL_PART_OCTETS {
        return None;
    }
    let local = address.unquoted();
    let mut folder = Folder::new();
    let mut rest = maildir.directory.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        push(&mut folder, before)?;
        // Anything else in braces was refused with the configuration.
        let (name, after) = after.split_once('}')?;
        match name {
            "user" => push_lower(&mut folder, plain(user(&local))?)?,
            "local" => push(&mut folder, plain(&local)?)?,
            "domain" => push_lower(&mut folder, plain(address.domain)?)?,
            _ => return None,
        }
        rest = after;
    }
    push(&mut folder, rest)?;
    Some(folder)
}

/// [`directory`], and that it is there where the route demands it (`recipients = "existing"`), else
/// 550 5.1.1, or 451 4.3.0 if the disk does not say. Asks the file system.
pub fn check(maildir: &Maildir, forward_path: &str) -> Result<(), Reply> {
    match maildir.recipients {
        Recipients::Any => directory(maildir, forward_path).map(drop),
        Recipients::Existing if exists(maildir, forward_path)? => Ok(()),
        Recipients::Existing => Err(Reply::new(550, (1, 1), "no such mailbox here")),
    }
}

/// True for the one who always has a mailbox, which is made when there is none yet.
pub fn is_postmaster(forward_path: &str) -> bool {
    Address::parse(forward_path).is_some_and(|address| user(address.local).eq_ignore_ascii_case("postmaster"))
}

/// True if somebody has that mailbox; 550 5.1.3 if nobody can, 451 4.3.0 if the disk does not say. The
/// postmaster always has one (RFC 5321 4.5.1).
pub fn exists(maildir: &Maildir, forward_path: &str) -> Result<bool, Reply> {
    let directory = directory(maildir, forward_path)?;
    if is_postmaster(forward_path) {
        return Ok(true);
    }
    let mut answer = Ok(false);
    for part in ["new", "cur"] {
        let mut path = String::<{ MAILBOX_PATH_OCTETS + 4 }>::new();
        // It has room for what is added.
        let _ = write!(path, "{directory}/{part}");
        match std::fs::metadata(path.as_str()) {
            Ok(metadata) if metadata.is_dir() => return Ok(true),
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                answer = Err(Reply::new(451, (3, 0), "the mailbox can't be looked up now"));
            }
            _ => {}
        }
    }
    answer
}

/// The local-part without its `+detail`.
pub fn user(local: &str) -> &str {
    match local.split_once('+') {
        Some((user, _)) if !user.is_empty() => user,
        _ => local,
    }
}

/// `name` if it is the name of one visible folder and nothing more.
fn plain(name: &str) -> Option<&str> {
    let is_plain =
        !name.is_empty() && !name.starts_with('.') && !name.chars().any(|c| c == '/' || c.is_control());
    is_plain.then_some(name)
}

fn push(folder: &mut Folder, text: &str) -> Option<()> {
    folder.push_str(text).ok()
}

fn push_lower(folder: &mut Folder, text: &str) -> Option<()> {
    text.chars().flat_map(char::to_lowercase).try_for_each(|c| folder.push(c)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn maildir(directory: &str, recipients: Recipients) -> Maildir {
        Maildir { directory: directory.to_owned(), recipients, ..Maildir::default() }
    }

    #[test]
    fn names_become_folders() {
        let by_user = maildir("/mail/{user}", Recipients::Any);
        for (path, found) in [
            ("me@home.test", Some("/mail/me")),
            ("Me+Detail@home.test", Some("/mail/me")),
            ("+me@home.test", Some("/mail/+me")),
            ("\"a b\"@home.test", Some("/mail/a b")),
            ("\"a\\\"b\"@home.test", Some("/mail/a\"b")),
            ("ÄRGER@home.test", Some("/mail/ärger")),
            ("a..b@home.test", Some("/mail/a..b")),
            ("../me@home.test", None),
            ("\"../me\"@home.test", None),
            ("\"a/b\"@home.test", None),
            ("\"..\"@home.test", None),
            ("\".\"@home.test", None),
            ("\"..+x\"@home.test", None),
            (".hidden@home.test", None),
            ("\"\"@home.test", None),
            ("\"a\0b\"@home.test", None),
            ("\"a\tb\"@home.test", None),
            ("", None),
        ] {
            assert_eq!(folder(&by_user, path).as_deref(), found, "{path:?}");
        }
        let by_both = maildir("/mail/{domain}/{local}/Maildir", Recipients::Any);
        assert_eq!(folder(&by_both, "Me+X@Home.Test").as_deref(), Some("/mail/home.test/Me+X/Maildir"));
        assert_eq!(folder(&by_both, "postmaster"), None, "it has no domain");
        let long = |octets| folder(&by_user, &format!("{}@home.test", "x".repeat(octets)));
        assert!(long(LOCAL_PART_OCTETS).is_some());
        assert_eq!(long(LOCAL_PART_OCTETS + 1), None);
        let deep = maildir(&"/{local}".repeat(5), Recipients::Any);
        assert_eq!(folder(&deep, &format!("{}@home.test", "x".repeat(128))), None);
    }

    #[test]
    fn mailboxes_are_looked_up() {
        let root = std::env::temp_dir().join(format!("pillarbox-mailbox-{}", std::process::id()));
        std::fs::create_dir_all(root.join("known/new")).unwrap();
        std::fs::create_dir_all(root.join("empty")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let template = format!("{}/{{user}}", root.display());
        let existing = maildir(&template, Recipients::Existing);
        let answer =
            |name: &str| check(&existing, &format!("{name}@home.test")).err().map(|reply| reply.to_string());
        assert_eq!((answer("known+x"), answer("postmaster")), (None, None));
        for name in ["unknown", "empty", "file"] {
            assert_eq!(answer(name).as_deref(), Some("550 5.1.1 no such mailbox here"), "{name}");
        }
        assert_eq!(answer("\"a/b\"").as_deref(), Some("550 5.1.3 no mailbox can have this name"));
        assert_eq!(check(&maildir(&template, Recipients::Any), "unknown@home.test"), Ok(()));
        std::fs::remove_dir_all(&root).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever the name: one folder for each placeholder, below what stands before it.
        #[test]
        fn no_name_leaves_its_folder(
            local in prop_oneof![any::<std::string::String>(), "[./\\\\a+\"\0]{0,8}"],
            domain in prop_oneof![any::<std::string::String>(), "[./a\\[\\]:]{0,8}"],
            template in prop_oneof![Just("/mail/{user}"), Just("/mail/{domain}/{local}/M"), Just("/mail/u-{user}.d")],
        ) {
            if let Some(folder) = folder(&maildir(template, Recipients::Any), &format!("{local}@{domain}")) {
                prop_assert!(folder.starts_with("/mail/") && !folder.contains('\0'));
                let parts: Vec<&str> = folder.split('/').collect();
                prop_assert_eq!(parts.len(), template.split('/').count());
                prop_assert!(parts[1..].iter().all(|part| !matches!(*part, "" | "." | "..")));
            }
        }
    }
}
