//! Taking messages in: the answers to what a session asks, and what is told once a batch is
//! durable.

use heapless::String;
use log::{debug, info};

use super::Relay;
use super::access::{self, Verdict};
use super::client::{Client, Remote, rule};
use super::delivery::key_by;
use super::expansion::{self, Expansion};
use super::incoming::About;
use super::named::Named;
use super::notes::Note;
use super::quoted::Quoted;
use super::rates::Party;
use crate::limits::{PATH_OCTETS, RECEIVED_OCTETS};
use crate::mail::date::Date;
use crate::mail::received::{self, Trace};
use crate::smtp::buffer::Buffer;
use crate::smtp::command::{Mail, Recipient};
use crate::smtp::reply::Reply;
use crate::smtp::server::{Answer, BAD_CONTENT, Question, Session, Transaction};
use crate::spool::{Origin, RealDisk, Refusal, Share, StagingIndex, Store};
use crate::sys::{self, Now};

impl Relay {
    /// Answers what the session of slot `slot` asks, or `None` if the answer comes with the end of
    /// a batch (see [`Relay::committed`]).
    pub fn answer(
        &mut self,
        slot: usize,
        client: &Client,
        session: &Session,
        question: &Question<'_>,
        now: Now,
    ) -> Option<Answer<'static>> {
        let refused = match question {
            Question::Begin(mail) => self.begin(slot, client, session, mail, now).err(),
            Question::Recipient(_, recipient) => self.recipient(slot, client, session, recipient).err(),
            Question::Content(transaction) => self.trace(slot, client, session, transaction, now).err(),
            Question::Commit(_) => match self.commit(slot, client, session, now) {
                Ok(()) => return None,
                Err(reply) => Some(reply),
            },
            // The helper's, which net asks.
            Question::Auth(_) => return None,
            Question::Reset(_) => {
                self.abandon(slot);
                // The session has refused by itself what came: nobody else would tell.
                if let Some(reply) = session.refusal() {
                    self.counters.rejected += 1;
                    log_rejection(client, session, question, reply);
                    if reply.detail() == Some(BAD_CONTENT) {
                        self.note(client, Note::BadContent);
                    }
                }
                None
            }
            // Asked only when there is room.
            Question::StartTls => None,
        };
        let Some(reply) = refused else { return Some(Answer::Yes) };
        self.refused(client, session, question, &reply);
        Some(Answer::Refused(reply))
    }

    /// Counts and logs that a session gets no for an answer.
    pub fn refused(&mut self, client: &Client, session: &Session, question: &Question<'_>, reply: &Reply) {
        self.counters.rejected += 1;
        log_rejection(client, session, question, reply);
    }

    fn begin(
        &mut self,
        slot: usize,
        client: &Client,
        session: &Session,
        mail: &Mail,
        now: Now,
    ) -> Result<(), Reply> {
        if let Some(reply) = self.sender_refused(session, mail.reverse_path.as_str()) {
            return Err(reply);
        }
        self.within_rate(client, session, now)?;
        let about = &mut self.incoming[slot].about;
        about.from = String::try_from(mail.reverse_path.as_str()).unwrap_or_default();
        about.sender = rule(&self.config, client.remote)
            .and_then(|rule| String::try_from(rule.rewrite_sender.as_deref()?).ok())
            .unwrap_or_default();
        let client_text = text::<48>(&client.remote);
        let origin = Origin {
            reverse_path: about.reverse_path(),
            client: &client_text,
            helo: session.hello().map_or("", |h| h.name.as_str()),
            protocol: session.protocol(),
            user: session.user().unwrap_or_default(),
            size: mail.size,
            body: mail.body,
            smtputf8: mail.smtputf8 || !about.sender.is_ascii(),
            ret: mail.ret,
            envid: &mail.envid,
            share: if client.is_stranger(session.user()) { Share::Strangers } else { Share::Whole },
        };
        about.id = self.store.begin(staging(slot), &origin, now.unix_s).map_err(reply_to)?;
        about.first.clear();
        self.named.begin(slot);
        Ok(())
    }

    /// Refuses a message if its client has sent as many as it may within the hour.
    fn within_rate(&mut self, client: &Client, session: &Session, now: Now) -> Result<(), Reply> {
        let (party, limit) = (Party::of(client.remote, session.user()), client.messages_per_hour);
        if !self.rates.is_reached(&party, limit, now.mono_ms) {
            return Ok(());
        }
        self.note(client, Note::TooManyMessages);
        let text =
            format_args!("too many messages: {limit} within an hour are allowed here, try again later");
        Err(Reply::new(450, (7, 1), text))
    }

    fn recipient(
        &mut self,
        slot: usize,
        client: &Client,
        session: &Session,
        recipient: &Recipient,
    ) -> Result<(), Reply> {
        let Self { config, store, aliases, named, incoming, .. } = self;
        let about = &mut incoming[slot].about;
        let peer = access::Peer { trusted: client.trusted, user: session.user() };
        // The one that is kept, so that the message goes the same way after a restart.
        let reverse = about.reverse_path();
        let verdict = access::judge(config, &peer, client.role, reverse, recipient.forward_path.as_str());
        let (route, path) = match verdict {
            Verdict::Refuse(reply) => return Err(reply),
            Verdict::Deny(reply) => {
                self.note(client, Note::Denied);
                return Err(reply);
            }
            Verdict::Accept { route, forward_path } => (route, forward_path),
        };
        let Some(aliases) = aliases else {
            expansion::way(config, reverse, path)?;
            let is_ours = expansion::is_ours(config, path);
            if named.has(slot, path, is_ours) {
                return Ok(());
            }
            store.recipient(staging(slot), path, recipient.notify, &recipient.orcpt).map_err(reply_to)?;
            named.add(slot, path, is_ours);
            if about.first.is_empty() {
                about.key = key_by(config, route, path);
                about.first = String::try_from(path).unwrap_or_default();
            }
            return Ok(());
        };
        aliases.refresh(config);
        let reverse = String::<PATH_OCTETS>::try_from(reverse).unwrap_or_default();
        let expansion = Expansion::of(config, aliases.table(), &reverse, path)?;
        expansion.judge()?;
        add_all(store, about, named, slot, recipient, &expansion)
    }

    /// The content may come: it starts with our trace field.
    fn trace(
        &mut self,
        slot: usize,
        client: &Client,
        session: &Session,
        transaction: &Transaction,
        now: Now,
    ) -> Result<(), Reply> {
        let incoming = &mut self.incoming[slot];
        incoming.begin_content(client, session);
        let incoming = &mut incoming.about;
        incoming.date = now.wall_is_sane().then(|| date(now));
        let id = incoming.id.text();
        let trace = Trace {
            origin: match client.remote {
                Remote::Host(address) => {
                    received::Origin::Host { hello: session.hello().map_or("", |h| h.name.as_str()), address }
                }
                Remote::User(user) => received::Origin::User(user),
            },
            hostname: &self.config.hostname,
            protocol: session.protocol(),
            id: &id,
            recipient: (transaction.recipients == 1).then_some(incoming.first.as_str()),
            date: date(now),
        };
        let mut field = Buffer::<RECEIVED_OCTETS>::new();
        received::compose(&trace, &mut field);
        self.store.write(staging(slot), field.filled()).map_err(reply_to)
    }

    /// Stores content as it comes.
    pub fn content(&mut self, slot: usize, content: &[u8]) -> Result<(), Reply> {
        let Self { store, incoming, config, .. } = self;
        let mut sink = |octets: &[u8]| store.write(staging(slot), octets);
        incoming[slot].write(config, content, &mut sink).map_err(reply_to)
    }

    /// The content is complete: adds what its header lacks and lets it join the batch.
    fn commit(&mut self, slot: usize, client: &Client, session: &Session, now: Now) -> Result<(), Reply> {
        // Its other sessions may have sent theirs since MAIL.
        let rate = self.within_rate(client, session, now).err();
        let Self { store, incoming, config, .. } = self;
        let incoming = &mut incoming[slot];
        let mut sink = |octets: &[u8]| store.write(staging(slot), octets);
        let finished = incoming.finish(config, &mut sink).map_err(reply_to);
        let refused = if incoming.is_looping() {
            Some(Reply::new(554, (4, 6), "too many Received fields: the message goes round in circles"))
        } else {
            finished.err().or(rate)
        };
        if let Some(reply) = refused {
            store.abort(staging(slot));
            return Err(reply);
        }
        if client.messages_per_hour > 0 {
            self.rates.add(Party::of(client.remote, session.user()), now.mono_ms);
        }
        if !self.offer(slot, now) {
            self.store.commit(staging(slot), now.unix_s);
        }
        Ok(())
    }

    /// The transaction of this slot is void.
    pub fn abandon(&mut self, slot: usize) {
        self.store.abort(staging(slot));
    }
}

