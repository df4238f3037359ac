//! The spool from outside, over a simulated disk: limits, order, strangers, what is kept where.

#[path = "support/outside.rs"]
mod outside;
#[path = "support/sim_disk.rs"]
mod sim_disk;

use std::io;
use std::ops::ControlFlow;

use outside::{Known, Outside, SETTINGS, Shared, Stage, content, envelope, fork, furnished, open};
use pillarbox::smtp::command::Notify;
use pillarbox::spool::*;
use sim_disk::{Chance, Fault, Loss, SimDisk, World};

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

/// Commits one message of that size; true if it went into a file of its own.
fn goes_large(world: &Shared, store: &mut Store<SimDisk>, outside: &mut Outside, octets: usize) -> bool {
    let before = world.borrow().names(Folder::Large).len();
    let mut chance = Chance::new(before as u64);
    let offered = (0..9).any(|_| outside.offer(store, StagingIndex(0), octets, &mut chance).is_some());
    assert!(offered, "the spool takes no mail");
    store.start_batch();
    outside.hear(store);
    world.borrow().names(Folder::Large).len() > before
}

/// A spool whose cells are full, and the first message in it.
fn filled() -> (Shared, Store<SimDisk>, Outside, Place) {
    let world = World::new(21);
    let (mut store, _) = open(&world).unwrap();
    let mut outside = Outside::default();
    while !goes_large(&world, &mut store, &mut outside, 13_000) {}
    let first =
        outside.messages.values().find_map(|k| if let Stage::Answered(p) = k.stage { Some(p) } else { None });
    (world, store, outside, first.unwrap())
}

fn remove(store: &mut Store<SimDisk>, place: Place) -> Mark {
    let mut status = Status::new(place.id());
    status.removed = true;
    store.finish(place, &status, 0).unwrap()
}

#[test]
fn a_run_is_free_only_after_its_end_was_synced() {
    let (world, mut store, mut outside, first) = filled();
    world.borrow_mut().late_syncs = true;
    let mark = remove(&mut store, first);
    store.sync_status();
    assert_eq!(store.progress(mark), Progress::Waiting);
    outside.hear(&mut store);
    assert_eq!(store.progress(mark), Progress::Synced);
    assert!(!goes_large(&world, &mut store, &mut outside, 13_000));
    let (world, mut store, mut outside, first) = filled();
    remove(&mut store, first);
    assert!(goes_large(&world, &mut store, &mut outside, 13_000), "not synced yet");
}

#[test]
fn what_a_failed_sync_covered_is_not_used_until_restart() {
    let (world, mut store, mut outside, first) = filled();
    let mark = remove(&mut store, first);
    world.borrow_mut().arm(Some((0, Fault::Once(io::ErrorKind::Other))));
    store.sync_status();
    assert!(world.borrow().has_failed && store.poll().is_none());
    assert_eq!(store.progress(mark), Progress::Failed);
    assert!(!store.usage().failure.is_empty());
    for _ in 0..2 {
        assert!(goes_large(&world, &mut store, &mut outside, 13_000));
        store.sync_status();
    }
}

#[test]
fn what_the_scan_saw_is_durable() {
    let (world, mut store, _, first) = filled();
    remove(&mut store, first);
    // The process is killed, the machine runs on; then the power goes.
    drop(store);
    let (store, found) = open(&world).unwrap();
    assert!(found.iter().all(|(message, _)| message.place != first));
    drop(store);
    world.borrow_mut().reboot(Loss::All);
    let (_, found) = open(&world).unwrap();
    assert!(found.iter().all(|(message, _)| message.place != first));
}

