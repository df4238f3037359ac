//! Clients that do all they can to keep the relay busy: it sleeps while they do nothing, and others are
//! served.

mod support;

use std::thread;
use std::time::Duration;

use support::Folder;
use support::client::Client;
use support::relay::{Config, Relay};

/// The relay sleeps: a loop that turns uses a hundred hundredths of a second, one that sleeps none.
fn assert_asleep(relay: &Relay, while_what: &str) {
    let before = relay.processor_ticks();
    thread::sleep(Duration::from_secs(1));
    let used = relay.processor_ticks() - before;
    assert!(used <= 10, "{used} hundredths of a second of work while {while_what}");
}

#[test]
fn a_client_that_was_closed_on_and_stays_costs_nothing() {
    let folder = Folder::new("stays");
    let config = Config::new(folder.path(), "a").strangers().maildir("[\"local.test\"]");
    let relay = config.start();
    let mut clients: Vec<Client> = (0..4).map(|_| Client::hello(relay.port)).collect();
    for client in &mut clients {
        client.expect("BDAT x", "501");
    }
    assert_asleep(&relay, "clients stay that were told 501 and closed on");
    relay.stop();
}
