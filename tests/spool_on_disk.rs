//! The spool on a real file system: through a whole life of messages, and without allocating.
//! One test alone, for the allocator's counters are the process's.

use std::ops::ControlFlow;
use std::path::Path;

use pillarbox::smtp::command::Notify;
use pillarbox::spool::*;
use pillarbox::sys::HEAP;

const SETTINGS: Settings = Settings {
    max_octets: 64 << 20,
    max_messages: 100,
    cells_octets: 1 << 20,
    staging: 4,
    message_octets: 8 << 20,
};

fn offer(store: &mut Store<RealDisk>, s: StagingIndex, octets: u64) -> Id {
    let origin =
        Origin { reverse_path: "a@b.example", client: "192.0.2.1", protocol: "ESMTP", ..Origin::default() };
    let id = store.begin(s, &origin, 1_800_000_000).unwrap();
    store.recipient(s, "x@y.example", Notify::Never, "").unwrap();
    let mut left = octets;
    while left > 0 {
        let n = left.min(4000);
        store.write(s, &[b'm'; 4000][..n as usize]).unwrap();
        left -= n;
    }
    store.commit(s, 1_800_000_000);
    id
}

fn whole(store: &mut Store<RealDisk>, place: Place) -> u64 {
    let mut recipients = 0;
    let head = store
        .read_envelope(place, Cursor::default(), &mut |line, _| {
            recipients += u32::from(matches!(line, Line::To { path: "x@y.example", .. }));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(recipients, 1);
    let (mut sum, mut part, mut at) = (ContentSum::new(&head), [0; 4096], 0);
    loop {
        match store.read_content(place, &head, at, &mut part).unwrap() {
            0 => break,
            n => {
                sum.add(&part[..n]);
                at += n as u64;
            }
        }
    }
    assert!(sum.is_right());
    at
}

/// Messages of that size come, are read, tried, delivered.
fn pass(store: &mut Store<RealDisk>, octets: u64) {
    let ids = [0, 1, 2, 3].map(|s| offer(store, StagingIndex(s), octets));
    assert_eq!(store.start_batch(), 4);
    for _ in ids {
        let message = store.poll().unwrap().result.unwrap();
        assert_eq!(whole(store, message.place), octets);
        let mut status = store.status(message.place).unwrap();
        status.reply(0, RecipientState::Pending, "450 4.2.0 later");
        store.record(message.place, &status, 1).unwrap();
        assert_eq!(store.status(message.place).unwrap().reply_of(0), "450 4.2.0 later");
        status.set(0, RecipientState::Delivered);
        let mark = store.finish(message.place, &status, 2).unwrap();
        assert_eq!(store.progress(mark), Progress::Waiting);
    }
    store.sync_status();
    assert!(store.poll().is_none());
    assert_eq!((store.usage().messages, store.usage().octets), (0, 0));
}

#[test]
fn messages_live_and_go_on_a_real_disk_and_nothing_is_allocated() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("spool-{}", std::process::id()));
    let disk = RealDisk::open(&directory, true).unwrap();
    let mut store = Store::open(disk, &SETTINGS, &mut |_| panic!("a new spool is empty")).unwrap();
    let before = HEAP.heap();
    for _ in 0..40 {
        pass(&mut store, 2000);
    }
    assert_eq!(HEAP.heap().allocations, before.allocations, "small messages allocate");
    assert!(std::fs::read_dir(directory.join("large")).unwrap().next().is_none());
    pass(&mut store, 1_000_000);
    pass(&mut store, 1_000_000);
    assert_eq!(HEAP.heap().live_octets, before.live_octets, "large messages leave something behind");

    let kept = offer(&mut store, StagingIndex(2), 300_000);
    let also = offer(&mut store, StagingIndex(3), 300);
    store.start_batch();
    assert!(store.poll().is_some() && store.poll().is_some());
    assert_eq!(std::fs::read_dir(directory.join("large")).unwrap().count(), 1);
    let busy = Store::open(RealDisk::open(&directory, false).unwrap(), &SETTINGS, &mut |_| true);
    assert_eq!(busy.err(), Some(OpenError::Busy));
    drop(store);
    std::os::unix::fs::symlink("/etc/hostname", directory.join("large/0000000001-0001")).unwrap();
    std::fs::create_dir(directory.join("large/lost+found")).unwrap();
    let mut found = Vec::new();
    let disk = RealDisk::open(&directory, false).unwrap();
    let mut store = Store::open(disk, &SETTINGS, &mut |f: Found<'_>| {
        found.push(f.message);
        true
    })
    .unwrap();
    found.sort_by_key(|m| m.id);
    assert_eq!(found.iter().map(|m| m.id).collect::<Vec<_>>(), [kept, also]);
    for message in found {
        assert_eq!(whole(&mut store, message.place), message.content_octets);
    }
    assert!(std::fs::symlink_metadata(directory.join("corrupt/0000000001-0001")).unwrap().is_symlink());
    assert!(std::fs::symlink_metadata(directory.join("large/0000000001-0001")).is_err());
    drop(store);
    std::fs::remove_dir_all(&directory).unwrap();
}
