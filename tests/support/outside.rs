//! The world outside the spool: what it was told, what it was answered, and a script of its doings.
#![allow(dead_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use pillarbox::smtp::command::Notify;
use pillarbox::spool::*;

use super::sim_disk::{Chance, Fault, Loss, SimDisk, World};

/// A machine that outlives its processes.
pub type Shared = Rc<RefCell<World>>;

/// A ring so small that it goes round within a script.
pub const SETTINGS: Settings = Settings {
    max_octets: 1 << 20,
    max_messages: 40,
    cells_octets: 20 * (4096 + 256) + 3 * 4096,
    staging: 4,
    message_octets: 1 << 18,
};

/// Octets of content: all shares of a block, a few blocks, too large for the cells.
pub const SIZES: [usize; 8] = [3, 900, 3900, 3980, 4100, 8000, 13_000, 40_000];

/// What is known of a message from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Offered, not answered, or refused: absent or whole.
    Unanswered,
    /// Dropped before it was complete: absent.
    Aborted,
    /// Answered 250: there and whole.
    Answered(Place),
    /// Its last status was written: absent or whole.
    Done(Mark),
    /// That was synced: absent.
    DoneSynced,
}

#[derive(Clone, Debug)]
pub struct Known {
    pub paths: Vec<String>,
    pub content: Vec<u8>,
    pub stage: Stage,
    pub delivered: Vec<u16>,
}

/// The world outside the spool, which remembers.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    pub messages: BTreeMap<Id, Known>,
    pub now_ms: u64,
}

pub type Opened = (Store<SimDisk>, Vec<(Message, Status)>);

pub fn open(world: &Shared) -> Result<Opened, OpenError> {
    let mut found = Vec::new();
    let store = Store::open(SimDisk::new(world), &SETTINGS, &mut |f: Found<'_>| {
        found.push((f.message, f.status.clone()));
        true
    })?;
    Ok((store, found))
}

pub fn envelope(store: &mut Store<SimDisk>, place: Place) -> Result<(Head, Vec<String>), Damage> {
    let mut paths = Vec::new();
    let head = store.read_envelope(place, Cursor::default(), &mut |line, _| {
        if let Line::To { path, .. } = line {
            paths.push(path.to_owned());
        }
        ControlFlow::Continue(())
    })?;
    Ok((head, paths))
}

/// Reads content as a sender does: in parts, and right only if the sum says so.
pub fn content(store: &mut Store<SimDisk>, place: Place, head: &Head) -> Result<Vec<u8>, Damage> {
    let (mut all, mut part, mut sum) = (Vec::new(), [0; 1000], ContentSum::new(head));
    loop {
        let n = store.read_content(place, head, all.len() as u64, &mut part)?;
        if n == 0 {
            return if sum.is_right() { Ok(all) } else { Err(Damage::Content) };
        }
        sum.add(&part[..n]);
        all.extend_from_slice(&part[..n]);
    }
}

impl Outside {
    /// Offers a message with content of that many octets in slot `s`.
    pub fn offer(
        &mut self,
        store: &mut Store<SimDisk>,
        s: StagingIndex,
        octets: usize,
        chance: &mut Chance,
    ) -> Option<Id> {
        let origin = Origin { reverse_path: "a@b.example", helo: "printer", ..Origin::default() };
        let id = store.begin(s, &origin, 1_800_000_000).ok()?;
        let paths: Vec<_> =
            (0..=chance.below(3)).map(|n| format!("r{n}-{}@d.example", chance.next())).collect();
        let content: Vec<u8> = (0..octets).map(|_| b'a' + chance.below(26) as u8).collect();
        let stage = Stage::Aborted;
        let known = Known { paths, content, stage, delivered: Vec::new() };
        let heard = known.paths.iter().all(|p| store.recipient(s, p, Notify::Unsaid, "").is_ok());
        let heard = heard && known.content.chunks(5000).all(|part| store.write(s, part).is_ok());
        self.messages.insert(id, known);
        if !heard || chance.below(12) == 0 {
            store.abort(s);
            return None;
        }
        if let Some(known) = self.messages.get_mut(&id) {
            known.stage = Stage::Unanswered;
        }
        store.commit(s, 1_800_000_001);
        Some(id)
    }

