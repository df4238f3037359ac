//! Rounds over a real spool: what is taken up when, and what is never done twice.

use super::*;
use crate::relay::bench::{Bench, NOW, after};
use crate::relay::destination::Slot;
use crate::relay::dispatch::{Room, TAKEN_UP};
use crate::spool::Status;

/// Two next hops; nobody is asked where they are.
const HOPS: &str = "[[route]]\nto = [\"slow.example\"]\nvia = \"smarthost\"\nhosts = [\"192.0.2.1:25\"]\n\
    tls = \"none\"\n[[route]]\nto = [\"other.example\"]\nvia = \"smarthost\"\nhosts = [\"192.0.2.2:25\"]\n\
    tls = \"none\"\n";
const SLOW: Key = Key { route: 0, domain: 0 };
const OTHER: Key = Key { route: 1, domain: 0 };

impl Bench {
    /// Gives everybody in a group this fate and ends it.
    fn end(&mut self, group: &Group, fate: Fate, reply: &Reply, now: Now) {
        for who in group.who.iter() {
            self.relay.outcome(group.round, who, fate, reply, &Hop::none("smarthost"), now);
        }
        self.relay.group_ended(group, now);
    }

    fn messages(&mut self) -> usize {
        self.relay.queue.len()
    }
}

fn ok() -> Reply {
    Reply::new(250, (0, 0), "taken")
}

fn later() -> Reply {
    Reply::new(451, (4, 1), "later")
}

/// The message can't be read for now, which is found out in the middle of its delivery.
fn break_off(bench: &mut Bench, group: &Group) {
    bench.relay.damaged(group, Damage::Unreadable(std::io::ErrorKind::Other));
    bench.end(group, Fate::Deferred, &later(), NOW);
}

#[test]
fn what_was_held_or_removed_in_a_round_that_broke_off_is_not_delivered() {
    for wish in ["hold", "remove"] {
        let mut bench = Bench::new(wish);
        let id = bench.message("a@b.example", 1, b"x");
        let group = bench.group(NOW).unwrap();
        assert!(bench.answer(&format!("{wish} {id}")).starts_with("ok\n1 "));
        break_off(&mut bench, &group);
        assert!(bench.group(after(UNREADABLE_MS)).is_none(), "{wish}");
        let left = bench.answer("list --json").matches("\"state\":\"held\"").count();
        assert_eq!((bench.messages(), left), if wish == "hold" { (1, 1) } else { (0, 0) });
    }
}

#[test]
fn what_was_released_again_in_a_round_that_broke_off_is_delivered() {
    let mut bench = Bench::new("released");
    let id = bench.message("a@b.example", 1, b"x");
    let group = bench.group(NOW).unwrap();
    for wish in ["hold", "release"] {
        assert!(bench.answer(&format!("{wish} {id}")).starts_with("ok\n1 "));
    }
    break_off(&mut bench, &group);
    assert!(bench.group(after(UNREADABLE_MS)).is_some());
}

#[test]
fn of_a_removed_message_no_other_group_goes_and_no_sender_hears() {
    let mut bench = Bench::with("gone", HOPS);
    let id = bench.message_to("a@b.example", &["x@other.example", "y@slow.example"], b"x");
    let group = bench.relay.next_group(&Only(OTHER), NOW).unwrap();
    assert!(bench.answer(&format!("remove {id}")).starts_with("ok\n1 "));
    assert!(bench.group(NOW).is_none(), "the other group");
    bench.end(&group, Fate::Failed, &Reply::new(550, (1, 1), "nobody"), NOW);
    bench.sync(NOW);
    assert_eq!(bench.messages(), 0, "neither the message nor a notice");
}

#[test]
fn a_bounce_that_is_durable_as_the_relay_stops_is_not_sent_again() {
    let mut bench = Bench::new("stop");
    bench.message_to("user0@box.example", &["x@nowhere.example"], b"x");
    assert!(bench.group(NOW).is_none(), "no route leads there");
    assert_eq!(bench.messages(), 1, "the notice waits for the disk");
    bench.relay.stop(NOW);
    let mut bench = bench.killed();
    assert_eq!(bench.messages(), 1);
    let list = bench.answer("list --json");
    assert!(list.contains("\"from\":\"\"") && list.contains("user0@box.example"), "{list}");
}

