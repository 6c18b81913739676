//! What every request is answered from: how one gets in, who is in, and what is around each page. It lets nobody in by itself.

use super::answer::{html, plain};
use super::door::{self, Door};
use super::frame::{Frame, Theme};
use super::limits::{Attempts, Rate};
use super::login::{Login, Why};
use super::read::Reader;
use super::review::Reviewer;
use super::sessions::{Grants, Known, Sessions};
use super::state::State;
use super::visitor::Visitor;
use crate::args::output::Lang;
use axum::extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a session lasts at most.
pub(super) const LASTS: Duration = Duration::from_secs(12 * 3600);
/// Sessions of one person's browsers, on his own machine.
const OWN: Grants = Grants { most: 16, of_one: 16, idle: LASTS, requests: REQUESTS };
/// Sessions in a cluster. Each has a watch, and a look through pods while somebody looks.
const SHARED: Grants = Grants { most: 32, of_one: 8, idle: Duration::from_secs(1800), requests: REQUESTS };
/// More than a person asks for, with many tabs open and a cluster that changes all the time.
const REQUESTS: Rate = Rate { burst: 300, every: Duration::from_millis(50) };
/// Wrong tokens of one peer. Whoever comes by a forwarded port or through a proxy is one peer with all others who do.
const WRONG: Rate = Rate { burst: 5, every: Duration::from_secs(10) };
/// Wrong tokens of all.
const WRONG_OF_ALL: Rate = Rate { burst: 30, every: Duration::from_secs(2) };

/// What every request is answered from.
pub(crate) struct Site {
    /// By which names it is asked for.
    pub(crate) door: Door,
    /// How one gets in.
    pub(crate) entry: Entry,
    /// Who is in.
    pub(crate) sessions: Sessions<Arc<Visitor>>,
    /// The language of who chose none.
    pub(crate) lang: Option<Lang>,
    /// When all ends.
    pub(crate) stop: CancellationToken,
    attempts: Mutex<Attempts>,
}

/// How one gets in.
pub(crate) enum Entry {
    /// By the printed token: all who hold it look by the same rights.
    Printed { token: String, reader: Arc<Reader> },
    /// By a token of the cluster: each looks by his own rights. The controller is in the namespace `home`.
    Reviewed { reviewer: Box<Reviewer>, home: String },
}

/// The site, as axum hands it to whoever answers.
pub(super) type Shared = extract::State<Arc<Site>>;

impl Site {
    /// One that nobody is in yet. Without a language, that of who asks.
    pub(crate) fn new(door: Door, entry: Entry, lang: Option<Lang>, stop: CancellationToken) -> Site {
        let grants = match entry {
            Entry::Printed { .. } => OWN,
            Entry::Reviewed { .. } => SHARED,
        };
        let attempts = Mutex::new(Attempts::new(WRONG, WRONG_OF_ALL));
        Site { door, entry, sessions: Sessions::new(grants), lang, stop, attempts }
    }

    /// What is around a page for whoever asks.
    pub(super) fn frame(
        &self,
        headers: &HeaderMap,
        known: Option<&Known<Arc<Visitor>>>,
        here: String,
    ) -> Frame {
        let lang = match door::cookie(headers, "lang") {
            Some("en") => Lang::En,
            Some("zh") => Lang::Zh,
            _ => self.lang.unwrap_or_else(|| preferred(headers)),
        };
        let theme = door::cookie(headers, "theme").and_then(Theme::of).unwrap_or_default();
        let mut frame = Frame { lang, theme, here, ..Frame::default() };
        if let Some(known) = known {
            frame.csrf.clone_from(&known.csrf);
            frame.server.clone_from(&known.guest.reader.connection.server);
            frame.who.clone_from(&known.guest.who);
        }
        frame
    }

    /// What somebody is shown who is not in.
    pub(super) fn outside(&self, frame: Frame, why: Why) -> Response {
        let status = match why {
            Why::Unasked(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        match self.entry {
            Entry::Printed { .. } => {
                let (title, text) = State::SessionExpired.said(frame.words());
                plain(status, frame, State::SessionExpired.name(), title, text.to_owned())
            }
            Entry::Reviewed { .. } => html(status, &Login::of(why, frame)),
        }
    }

    /// Attempts to get in.
    pub(super) fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The language that a browser asks for first, of those that there are.
fn preferred(headers: &HeaderMap) -> Lang {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let is_chinese = asked.is_some_and(|asked| asked.trim_start().to_ascii_lowercase().starts_with("zh"));
    if is_chinese { Lang::Zh } else { Lang::En }
}
