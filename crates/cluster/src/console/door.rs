//! Who gets in: the address that is asked for, the page that asks, and who holds a session.
//!
//! Another user of this machine can connect to loopback, and any page in a browser can make it ask loopback. So: known hosts alone
//! (DNS rebinding), our own origin alone for whatever changes something, and a session that only whoever was told the printed
//! token can have. It keeps sessions in memory, few, and for a day's work.

use anyhow::{Context, Result};
use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a session lasts.
pub(crate) const LASTS: Duration = Duration::from_secs(12 * 3600);
/// The most sessions at once (M10); the oldest goes first.
const MOST: usize = 16;

/// The door.
pub(crate) struct Door {
    hosts: [String; 2],
    cookie: String,
    token: String,
    sessions: Mutex<Vec<Session>>,
}

struct Session {
    id: String,
    csrf: String,
    since: Instant,
}

/// Why somebody does not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Asked for under a name that is not ours.
    Host,
    /// Asked for by another page.
    Origin,
    /// A form that is not ours, or of another session.
    Csrf,
}

impl Refusal {
    /// In words, for whoever tries it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Refusal::Host => "this console is asked for by the address that it printed, and by no other name",
            Refusal::Origin => "only the console's own pages may ask for this",
            Refusal::Csrf => {
                "this form is not of this session; go back, load the page again and send it once more"
            }
        }
    }
}

impl Door {
    /// A door of the server at `address`.
    pub(crate) fn new(address: SocketAddr) -> Result<Door> {
        let port = address.port();
        Ok(Door {
            hosts: [address.to_string(), format!("localhost:{port}")],
            // Browsers keep cookies by name and host, whatever the port: two consoles are told apart by it.
            cookie: format!("millrace-{port}"),
            token: secret()?,
            sessions: Mutex::default(),
        })
    }

    /// What lets its holder in, while this process lives.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a request may be looked at: it is for us, and what may change something is from a page of ours.
    pub(crate) fn admits(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host =
            text(HOST).filter(|host| self.hosts.iter().any(|ours| ours == host)).ok_or(Refusal::Host)?;
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        // Every browser of today names the origin of what is posted, and says whether it is the same site.
        let same = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
        match text(ORIGIN).and_then(|origin| origin.strip_prefix("http://")) {
            Some(origin) if origin == host && same => Ok(()),
            _ => Err(Refusal::Origin),
        }
    }

    /// Lets the holder of the token in: the cookie to set.
    pub(crate) fn enter(&self, token: &str, now: Instant) -> Result<Option<String>> {
        if !is_same(token, &self.token) {
            return Ok(None);
        }
        let session = Session { id: secret()?, csrf: secret()?, since: now };
        let cookie = format!(
            "{}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}",
            self.cookie,
            session.id,
            LASTS.as_secs()
        );
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() == MOST {
            sessions.remove(0);
        }
        sessions.push(session);
        Ok(Some(cookie))
    }

    /// What proves forms of whoever asks; nothing of somebody who is not known, or not any more.
    pub(crate) fn known(&self, headers: &HeaderMap, now: Instant) -> Option<String> {
        let id = cookie(headers, &self.cookie)?;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| now.duration_since(session.since) < LASTS);
        sessions.iter().find(|session| is_same(&session.id, id)).map(|session| session.csrf.clone())
    }
}

/// A cookie's value.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Whether two secrets are the same, in a time that tells nothing of where they differ.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && differing == 0
}

/// 256 bits that nobody guesses.
fn secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let count =
        getrandom(&mut bytes[..], GetRandomFlags::empty()).context("ask the kernel for randomness")?;
    anyhow::ensure!(count == bytes.len(), "ask the kernel for randomness: it gave {count} bytes of 32");
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn strangers_stay_outside() {
        let door = Door::new("127.0.0.1:8080".parse().unwrap()).unwrap();
        let check = |method: Method, pairs: &[(&'static str, &str)], expected: Result<(), Refusal>| {
            assert_eq!(door.admits(&method, &headers(pairs)), expected, "{method} {pairs:?}");
        };
        let (host, own) = (("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080"));
        check(Method::GET, &[host], Ok(()));
        check(Method::GET, &[("host", "localhost:8080")], Ok(()));
        check(Method::GET, &[], Err(Refusal::Host));
        check(Method::GET, &[("host", "evil.example:8080")], Err(Refusal::Host));
        check(Method::GET, &[("host", "127.0.0.1:8081")], Err(Refusal::Host));
        check(Method::POST, &[host, own], Ok(()));
        check(Method::POST, &[host, own, ("sec-fetch-site", "same-origin")], Ok(()));
        check(Method::POST, &[host, own, ("sec-fetch-site", "cross-site")], Err(Refusal::Origin));
        check(Method::POST, &[host], Err(Refusal::Origin));
        check(Method::POST, &[host, ("origin", "null")], Err(Refusal::Origin));
        check(Method::POST, &[host, ("origin", "http://localhost:8080")], Err(Refusal::Origin));
        check(
            Method::POST,
            &[("host", "evil.example"), ("origin", "http://evil.example")],
            Err(Refusal::Host),
        );
    }

    #[test]
    fn only_who_holds_the_token_is_known_and_not_for_ever() {
        let door = Door::new("127.0.0.1:8080".parse().unwrap()).unwrap();
        let now = Instant::now();
        assert_eq!(door.enter("", now).unwrap(), None);
        assert_eq!(door.enter(&"0".repeat(64), now).unwrap(), None);
        let set = door.enter(door.token(), now).unwrap().unwrap();
        assert!(set.contains("; HttpOnly; SameSite=Strict; "), "{set}");
        let pair = set.split(';').next().unwrap();
        let holder = headers(&[("cookie", &format!("other=1; {pair}"))]);
        let csrf = door.known(&holder, now).unwrap();
        assert_eq!(door.known(&holder, now + LASTS), None);
        assert_eq!(door.known(&headers(&[("cookie", "millrace-8080=0")]), now), None);
        assert!(!pair.contains(&csrf) && csrf.len() == 64);
        let again = door.enter(door.token(), now).unwrap().unwrap();
        for _ in 0..MOST {
            door.enter(door.token(), now).unwrap().unwrap();
        }
        let oldest = headers(&[("cookie", again.split(';').next().unwrap())]);
        assert_eq!(door.known(&oldest, now), None, "few sessions are kept");
    }
}