#[test]
fn a_status_that_cannot_be_synced_now_lets_the_loop_sleep() {
    let mut bench = Bench::new("sleep");
    let id = bench.message("a@b.example", 1, &[b'x'; 300_000]);
    let at = bench.relay.queue.find(id).unwrap();
    let place = bench.relay.queue.entry(at).place;
    bench.relay.queue.hold(at);
    bench.relay.store.record(place, &Status::new(id), NOW.mono_ms).unwrap();
    let due = bench.relay.next_sync_ms(NOW).unwrap();
    // A link is never followed.
    let file = bench.spool().join("large").join(id.text().as_str());
    std::fs::rename(&file, file.with_extension("moved")).unwrap();
    std::os::unix::fs::symlink(file.with_extension("moved"), &file).unwrap();
    let now = after(due - NOW.mono_ms);
    bench.relay.tick(now);
    assert!(bench.relay.next_sync_ms(now).unwrap() > now.mono_ms, "it would turn without a pause");
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(file.with_extension("moved"), &file).unwrap();
    bench.relay.tick(now);
    bench.sync(now);
    assert_eq!(bench.relay.next_sync_ms(now), None, "and it is synced when that works again");
}

#[test]
fn a_message_whose_outcome_the_disk_does_not_take_is_held() {
    let mut bench = Bench::new("untold");
    bench.message("a@b.example", 2, b"x");
    let groups = [bench.group(NOW).unwrap(), bench.group(NOW).unwrap()];
    bench.relay.store.refuse_writes();
    bench.end(&groups[0], Fate::Delivered, &ok(), NOW);
    bench.end(&groups[1], Fate::Deferred, &later(), NOW);
    assert!(bench.answer("list --json").contains("\"state\":\"held\""));
    assert!(bench.group(after(1_000_000_000)).is_none(), "nobody gets it twice");
}

/// Room at one destination.
struct Only(Key);

impl Room for Only {
    fn for_mailbox(&self) -> bool {
        false
    }

    fn for_connection(&self, key: Key) -> bool {
        key == self.0
    }

    fn for_look_up(&self, _: Key) -> bool {
        true
    }
}

fn slot(bench: &mut Bench, key: Key) -> Slot {
    bench.relay.destinations.open(key, NOW.mono_ms).unwrap()
}

#[test]
fn rounds_that_wait_for_a_slow_destination_make_room_for_others() {
    let mut bench = Bench::with("slow", HOPS);
    let both = ["x@other.example", "y@slow.example"];
    for _ in 0..60 {
        bench.message_to("a@b.example", &both, b"x");
    }
    // Nothing ever ends at the slow one.
    for number in 0..60 {
        let mut group = bench.group(NOW).unwrap_or_else(|| panic!("message {number} is held up"));
        while group.key == SLOW {
            group = bench.group(NOW).unwrap_or_else(|| panic!("message {number} is held up"));
        }
        bench.end(&group, Fate::Delivered, &ok(), NOW);
        bench.relay.begin_turn();
    }
    assert!(bench.group(NOW).is_none());
    let slow = slot(&mut bench, SLOW);
    assert_eq!(bench.relay.destinations.at(slow).active(), 2);
    assert_eq!(bench.messages(), 60);
    assert!(!bench.answer("list --json").contains("\"attempts\":1"), "who gave up a place was not tried");
    // Whoever stood in line goes on where it was, and nobody is sent to twice.
    let mut bench = bench.killed();
    bench.relay.tick(NOW);
    let mut count = 0;
    while let Some(group) = bench.group(NOW) {
        assert_eq!((group.key, group.who.len()), (SLOW, 1));
        bench.end(&group, Fate::Delivered, &ok(), NOW);
        bench.relay.begin_turn();
        count += 1;
    }
    assert_eq!((count, bench.messages()), (60, 0));
}

#[test]
fn a_round_that_gives_up_its_place_tells_of_failures_first() {
    let mut bench = Bench::with("news", HOPS);
    let both = ["x@other.example", "y@slow.example"];
    for _ in 0..60 {
        bench.message_to("user0@box.example", &both, b"x");
    }
    let mut failed = 0;
    for _ in 0..1_000 {
        match bench.relay.next_group(&Only(OTHER), NOW) {
            Some(group) => {
                assert_eq!(group.key, OTHER);
                bench.end(&group, Fate::Failed, &Reply::new(550, (1, 1), "nobody"), NOW);
                failed += 1;
            }
            // The notices take a turn.
            None => bench.sync(NOW),
        }
        bench.relay.begin_turn();
    }
    assert_eq!(failed, 60, "the slow one holds them up");
    let told = bench.answer("list --json").matches("\"from\":\"\"").count();
    assert!(told >= 30, "{told} of those who gave up their places");
}

