//! Where a recipient's Maildir lies, and whether it is there.
//!
//! What a sender wrote becomes part of a path here, so a name that could lead anywhere but one
//! folder down is no mailbox at all.

use std::io::ErrorKind;

use heapless::String;

use crate::config::{Maildir, Recipients};
use crate::limits::{LOCAL_PART_OCTETS, MAILBOX_PATH_OCTETS};
use crate::smtp::address::Address;
use crate::smtp::reply::Reply;

/// The path of a Maildir.
pub type Folder = String<MAILBOX_PATH_OCTETS>;

/// Why there is no mailbox for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMailbox {
    /// The name can't be a folder's.
    BadName,
    /// There is none of this name.
    Unknown,
    /// The disk did not say.
    Unreadable,
}

impl NoMailbox {
    /// The answer to RCPT (RFC 3463 3.2, 3.4).
    pub fn reply(self) -> Reply {
        match self {
            Self::BadName => Reply::new(550, (1, 3), "no mailbox can have this name"),
            Self::Unknown => Reply::new(550, (1, 1), "no such mailbox here"),
            Self::Unreadable => Reply::new(451, (3, 0), "the mailbox can't be looked up now"),
        }
    }
}

/// The folder of the Maildir for `forward_path` (canonical, without brackets).
pub fn folder(maildir: &Maildir, forward_path: &str) -> Result<Folder, NoMailbox> {
    let address = Address::parse(forward_path).ok_or(NoMailbox::BadName)?;
    // A name cut short would be somebody else's.
    if address.local.len() > LOCAL_PART_OCTETS {
        return Err(NoMailbox::BadName);
    }
    let local = address.unquoted();
    let mut folder = Folder::new();
    let mut rest = maildir.directory.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        push(&mut folder, before)?;
        // Anything else in braces was refused with the configuration.
        let (name, after) = after.split_once('}').ok_or(NoMailbox::BadName)?;
        match name {
            "user" => push_lower(&mut folder, plain(user(&local))?)?,
            "local" => push(&mut folder, plain(&local)?)?,
            "domain" => push_lower(&mut folder, plain(address.domain)?)?,
            _ => return Err(NoMailbox::BadName),
        }
        rest = after;
    }
    push(&mut folder, rest)?;
    Ok(folder)
}

/// [`folder`], and that it is there where the route demands it (`recipients = "existing"`). Asks
/// the file system. The postmaster always has a mailbox (RFC 5321 4.5.1).
pub fn find(maildir: &Maildir, forward_path: &str) -> Result<Folder, NoMailbox> {
    let found = folder(maildir, forward_path)?;
    let is_postmaster = Address::parse(forward_path)
        .is_some_and(|address| user(address.local).eq_ignore_ascii_case("postmaster"));
    if maildir.recipients == Recipients::Any || is_postmaster {
        return Ok(found);
    }
    let mut answer = NoMailbox::Unknown;
    for part in ["/new", "/cur"] {
        let mut path = found.clone();
        push(&mut path, part)?;
        match std::fs::metadata(path.as_str()) {
            Ok(metadata) if metadata.is_dir() => return Ok(found),
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                answer = NoMailbox::Unreadable;
            }
            _ => {}
        }
    }
    Err(answer)
}

/// The local-part without its `+detail`.
fn user(local: &str) -> &str {
    match local.split_once('+') {
        Some((user, _)) if !user.is_empty() => user,
        _ => local,
    }
}

/// `name` if it is the name of one visible folder and nothing more.
fn plain(name: &str) -> Result<&str, NoMailbox> {
    let is_plain =
        !name.is_empty() && !name.starts_with('.') && !name.chars().any(|c| c == '/' || c.is_control());
    is_plain.then_some(name).ok_or(NoMailbox::BadName)
}

fn push(folder: &mut Folder, text: &str) -> Result<(), NoMailbox> {
    folder.push_str(text).map_err(|_| NoMailbox::BadName)
}