#[test]
fn an_old_message_whose_blocks_a_newer_one_took_is_no_damage() {
    let world = World::new(2);
    let (mut store, _) = open(&world).unwrap();
    let mut outside = Outside::default();
    assert!(!goes_large(&world, &mut store, &mut outside, 5000));
    let old = *outside.messages.keys().next().unwrap();
    let Stage::Answered(place) = outside.messages[&old].stage else { panic!("not committed") };
    drop(store);
    world.borrow_mut().reboot(Loss::Nothing);
    let before = world.borrow_mut().octets(Folder::Root, "cells").clone();
    let (mut store, _) = open(&world).unwrap();
    remove(&mut store, place);
    store.sync_status();
    assert!(store.poll().is_none());
    drop(store);
    // The ring starts at its front again: two messages of one block each take the old one's place.
    let (mut store, _) = open(&world).unwrap();
    for _ in 0..2 {
        assert!(!goes_large(&world, &mut store, &mut outside, 900));
    }
    drop(store);
    world.borrow_mut().reboot(Loss::Nothing);
    // The old head is back, and its status is not: block 0 and the table as they were.
    for part in [4 * 4096..5 * 4096, 2 * 4096..4 * 4096] {
        world.borrow_mut().octets(Folder::Root, "cells")[part.clone()].copy_from_slice(&before[part]);
    }
    let (_, found) = open(&world).unwrap();
    assert!(found.len() == 1 && found[0].0.id != old);
    assert!(world.borrow().names(Folder::Corrupt).is_empty());
}

#[test]
fn strangers_leave_room_for_the_house() {
    let [stranger, house] =
        [Share::Strangers, Share::Whole].map(|share| Origin { share, ..Origin::default() });
    let open =
        |settings: &Settings| Store::open(SimDisk::new(&World::new(1)), settings, &mut |_| true).unwrap();
    // Of messages; one always fits.
    for (max_messages, theirs) in [(1, 1), (3, 3), (4, 3)] {
        let mut store = open(&Settings { max_messages, ..SETTINGS });
        for number in 0..max_messages as u16 {
            let origin = if u32::from(number) < theirs { &stranger } else { &house };
            if u32::from(number) == theirs {
                assert_eq!(store.begin(StagingIndex(number), &stranger, 0), Err(Refusal::Full));
            }
            store.begin(StagingIndex(number), origin, 0).unwrap();
        }
    }
    // Of octets, by what is announced and by what comes.
    let mut store = open(&SETTINGS);
    let large = |origin| Origin { size: Some(SETTINGS.message_octets - 8192), ..origin };
    for number in 0..3 {
        store.begin(StagingIndex(number), &large(stranger), 0).unwrap();
    }
    let last = StagingIndex(3);
    assert_eq!(store.begin(last, &large(stranger), 0), Err(Refusal::Full));
    store.begin(last, &stranger, 0).unwrap();
    assert_eq!(store.write(last, &[b'x'; 100_000]), Err(Refusal::Full));
    store.abort(last);
    store.begin(last, &large(house), 0).unwrap();
    store.write(last, &[b'x'; 100_000]).unwrap();
    // Where the spool is hardly larger than the largest message, it is theirs too while it is empty.
    for max_octets in [SETTINGS.message_octets + 8192, SETTINGS.message_octets] {
        let mut store = open(&Settings { max_octets, ..SETTINGS });
        store.begin(last, &stranger, 0).unwrap();
        store.write(last, &vec![b'x'; SETTINGS.message_octets as usize - 8192]).unwrap();
        assert_eq!(store.begin(StagingIndex(0), &large(stranger), 0), Err(Refusal::Full));
    }
}