#[test]
fn an_old_message_that_gives_up_its_place_is_tried_before_it_expires() {
    let mut bench = Bench::with("old", HOPS);
    for _ in 0..60 {
        bench.message_to("user0@box.example", &["x@other.example", "y@slow.example"], b"x");
    }
    let old = after(6 * 24 * 3_600_000);
    let try_all = |bench: &mut Bench, key, fate| {
        let mut tried = 0;
        for _ in 0..1_000 {
            match bench.relay.next_group(&Only(key), old) {
                Some(group) => {
                    bench.end(&group, fate, &later(), old);
                    tried += 1;
                }
                // Warnings and bounces take a turn.
                None => bench.sync(old),
            }
            bench.relay.begin_turn();
        }
        tried
    };
    assert_eq!((try_all(&mut bench, OTHER, Fate::Delivered), bench.relay.counters.expired), (60, 0));
    let tried = try_all(&mut bench, SLOW, Fate::Deferred);
    assert_eq!((tried, bench.relay.counters.expired), (60, 60));
}

#[test]
fn a_group_whose_destination_failed_while_it_waited_is_not_tried() {
    let mut bench = Bench::with("rests", HOPS);
    bench.message_to("a@b.example", &["x@other.example", "y@slow.example"], b"x");
    let group = bench.relay.next_group(&Only(OTHER), NOW).unwrap();
    assert!(bench.relay.next_group(&Only(OTHER), NOW).is_none(), "the other group waits for room");
    slot(&mut bench, SLOW);
    bench.relay.destination_failed(SLOW, "192.0.2.1:25", true, &later(), NOW);
    assert!(bench.group(NOW).is_none());
    bench.end(&group, Fate::Delivered, &ok(), NOW);
    assert!(bench.answer("list --json").contains("later"), "it is deferred by what the host said");
    assert!(bench.relay.rounds.is_empty());
}

#[test]
fn a_recipient_with_room_does_not_wait_for_one_without() {
    let routes: std::string::String = (0..6)
        .map(|n| {
            format!("[[route]]\nto = [\"slow{n}.example\"]\nvia = \"smarthost\"\nhosts = [\"192.0.2.{n}:25\"]\ntls = \"none\"\n")
        })
        .collect();
    let mut bench = Bench::with("room", &routes);
    let to: Vec<std::string::String> = (0..6).map(|n| format!("x@slow{n}.example")).collect();
    bench.message_to("a@b.example", &to.iter().map(std::string::String::as_str).collect::<Vec<_>>(), b"x");
    let key = |route| Key { route, domain: 0 };
    let only = |bench: &mut Bench, route| {
        bench.relay.begin_turn();
        bench.relay.next_group(&Only(key(route)), NOW).map(|group| group.key)
    };
    assert_eq!(only(&mut bench, 0), Some(key(0)));
    assert_eq!(only(&mut bench, 9), None, "more than can be remembered have no room");
    for route in [5, 3, 1] {
        assert_eq!(only(&mut bench, route), Some(key(route)));
        assert_eq!(only(&mut bench, route), None);
    }
    bench.relay.begin_turn();
    assert_eq!(bench.group(NOW).map(|group| group.key), Some(key(2)), "in the order of the envelope");
}

#[test]
fn a_free_connection_goes_to_who_waits_for_it_before_the_line() {
    let mut bench = Bench::with("begun", HOPS);
    let first = bench.message_to("a@b.example", &["x@other.example", "y@slow.example"], b"x");
    let group = bench.relay.next_group(&Only(OTHER), NOW).unwrap();
    assert!(bench.relay.next_group(&Only(OTHER), NOW).is_none());
    bench.message_to("a@b.example", &["z@slow.example"], b"x");
    let next = bench.relay.next_for(SLOW, NOW).unwrap();
    assert_eq!(next.round, group.round, "{first}");
}

const DISCARD: &str = "[[route]]\nto = [\"slow.example\"]\nvia = \"discard\"\n";

