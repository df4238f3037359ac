//! Puts a message into the spool while no relay runs. Its owner and root may.

use std::io::Read;
use std::os::unix::fs::MetadataExt;

use nix::unistd::Uid;

use super::letter::Letter;
use super::options::Options;
use crate::cli::ask::nobody_there;
use crate::cli::exit::Exit;
use crate::cli::spill::Spill;
use crate::cli::{fail, offline};
use crate::config::Config;
use crate::limits::{RECEIVED_OCTETS, RECIPIENTS};
use crate::mail::date::Date;
use crate::mail::header::{Missing, Rules, Scanner};
use crate::mail::received::{self, Trace};
use crate::relay::access::{self, Peer, Verdict};
use crate::relay::aliases::Aliases;
use crate::relay::expansion::{self, Expansion};
use crate::relay::named::one_spelling;
use crate::smtp::address::Path;
use crate::smtp::buffer::Buffer;
use crate::smtp::reply::Reply;
use crate::smtp::server::Role;
use crate::spool::{Origin, RealDisk, Refusal, StagingIndex, Store};
use crate::sys;

/// Octets of content read at once.
const PIECE_OCTETS: usize = 16 * 1024;
/// The one staging file.
const STAGING: StagingIndex = StagingIndex(0);

/// Stores the message; the relay finds it when it starts.
pub fn store(config: &Config, options: &Options, letter: &mut Letter) -> Exit {
    let user = Uid::current();
    let owner = config.spool.directory.metadata().map(|found| found.uid());
    if !(Uid::effective().is_root() || owner.is_ok_and(|owner| Uid::effective().as_raw() == owner)) {
        return nobody_there(Exit::TryLater, &config.run.submit);
    }
    let mut store = match offline::inlet(config) {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    let aliases = match Aliases::open(config) {
        Ok(aliases) => aliases,
        Err(wrong) => return fail(Exit::Config, wrong),
    };
    let recipients = std::mem::take(&mut letter.recipients);
    let mut targets = Vec::with_capacity(recipients.len());
    for recipient in &recipients {
        if let Err(reply) = add(config, aliases.as_ref(), letter.sender.as_str(), recipient, &mut targets) {
            return refused(recipient.as_str(), &reply);
        }
    }
    let most = RECIPIENTS.min(usize::from(config.limits.recipients)).max(1);
    for group in targets.chunks(most) {
        if let Err(exit) = store_one(&mut store, config, options, letter, group, user.as_raw()) {
            return exit;
        }
    }
    Exit::Ok
}

/// A forward-path, and the ORCPT that goes with it.
#[derive(PartialEq)]
struct Target {
    path: String,
    orcpt: String,
}

/// Adds the paths that the relay would have taken at RCPT.
#[expect(clippy::result_large_err, reason = "once a recipient; a reply is never boxed")]
fn add(
    config: &Config,
    aliases: Option<&Aliases>,
    sender: &str,
    recipient: &Path,
    targets: &mut Vec<Target>,
) -> Result<(), Reply> {
    let peer = Peer { trusted: true, user: None };
    let given = recipient.as_str();
    let path = match access::judge(config, &peer, Role::Submission, sender, given) {
        Verdict::Refuse(reply) | Verdict::Deny(reply) => return Err(reply),
        Verdict::Accept { forward_path, .. } => forward_path,
    };
    let Some(aliases) = aliases else {
        expansion::way(config, sender, path)?;
        push(config, targets, path, "");
        return Ok(());
    };
    let expansion = Expansion::of(config, aliases.table(), sender, path)?;
    expansion.judge()?;
    let orcpt = if expansion.is_alias() { expansion::original(given) } else { Default::default() };
    for path in expansion.recipients() {
        push(config, targets, &path, &orcpt);
    }
    Ok(())
}

/// Adds a recipient, unless it is named already.
fn push(config: &Config, targets: &mut Vec<Target>, path: &str, orcpt: &str) {
    let spelt = |path: &str| one_spelling(path, expansion::is_ours(config, path));
    if !targets.iter().any(|target| spelt(&target.path) == spelt(path)) {
        targets.push(Target { path: path.to_owned(), orcpt: orcpt.to_owned() });
    }
}

fn refused(recipient: &str, reply: &Reply) -> Exit {
    let exit = match (reply.code(), reply.detail()) {
        (400..500, _) => Exit::TryLater,
        (_, Some((1, 1))) => Exit::NoUser,
        _ => Exit::Unavailable,
    };
    fail(exit, format_args!("<{recipient}>: {reply}"))
}

fn store_one(
    store: &mut Store<RealDisk>,
    config: &Config,
    options: &Options,
    letter: &mut Letter,
    targets: &[Target],
    user: u32,
) -> Result<(), Exit> {
    let unix_s = sys::unix_s();
    let client = format!("uid:{user}");
    let origin = Origin {
        reverse_path: letter.sender.as_str(),
        client: &client,
        size: Some(letter.content.octets()),
        body: letter.body,
        smtputf8: letter.needs_smtputf8() || targets.iter().any(|target| !target.path.is_ascii()),
        ret: options.ret,
        envid: &options.envid,
        ..Origin::default()
    };
    let id = store.begin(STAGING, &origin, unix_s).map_err(said)?.text();
    for Target { path, orcpt } in targets {
        store.recipient(STAGING, path, options.notify, orcpt).map_err(said)?;
    }
    let date = Date { unix_s: i64::try_from(unix_s).unwrap_or(0), offset_min: sys::zone_offset_min(unix_s) };
    let trace = Trace {
        origin: received::Origin::User(user),
        hostname: &config.hostname,
        protocol: "",
        id: &id,
        // The trace field names nobody whom the sender did not name.
        recipient: match targets {
            [Target { path, orcpt }] if orcpt.is_empty() => Some(path),
            _ => None,
        },
        date,
    };
    let mut field = Buffer::<RECEIVED_OCTETS>::new();
    received::compose(&trace, &mut field);
    store.write(STAGING, field.filled()).map_err(said)?;
    let from = if letter.sender.is_null() { config.postmaster.as_str() } else { letter.sender.as_str() };
    let date = sys::is_sane(unix_s).then_some(date);
    let missing = Missing { date, id: &id, hostname: &config.hostname, from };
    let rules = Rules { missing: Some(missing), drop_bcc: false, drop_return_path: true };
    write_content(store, &rules, &mut letter.content)?;
    store.commit(STAGING, unix_s);
    loop {
        store.start_batch();
        if let Some(committed) = store.poll() {
            return committed.result.map(drop).map_err(said);
        }
        std::thread::yield_now();
    }
}

fn write_content(store: &mut Store<RealDisk>, rules: &Rules<'_>, content: &mut Spill) -> Result<(), Exit> {
    let mut scanner = Scanner::new();
    let mut piece = [0; PIECE_OCTETS];
    content.rewind();
    loop {
        let n = content.read(&mut piece).map_err(|e| fail(Exit::Io, e))?;
        if n == 0 {
            break;
        }
        scanner.write(rules, &piece[..n], &mut |octets| store.write(STAGING, octets)).map_err(said)?;
    }
    scanner.finish(rules, &mut |octets| store.write(STAGING, octets)).map_err(said)?;
    if scanner.is_looping() {
        return Err(fail(Exit::Unavailable, "too many Received fields: the message goes round in circles"));
    }
    Ok(())
}

fn said(refusal: Refusal) -> Exit {
    match refusal {
        Refusal::Full => fail(Exit::TryLater, "the spool is full"),
        Refusal::Failed => fail(Exit::TryLater, "the spool can't be written"),
        Refusal::TooLarge => fail(Exit::Data, "the message is too large"),
        Refusal::Recipients => fail(Exit::Data, "too many recipients"),
        Refusal::Invalid => fail(Exit::Data, "an address or parameter can't be stored"),
    }
}
