//! `pillarbox queue`: looks at the queue and changes it.
//!
//! The running relay is asked. When none runs, the spool itself is read, or changed under its lock.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

use super::ask::{self, Answer, ask};
use super::exit::Exit;
use super::spill::Spill;
use super::{complain, fail, help, load, offline, print, usage};
use crate::config::Config;
use crate::relay::listing::{self, Facts, Fault, Listed, Shown};
use crate::relay::report::{self, Form, Output, Standing};
use crate::relay::request::{Action, Request, Which};
use crate::spool::{Damage, Id, Mark, Reader, RealDisk, Status, Store};
use crate::sys;

/// Runs the command; `named` is the configuration of a `-c` that stood before it.
pub fn run(named: Option<PathBuf>, arguments: Parser) -> Exit {
    match words(named, arguments) {
        Ok((file, requests)) => match load(file.as_deref()) {
            Ok(loaded) => answer(&loaded.config, &requests),
            Err(exit) => exit,
        },
        Err(exit) => exit,
    }
}

/// What `sendmail -q` does: like `retry --all`, but there is nothing to read for whoever runs it by
/// the clock.
pub fn flush(named: Option<PathBuf>) -> Exit {
    let config = match load(named.as_deref()) {
        Ok(loaded) => loaded.config,
        Err(exit) => return exit,
    };
    let control = &config.run.control;
    match ask(control, &Request::Do(Action::Retry, Which::All)) {
        Answer::Told(_) => Exit::Ok,
        Answer::Refused { exit, why } => fail(exit, why),
        Answer::Failed(e) => ask::failed(control, &e),
        Answer::NobodyThere => ask::nobody_there(Exit::Unavailable, control),
    }
}

/// What the command line asks for.
fn words(named: Option<PathBuf>, mut parser: Parser) -> Result<(Option<PathBuf>, Vec<Request>), Exit> {
    let wrong = |e: &dyn std::fmt::Display| usage(e, help::QUEUE);
    let (mut file, mut json, mut all, mut words) = (named, false, false, Vec::new());
    while let Some(argument) = parser.next().map_err(|e| wrong(&e))? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Err(print(help::QUEUE)),
            Arg::Short('V') | Arg::Long("version") => return Err(print(help::VERSION)),
            Arg::Short('c') => file = Some(parser.value().map_err(|e| wrong(&e))?.into()),
            // What mailq is given by habit.
            Arg::Short('v') => {}
            Arg::Short('A') => drop(parser.value().map_err(|e| wrong(&e))?),
            Arg::Long("json") => json = true,
            Arg::Long("all") => all = true,
            Arg::Value(word) => words.push(word.string().map_err(|e| wrong(&e))?),
            other => return Err(wrong(&other.unexpected())),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    requests(&words, json, all).map(|requests| (file, requests)).map_err(|e| wrong(&e))
}

fn requests(words: &[&str], json: bool, all: bool) -> Result<Vec<Request>, String> {
    let id = |word: &&str| word.parse::<Id>().map_err(|_| format!("{word:?} is no queue id"));
    match words {
        [] | ["list"] if !all => Ok(vec![Request::List { json }]),
        ["list", ..] => Err("list takes neither ids nor --all".to_owned()),
        _ if json => Err("--json is for list".to_owned()),
        ["show", word] if !all => Ok(vec![Request::Show(id(word)?)]),
        ["show", ..] => Err("show takes one queue id".to_owned()),
        [word, ids @ ..] => {
            let action = Action::parse(word).ok_or_else(|| format!("queue has no command {word:?}"))?;
            match (ids, all) {
                ([], true) => Ok(vec![Request::Do(action, Which::All)]),
                ([], false) => Err(format!("{word} needs queue ids, or --all")),
                (_, true) => Err(format!("{word} takes queue ids or --all, not both")),
                (ids, false) => {
                    ids.iter().map(|word| Ok(Request::Do(action, Which::One(id(word)?)))).collect()
                }
            }
        }
        [] => Err("--all needs a command".to_owned()),
    }
}

