//! The command line of sendmail(1), as Postfix reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use heapless::String as Fixed;
use lexopt::{Arg, Parser, ValueExt};

use crate::limits::ENVID_OCTETS;
use crate::smtp::command::{Body, Notify, Ret};

/// What the program shall do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Submit the message on standard input.
    #[default]
    Submit,
    /// `-bs`: speak SMTP on standard input and output.
    Smtp,
    /// `-bp`: list the queue.
    List,
    /// `-bi`, `-I`: make the aliases table, which does not exist.
    Aliases,
    /// `-q`: try the queue now.
    Retry,
    /// `-bh`, `-bH`: show or forget what is known of other hosts, which is nothing here.
    Nothing,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// `-c`: the configuration.
    pub file: Option<PathBuf>,
    /// `-t`: recipients are in the header too.
    pub from_header: bool,
    /// `-i`, `-oi`: a lone dot is text.
    pub dot_is_text: bool,
    /// `-f`, `-r`.
    pub sender: Option<String>,
    /// `-F`.
    pub full_name: Option<String>,
    /// `-N`.
    pub notify: Notify,
    /// `-R`.
    pub ret: Option<Ret>,
    /// `-V`, as xtext (RFC 3461 4).
    pub envid: Fixed<ENVID_OCTETS>,
    /// `-B`.
    pub body: Body,
    /// Recipients on the command line, as they stand there.
    pub recipients: Vec<String>,
}

impl Options {
    /// Reads the command line; an error says what is wrong with it.
    pub fn parse(named: Option<PathBuf>, mut parser: Parser) -> Result<Self, String> {
        let mut options = Self { file: named, ..Self::default() };
        while let Some(argument) = parser.next().map_err(|e| e.to_string())? {
            match argument {
                Arg::Long("help") => options.mode = Mode::Help,
                Arg::Long("version") => options.mode = Mode::Version,
                Arg::Short('t') => options.from_header = true,
                Arg::Short('i') => options.dot_is_text = true,
                Arg::Short('I') => options.mode = Mode::Aliases,
                Arg::Short('q') => {
                    // Which part of the queue makes no difference: all of it is tried.
                    let _ = parser.optional_value();
                    options.mode = Mode::Retry;
                }
                // Verbosity and manners of other times.
                Arg::Short('G' | 'U' | 'm' | 'n' | 'v' | 'x') => {}
                Arg::Short(letter) => match (letter, parser.value()) {
                    (_, Ok(value)) => options.take(letter, value)?,
                    // Without a value they are what they are to every other command.
                    ('h', Err(_)) => options.mode = Mode::Help,
                    ('V', Err(_)) => options.mode = Mode::Version,
                    (_, Err(_)) => return Err(format!("-{letter} needs a value, or is unknown")),
                },
                Arg::Value(recipient) => options.recipients.push(text(recipient)?),
                other => return Err(other.unexpected().to_string()),
            }
        }
        Ok(options)
    }

    /// Takes an option that has a value.
    fn take(&mut self, letter: char, value: OsString) -> Result<(), String> {
        match letter {
            'c' => self.file = Some(value.into()),
            'f' | 'r' => self.sender = Some(text(value)?),
            'F' => self.full_name = Some(text(value)?),
            'b' => self.mode = mode(&text(value)?)?,
            'o' if value == "i" => self.dot_is_text = true,
            'B' => self.body = body(&text(value)?)?,
            'N' => self.notify = notify(&text(value)?)?,
            'R' => self.ret = Some(ret(&text(value)?)?),
            'V' => self.envid = xtext(&text(value)?).ok_or("-V: the envelope id is too long")?,
            // Other programs' configuration, hop counts, labels, logs, options and protocols.
            'A' | 'C' | 'D' | 'd' | 'e' | 'h' | 'L' | 'M' | 'O' | 'o' | 'p' | 'X' => {}
            other => return Err(format!("there is no option -{other}")),
        }
        Ok(())
    }
}

fn text(value: OsString) -> Result<String, String> {
    let text = value.string().map_err(|e| e.to_string())?;
    if text.contains(char::is_control) { Err(format!("{text:?} has control characters")) } else { Ok(text) }
}

fn mode(value: &str) -> Result<Mode, String> {
    match value {
        "m" => Ok(Mode::Submit),
        "s" => Ok(Mode::Smtp),
        "p" => Ok(Mode::List),
        "i" => Ok(Mode::Aliases),
        "h" | "H" => Ok(Mode::Nothing),
        "d" => Err("-bd: the relay is started by pillarbox serve".to_owned()),
        other => Err(format!("-b{other} has no meaning here")),
    }
}

