//! Killed every second, for as long as it takes several clients to hand all their messages over: nothing that
//! was answered 250 is lost, and nothing is sent on twice but what a kill met between the next hop's reply and
//! the mark that says so. `PILLARBOX_FULL=1` (`make soak`) sends 1,000 messages each way.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use support::client::Client;
use support::message::{assert_same, field, large, message, stuff, without_trace};
use support::next_hop::{Act, Event, NextHop};
use support::relay::Config;
use support::{Folder, amount, wait_for};

const CLIENTS: usize = 5;
/// How long the relay lives from its greeting on.
const LIFE: Duration = Duration::from_secs(1);
/// What a client does between its messages: so that many kills fall among them.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the next hop thinks about each message, so that kills find some on their way and others waiting.
const THOUGHT: Duration = Duration::from_millis(100);
/// Messages that are on their way at once.
const DELIVERIES: usize = 3;

/// The message of a name: most are short.
fn content(name: &str, number: usize) -> Vec<u8> {
    let body = match number % 20 {
        3 => large(300_000),
        7 => large(30_000),
        _ => message("0123456789\r\n.\r\n".repeat(100)),
    };
    [format!("X-Name: {name}\r\n").as_bytes(), &body].concat()
}

/// Hands one message over; true if it was answered 250.
fn hand_over(port: u16, content: &[u8]) -> io::Result<bool> {
    let mut client = Client::try_connect(port)?;
    for line in ["EHLO client.test", "MAIL FROM:<a@client.test>", "RCPT TO:<b@remote.test>", "DATA"] {
        client.try_send(format!("{line}\r\n").as_bytes())?;
        if !client.try_reply()?.starts_with(['2', '3']) {
            return Ok(false);
        }
    }
    client.try_send(&stuff(content))?;
    Ok(client.try_reply()?.starts_with("250"))
}

/// Sends messages until each was answered 250. Every try has a name of its own, MESSAGE.TRY; those of the tries
/// that were answered 250.
fn insist(port: u16, client: usize, messages: usize) -> Vec<String> {
    let mut accepted = Vec::new();
    for number in 0..messages {
        for attempt in 0.. {
            let name = format!("{client}-{number}.{attempt}");
            // The relay may be gone, or be killed on the way.
            if hand_over(port, &content(&name, number)).unwrap_or(false) {
                accepted.push(name);
                break;
            }
            thread::sleep(PAUSE / 5);
        }
        thread::sleep(PAUSE);
    }
    accepted
}

/// What the next hop saw of one message in the queue.
#[derive(Default)]
struct Seen {
    name: String,
    /// The lives of the relay in which it came, and the one in which the relay knew that it had gone.
    arrivals: Vec<usize>,
    known: Option<usize>,
}

/// A next hop that notes in which life of the relay each connection was made.
fn noting(life: &Arc<AtomicUsize>) -> (NextHop, Arc<Mutex<BTreeMap<usize, usize>>>) {
    let lives = Arc::new(Mutex::new(BTreeMap::new()));
    let (life, of_hop) = (Arc::clone(life), Arc::clone(&lives));
    let hop = NextHop::scripted(move |connection, event| {
        match event {
            Event::Connected => {
                of_hop.lock().expect("the lives").insert(connection, life.load(Ordering::SeqCst));
            }
            Event::Content(_) => thread::sleep(THOUGHT),
            _ => {}
        }
        Act::Friendly
    });
    (hop, lives)
}

/// The id that the relay gave a message, from the field it put on top.
fn id_of(content: &[u8]) -> String {
    let trace = field(content, "Received").expect("the relay's trace");
    let (_, rest) = trace.split_once(" id ").expect("an id in it");
    rest.split([';', ' ']).next().unwrap_or_default().to_owned()
}