/// Adds the recipients that a name leads to, or that name itself, unless they are named already. All of
/// them or none: half an alias in the envelope would be delivered twice.
#[expect(clippy::result_large_err, reason = "once a recipient; a reply is never boxed")]
fn add_all(
    store: &mut Store<RealDisk>,
    about: &mut About,
    named: &mut Named,
    slot: usize,
    recipient: &Recipient,
    expansion: &Expansion<'_>,
) -> Result<(), Reply> {
    let given = recipient.forward_path.as_str();
    let orcpt = match recipient.orcpt.as_str() {
        "" if expansion.is_alias() => expansion::original(given),
        _ => recipient.orcpt.clone(),
    };
    let octets = |path: expansion::Path| path.len() + orcpt.len();
    let others = expansion.recipients().filter(|path| !named.has(slot, path, expansion.is_ours(path)));
    store.make_room(staging(slot), others.map(octets)).map_err(reply_to)?;
    for path in expansion.recipients() {
        let is_ours = expansion.is_ours(&path);
        if named.has(slot, &path, is_ours) {
            continue;
        }
        store.recipient(staging(slot), &path, recipient.notify, &orcpt).map_err(reply_to)?;
        named.add(slot, &path, is_ours);
        if expansion.is_alias() {
            debug!("{} alias from=<{}> to=<{}>", about.id, Quoted::bare(given), Quoted::bare(&path));
        }
        if about.first.is_empty() {
            about.key = expansion.key(&path);
            // The trace field goes to all of them: it names whom the sender named.
            let first = if expansion.is_alias() { given } else { &path };
            about.first = String::try_from(first).unwrap_or_default();
        }
    }
    Ok(())
}