fn body(value: &str) -> Result<Body, String> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(Body::SevenBit),
        "8BITMIME" => Ok(Body::EightBitMime),
        _ => Err(format!("-B {value:?}: write 7BIT or 8BITMIME")),
    }
}

fn ret(value: &str) -> Result<Ret, String> {
    match value.to_ascii_lowercase().as_str() {
        "full" => Ok(Ret::Full),
        "hdrs" => Ok(Ret::Headers),
        _ => Err(format!("-R {value:?}: write full or hdrs")),
    }
}

fn notify(value: &str) -> Result<Notify, String> {
    let value = value.to_ascii_lowercase();
    if value == "never" {
        return Ok(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        match word {
            "success" => success = true,
            "failure" => failure = true,
            "delay" => delay = true,
            _ => return Err(format!("-N {value:?}: write never, or a list of success, failure, delay")),
        }
    }
    Ok(Notify::On { success, failure, delay })
}

/// `plain` as xtext, if it is short enough.
fn xtext(plain: &str) -> Option<Fixed<ENVID_OCTETS>> {
    let mut encoded = Fixed::new();
    for octet in plain.bytes() {
        match octet {
            b'+' | b'=' | 0..=b' ' | 0x7f.. => {
                core::fmt::write(&mut encoded, format_args!("+{octet:02X}")).ok()?;
            }
            plain => encoded.push(char::from(plain)).ok()?,
        }
    }
    Some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(None, Parser::from_args(arguments.iter().map(OsString::from)))
    }

    #[test]
    fn what_cron_mutt_php_and_git_say_is_understood() {
        let options = parse(&["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"]).unwrap();
        assert_eq!(options.full_name.as_deref(), Some("CronDaemon"));
        assert!(options.from_header && options.dot_is_text);
        assert_eq!(options.sender.as_deref(), Some("root"));
        let options = parse(&["-oem", "-oi", "-fa@b", "-B", "8BITMIME", "--", "-x@y.example", "z"]).unwrap();
        assert_eq!(options.recipients, ["-x@y.example", "z"]);
        assert_eq!((options.sender.as_deref(), options.body), (Some("a@b"), Body::EightBitMime));
        let options = parse(&["-ti", "-f", ""]).unwrap();
        assert!(options.from_header && options.dot_is_text);
        assert_eq!(options.sender.as_deref(), Some(""));
        let options = parse(&["x@y", "-N", "success,delay", "-R", "hdrs", "-V", "a +b"]).unwrap();
        assert_eq!(options.notify, Notify::On { success: true, failure: false, delay: true });
        assert_eq!((options.ret, options.envid.as_str()), (Some(Ret::Headers), "a+20+2Bb"));
        assert_eq!(options.recipients, ["x@y"]);
    }

    #[test]
    fn modes_have_their_letters() {
        for (argument, mode) in [
            ("-bs", Mode::Smtp),
            ("-bp", Mode::List),
            ("-bi", Mode::Aliases),
            ("-bm", Mode::Submit),
            ("-I", Mode::Aliases),
            ("-bh", Mode::Nothing),
            ("-bH", Mode::Nothing),
            ("-h", Mode::Help),
            ("-V", Mode::Version),
            ("--help", Mode::Help),
            ("-q", Mode::Retry),
            ("-q30m", Mode::Retry),
        ] {
            assert_eq!(parse(&[argument]).map(|o| o.mode), Ok(mode), "{argument}");
        }
    }

    #[test]
    fn options_without_meaning_are_ignored_with_their_values() {
        let arguments = [
            "-G",
            "-U",
            "-v",
            "-m",
            "-n",
            "-O",
            "DeliveryMode=b",
            "-oA/etc/aliases",
            "-Ac",
            "-h",
            "3",
            "-X",
            "l",
        ];
        let options = parse(&arguments).unwrap();
        assert_eq!(options, Options::default());
    }

    #[test]
    fn mistakes_are_named() {
        for arguments in [
            &["-f"][..],
            &["-bd"],
            &["-bz"],
            &["-N", "sometimes"],
            &["-R", "half"],
            &["-B", "9BIT"],
            &["-k", "x"],
            &["--nonsense"],
            &["a\nb"],
            &["-f", "a\rb"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