#[test]
fn a_long_line_takes_as_many_turns_as_it_needs() {
    let mut bench = Bench::with("turns", DISCARD);
    for _ in 0..3 * TAKEN_UP {
        bench.message_to("a@b.example", &["x@slow.example"], b"x");
    }
    for turn in 1..=3 {
        bench.relay.begin_turn();
        assert!(bench.group(NOW).is_none(), "discarded mail goes nowhere");
        assert_eq!(bench.messages(), (3 - turn) * TAKEN_UP);
        assert_eq!(bench.relay.next_delivery_ms(NOW), Some(NOW.mono_ms), "the next turn comes at once");
    }
    bench.relay.begin_turn();
    assert_eq!(bench.relay.next_delivery_ms(NOW), None);
}

#[test]
fn after_a_reload_every_message_finds_its_way_anew() {
    let mut bench = Bench::with("reload", HOPS);
    for _ in 0..300 {
        bench.message_to("a@b.example", &["x@other.example"], b"x");
    }
    assert_eq!(bench.group(NOW).map(|group| group.key), Some(OTHER));
    let mut bench = bench.killed();
    // The first route now is the second one then.
    bench.reload(HOPS.split_at(HOPS.rfind("[[route]]").unwrap()).1, NOW);
    let mut count = 0;
    for _ in 0..100 {
        bench.relay.begin_turn();
        while let Some(group) = bench.group(NOW) {
            assert_eq!(group.key, Key { route: 0, domain: 0 });
            bench.end(&group, Fate::Delivered, &ok(), NOW);
            count += 1;
        }
        bench.relay.tick(NOW);
    }
    assert_eq!((count, bench.messages()), (300, 0));
}

/// One of several destinations has failed.
fn fail(bench: &mut Bench, key: Key, now: Now) {
    bench.relay.destinations.open(key, now.mono_ms).unwrap();
    bench.relay.destination_failed(key, "192.0.2.1:25", true, &later(), now);
}

/// Every group that goes within some turns at that time, each delivered.
fn deliver_all(bench: &mut Bench, now: Now) -> Vec<(Key, u16)> {
    let mut groups = Vec::new();
    for _ in 0..50 {
        bench.relay.begin_turn();
        while let Some(group) = bench.group(now) {
            groups.push((group.key, group.who.len()));
            bench.end(&group, Fate::Delivered, &ok(), now);
        }
        bench.sync(now);
    }
    groups
}

#[test]
fn a_destination_that_rests_holds_up_nobody_who_goes_elsewhere() {
    let mut bench = Bench::with("elsewhere", HOPS);
    fail(&mut bench, SLOW, NOW);
    let to = ["x@slow.example", "y@other.example", "z@slow.example", "user0@box.example"];
    bench.message_to("a@b.example", &to, b"x");
    let groups = deliver_all(&mut bench, NOW);
    assert_eq!(groups.iter().map(|(_, who)| who).sum::<u16>(), 2, "{groups:?}");
    assert_eq!((groups[0], bench.messages()), ((OTHER, 1), 1));
    // Those who are left go when their time has come, together and once.
    let groups = deliver_all(&mut bench, after(90_000));
    assert_eq!((groups.as_slice(), bench.messages()), (&[(SLOW, 2)][..], 0));
}

#[test]
fn who_stands_in_a_line_that_begins_to_rest_moves_to_another() {
    let mut bench = Bench::with("moves", HOPS);
    // A connection is under way, and all others wait behind it.
    for _ in 0..40 {
        bench.message_to("a@b.example", &["x@slow.example"], b"x");
    }
    for _ in 0..40 {
        bench.message_to("a@b.example", &["x@slow.example", "y@other.example"], b"x");
    }
    let slow = bench.group(NOW).unwrap();
    let other = slot(&mut bench, OTHER);
    bench.relay.destinations.started(other, NOW.mono_ms);
    bench.relay.destinations.started(other, NOW.mono_ms);
    bench.relay.line_up_due(NOW);
    bench.relay.destinations.ended(OTHER);
    bench.relay.destinations.ended(OTHER);
    fail(&mut bench, SLOW, NOW);
    bench.end(&slow, Fate::Deferred, &later(), NOW);
    let groups = deliver_all(&mut bench, NOW);
    assert_eq!(groups, vec![(OTHER, 1); 40]);
}

#[test]
fn with_all_at_rest_a_message_goes_where_the_rest_ends_first() {
    let mut bench = Bench::with("soonest", HOPS);
    fail(&mut bench, SLOW, NOW);
    fail(&mut bench, SLOW, after(60_000));
    fail(&mut bench, OTHER, after(60_000));
    bench.message_to("a@b.example", &["x@slow.example", "y@other.example"], b"x");
    assert_eq!(deliver_all(&mut bench, after(60_000)), []);
    assert_eq!(deliver_all(&mut bench, after(120_000)), [(OTHER, 1)]);
}