/// Asks the relay, or the spool when no relay runs.
fn answer(config: &Config, requests: &[Request]) -> Exit {
    let control = &config.run.control;
    let (mut count, mut exit, mut acted) = (0, Exit::Ok, None);
    for request in requests {
        match (ask(control, request), request) {
            (Answer::NobodyThere, _) => return without_relay(config, requests),
            (Answer::Failed(e), _) => return ask::failed(control, &e),
            (Answer::Refused { exit: code, why }, _) => exit = fail(code, why),
            (Answer::Told(mut told), Request::Do(action, _)) => {
                acted = Some(*action);
                count += counted(&mut told);
            }
            (Answer::Told(mut told), _) => return ask::print(&mut told),
        }
    }
    match acted {
        Some(action) => said(action, count, exit),
        None => exit,
    }
}

/// The number at the start of "2 messages held".
fn counted(told: &mut Spill) -> usize {
    let mut text = String::new();
    let read = told.take(64).read_to_string(&mut text);
    read.ok().and_then(|_| text.split(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Says how many; `exit` is what went wrong before, if anything did.
fn said(action: Action, count: usize, exit: Exit) -> Exit {
    let mut text = String::new();
    // Text takes everything.
    let _ = report::write_done(action, count, &mut text);
    match print(text.trim_end()) {
        Exit::Ok => exit,
        failed => failed,
    }
}

fn without_relay(config: &Config, requests: &[Request]) -> Exit {
    let done = match requests {
        [Request::List { json }] => list(config, Form::of(*json)),
        [Request::Show(id)] => show(config, *id),
        _ => change(config, requests),
    };
    done.unwrap_or_else(|exit| exit)
}

/// What can be known of a message while nobody tries it.
fn facts(found: &crate::spool::Found<'_>) -> Facts {
    let arrived = match found.status.arrived_unix_s {
        0 => found.message.arrived_unix_s,
        stamped => stamped,
    };
    Facts {
        place: found.message.place,
        size: found.message.content_octets,
        age_s: if arrived < sys::RELEASE_DATE_UNIX_S { 0 } else { sys::unix_s().saturating_sub(arrived) },
        standing: if found.status.held { Standing::Held } else { Standing::Waiting },
        next_try_s: None,
    }
}

fn unreadable(damage: Damage) -> Exit {
    fail(Exit::Io, format_args!("the spool: {damage}"))
}

fn list(config: &Config, form: Form) -> Result<Exit, Exit> {
    let mut reader = offline::reader(config)?;
    let mut all = Vec::new();
    reader
        .survey(&mut |found| {
            all.push(facts(&found));
            true
        })
        .map_err(unreadable)?;
    let mut out = Output::new();
    if !all.is_empty() {
        let _ = report::write_queue_head(form, &mut out);
    }
    for facts in &all {
        let mut listed = Listed::Not;
        while !matches!(listed, Listed::Whole) {
            listed =
                listing::list(form, facts, config, &mut reader, listed, &mut out).unwrap_or(Listed::Whole);
            give(&mut out)?;
        }
    }
    let _ = report::write_queue_end(form, all.len(), &mut out);
    give(&mut out)?;
    Ok(Exit::Ok)
}

/// Prints what is in the buffer.
fn give(out: &mut Output) -> Result<(), Exit> {
    let written = io::stdout().write_all(out.filled());
    out.clear();
    written.map_err(|e| if e.kind() == io::ErrorKind::BrokenPipe { Exit::Ok } else { fail(Exit::Io, e) })
}

fn show(config: &Config, id: Id) -> Result<Exit, Exit> {
    let mut reader = offline::reader(config)?;
    let mut wanted = None;
    reader
        .survey(&mut |found| {
            if found.message.id == id {
                wanted = Some(facts(&found));
            }
            wanted.is_none()
        })
        .map_err(unreadable)?;
    let facts = wanted.ok_or_else(|| unknown(id))?;
    show_message(config, &facts, &mut reader)?;
    Ok(Exit::Ok)
}

fn show_message(config: &Config, facts: &Facts, reader: &mut Reader<RealDisk>) -> Result<(), Exit> {
    let mut out = Output::new();
    let mut shown = Shown::Not;
    while !matches!(shown, Shown::Whole) {
        shown = match listing::show(facts, config, reader, shown, &mut out) {
            Ok(shown) => shown,
            Err(Fault::Damaged(damage)) => return Err(unreadable(damage)),
            Err(Fault::Full) => return Err(Exit::Software),
        };
        give(&mut out)?;
    }
    let head = reader.head(facts.place).map_err(unreadable)?;
    let mut offset = 0;
    loop {
        let n = reader.read_content(facts.place, &head, offset, out.room()).map_err(unreadable)?;
        if n == 0 {
            return Ok(());
        }
        out.advance(n);
        give(&mut out)?;
        offset += n as u64;
    }
}

fn unknown(id: Id) -> Exit {
    fail(Exit::Data, format_args!("there is no message {id} in the queue"))
}

/// Changes messages under the spool's lock.
fn change(config: &Config, requests: &[Request]) -> Result<Exit, Exit> {
    let mut all: Vec<(crate::spool::Message, Status)> = Vec::new();
    let mut store = offline::store(config, &mut |found| all.push((found.message, found.status.clone())))?;
    let (mut marks, mut count, mut exit, mut last) = (Vec::new(), 0, Exit::Ok, Action::Retry);
    for request in requests {
        let Request::Do(action, which) = *request else { continue };
        last = action;
        let is_meant = |id: Id| which == Which::All || which == Which::One(id);
        let mut met = which == Which::All;
        for (message, status) in all.iter_mut().filter(|(message, _)| is_meant(message.id)) {
            met = true;
            match act(&mut store, action, message, status) {
                Ok(None) => {}
                Ok(Some(mark)) => {
                    count += 1;
                    marks.extend(mark);
                }
                Err(e) => exit = fail(Exit::Io, format_args!("{} can't be changed: {e}", message.id)),
            }
        }
        if !met {
            exit = match which {
                Which::One(id) => unknown(id),
                Which::All => exit,
            };
        }
    }
    offline::sync(&mut store, &marks)?;
    if last == Action::Retry {
        complain("no relay runs: when one starts it tries everything at once");
    }
    Ok(said(last, count, exit))
}

/// Changes one message: `None` if it is not in the state for that; else what is to be synced.
fn act(
    store: &mut Store<RealDisk>,
    action: Action,
    message: &crate::spool::Message,
    status: &mut Status,
) -> io::Result<Option<Option<Mark>>> {
    match action {
        _ if status.removed => return Ok(None),
        Action::Retry => return Ok((!status.held).then_some(None)),
        Action::Hold if status.held => return Ok(Some(None)),
        Action::Release if !status.held => return Ok(None),
        Action::Hold => status.held = true,
        Action::Release => status.held = false,
        Action::Remove => {
            status.removed = true;
            return store.finish(message.place, status, 0).map(|mark| Some(Some(mark)));
        }
    }
    store.record(message.place, status, 0).map(|mark| Some(Some(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_requests() {
        let id: Id = "0198f3a2c1-0007".parse().unwrap();
        let one = |action| Request::Do(action, Which::One(id));
        for (words, json, all, expected) in [
            (&[][..], false, false, vec![Request::List { json: false }]),
            (&["list"], true, false, vec![Request::List { json: true }]),
            (&["show", "0198f3a2c1-0007"], false, false, vec![Request::Show(id)]),
            (&["hold", "--all"][..1], false, true, vec![Request::Do(Action::Hold, Which::All)]),
            (
                &["remove", "0198f3a2c1-0007", "0198f3a2c1-0007"],
                false,
                false,
                vec![one(Action::Remove), one(Action::Remove)],
            ),
        ] {
            assert_eq!(requests(words, json, all).as_ref(), Ok(&expected), "{words:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_said() {
        for (words, json, all) in [
            (&["hold"][..], false, false),
            (&["hold", "0198f3a2c1-0007"], false, true),
            (&["hold", "nonsense"], false, false),
            (&["show"], false, false),
            (&["show", "0198f3a2c1-0007"], true, false),
            (&["list", "surplus"], false, false),
            (&["eat", "0198f3a2c1-0007"], false, false),
            (&[], false, true),
            (&["list"], false, true),
        ] {
            assert!(requests(words, json, all).is_err(), "{words:?}");
        }
    }
}
