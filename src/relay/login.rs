//! AUTH from the relay's side: whether a client may try, what the helper's judgement means, and as
//! whom a user may send.

use std::sync::Arc;

use log::{error, info};

use super::Relay;
use super::client::Client;
use super::destination::Key;
use super::notes::Note;
use super::quoted::Quoted;
use super::users::{Users, Verdict};
use crate::config::{Auth, Config, Smarthost, Via};
use crate::smtp::client::Login;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::exchange::Request;
use crate::smtp::sasl::{Mechanism, Mechanisms};
use crate::smtp::server::Session;
use crate::sys::Now;

/// What the helper says to a request.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict, or why there is none now.
    pub verdict: Result<Verdict, heapless::String<160>>,
    /// The users file as it was judged by.
    pub users: Option<Arc<Users>>,
}

impl Relay {
    /// The mechanisms that users can use where nobody listens.
    pub fn mechanisms(&self) -> Mechanisms {
        let access = &self.config.access;
        if access.users_file.is_none() {
            return Mechanisms::NONE;
        }
        let usual =
            Mechanisms::NONE.with(Mechanism::Plain).with(Mechanism::Login).with(Mechanism::ScramSha256);
        let has_clear = self.users.as_ref().is_some_and(|users| users.has_clear());
        if access.cram_md5 && has_clear { usual.with(Mechanism::CramMd5) } else { usual }
    }

    /// Why a client may not try to log in now, if it may not.
    pub fn login_refused(
        &mut self,
        client: &Client,
        session: &Session,
        request: &Request,
        now: Now,
    ) -> Option<Reply> {
        let wait_s = self.failures.wait_s(client.remote.address()?, now.mono_ms)?;
        let text = format_args!("too many failed logins from your address, try again in {wait_s} s");
        let reply = Reply::new(454, (7, 0), text);
        self.log_login_refused(client, session, request, &reply);
        Some(reply)
    }

    /// What the helper has found: the refusal, if it is one.
    pub fn judged(
        &mut self,
        client: &Client,
        session: &Session,
        request: &Request,
        judgement: &Judgement,
        now: Now,
    ) -> Option<Reply> {
        if judgement.users.is_some() {
            self.users.clone_from(&judgement.users);
        }
        match &judgement.verdict {
            Ok(Verdict::Challenge(_)) => {
                // SCRAM's last message: the proof was right.
                if let (Request::ScramFinal(_), Some(address)) = (request, client.remote.address()) {
                    self.failures.forget(address);
                }
                None
            }
            Ok(Verdict::Yes) => {
                if let Some(address) = client.remote.address() {
                    self.failures.forget(address);
                }
                None
            }
            Ok(Verdict::No) => {
                if let Some(address) = client.remote.address() {
                    self.failures.add(address, now.mono_ms);
                }
                self.note(client, Note::AuthFailed);
                let reply = Reply::new(535, (7, 8), "wrong user name or password");
                self.log_login_refused(client, session, request, &reply);
                Some(reply)
            }
            Err(why) => {
                error!("- nobody can log in: {why}");
                self.recent.note(format_args!("nobody can log in: {why}"), now.unix_s);
                let reply = Reply::new(454, (7, 0), "logins can't be checked now, try again later");
                self.log_login_refused(client, session, request, &reply);
                Some(reply)
            }
        }
    }

    /// Why the user of a session may not send as this reverse-path, if it may not.
    pub(super) fn sender_refused(&self, session: &Session, reverse_path: &str) -> Option<Reply> {
        let user = session.user()?;
        match self.users.as_ref().map(|users| users.may_send_as(user, reverse_path)) {
            Some(Some(true)) => None,
            Some(Some(false)) => {
                Some(Reply::new(553, (7, 1), format_args!("the user {user} may not send as this address")))
            }
            // Taken out of the file, or the file out of the configuration, since it logged in.
            Some(None) | None => {
                Some(Reply::new(550, (7, 1), format_args!("there is no user {user} any more")))
            }
        }
    }

    /// How to log in at a destination; `covered`: nobody but the right server can listen.
    pub fn login(&self, key: Key, covered: bool) -> Login {
        login(&self.config, key.route, covered)
    }

    /// We can't log in at a destination: nothing goes there until a person has seen to it, and that is told aloud.
    pub fn login_failed(&mut self, key: Key, host: &str, reply: &Reply, now: Now) {
        let via = self.via_name(key);
        error!("- {via} host={} does not let us log in: {}", Quoted::bare(host), Quoted::new(reply));
        self.recent.note(format_args!("{host} does not let us log in: {reply}"), now.unix_s);
    }

    fn log_login_refused(&mut self, client: &Client, session: &Session, request: &Request, reply: &Reply) {
        self.counters.rejected += 1;
        info!(
            target: client.log_target(),
            "- rejected user={} mechanism={} client={} helo={} reply={}",
            Quoted::new(request.name().map_or("", |name| name.as_str())),
            request.mechanism().name(),
            client.remote,
            Quoted::new(session.hello().map_or("", |hello| hello.name.as_str())),
            Quoted::new(reply)
        );
    }
}

/// How to log in at the hosts of a route; see [`Relay::login`].
pub fn login(config: &Config, route: u16, covered: bool) -> Login {
    match config.route.get(usize::from(route)).map(|route| &route.via) {
        Some(Via::Smarthost(smarthost)) if smarthost.username.is_some() => {
            Login { mechanisms: allowed(smarthost), covered: covered || smarthost.plaintext_auth }
        }
        _ => Login::NONE,
    }
}

/// The mechanisms that a route's secret is good for.
fn allowed(smarthost: &Smarthost) -> Mechanisms {
    use Mechanism::{CramMd5, Login, OauthBearer, Plain, ScramSha256, XOauth2};
    let of_auto: &[Mechanism] = match smarthost.token_command.as_slice() {
        [] => &[ScramSha256, CramMd5, Plain, Login],
        _ => &[OauthBearer, XOauth2],
    };
    let all = match smarthost.auth {
        Auth::Auto => of_auto,
        Auth::Plain => &[Plain],
        Auth::Login => &[Login],
        Auth::CramMd5 => &[CramMd5],
        Auth::ScramSha256 => &[ScramSha256],
        Auth::XOauth2 => &[XOauth2],
        Auth::OauthBearer => &[OauthBearer],
    };
    all.iter().fold(Mechanisms::NONE, |set, mechanism| set.with(*mechanism))
}

/// ` user=NAME` for a log line, or nothing.
pub(super) struct Field<'a>(pub(super) Option<&'a str>);

impl std::fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |user| write!(f, " user={}", Quoted::bare(user)))
    }
}

/// The users of the configuration. What is wrong with the file is logged: then logins get 454 until it is
/// mended.
pub(super) fn users(config: &Config) -> Option<Arc<Users>> {
    match Users::read(config.access.users_file.as_deref()?) {
        Ok((users, _)) => Some(Arc::new(users)),
        Err(refused) => {
            error!("- nobody can log in: {refused}");
            None
        }
    }
}
