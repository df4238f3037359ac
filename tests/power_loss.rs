//! The promise of the spool, held to at every call to the disk: after a message was answered for
//! it is there, whole; before that it is there whole or not at all; what was done and synced never
//! comes back.
//!
//! A run is a seeded script of messages, outcomes and syncs over a simulated disk. The power is
//! cut at one call, what was not synced is lost by one of several ways, the spool is opened again
//! (and cut again while it is), and everything in it is compared with what was answered for.
//! `PILLARBOX_FULL=1` sweeps every call under many seeds; the short form takes some.

#[path = "support/sim_disk.rs"]
mod sim_disk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;

use pillarbox::smtp::command::Notify;
use pillarbox::spool::*;
use sim_disk::{Chance, Fault, Loss, SimDisk, World};

type Shared = Rc<RefCell<World>>;

/// A ring so small that it goes round within a script.
const SETTINGS: Settings = Settings {
    max_octets: 1 << 20,
    max_messages: 40,
    cells_octets: 20 * (4096 + 256) + 3 * 4096,
    staging: 4,
    message_octets: 1 << 18,
};

/// Octets of content: all shares of a block, a few blocks, too large for the cells.
const SIZES: [usize; 8] = [3, 900, 3900, 3980, 4100, 8000, 13_000, 40_000];

fn is_full() -> bool {
    std::env::var_os("PILLARBOX_FULL").is_some()
}

/// What is known of a message from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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
struct Known {
    paths: Vec<String>,
    content: Vec<u8>,
    stage: Stage,
    delivered: Vec<u16>,
}

/// The world outside the spool, which remembers.
#[derive(Clone, Debug, Default)]
struct Outside {
    messages: BTreeMap<Id, Known>,
    now_ms: u64,
}

type Opened = (Store<SimDisk>, Vec<(Message, Status)>);

fn open(world: &Shared) -> Result<Opened, OpenError> {
    let mut found = Vec::new();
    let store = Store::open(SimDisk::new(world), &SETTINGS, &mut |f: Found<'_>| {
        found.push((f.message, f.status.clone()));
        true
    })?;
    Ok((store, found))
}