    pub fn hear(&mut self, store: &mut Store<SimDisk>) {
        while let Some(committed) = store.poll() {
            if let Ok(message) = committed.result {
                let known = self.messages.get_mut(&message.id).unwrap();
                assert_eq!(message.content_octets, known.content.len() as u64);
                known.stage = Stage::Answered(message.place);
            }
        }
    }

    /// Delivers something of every message, or all of it, by chance.
    pub fn deliver(&mut self, store: &mut Store<SimDisk>, chance: &mut Chance) {
        for (&id, known) in &mut self.messages {
            self.now_ms += 7;
            let Stage::Answered(place) = known.stage else { continue };
            let mut status = Status::new(id);
            status.reply(0, RecipientState::Delivered, "250 2.0.0 ok");
            let recipients = known.paths.len() as u16;
            match chance.below(5) {
                0 if recipients > 1 => {
                    known.delivered = vec![0];
                    status.set(0, RecipientState::Delivered);
                    let _ = store.record(place, &status, self.now_ms);
                }
                1 | 2 => {
                    known.delivered = (0..recipients).collect();
                    known.delivered.iter().for_each(|&n| status.set(n, RecipientState::Delivered));
                    let mark = store.finish(place, &status, self.now_ms);
                    // An error leaves it in doubt for good: no such round will ever be synced.
                    known.stage = Stage::Done(mark.unwrap_or(Mark::Cells(u64::MAX)));
                }
                _ => {}
            }
        }
    }

    pub fn look(&mut self, store: &Store<SimDisk>) {
        for known in self.messages.values_mut() {
            if let Stage::Done(mark) = known.stage
                && store.progress(mark) == Progress::Synced
            {
                known.stage = Stage::DoneSynced;
            }
        }
    }

    /// The process is gone: what it said of places and marks means nothing to the next one.
    pub fn forget_process(&mut self) {
        for known in self.messages.values_mut() {
            if let Stage::Done(_) = known.stage {
                known.stage = Stage::Done(Mark::Cells(u64::MAX));
            }
        }
    }

    /// Compares what the spool holds with what was answered for.
    pub fn check(
        &mut self,
        world: &Shared,
        store: &mut Store<SimDisk>,
        found: &[(Message, Status)],
        why: &str,
    ) {
        let mut seen = BTreeMap::new();
        for (message, status) in found {
            let known =
                self.messages.get(&message.id).unwrap_or_else(|| panic!("{why}: stranger {message:?}"));
            let is_gone = matches!(known.stage, Stage::Aborted | Stage::DoneSynced);
            assert!(
                !is_gone,
                "{why}: {} came back from {:?} {status:?} {:?}",
                message.id, known.stage, message.place
            );
            let (head, paths) =
                envelope(store, message.place).unwrap_or_else(|e| panic!("{why}: {} {e}", message.id));
            assert_eq!(paths, known.paths, "{why}: {}", message.id);
            assert!(
                content(store, message.place, &head).as_ref() == Ok(&known.content),
                "{why}: {} torn",
                message.id
            );
            for n in (0..message.recipients).filter(|&n| status.state(n) != RecipientState::Pending) {
                assert!(
                    known.delivered.contains(&n),
                    "{why}: {} recipient {n} never was delivered",
                    message.id
                );
            }
            assert!(seen.insert(message.id, message.place).is_none(), "{why}: {} twice", message.id);
        }
        for (id, known) in &mut self.messages {
            match (known.stage, seen.get(id)) {
                (Stage::Answered(_), None) => panic!("{why}: {id} is lost"),
                // What was found is in the queue now, answered or not.
                (_, Some(&place)) => known.stage = Stage::Answered(place),
                (Stage::Done(_), None) => known.stage = Stage::DoneSynced,
                (_, None) => {}
            }
        }
        for name in world.borrow().names(Folder::Corrupt) {
            // A head that was torn in the middle of a write: its message was not answered.
            if name.starts_with("block-") {
                continue;
            }
            let known = name.parse::<Id>().ok().and_then(|id| self.messages.get(&id));
            assert!(
                known.is_some_and(|k| k.stage == Stage::Unanswered),
                "{why}: {name} in corrupt, {known:?}"
            );
        }
    }
}

