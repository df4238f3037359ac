//! The promise of the spool, held to at every call to the disk: after a message was answered for
//! it is there, whole; before that it is there whole or not at all; what was done and synced never
//! comes back.
//!
//! A run is a seeded script of messages, outcomes and syncs over a simulated disk. The power is
//! cut at one call, what was not synced is lost by one of several ways, the spool is opened again
//! (and cut again while it is), and everything in it is compared with what was answered for.
//! `PILLARBOX_FULL=1` sweeps every call under many seeds; the short form takes some.

#[path = "support/outside.rs"]
mod outside;
#[path = "support/sim_disk.rs"]
mod sim_disk;

use std::io;

use outside::{Outside, Shared, Stage, content, envelope, fork, furnished, live, open, run};
use pillarbox::spool::Folder;
use sim_disk::{Chance, Fault, Loss, World};

fn is_full() -> bool {
    std::env::var_os("PILLARBOX_FULL").is_some()
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

fn sweep(late_syncs: bool) {
    let (seeds, rounds, step) = if is_full() { (24, 8, 1) } else { (4, 4, 5) };
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
    let (seeds, rounds, step) = if is_full() { (8, 6, 1) } else { (2, 4, 7) };
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