fn envelope(store: &mut Store<SimDisk>, place: Place) -> Result<(Head, Vec<String>), Damage> {
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
fn content(store: &mut Store<SimDisk>, place: Place, head: &Head) -> Result<Vec<u8>, Damage> {
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
    fn offer(
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

    fn hear(&mut self, store: &mut Store<SimDisk>) {
        while let Some(committed) = store.poll() {
            if let Ok(message) = committed.result {
                let known = self.messages.get_mut(&message.id).unwrap();
                assert_eq!(message.content_octets, known.content.len() as u64);
                known.stage = Stage::Answered(message.place);
            }
        }
    }

    /// Delivers something of every message, or all of it, by chance.
    fn deliver(&mut self, store: &mut Store<SimDisk>, chance: &mut Chance) {
        for (&id, known) in &mut self.messages {
            self.now_ms += 7;
            let Stage::Answered(place) = known.stage else { continue };
            let mut status = Status::new(id);
            status.reply(0, "250 2.0.0 ok");
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

    fn look(&mut self, store: &Store<SimDisk>) {
        for known in self.messages.values_mut() {
            if let Stage::Done(mark) = known.stage
                && store.progress(mark) == Progress::Synced
            {
                known.stage = Stage::DoneSynced;
            }
        }
    }

    /// The process is gone: what it said of places and marks means nothing to the next one.
    fn forget_process(&mut self) {
        for known in self.messages.values_mut() {
            if let Stage::Done(_) = known.stage {
                known.stage = Stage::Done(Mark::Cells(u64::MAX));
            }
        }
    }

    /// Compares what the spool holds with what was answered for.
    fn check(&mut self, world: &Shared, store: &mut Store<SimDisk>, found: &[(Message, Status)], why: &str) {
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
fn live(world: &Shared, store: &mut Store<SimDisk>, outside: &mut Outside, rounds: usize, seed: u64) {
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
fn run(world: &Shared, outside: &mut Outside, fault: Option<(u64, Fault)>, rounds: usize, seed: u64) -> u64 {
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

fn losses(seed: u64) -> [Loss; 4] {
    [Loss::All, Loss::Nothing, Loss::Some(seed), Loss::Torn(seed)]
}

/// Opens the spool after a loss, perhaps cut once more while that is done, and checks.
fn recover(world: &Shared, outside: &mut Outside, again: Option<u64>, loss: Loss, why: &str) {
    if let Some(at) = again {
        world.borrow_mut().arm(Some((at, Fault::Cut)));
        drop(open(world));
        world.borrow_mut().reboot(loss);
    }
    let (mut store, found) = open(world).unwrap_or_else(|e| panic!("{why}: {e}"));
    outside.check(world, &mut store, &found, why);
    // The next life must not step on what is there.
    live(world, &mut store, outside, 2, 99);
    outside.look(&store);
    drop(store);
    outside.forget_process();
    world.borrow_mut().reboot(Loss::All);
    let (mut store, found) = open(world).unwrap_or_else(|e| panic!("{why}, then again: {e}"));
    outside.check(world, &mut store, &found, &format!("{why}, then again"));
}

fn fork(world: &Shared) -> Shared {
    Rc::new(RefCell::new(world.borrow().clone()))
}

fn sweep(late_syncs: bool) {
    let (seeds, rounds, step) = if is_full() { (24, 8, 1) } else { (4, 4, 3) };
    for seed in 0..seeds {
        let start = World::new(seed);
        start.borrow_mut().late_syncs = late_syncs;
        let mut before = Outside::default();
        // Half of the runs start in the middle of a life, with a ring that has gone round.
        if seed % 2 == 1 {
            run(&start, &mut before, None, 12, seed + 1000);
            start.borrow_mut().reboot(Loss::Nothing);
        }
        let calls = run(&fork(&start), &mut before.clone(), None, rounds, seed);
        for at in (seed % step..calls).step_by(step as usize) {
            let (cut, mut outside) = (fork(&start), before.clone());
            run(&cut, &mut outside, Some((at, Fault::Cut)), rounds, seed);
            for loss in losses(seed * 7919 + at) {
                let (world, mut outside) = (fork(&cut), outside.clone());
                world.borrow_mut().reboot(loss);
                let again = (at % 3 == 0).then_some(at * 31 % 90);
                recover(
                    &world,
                    &mut outside,
                    again,
                    loss,
                    &format!("seed {seed}, cut at {at}, {loss:?}, {again:?}"),
                );
            }
        }
    }
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_answered() {
    sweep(false);
}

#[test]
fn a_power_cut_while_a_sync_is_under_way_loses_nothing_that_was_answered() {
    sweep(true);
}

#[test]
fn recovery_cut_at_any_call_of_its_own_loses_nothing() {
    let world = World::new(5);
    let mut outside = Outside::default();
    let calls = run(&fork(&world), &mut outside.clone(), None, 6, 5);
    run(&world, &mut outside, Some((calls * 2 / 3, Fault::Cut)), 6, 5);
    world.borrow_mut().reboot(Loss::Some(5));
    let trial = fork(&world);
    trial.borrow_mut().arm(None);
    drop(open(&trial));
    let calls = trial.borrow().calls;
    for at in (0..calls).step_by(if is_full() { 1 } else { 3 }) {
        for loss in losses(at) {
            recover(
                &fork(&world),
                &mut outside.clone(),
                Some(at),
                loss,
                &format!("recovery cut at {at}, {loss:?}"),
            );
        }
    }
}

#[test]
fn an_error_at_any_call_harms_no_message_that_was_answered() {
    let (seeds, rounds, step) = if is_full() { (8, 6, 1) } else { (2, 4, 4) };
    for seed in 0..seeds {
        let calls = run(&World::new(seed), &mut Outside::default(), None, rounds, seed);
        for at in (seed % step..calls).step_by(step as usize) {
            for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
                for fault in [Fault::Once(kind), Fault::From(kind)] {
                    let (world, mut outside) = (World::new(seed), Outside::default());
                    world.borrow_mut().late_syncs = at % 2 == 0;
                    run(&world, &mut outside, Some((at, fault)), rounds, seed);
                    let loss = losses(at)[at as usize % 4];
                    world.borrow_mut().reboot(loss);
                    recover(
                        &world,
                        &mut outside,
                        None,
                        loss,
                        &format!("seed {seed}, {fault:?} at {at}, {loss:?}"),
                    );
                }
            }
        }
    }
}

#[test]
fn after_a_full_disk_the_spool_takes_mail_again() {
    let world = World::new(3);
    let (mut store, _) = open(&world).unwrap();
    let (mut outside, mut chance) = (Outside::default(), Chance::new(3));
    world.borrow_mut().arm(Some((0, Fault::From(io::ErrorKind::StorageFull))));
    // Longer than what is gathered in memory before it is written.
    assert_eq!(outside.offer(&mut store, StagingIndex(0), 9000, &mut chance), None);
    world.borrow_mut().arm(None);
    let mut id = None;
    while id.is_none() {
        id = outside.offer(&mut store, StagingIndex(0), 3000, &mut chance);
    }
    assert_eq!(store.start_batch(), 1);
    let committed = store.poll().unwrap();
    assert_eq!(Some(committed.result.unwrap().id), id);
    assert!(store.usage().failure.is_empty(), "a full disk is no failing one");
}

/// A spool that holds messages of all kinds, after a clean end.
fn furnished() -> (Shared, Outside) {
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
            status.reply(0, "450 4.2.0 later");
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
    assert!(found.iter().any(|(_, status)| !status.reply.is_empty()), "some have a status");
    (world, outside)
}

/// Opens a spool with one octet flipped and judges what comes out; true if a message was harmed.
fn judge_flip(world: &Shared, outside: &Outside, why: &str) -> bool {
    let (mut store, found) = open(world).unwrap_or_else(|e| panic!("{why}: {e}"));
    let mut whole = Vec::new();
    for (message, _) in found {
        let known =
            outside.messages.get(&message.id).unwrap_or_else(|| panic!("{why}: stranger {message:?}"));
        let (head, paths) = envelope(&mut store, message.place).unwrap_or_else(|e| panic!("{why}: {e}"));
        assert_eq!(paths, known.paths, "{why}");
        match content(&mut store, message.place, &head) {
            Ok(octets) => {
                assert!(octets == known.content, "{why}: damage went unnoticed");
                whole.push(message.id);
            }
            Err(e) => store.set_aside(message.place, e, 0).unwrap_or_else(|e| panic!("{why}: {e}")),
        }
    }
    let answered = outside.messages.iter().filter(|(_, k)| matches!(k.stage, Stage::Answered(_)));
    let harmed: Vec<_> = answered.filter(|(id, _)| !whole.contains(id)).map(|(id, _)| *id).collect();
    assert!(harmed.len() <= 1, "{why}: harmed {harmed:?}");
    let aside = world.borrow().names(Folder::Corrupt).len();
    assert!(aside >= harmed.len(), "{why}: {harmed:?} vanished without a trace");
    !harmed.is_empty()
}

#[test]
fn a_flipped_octet_anywhere_harms_one_message_at_most_and_is_noticed() {
    let (world, outside) = furnished();
    let mut files = vec![(Folder::Root, "cells".to_owned())];
    files.extend(world.borrow().names(Folder::Large).into_iter().map(|name| (Folder::Large, name)));
    let (mut chance, mut harmed, mut flips) = (Chance::new(1), 0, 0);
    for (folder, name) in files {
        let length = world.borrow_mut().octets(folder, &name).len();
        // The short form takes every octet of heads and superblocks now and then.
        let mut at = 0;
        while at < length {
            let trial = fork(&world);
            trial.borrow_mut().octets(folder, &name)[at] ^= 1 + chance.below(255) as u8;
            harmed += usize::from(judge_flip(&trial, &outside, &format!("{name} octet {at}")));
            flips += 1;
            at += match (is_full(), at % 4096) {
                (true, _) => 1 + chance.below(5),
                (false, ..200) => 1 + chance.below(25),
                (false, _) => 1 + chance.below(1500),
            };
        }
    }
    assert!(harmed > flips / 10, "only {harmed} of {flips} flips met a message");
}

#[test]
fn content_made_to_look_like_a_head_is_never_taken_for_one() {
    let (world, mut outside) = furnished();
    let cells = world.borrow_mut().octets(Folder::Root, "cells").clone();
    let (mut store, found) = open(&world).unwrap();
    for (message, _) in &found {
        let mut status = Status::new(message.id);
        status.removed = true;
        store.finish(message.place, &status, 0).unwrap();
        outside.messages.get_mut(&message.id).unwrap().stage = Stage::DoneSynced;
    }
    store.sync_status();
    assert!(store.poll().is_none());
    // Every block of these contents begins with octets of a block that did hold a head.
    for shift in 0..20 {
        let s = StagingIndex(0);
        let id = store.begin(s, &Origin::default(), 0).unwrap();
        store.recipient(s, "x@y.example", Notify::Unsaid, "").unwrap();
        let before = 80 + "from <>\nto P <x@y.example>\n".len();
        let mut forged = vec![b'x'; 4096 - before];
        for n in 0..4 {
            let at = (4 + (shift + n) % 20) * 4096;
            forged.extend_from_slice(&cells[at..at + 4096]);
        }
        store.write(s, &forged).unwrap();
        store.commit(s, 0);
        assert_eq!(store.start_batch(), 1);
        let message = store.poll().unwrap().result.unwrap();
        // Half of them are done: their octets stay behind in free blocks.
        let stage = if shift % 6 == 0 { Stage::Answered(message.place) } else { Stage::DoneSynced };
        let (paths, delivered) = (vec!["x@y.example".to_owned()], vec![]);
        outside.messages.insert(id, Known { paths, content: forged, stage, delivered });
        if stage == Stage::DoneSynced {
            let mut status = Status::new(id);
            status.removed = true;
            let mark = store.finish(message.place, &status, 0).unwrap();
            store.sync_status();
            assert!(store.poll().is_none());
            assert_eq!(store.progress(mark), Progress::Synced);
        }
    }
    drop(store);
    world.borrow_mut().reboot(Loss::All);
    let (mut store, found) = open(&world).unwrap();
    assert!(!found.is_empty());
    outside.check(&world, &mut store, &found, "forged");
    assert!(world.borrow().names(Folder::Corrupt).is_empty());
}

#[test]
fn strangers_in_the_spool_are_set_aside_once_and_the_rest_left_alone() {
    let (world, outside) = furnished();
    for (name, octets) in
        [("note.txt", &b"hello"[..]), ("0000000001-0001", b""), (".keep", b""), ("lost+found", b"")]
    {
        world.borrow_mut().put(Folder::Large, name, octets);
    }
    world.borrow_mut().put(Folder::Corrupt, "note.txt", b"older");
    for _ in 0..2 {
        let (store, found) = open(&world).unwrap();
        assert!(world.borrow().names(Folder::Large).iter().any(|n| n == ".keep"));
        assert_eq!(world.borrow().names(Folder::Corrupt), ["0000000001-0001", "note.txt", "note.txt.1"]);
        assert_eq!(store.usage().messages as usize, found.len());
        let answered = outside.messages.values().filter(|k| matches!(k.stage, Stage::Answered(_))).count();
        assert_eq!(found.len(), answered);
    }
}

#[test]
fn a_damaged_or_unknown_superblock_is_an_error_and_is_not_touched() {
    let (world, _) = furnished();
    for copy in [0, 4096] {
        world.borrow_mut().octets(Folder::Root, "cells")[copy + 30] ^= 1;
    }
    let before = world.borrow_mut().octets(Folder::Root, "cells").clone();
    assert!(matches!(open(&world).err(), Some(OpenError::Superblock(_))));
    assert!(*world.borrow_mut().octets(Folder::Root, "cells") == before);
    let (world, _) = furnished();
    world.borrow_mut().octets(Folder::Root, "cells").pop();
    assert!(matches!(open(&world).err(), Some(OpenError::Length { .. })));
}

#[test]
fn messages_beyond_the_callers_table_wait_and_keep_their_place() {
    let (world, mut outside) = furnished();
    let mut table: Vec<Message> = Vec::new();
    let full = open(&fork(&world)).unwrap().1.len();
    let mut store = Store::open(SimDisk::new(&world), &SETTINGS, &mut |f: Found<'_>| {
        let room = table.len() < 2;
        if room {
            table.push(f.message);
        }
        room
    })
    .unwrap();
    assert_eq!((table.len(), store.usage().messages as usize), (2, full));
    // New mail must not take the blocks of what waits.
    let mut chance = Chance::new(4);
    for _ in 0..6 {
        outside.offer(&mut store, StagingIndex(1), 3000, &mut chance);
        store.start_batch();
        outside.hear(&mut store);
    }
    let mut more = Vec::new();
    let left = store.find_more(&mut |f: Found<'_>| {
        more.push(f.message);
        true
    });
    assert!(!left);
    table.extend(more.into_iter().filter(|m| !table.iter().any(|t| t.id == m.id)).collect::<Vec<_>>());
    assert_eq!(table.len(), full);
    let found: Vec<_> = table.into_iter().map(|m| (m, Status::new(m.id))).collect();
    for (message, _) in &found {
        let known = &outside.messages[&message.id];
        let (head, paths) = envelope(&mut store, message.place).unwrap();
        assert_eq!(paths, known.paths);
        assert!(content(&mut store, message.place, &head).unwrap() == known.content);
    }
}

#[test]
fn a_second_process_is_kept_out_but_may_read() {
    let (world, outside) = furnished();
    let (store, found) = open(&world).unwrap();
    assert_eq!(Store::open(SimDisk::new(&world), &SETTINGS, &mut |_| true).err(), Some(OpenError::Busy));
    let mut reader = Reader::open(SimDisk::new(&world)).unwrap();
    for (message, _) in found {
        assert_eq!(reader.head(message.place).unwrap().id, message.id);
        assert!(outside.messages.contains_key(&message.id));
    }
    drop(store);
}

#[test]
fn what_is_submitted_while_no_relay_runs_is_found_by_the_next() {
    let (world, mut outside) = furnished();
    let mut store = Store::open_offline(SimDisk::new(&world), &SETTINGS).unwrap();
    let mut id = None;
    while id.is_none() {
        id = outside.offer(&mut store, StagingIndex(0), 700, &mut Chance::new(8));
    }
    store.start_batch();
    outside.hear(&mut store);
    assert!(matches!(outside.messages[&id.unwrap()].stage, Stage::Answered(_)));
    drop(store);
    world.borrow_mut().reboot(Loss::All);
    let (mut store, found) = open(&world).unwrap();
    outside.check(&world, &mut store, &found, "offline");
}
