//! Mailbox deliveries: messages are copied into Maildir drafts here, a piece a turn, and a helper
//! forces whole batches of drafts to disk, so that the loop never waits for a mailbox's disk.

use std::io;

use crate::helper::{Desk, Helper};
use crate::limits::MAILBOX_PATH_OCTETS;
use crate::relay::attempt::Attempt;
use crate::relay::delivery::{Fate, Hop};
use crate::relay::maildir::{self, DRAFTS, Draft};
use crate::relay::round::Group;
use crate::relay::{MAILBOX_DELIVERIES, Mailbox, Relay};
use crate::smtp::reply::Reply;
use crate::sys::Now;
use heapless::{String, Vec};

/// Pieces of content that one delivery copies in one turn.
const PIECES: usize = 4;

/// A draft to be forced to disk.
struct Question {
    ticket: u32,
    draft: Draft,
}

/// What came of it: done, or the reason in words.
struct Answer {
    ticket: u32,
    result: Result<(), Reply>,
}

/// One delivery.
enum Delivery {
    /// Content is being copied.
    Copying { group: Group, folder: String<MAILBOX_PATH_OCTETS>, draft: Draft, attempt: Attempt },
    /// The helper has the draft.
    Finishing { group: Group, folder: String<MAILBOX_PATH_OCTETS> },
}

/// All of them, and the loop's end of the helper.
pub struct Mailboxes {
    slots: [Option<Delivery>; MAILBOX_DELIVERIES],
    helper: Helper<Question, Answer>,
}

impl Mailboxes {
    /// Octets that its helper takes beside the struct itself.
    pub const OCTETS: usize = Helper::<Question, Answer>::OCTETS;

    /// Starts the helper; `wake` is called after each answer.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let helper = Helper::start("mailboxes", wake, finish_batch)?;
        Ok(Self { slots: [const { None }; MAILBOX_DELIVERIES], helper })
    }

    /// True if another delivery can start.
    pub fn has_room(&self) -> bool {
        self.slots.iter().any(Option::is_none)
    }

    /// True if none is under way.
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// True if content waits to be copied: the loop must not sleep.
    pub fn is_copying(&self) -> bool {
        self.slots.iter().flatten().any(|d| matches!(d, Delivery::Copying { .. }))
    }

    /// Starts a delivery to the one recipient of `group`; it goes on with [`Mailboxes::work`].
    pub fn begin(&mut self, group: Group, relay: &mut Relay, now: Now) {
        let free = self.slots.iter_mut().find(|s| s.is_none());
        match (free, relay.mailbox(&group)) {
            (Some(slot), Ok(mailbox)) => match open_draft(&mailbox) {
                Ok(draft) => {
                    let Mailbox { folder, attempt, .. } = mailbox;
                    *slot = Some(Delivery::Copying { group, folder, draft, attempt });
                }
                Err(e) => end(relay, &group, &mailbox.folder, Err(&why(&e)), now),
            },
            (_, Err(reply)) => end(relay, &group, "", Err(&reply), now),
            (None, _) => {
                end(relay, &group, "", Err(&Reply::new(451, (3, 2), "no room for a mailbox delivery")), now)
            }
        }
    }

    /// Copies a bounded amount for each delivery, and takes what the helper has done.
    pub fn work(&mut self, relay: &mut Relay, scratch: &mut [u8], now: Now) {
        for at in 0..self.slots.len() {
            if let Some(Delivery::Copying { .. }) = self.slots[at] {
                self.copy(at, relay, scratch, now);
            }
        }
        while let Some(answer) = self.helper.answer() {
            let slot = self.slots.get_mut(answer.ticket as usize).and_then(Option::take);
            if let Some(Delivery::Finishing { group, folder }) = slot {
                end(relay, &group, &folder, answer.result.as_ref().copied(), now);
            }
        }
    }

    fn copy(&mut self, at: usize, relay: &mut Relay, scratch: &mut [u8], now: Now) {
        let Some(Delivery::Copying { group, folder, mut draft, mut attempt }) = self.slots[at].take() else {
            return;
        };
        for _ in 0..PIECES {
            match relay.read(&mut attempt, scratch) {
                Ok(0) => {
                    let ticket = u32::try_from(at).unwrap_or(u32::MAX);
                    if self.helper.ask(Question { ticket, draft }) {
                        self.slots[at] = Some(Delivery::Finishing { group, folder });
                    } else {
                        end(
                            relay,
                            &group,
                            &folder,
                            Err(&Reply::new(451, (3, 2), "the mailbox helper is busy")),
                            now,
                        );
                    }
                    return;
                }
                Ok(n) => {
                    if let Err(e) = draft.write(&scratch[..n]) {
                        draft.abandon();
                        return end(relay, &group, &folder, Err(&why(&e)), now);
                    }
                }
                Err(damage) => {
                    draft.abandon();
                    relay.damaged(&group, damage);
                    return end(
                        relay,
                        &group,
                        &folder,
                        Err(&Reply::new(451, (3, 0), "the message is damaged in the spool")),
                        now,
                    );
                }
            }
        }
        self.slots[at] = Some(Delivery::Copying { group, folder, draft, attempt });
    }
}

fn open_draft(mailbox: &Mailbox) -> io::Result<Draft> {
    let mut draft = Draft::create(&mailbox.folder, &mailbox.file_name, mailbox.rights, mailbox.make)?;
    match draft.write(mailbox.top.filled()) {
        Ok(()) => Ok(draft),
        Err(e) => {
            draft.abandon();
            Err(e)
        }
    }
}

/// Tells the relay what became of the one recipient.
fn end(relay: &mut Relay, group: &Group, folder: &str, result: Result<(), &Reply>, now: Now) {
    let hop = Hop { via: "maildir", host: folder, spoke: false, tls: "none" };
    let done = Reply::new(250, (0, 0), "delivered to the mailbox");
    let (fate, reply) = match result {
        Ok(()) => (Fate::Delivered, &done),
        Err(reply) if reply.code() >= 500 => (Fate::Failed, reply),
        Err(reply) => (Fate::Deferred, reply),
    };
    for who in group.who.iter() {
        relay.outcome(group.round, who, fate, reply, &hop, now);
    }
    relay.group_ended(group, now);
}

/// What goes wrong with a mailbox is ours to mend: it is deferred, not returned.
fn why(error: &io::Error) -> Reply {
    let (code, detail) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (452, (2, 2)),
        _ => (451, (2, 0)),
    };
    Reply::new(code, detail, format_args!("the mailbox can't be written: {error}"))
}

/// The helper's work: as many drafts as wait, forced to disk together.
fn finish_batch(desk: &mut Desk<Question, Answer>) {
    let mut tickets = Vec::<u32, DRAFTS>::new();
    let mut drafts = Vec::<Draft, DRAFTS>::new();
    while !drafts.is_full() {
        let Some(question) = desk.question() else { break };
        let _ = tickets.push(question.ticket);
        let _ = drafts.push(question.draft);
    }
    maildir::finish(&drafts, |at, result| {
        if let Some(&ticket) = tickets.get(at) {
            desk.answer(Answer { ticket, result: result.map_err(|e| why(&e)) });
        }
    });
}