#[test]
fn a_recipient_without_a_way_is_told_though_the_first_destination_rests() {
    let mut bench = Bench::with("nowhere", HOPS);
    fail(&mut bench, SLOW, NOW);
    bench.message_to("user0@box.example", &["x@slow.example", "y@nowhere.example"], b"x");
    assert_eq!(deliver_all(&mut bench, NOW).len(), 1, "the notice");
    assert_eq!(bench.messages(), 1);
}

#[test]
fn a_retry_wakes_every_destination_of_a_message() {
    let mut bench = Bench::with("wakes", HOPS);
    fail(&mut bench, SLOW, NOW);
    fail(&mut bench, OTHER, NOW);
    let id = bench.message_to("a@b.example", &["x@slow.example", "y@other.example"], b"x");
    assert_eq!(deliver_all(&mut bench, NOW), []);
    assert!(bench.answer(&format!("retry {id}")).starts_with("ok"));
    assert_eq!(deliver_all(&mut bench, NOW), [(SLOW, 1), (OTHER, 1)]);
}

/// Every message of the spool is in the table, or will be.
fn assert_none_is_forgotten(bench: &mut Bench) {
    let spooled = bench.relay.store.usage().messages as usize;
    assert!(bench.relay.store.has_more() || bench.relay.queue.len() == spooled);
}

#[test]
fn a_notice_without_a_place_in_the_table_is_put_off_and_none_waits_for_a_restart() {
    const MESSAGES: usize = 30;
    let routes = format!("cells_size = \"1MiB\"\nmax_messages = {MESSAGES}\n{HOPS}");
    let mut bench = Bench::with("places", &routes);
    // The notices go nowhere either.
    for _ in 0..MESSAGES {
        bench.message_to("x@slow.example", &["y@slow.example"], b"x");
    }
    let turns = |bench: &mut Bench, now| {
        fail(bench, SLOW, now);
        for _ in 0..200 {
            bench.relay.begin_turn();
            if let Some(group) = bench.group(now) {
                // A notice that has become too old itself is the postmaster's.
                assert_eq!(group.key.route, 2);
                bench.end(&group, Fate::Delivered, &ok(), now);
            }
            bench.sync(now);
            assert_none_is_forgotten(bench);
        }
    };
    turns(&mut bench, after(5 * 3_600_000));
    let warned = bench.messages() - MESSAGES;
    assert!(warned > 0 && bench.relay.queue.free() == 0, "{warned} notices have filled the table");
    // A bounce takes the place of its message.
    turns(&mut bench, after(6 * 24 * 3_600_000));
    assert_eq!(bench.relay.counters.expired, (MESSAGES + warned) as u64);
}

#[test]
fn what_the_table_had_no_room_for_comes_later_once_and_a_few_a_turn() {
    let start = |max: u32| format!("cells_size = \"4MiB\"\nmax_messages = {max}\n{HOPS}");
    let mut bench = Bench::with("rest", &start(400));
    for number in 0..400 {
        let content = vec![b'x'; if number % 10 == 0 { 300_000 } else { 100 }];
        bench.message_to("a@b.example", &["x@other.example"], &content);
    }
    bench.set_routes(&start(20));
    let mut bench = bench.killed();
    assert_eq!((bench.messages(), bench.relay.store.usage().messages), (20, 400), "places for notices stay");
    let (mut seen, mut turns) = (std::collections::HashSet::new(), 0);
    while bench.relay.store.usage().messages > 0 {
        bench.relay.begin_turn();
        if let Some(group) = bench.group(NOW) {
            let id = bench.relay.rounds.at(group.round).id;
            assert!(seen.insert(id.number()), "{id} is sent twice");
            bench.end(&group, Fate::Delivered, &ok(), NOW);
        }
        bench.sync(NOW);
        assert!(bench.messages() <= 20);
        assert_none_is_forgotten(&mut bench);
        turns += 1;
        assert!(turns < 2_000, "{} are left", bench.relay.store.usage().messages);
    }
    assert_eq!(seen.len(), 400);
}

#[test]
fn a_reload_lets_larger_messages_in() {
    let limit = |size: &str| format!("[limits]\nmessage_size = {size:?}\n");
    let mut bench = Bench::with("larger", &limit("64KiB"));
    bench.reload(&limit("1MiB"), NOW);
    bench.message("a@b.example", 1, &[b'x'; 500_000]);
}