#[test]
fn limits_are_kept_and_a_bounce_is_exempt() {
    let world = World::new(1);
    let settings = Settings { max_messages: 1, message_octets: 100, ..SETTINGS };
    let mut store = Store::open(SimDisk::new(&world), &settings, &mut |_| true).unwrap();
    let [one, two] = [StagingIndex(0), StagingIndex(1)];
    let sized = Origin { size: Some(101), ..Origin::default() };
    assert_eq!(store.begin(one, &sized, 0), Err(Refusal::TooLarge));
    store.begin(one, &Origin::default(), 0).unwrap();
    assert_eq!(store.begin(two, &Origin::default(), 0), Err(Refusal::Full));
    let bounce = Origin { share: Share::Unlimited, ..Origin::default() };
    store.begin(two, &bounce, 0).unwrap();
    store.write(two, &[b'x'; 200]).unwrap();
    assert_eq!(store.write(one, &[b'x'; 101]), Err(Refusal::TooLarge));
    for _ in 0..256 {
        store.abort(one);
        store.abort(two);
        store.begin(one, &Origin::default(), 0).unwrap();
    }
    assert_eq!(store.recipient(one, "a\nto P <b>", Notify::Unsaid, ""), Err(Refusal::Invalid));
    for n in 0..pillarbox::limits::RECIPIENTS {
        store.recipient(one, &format!("r{n}@d.example"), Notify::Unsaid, "").unwrap();
    }
    assert_eq!(store.recipient(one, "r@d.example", Notify::Unsaid, ""), Err(Refusal::Recipients));
    store.commit(one, 7);
    assert_eq!((store.batch_waiting(), store.start_batch()), (1, 1));
    let message = store.poll().unwrap().result.unwrap();
    assert_eq!((message.recipients, message.arrived_unix_s), (256, 7));
    // From a cursor on, the envelope goes on where it was left.
    let (mut cursor, mut seen) = (Cursor::default(), 0);
    while seen < 256 {
        let from = cursor;
        store
            .read_envelope(message.place, from, &mut |line, at| {
                if let Line::To { number, path, .. } = line {
                    assert_eq!((number, path), (seen, &*format!("r{seen}@d.example")));
                    seen += 1;
                }
                cursor = at;
                if seen % 50 == 49 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
    }
    assert_eq!(store.usage().messages, 1);
    let mark = remove(&mut store, message.place);
    assert_eq!(store.status_deadline_ms(), Some(10_000));
    store.sync_status();
    assert!(store.poll().is_none());
    assert_eq!((store.progress(mark), store.status_deadline_ms()), (Progress::Synced, None));
    assert_eq!((store.usage().messages, store.usage().octets), (0, 0));
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
    while store.has_more() {
        let before = more.len();
        store.find_more(1, &mut |f: Found<'_>| more.push(f.message)).unwrap();
        assert!(more.len() - before <= 1, "no more than there is room for");
    }
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

/// Commits a message of three parts with a fault at the first call that writes after `before`;
/// what was lost on the way must never be answered for.
fn hole(
    settings: &Settings,
    octets: usize,
    disturb: impl FnOnce(&Shared, &mut Store<SimDisk>),
) -> Result<Message, Refusal> {
    let world = World::new(6);
    let mut store = Store::open(SimDisk::new(&world), settings, &mut |_| true).unwrap();
    let s = StagingIndex(0);
    store.begin(s, &Origin::default(), 0).unwrap();
    store.recipient(s, "first@d.example", Notify::Unsaid, "").unwrap();
    disturb(&world, &mut store);
    world.borrow_mut().arm(None);
    let rest = store
        .recipient(s, "last@d.example", Notify::Unsaid, "")
        .and_then(|()| vec![b'x'; octets].chunks(3000).try_for_each(|part| store.write(s, part)));
    if let Err(refusal) = rest {
        store.abort(s);
        return Err(refusal);
    }
    store.commit(s, 0);
    store.start_batch();
    let result = store.poll().unwrap().result;
    if let Ok(message) = result {
        let (head, _) = envelope(&mut store, message.place).unwrap();
        assert_eq!(content(&mut store, message.place, &head).unwrap().len(), octets);
    }
    result
}

#[test]
fn what_was_lost_on_its_way_to_the_staging_file_is_never_answered_for() {
    for octets in [40_000, 5000, 10] {
        // A recipient whose line could not be kept takes what was gathered before it along.
        let own = |world: &Shared, store: &mut Store<SimDisk>| {
            world.borrow_mut().arm(Some((0, Fault::From(io::ErrorKind::StorageFull))));
            let long = "x".repeat(200);
            let heard = (0..30).map(|n| {
                store.recipient(StagingIndex(0), &format!("{long}{n}@d.example"), Notify::Unsaid, "")
            });
            assert!(heard.filter(Result::is_err).count() > 0);
        };
        assert_eq!(hole(&SETTINGS, octets, own), Err(Refusal::Full), "{octets}");
        // More messages than buffers: others make this one's be written out, in vain.
        let crowd = Settings { staging: 80, max_messages: 100, ..SETTINGS };
        let others = |world: &Shared, store: &mut Store<SimDisk>| {
            world.borrow_mut().arm(Some((0, Fault::From(io::ErrorKind::StorageFull))));
            for s in (1..80).map(StagingIndex) {
                store.begin(s, &Origin::default(), 0).expect("another's loss is not its own");
            }
        };
        assert_eq!(hole(&crowd, octets, others), Err(Refusal::Full), "{octets}");
        assert!(hole(&SETTINGS, octets, |_, _| ()).is_ok());
    }
}