/// Puts together what the next hop saw and what the relay logged, by the relay's ids.
fn put_together(
    hop: &NextHop,
    lives: &BTreeMap<usize, usize>,
    logs: &[Vec<String>],
) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::<String, Seen>::new();
    for taken in hop.taken() {
        let name = field(&taken.content, "X-Name").expect("a name in each message");
        let number = name.split(['-', '.']).nth(1).and_then(|number| number.parse().ok()).expect("a number");
        assert_same(&name, &content(&name, number), without_trace(&taken.content));
        let seen = all.entry(id_of(&taken.content)).or_default();
        assert!(seen.arrivals.is_empty() || seen.name == name, "one id for {name} and {}", seen.name);
        seen.name = name;
        seen.arrivals.push(lives[&taken.connection]);
    }
    for (life, log) in logs.iter().enumerate() {
        for line in log.iter().filter(|line| line.contains(" delivered to=")) {
            let id = line.split(' ').next().unwrap_or_default();
            let seen = all.get_mut(id).unwrap_or_else(|| panic!("never seen at the next hop: {line}"));
            assert_eq!(seen.known.replace(life), None, "delivered once more: {line}");
        }
    }
    all
}

fn soak(commit: &str) {
    let folder = Folder::new(&format!("soak-{commit}"));
    let life = Arc::new(AtomicUsize::new(0));
    let (hop, lives) = noting(&life);
    let config = Config::new(folder.path(), "a")
        .smarthost(&hop.address())
        .set("spool", "commit", &format!("{commit:?}"))
        .set("limits", "deliveries_per_destination", &DELIVERIES.to_string());
    let messages = amount(100, 1000);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let port = config.port;
            thread::spawn(move || insist(port, client, messages / CLIENTS))
        })
        .collect();
    let mut logs = Vec::new();
    while !clients.iter().all(thread::JoinHandle::is_finished) {
        let relay = config.start();
        thread::sleep(LIFE);
        logs.push(relay.kill());
        life.fetch_add(1, Ordering::SeqCst);
    }
    let kills = logs.len();
    let relay = config.start();
    // A long queue takes its time: each step has a patience of its own.
    let mut left = config.queue().len();
    while left > 0 {
        config.succeed(&["queue", "retry", "--all"]);
        left = wait_for("a shorter queue", || Some(config.queue().len()).filter(|now| *now < left));
    }
    logs.push(relay.stop());

    let accepted: Vec<String> = clients.into_iter().flat_map(|one| one.join().expect("a client")).collect();
    assert_eq!(accepted.len(), messages);
    let all = put_together(&hop, &lives.lock().expect("the lives"), &logs);
    let arrived: BTreeSet<&str> = all.values().map(|seen| seen.name.as_str()).collect();
    let lost: Vec<_> = accepted.iter().filter(|name| !arrived.contains(name.as_str())).collect();
    assert!(lost.is_empty(), "answered 250 and lost: {lost:?}");
    for (id, Seen { name, arrivals, known }) in &all {
        let distinct: BTreeSet<_> = arrivals.iter().collect();
        assert_eq!(distinct.len(), arrivals.len(), "{id} {name}: twice in one life, of {arrivals:?}");
        assert!(
            arrivals.iter().all(|life| known.is_none_or(|known| *life <= known)),
            "{id} {name}: known in life {known:?} to have gone, and sent again: {arrivals:?}"
        );
    }
    let cut: usize = all.values().map(|seen| seen.arrivals.len() - 1).sum();
    let again = all.len() - messages;
    assert!(cut <= DELIVERIES * kills, "{cut}: more than were on their way at {kills} kills");
    let corrupt = fs::read_dir(config.folder().join("spool/corrupt")).map_or(0, Iterator::count);
    assert_eq!(corrupt, 0, "a kill damages nothing");
    eprintln!(
        "commit = {commit:?}: {messages} answered 250, none lost; {kills} kills; {cut} sent on twice, \
         {again} handed over again"
    );
}

#[test]
fn killed_every_second_with_commit_to_disk() {
    soak("disk");
}

#[test]
fn killed_every_second_with_commit_by_the_next_hop() {
    soak("next-hop");
}