/// One life of a process: messages come and go until the script ends or the power does.
pub fn live(world: &Shared, store: &mut Store<SimDisk>, outside: &mut Outside, rounds: usize, seed: u64) {
    let mut chance = Chance::new(seed);
    for _ in 0..rounds {
        let few = 1 + chance.below(2);
        for s in 0..few {
            outside.offer(store, StagingIndex(s as u16), SIZES[chance.below(SIZES.len())], &mut chance);
        }
        store.start_batch();
        // These come while a sync may be under way.
        for s in 2..2 + few {
            outside.offer(store, StagingIndex(s as u16), SIZES[chance.below(SIZES.len())], &mut chance);
        }
        store.start_batch();
        outside.deliver(store, &mut chance);
        if chance.below(3) == 0 {
            store.sync_status();
        }
        for _ in 0..4 {
            outside.hear(store);
            store.start_batch();
        }
        outside.look(store);
        if world.borrow().is_cut {
            return;
        }
    }
}

/// Runs a life with a fault at call `at`; gives the calls it made.
pub fn run(
    world: &Shared,
    outside: &mut Outside,
    fault: Option<(u64, Fault)>,
    rounds: usize,
    seed: u64,
) -> u64 {
    world.borrow_mut().arm(fault);
    if let Ok((mut store, found)) = open(world) {
        if fault.is_none() {
            outside.check(world, &mut store, &found, "undisturbed");
        }
        live(world, &mut store, outside, rounds, seed);
        outside.look(&store);
    }
    outside.forget_process();
    world.borrow().calls
}

pub fn fork(world: &Shared) -> Shared {
    Rc::new(RefCell::new(world.borrow().clone()))
}

/// A spool that holds messages of all kinds, after a clean end.
pub fn furnished() -> (Shared, Outside) {
    let world = World::new(11);
    let mut outside = Outside::default();
    run(&world, &mut outside, None, 7, 11);
    let (mut store, _) = open(&world).unwrap();
    let mut chance = Chance::new(2);
    for octets in [700, 40_000, 9000, 3, 4000, 50_000, 900] {
        outside.offer(&mut store, StagingIndex(0), octets, &mut chance);
        store.start_batch();
        outside.hear(&mut store);
    }
    // Every message has been tried once, in vain.
    for (&id, known) in &outside.messages {
        if let Stage::Answered(place) = known.stage {
            let mut status = Status::new(id);
            status.reply(0, RecipientState::Pending, "450 4.2.0 later");
            known.delivered.iter().for_each(|&n| status.set(n, RecipientState::Delivered));
            store.record(place, &status, 0).unwrap();
        }
    }
    drop(store);
    world.borrow_mut().reboot(Loss::Nothing);
    let (mut store, found) = open(&world).unwrap();
    outside.check(&world, &mut store, &found, "furnished");
    drop(store);
    world.borrow_mut().reboot(Loss::Nothing);
    let large = world.borrow().names(Folder::Large).len();
    assert!(large > 0 && found.len() > large + 2, "{large} of {} messages are large", found.len());
    assert!(found.iter().any(|(_, status)| !status.reply_of(0).is_empty()), "some have a status");
    (world, outside)
}