#[test]
fn who_gave_up_a_place_is_not_tried_again_before_its_turn_where_it_was_deferred() {
    let mut bench = Bench::with("hammer", HOPS);
    // What is under way there never ends.
    let slow = slot(&mut bench, SLOW);
    (0..2).for_each(|_| bench.relay.destinations.started(slow, NOW.mono_ms));
    for _ in 0..60 {
        bench.message_to("a@b.example", &["x@other.example", "y@slow.example"], b"x");
    }
    let mut tried = 0;
    for _ in 0..500 {
        bench.relay.begin_turn();
        if let Some(group) = bench.relay.next_group(&Only(OTHER), NOW) {
            bench.end(&group, Fate::Deferred, &later(), NOW);
            tried += 1;
        }
        bench.sync(NOW);
    }
    assert_eq!(tried, 60);
}

#[test]
fn more_resting_destinations_than_can_be_remembered_hold_up_no_live_one() {
    let mut bench = Bench::with("many", "[[route]]\nto = [\"*.test\"]\nvia = \"mx\"\ntls = \"none\"\n");
    for number in 0..crate::limits::DESTINATIONS {
        let domain = format!("d{number}.test");
        fail(&mut bench, Key::of_domain(0, &domain), NOW);
        bench.message_to("a@b.example", &[&format!("x@{domain}")], b"x");
    }
    assert_eq!(deliver_all(&mut bench, NOW), []);
    bench.message_to("a@b.example", &["x@live.test"], b"x");
    assert_eq!(deliver_all(&mut bench, NOW), [], "there is no place");
    assert_eq!(deliver_all(&mut bench, after(1_000)), [(Key::of_domain(0, "live.test"), 1)]);
    // Nobody is forgotten: all go when the rest is over.
    assert_eq!(deliver_all(&mut bench, after(61_000)).len(), crate::limits::DESTINATIONS);
}

#[test]
fn a_large_message_that_is_set_aside_gives_its_room_back() {
    let mut bench = Bench::new("room-back");
    bench.message("a@b.example", 1, &[b'x'; 300_000]);
    let group = bench.group(NOW).unwrap();
    bench.relay.damaged(&group, Damage::Content);
    bench.end(&group, Fate::Deferred, &later(), NOW);
    let usage = bench.relay.store.usage();
    assert_eq!((bench.messages(), usage.messages, usage.octets), (0, 0, 0));
}

/// No room anywhere, and how often it was asked for.
#[derive(Default)]
struct Nowhere(std::cell::Cell<usize>);

impl Room for Nowhere {
    fn for_mailbox(&self) -> bool {
        false
    }

    fn for_connection(&self, _: Key) -> bool {
        self.0.set(self.0.get() + 1);
        false
    }

    fn for_look_up(&self, _: Key) -> bool {
        false
    }
}

#[test]
fn rounds_without_room_look_for_it_once_a_turn() {
    let mut bench = Bench::with("once", "[[route]]\nto = [\"*.test\"]\nvia = \"mx\"\ntls = \"none\"\n");
    let to: Vec<std::string::String> = (0..9).map(|number| format!("x@d{number}.test")).collect();
    bench.message_to("a@b.example", &to.iter().map(std::string::String::as_str).collect::<Vec<_>>(), b"x");
    assert!(bench.group(NOW).is_some(), "one of them is under way");
    let room = Nowhere::default();
    assert!(bench.relay.next_group(&room, NOW).is_none());
    let asked = room.0.get();
    assert_eq!((asked, bench.relay.next_group(&room, NOW).is_none(), room.0.get()), (8, true, 8));
    bench.relay.begin_turn();
    assert!(bench.relay.next_group(&room, NOW).is_none() && room.0.get() > asked);
    assert!(bench.group(NOW).is_none(), "nothing has changed");
    bench.relay.begin_turn();
    assert!(bench.group(NOW).is_some(), "it has now");
}

#[test]
fn a_retry_of_all_makes_all_due_in_their_lines_too() {
    let mut bench = Bench::with("all", HOPS);
    fail(&mut bench, SLOW, NOW);
    for number in 0..20 {
        bench.message_to("a@b.example", &["x@slow.example"], b"x");
        if number == 9 {
            assert_eq!(deliver_all(&mut bench, NOW), []);
        }
    }
    assert_eq!(bench.relay.retry_all(after(1)), 20);
    assert_eq!(deliver_all(&mut bench, after(1)).len(), 20);
}
