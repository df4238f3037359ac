//! The `secrets` helper: judges what clients say in AUTH. PBKDF2 takes its time by design, and the users
//! file is looked at again for each request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heapless::String;

use crate::config::Config;
use crate::helper::{Desk, Helper};
use crate::relay::intake::text;
use crate::relay::login::Judgement;
use crate::relay::users::{Stamp, Users};
use crate::smtp::sasl::exchange::Request;
use crate::sys::unix_s;

/// Requests that the helper has before it at most; more wait in their slots. A ring of `n` places holds `n - 1`.
const DEPTH: usize = 17;

/// A request of AUTH.
#[derive(Debug)]
struct Question {
    ticket: u32,
    config: Arc<Config>,
    request: Request,
}

/// What came of it.
#[derive(Debug)]
pub struct Answer {
    /// The question's ticket.
    pub ticket: u32,
    /// What was found.
    pub judgement: Judgement,
}

/// The loop's end of the helper.
#[derive(Debug)]
pub struct Secrets {
    helper: Helper<Question, Answer, DEPTH>,
    /// The last ticket.
    ticket: u32,
}

impl Secrets {
    /// Octets of heap and stack that it takes.
    pub const OCTETS: usize = Helper::<Question, Answer, DEPTH>::OCTETS;

    /// Starts the helper; `wake` is called after each answer.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut known = Known::default();
        let helper = Helper::start("secrets", wake, move |desk: &mut Desk<Question, Answer>| {
            while let Some(Question { ticket, config, request }) = desk.question() {
                desk.answer(Answer { ticket, judgement: known.judge(&config, &request) });
            }
        })?;
        Ok(Self { helper, ticket: 0 })
    }

    /// Asks, by the users file of `config`: the ticket of the answer, or `None` if too many wait.
    pub fn ask(&mut self, config: &Arc<Config>, request: &Request) -> Option<u32> {
        self.ticket = self.ticket.wrapping_add(1);
        let question = Question { ticket: self.ticket, config: Arc::clone(config), request: request.clone() };
        self.helper.ask(question).then_some(self.ticket)
    }

    /// True if another one can be asked.
    pub fn has_room(&self) -> bool {
        self.helper.has_room()
    }

    /// The next answer that waits.
    pub fn answer(&mut self) -> Option<Answer> {
        self.helper.answer()
    }
}

/// The users file as it was read last.
#[derive(Default)]
struct Known(Option<(PathBuf, Stamp, Arc<Users>)>);

impl Known {
    fn judge(&mut self, config: &Config, request: &Request) -> Judgement {
        let Some(file) = config.access.users_file.as_deref() else {
            return Judgement { verdict: Err(text("there is no users file any more")), users: None };
        };
        match self.users(file) {
            Ok(users) => Judgement {
                verdict: Ok(users.judge(request, &config.hostname, unix_s())),
                users: Some(users),
            },
            Err(why) => Judgement { verdict: Err(why), users: None },
        }
    }

    /// The users, read again if the file has changed.
    fn users(&mut self, file: &Path) -> Result<Arc<Users>, String<160>> {
        let present = file.metadata().map(|metadata| Stamp::of(&metadata)).ok();
        if let Some((path, stamp, users)) = &self.0
            && path == file
            && Some(*stamp) == present
        {
            return Ok(Arc::clone(users));
        }
        let (users, stamp) = Users::read(file).map_err(text)?;
        let users = Arc::new(users);
        self.0 = Some((file.to_owned(), stamp, Arc::clone(&users)));
        Ok(users)
    }
}
