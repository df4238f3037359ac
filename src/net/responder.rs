//! The `responses` helper: what we say to log in at next hops. Secrets can come from commands, which take their
//! time, so it is not the helper that judges our own users.

use std::io;
use std::sync::Arc;

use heapless::{String, Vec};

use crate::config::{Config, Via};
use crate::helper::{Desk, Helper};
use crate::limits::{HOST_OCTETS, RESPONSE_OCTETS};
use crate::relay::response::{Memory, Token, Wanted, Why, respond};
use crate::relay::{intake, secret};
use crate::smtp::client::{Challenge, Turn};
use crate::smtp::sasl::Secret;

/// Questions that wait at most; a ring of `n` places holds `n - 1`. Those who find it full ask again when
/// answers come.
const DEPTH: usize = 9;
/// Secrets from commands that are kept until one is refused; the oldest is forgotten.
const KEPT_SECRETS: usize = 8;

/// Which response is wanted, and where.
#[derive(Debug)]
pub struct Question {
    /// Whose routes are meant.
    pub config: Arc<Config>,
    /// The route.
    pub route: u16,
    /// The next hop's name.
    pub host: String<HOST_OCTETS>,
    /// Its port.
    pub port: u16,
    /// Mechanism and number.
    pub turn: Turn,
    /// What it answers.
    pub challenge: Challenge,
    /// What was remembered.
    pub memory: Memory,
    /// The secret that is kept was refused: it is read anew.
    pub anew: bool,
}

/// Where a secret came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// None was needed yet.
    #[default]
    Unread,
    /// It was kept since an earlier login.
    Kept,
    /// It was kept and refused: it has to be read anew.
    Refused,
    /// It was read for this login.
    Read,
}

/// What came of a question.
#[derive(Debug)]
pub struct Answer {
    /// The question's ticket.
    pub ticket: u32,
    /// The response and what to remember, or why there is none.
    pub response: Result<(Secret<RESPONSE_OCTETS>, Memory), Why>,
    /// Where the secret came from.
    pub source: Source,
}

/// The loop's end of the helper.
#[derive(Debug)]
pub struct Responder {
    helper: Helper<(u32, Question), Answer, DEPTH>,
    /// The last ticket.
    ticket: u32,
}

impl Responder {
    /// Octets of heap and stack that it takes.
    pub const OCTETS: usize = Helper::<(u32, Question), Answer, DEPTH>::OCTETS + size_of::<Kept>();

    /// Starts the helper; `wake` is called after each answer.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        // Too large for the stack of the thread.
        let mut kept = Box::new(Kept::default());
        let helper = Helper::start("responses", wake, move |desk: &mut Desk<(u32, Question), Answer>| {
            while let Some((ticket, question)) = desk.question() {
                let (response, source) = kept.answer(&question);
                desk.answer(Answer { ticket, response, source });
            }
        })?;
        Ok(Self { helper, ticket: 0 })
    }

    /// Asks: the ticket of the answer, or `None` if too many wait.
    pub fn ask(&mut self, question: Question) -> Option<u32> {
        self.ticket = self.ticket.wrapping_add(1);
        self.helper.ask((self.ticket, question)).then_some(self.ticket)
    }

    /// The next answer that waits.
    pub fn answer(&mut self) -> Option<Answer> {
        self.helper.answer()
    }
}

/// Secrets that commands have printed, by the number of their route.
#[derive(Default)]
struct Kept {
    /// The configuration that they belong to: another one is read anew.
    config: Option<Arc<Config>>,
    secrets: Vec<(u16, Token), KEPT_SECRETS>,
}

impl Kept {
    fn answer(&mut self, question: &Question) -> (Result<(Secret<RESPONSE_OCTETS>, Memory), Why>, Source) {
        let Question { config, route, host, port, turn, challenge, memory, anew } = question;
        if !self.config.as_ref().is_some_and(|known| Arc::ptr_eq(known, config)) {
            self.config = Some(Arc::clone(config));
            self.secrets.clear();
        }
        let mut source = Source::Unread;
        let Some(via @ Via::Smarthost(smarthost)) = config.route.get(usize::from(*route)).map(|r| &r.via)
        else {
            return (Err(intake::text("the route has no login")), source);
        };
        let username = smarthost.username.as_deref().unwrap_or_default();
        let wanted = Wanted { turn: *turn, challenge, username, host, port: *port };
        let response = respond(&wanted, *memory, || {
            let (secret, from) = self.secret(*route, via, *anew)?;
            source = from;
            Ok(secret)
        });
        (response, source)
    }

    fn secret(&mut self, route: u16, via: &Via, anew: bool) -> Result<(Token, Source), Why> {
        let at = self.secrets.iter().position(|(known, _)| *known == route);
        match at {
            Some(at) if anew => drop(self.secrets.remove(at)),
            Some(at) => return Ok((self.secrets[at].1.clone(), Source::Kept)),
            None => {}
        }
        let (secret, is_kept) = secret::read(via)?;
        if is_kept {
            if self.secrets.is_full() {
                self.secrets.remove(0);
            }
            // There is room now.
            let _ = self.secrets.push((route, secret.clone()));
        }
        Ok((secret, Source::Read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::sasl::Mechanism;

    #[test]
    fn what_a_command_printed_is_kept_until_it_is_refused() {
        let counter = std::env::temp_dir().join(format!("pillarbox-responder-{}", std::process::id()));
        let script = format!("echo x >>{0}; wc -l <{0}", counter.display());
        let text = "[[route]]\nvia = \"smarthost\"\nhosts = [\"h:25\"]\ntls = \"none\"\n";
        let mut config = Config::parse(text, "host.test").unwrap();
        let Via::Smarthost(host) = &mut config.route[0].via else { panic!("the route stands first") };
        host.username = Some("me".to_owned());
        host.token_command = ["sh", "-c", &script].map(str::to_owned).into();
        let mut config = Arc::new(config);
        let mut kept = Kept::default();
        let mut ask = |config: &Arc<Config>, anew| {
            let question = Question {
                config: Arc::clone(config),
                route: 0,
                host: String::new(),
                port: 25,
                turn: Turn { mechanism: Mechanism::Login, number: 1 },
                challenge: Challenge::new(),
                memory: Memory::Nothing,
                anew,
            };
            let (response, source) = kept.answer(&question);
            (response.unwrap().0.octets().trim_ascii().to_vec(), source)
        };
        assert_eq!(ask(&config, false), (b"1".to_vec(), Source::Read));
        assert_eq!(ask(&config, false), (b"1".to_vec(), Source::Kept));
        assert_eq!(ask(&config, true), (b"2".to_vec(), Source::Read));
        assert_eq!(ask(&config, false), (b"2".to_vec(), Source::Kept));
        config = Arc::new(Config::clone(&config));
        assert_eq!(ask(&config, false), (b"3".to_vec(), Source::Read), "a new configuration");
        std::fs::remove_file(&counter).unwrap();
    }
}
