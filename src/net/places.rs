//! Which inbound slot a client gets, if any.
//!
//! Strangers must not keep the house from mailing. So they have `limits.sessions` slots and no more,
//! while a trusted client may take one of a few behind those; programs on this machine have some of
//! their own. And while strangers find no slot free, each of them has only so much time.

use std::net::IpAddr;
use std::ops::Range;

use super::doors::Purpose;
use super::inbound::Inbound;
use crate::config::Limits;
use crate::relay::client::{Client, Remote, counted_as};
use crate::smtp::reply::Reply;

/// Inbound slots behind those of the configuration, for trusted clients when strangers hold those.
pub const TRUSTED: usize = 4;
/// Inbound slots kept for programs on this machine, so that no other client can keep cron from mailing.
pub const SUBMITTERS: usize = 4;

/// The number of all inbound slots.
pub fn count(limits: &Limits) -> usize {
    of_clients(limits).end + SUBMITTERS
}

/// The number of inbound slots that can have TLS: nobody listens in on programs of this machine.
pub fn count_of_tls(limits: &Limits) -> usize {
    of_clients(limits).end
}

/// Those that the configuration speaks of: anybody gets them.
pub fn of_anybody(limits: &Limits) -> Range<usize> {
    0..usize::from(limits.sessions)
}

fn of_clients(limits: &Limits) -> Range<usize> {
    0..usize::from(limits.sessions) + TRUSTED
}

/// A free slot for a client, or why it gets none.
///
/// However many strangers there are, `limits.sessions` of trusted clients fit in as far as there are
/// slots; whoever is alone with its kind gets that many, no less and no more.
#[expect(clippy::result_large_err, reason = "once a connection; a reply is never boxed")]
pub fn find(
    limits: &Limits,
    inbound: &[Option<Inbound>],
    client: &Client,
    purpose: Purpose,
) -> Result<usize, Reply> {
    let mut places = match purpose {
        Purpose::Submit => of_clients(limits).end..inbound.len(),
        _ if !client.trusted => of_anybody(limits),
        _ => {
            let trusted = inbound[of_clients(limits)].iter().flatten().filter(|i| !i.is_stranger()).count();
            if trusted < usize::from(limits.sessions) { of_clients(limits) } else { 0..0 }
        }
    };
    places.find(|&slot| inbound[slot].is_none()).ok_or_else(too_many)
}

/// True if as many sessions of the client's address are open as may be.
pub fn has_its_share(limits: &Limits, inbound: &[Option<Inbound>], remote: Remote) -> bool {
    let Remote::Host(address) = remote else { return false };
    let is_same = |other: IpAddr| counted_as(other) == counted_as(address);
    let sessions = inbound.iter().flatten().filter(|i| i.address().is_some_and(is_same)).count();
    sessions >= usize::from(limits.sessions_per_client)
}

/// True while the next stranger would be turned away.
pub fn are_taken(limits: &Limits, inbound: &[Option<Inbound>]) -> bool {
    inbound[of_anybody(limits)].iter().all(Option::is_some)
}

/// The slot whose login has stood in line for the helper longest.
pub fn first_in_line(inbound: &[Option<Inbound>]) -> Option<usize> {
    let since = |slot: &usize| inbound[*slot].as_ref().and_then(Inbound::in_line_since_ms);
    (0..inbound.len()).filter(|slot| since(slot).is_some()).min_by_key(since)
}

/// What a client gets that finds no slot.
pub fn too_many() -> Reply {
    Reply::new(421, (3, 2), "too many sessions, try again later")
}