fn push_lower(folder: &mut Folder, text: &str) -> Result<(), NoMailbox> {
    text.chars().flat_map(char::to_lowercase).try_for_each(|c| folder.push(c)).map_err(|_| NoMailbox::BadName)
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
            ("me@home.test", Ok("/mail/me")),
            ("Me+Detail@home.test", Ok("/mail/me")),
            ("+me@home.test", Ok("/mail/+me")),
            ("\"a b\"@home.test", Ok("/mail/a b")),
            ("\"a\\\"b\"@home.test", Ok("/mail/a\"b")),
            ("ÄRGER@home.test", Ok("/mail/ärger")),
            ("a..b@home.test", Ok("/mail/a..b")),
            ("../me@home.test", Err(NoMailbox::BadName)),
            ("\"../me\"@home.test", Err(NoMailbox::BadName)),
            ("\"a/b\"@home.test", Err(NoMailbox::BadName)),
            ("\"..\"@home.test", Err(NoMailbox::BadName)),
            ("\".\"@home.test", Err(NoMailbox::BadName)),
            ("\"..+x\"@home.test", Err(NoMailbox::BadName)),
            (".hidden@home.test", Err(NoMailbox::BadName)),
            ("\"\"@home.test", Err(NoMailbox::BadName)),
            ("\"a\0b\"@home.test", Err(NoMailbox::BadName)),
            ("\"a\tb\"@home.test", Err(NoMailbox::BadName)),
            ("", Err(NoMailbox::BadName)),
        ] {
            assert_eq!(folder(&by_user, path).as_deref().map_err(|e| *e), found, "{path:?}");
        }
        let by_both = maildir("/mail/{domain}/{local}/Maildir", Recipients::Any);
        assert_eq!(folder(&by_both, "Me+X@Home.Test").as_deref(), Ok("/mail/home.test/Me+X/Maildir"));
        assert_eq!(folder(&by_both, "postmaster"), Err(NoMailbox::BadName), "it has no domain");
        let long = |octets| folder(&by_user, &format!("{}@home.test", "x".repeat(octets)));
        assert!(long(LOCAL_PART_OCTETS).is_ok());
        assert_eq!(long(LOCAL_PART_OCTETS + 1), Err(NoMailbox::BadName));
        let deep = maildir(&"/{local}".repeat(5), Recipients::Any);
        assert_eq!(folder(&deep, &format!("{}@home.test", "x".repeat(128))), Err(NoMailbox::BadName));
    }

    #[test]
    fn mailboxes_are_looked_up() {
        let root = std::env::temp_dir().join(format!("pillarbox-mailbox-{}", std::process::id()));
        std::fs::create_dir_all(root.join("known/new")).unwrap();
        std::fs::create_dir_all(root.join("empty")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let template = format!("{}/{{user}}", root.display());
        let existing = maildir(&template, Recipients::Existing);
        let is_found = |name: &str| find(&existing, &format!("{name}@home.test")).map(|_| ());
        assert_eq!(is_found("known+x"), Ok(()));
        assert_eq!(is_found("postmaster"), Ok(()));
        for name in ["unknown", "empty", "file"] {
            assert_eq!(is_found(name), Err(NoMailbox::Unknown), "{name}");
        }
        assert!(find(&maildir(&template, Recipients::Any), "unknown@home.test").is_ok());
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(NoMailbox::Unknown.reply().to_string(), "550 5.1.1 no such mailbox here");
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
            if let Ok(folder) = folder(&maildir(template, Recipients::Any), &format!("{local}@{domain}")) {
                prop_assert!(folder.starts_with("/mail/") && !folder.contains('\0'));
                let parts: Vec<&str> = folder.split('/').collect();
                prop_assert_eq!(parts.len(), template.split('/').count());
                prop_assert!(parts[1..].iter().all(|part| !matches!(*part, "" | "." | "..")));
            }
        }
    }
}