/// What a refusal of the spool is to a client.
pub(super) fn reply_to(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Full => Reply::new(452, (3, 1), "the mail store is full, try again later"),
        Refusal::TooLarge => Reply::new(552, (3, 4), "the message is larger than the mail store"),
        Refusal::Failed => Reply::new(451, (3, 0), "the mail store can't write, try again later"),
        Refusal::Recipients => Reply::new(452, (5, 3), "too many recipients"),
        Refusal::Invalid => Reply::new(501, (5, 4), "this can't be stored"),
    }
}

/// The staging file of a slot.
pub(super) fn staging(slot: usize) -> StagingIndex {
    StagingIndex(u16::try_from(slot).unwrap_or(u16::MAX))
}

/// The time for a header field.
pub(super) fn date(now: Now) -> Date {
    Date { unix_s: i64::try_from(now.unix_s).unwrap_or(0), offset_min: sys::zone_offset_min(now.unix_s) }
}

/// A value as text; what does not fit is cut.
pub fn text<const N: usize>(value: impl std::fmt::Display) -> String<N> {
    struct Cut<const N: usize>(String<N>);
    impl<const N: usize> std::fmt::Write for Cut<N> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            text.chars().try_for_each(|c| self.0.push(c)).map_err(|_| std::fmt::Error)
        }
    }
    let mut cut = Cut(String::new());
    // The only error is that it is full.
    let _ = std::fmt::write(&mut cut, format_args!("{value}"));
    cut.0
}

fn log_rejection(client: &Client, session: &Session, question: &Question<'_>, reply: &Reply) {
    let from = match question {
        Question::Begin(mail) => mail.reverse_path.as_str(),
        _ => session.transaction().map_or("", |t| t.mail.reverse_path.as_str()),
    };
    let helo = session.hello().map_or("", |h| h.name.as_str());
    match question {
        Question::Recipient(_, recipient) => info!(
            target: client.log_target(),
            "- rejected from=<{}> to=<{}> client={} helo={} reply={}",
            Quoted::bare(from),
            Quoted::bare(recipient.forward_path.as_str()),
            client.remote,
            Quoted::new(helo),
            Quoted::new(reply)
        ),
        _ => info!(
            target: client.log_target(),
            "- rejected from=<{}> client={} helo={} reply={}",
            Quoted::bare(from),
            client.remote,
            Quoted::new(helo),
            Quoted::new(reply)
        ),
    }
}
