//! `pillarbox send-test`: sends a test message and follows it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use super::ask::{self, Answer, ask};
use super::exit::Exit;
use super::sendmail::letter::Letter;
use super::sendmail::options::Options;
use super::sendmail::submit::{Submitted, submit};
use super::{fail, help, load, print, usage};
use crate::config::Config;
use crate::relay::request::{Action, Request, Which};
use crate::smtp::command::Notify;
use crate::spool::Id;

/// How often the relay is asked for news.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the command; `named` is the configuration of a `-c` that stood before it.
pub fn run(named: Option<PathBuf>, arguments: Parser) -> Exit {
    let (file, address) = match words(named, arguments) {
        Ok(words) => words,
        Err(exit) => return exit,
    };
    match load(file.as_deref()) {
        Ok(loaded) => send(&loaded.config, address),
        Err(exit) => exit,
    }
}

fn words(named: Option<PathBuf>, mut parser: Parser) -> Result<(Option<PathBuf>, String), Exit> {
    let wrong = |e: &dyn std::fmt::Display| usage(e, help::SEND_TEST);
    let (mut file, mut address) = (named, None);
    while let Some(argument) = parser.next().map_err(|e| wrong(&e))? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Err(print(help::SEND_TEST)),
            Arg::Short('V') | Arg::Long("version") => return Err(print(help::VERSION)),
            Arg::Short('c') => file = Some(parser.value().map_err(|e| wrong(&e))?.into()),
            Arg::Value(word) if address.is_none() => {
                address = Some(word.string().map_err(|e| wrong(&e))?);
            }
            other => return Err(wrong(&other.unexpected())),
        }
    }
    match address {
        Some(address) if address.trim().is_empty() => Err(wrong(&"the address is empty")),
        Some(address) => Ok((file, address)),
        None => Err(wrong(&"send-test needs the address to send to")),
    }
}

/// Submits the message, then follows it.
fn send(config: &Config, address: String) -> Exit {
    let content = format!(
        "Subject: Test message from {host}\n\n\
         This is a test message from the mail relay at {host}, sent by pillarbox send-test.\n\
         If you can read this, mail from there reaches you.\n",
        host = config.hostname
    );
    // The story is told here: no notice has to go around.
    let options = Options { notify: Notify::Never, recipients: vec![address], ..Options::default() };
    let mut letter = match Letter::read(&options, config, &mut content.as_bytes()) {
        Ok(letter) => letter,
        Err(exit) => return exit,
    };
    // Whoever may not hear the story shall not send the message first.
    let control = &config.run.control;
    match ask(control, &Request::Status { json: true }) {
        Answer::Told(_) => {}
        Answer::Refused { exit, why } => return fail(exit, why),
        Answer::Failed(e) => return ask::failed(control, &e),
        Answer::NobodyThere => return ask::nobody_there(Exit::Unavailable, control),
    }
    let sender = letter.sender.as_str().to_owned();
    match submit(config, &options, &mut letter) {
        Submitted::NobodyThere => ask::nobody_there(Exit::Unavailable, &config.run.submit),
        Submitted::Said { exit: Exit::Ok, id: Some(id) } => {
            print(format_args!("accepted {id} from <{sender}>"));
            follow(config, id)
        }
        Submitted::Said { exit: Exit::Ok, id: None } => {
            fail(Exit::TryLater, "the relay took the message and did not say by which id: see its log")
        }
        // What was said stands above.
        Submitted::Said { exit: Exit::NoUser, .. } => Exit::Unavailable,
        Submitted::Said { exit, .. } => exit,
    }
}

/// What has been heard of the message so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// Lines of the story that were printed.
    lines: usize,
    delivered: usize,
    failed: usize,
    deferred: usize,
}

/// Where the story stands after an answer.
#[derive(Debug, PartialEq, Eq)]
enum Course {
    /// More is to come.
    On,
    /// That was all.
    Over(Exit, String),
}

/// Asks again and again until the message is delivered, deferred or refused.
fn follow(config: &Config, id: Id) -> Exit {
    let control = &config.run.control;
    let mut heard = Heard::default();
    loop {
        let told = match ask(control, &Request::Story(id)) {
            Answer::Told(told) => told,
            Answer::Refused { exit, why } => return fail(exit, why),
            Answer::Failed(e) => return ask::failed(control, &e),
            Answer::NobodyThere => {
                return fail(Exit::TryLater, format_args!("the relay has stopped; {id} is in its spool"));
            }
        };
        let mut lines = BufReader::new(told).lines().map_while(Result::ok).peekable();
        let mut number = 0;
        while let Some(line) = lines.next() {
            if lines.peek().is_none() {
                if let Course::Over(exit, last) = heard.judge(&line, id) {
                    print(last);
                    return exit;
                }
                if heard.lines == 0 && line.starts_with("waiting") {
                    // Where a destination rests there would be nothing to follow. If the message has gone
                    // on its way meanwhile it needs no push.
                    let _ = ask(control, &Request::Do(Action::Retry, Which::One(id)));
                }
                break;
            }
            number += 1;
            if number > heard.lines {
                heard.hear(&line);
                print(&line);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

impl Heard {
    /// Takes a line of the story.
    fn hear(&mut self, line: &str) {
        self.lines += 1;
        match line.split(' ').next() {
            Some("delivered") => self.delivered += 1,
            Some("deferred") => self.deferred += 1,
            _ => self.failed += 1,
        }
    }

    /// Takes the last line of an answer, which says where the message stands.
    fn judge(&self, standing: &str, id: Id) -> Course {
        let (word, seconds) = standing.split_once(' ').unwrap_or((standing, ""));
        match word {
            "gone" if self.failed > 0 => Course::Over(Exit::Unavailable, "refused: see above".to_owned()),
            "gone" if self.delivered > 0 => Course::Over(Exit::Ok, "delivered".to_owned()),
            "gone" => Course::Over(
                Exit::TryLater,
                format!("gone from the queue, and its story went by too fast: look for {id} in the log"),
            ),
            "held" => Course::Over(
                Exit::TryLater,
                format!("held until somebody releases it: pillarbox queue release {id}"),
            ),
            "waiting" if self.deferred > 0 => Course::Over(
                Exit::TryLater,
                format!(
                    "waiting in the queue, next try in {seconds} s; to give it up: pillarbox queue remove {id}"
                ),
            ),
            _ => Course::On,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str], standing: &str) -> Option<Exit> {
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.hear(line));
        match heard.judge(standing, Id::default()) {
            Course::On => None,
            Course::Over(exit, _) => Some(exit),
        }
    }

    #[test]
    fn the_story_ends_with_the_message_or_with_a_deferral() {
        let (good, bad, late) = ("delivered <a@b> via mx", "bounced <a@b> via mx", "deferred <a@b> via mx");
        for (lines, standing, exit) in [
            (&[][..], "waiting 0", None),
            (&[], "delivering", None),
            (&[good], "delivering", None),
            (&[good], "gone", Some(Exit::Ok)),
            (&[good, bad], "gone", Some(Exit::Unavailable)),
            (&["expired <a@b> via "], "gone", Some(Exit::Unavailable)),
            (&[late], "delivering", None),
            (&[good, late], "waiting 60", Some(Exit::TryLater)),
            (&[], "gone", Some(Exit::TryLater)),
            (&[], "held", Some(Exit::TryLater)),
        ] {
            assert_eq!(judged(lines, standing), exit, "{lines:?} {standing}");
        }
    }
}
