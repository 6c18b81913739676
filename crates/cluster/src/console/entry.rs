//! How one gets in: by the token that `millrace console` printed, or by a token of the cluster, which the API server is asked about.
//!
//! What is wrong counts, by whoever it is; nobody who is in is put out by it. Tokens come in bodies and headers, never in an address,
//! but for the printed one, which is of this process alone.

use super::answer::{back, later, plain};
use super::door::Door;
use super::frame::Frame;
use super::login::Why;
use super::proposal::{Form, field};
use super::review::{Reviewer, Token};
use super::secret::is_same;
use super::sessions::{Entering, Known};
use super::site::{Entry, LASTS, Shared, Site};
use super::visitor::Visitor;
use crate::cli::told;
use crate::http::Peer;
use axum::Extension;
use axum::extract::{self, Query};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why somebody does not get in.
pub(super) enum Denied {
    /// Too many were wrong.
    Later(Duration),
    /// It is nobody's token.
    Wrong,
    /// It could not be asked.
    Unasked(anyhow::Error),
}

impl Denied {
    /// What he is shown.
    pub(super) fn shown(self, site: &Site, frame: Frame) -> Response {
        match self {
            Denied::Later(wait) => later(frame, wait),
            Denied::Wrong => site.outside(frame, Why::Wrong),
            Denied::Unasked(error) => {
                let text = told(&error, frame.lang);
                site.outside(frame, Why::Unasked(text))
            }
        }
    }
}

/// Asks who somebody is, or lets the holder of the printed token in.
pub(super) async fn ask(
    extract::State(site): Shared,
    Query(form): Query<Form>,
    headers: HeaderMap,
) -> Response {
    let frame = site.frame(&headers, None, "/".to_owned());
    let Entry::Printed { token, reader } = &site.entry else { return site.outside(frame, Why::New) };
    let now = Instant::now();
    if !is_same(field(&form, "token").unwrap_or_default(), token) {
        let tried = site.attempts().begin(None, now);
        return match tried {
            Ok(()) => site.outside(frame, Why::Wrong),
            Err(wait) => later(frame, wait),
        };
    }
    let end = site.stop.child_token();
    let guest = Arc::new(Visitor::sharing(Arc::clone(reader), end.clone()));
    let entering = Entering { whose: String::new(), until: now + LASTS, end, guest };
    let known = match site.sessions.enter(entering, now) {
        Ok(known) => known,
        Err(error) => {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, frame, "refused", "✗", format!("{error:#}"));
        }
    };
    // The answer is a page, not a redirection: a browser that came here by a link from elsewhere sends a strict cookie only with
    // what our own page asks for.
    let title = frame.words().welcome;
    let mut welcome = plain(StatusCode::OK, frame, "welcome", title, String::new());
    welcome.headers_mut().insert(header::REFRESH, HeaderValue::from_static("0; url=/"));
    keeping(welcome, &site.door, &headers, &known.id, LASTS)
}

/// Lets the holder of a token of the cluster in.
pub(super) async fn login(
    extract::State(site): Shared,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    extract::Form(form): extract::Form<Form>,
) -> Response {
    let frame = site.frame(&headers, None, field(&form, "back").unwrap_or("/").to_owned());
    let Entry::Reviewed { reviewer, home } = &site.entry else { return site.outside(frame, Why::New) };
    let now = Instant::now();
    let shown = Token::shown(field(&form, "token").unwrap_or_default());
    match enter(&site, reviewer, home, shown, peer, now).await {
        Ok(known) => {
            // Whoever was in before by this browser is not any more.
            site.door.shown(&headers).into_iter().for_each(|old| site.sessions.end(old));
            keeping(back(&form).into_response(), &site.door, &headers, &known.id, LASTS)
        }
        Err(denied) => denied.shown(&site, frame),
    }
}

/// Begins the session of whoever has that token, if the API server knows him.
pub(super) async fn enter(
    site: &Site,
    reviewer: &Reviewer,
    home: &str,
    shown: Option<Token>,
    peer: Option<std::net::IpAddr>,
    now: Instant,
) -> Result<Known<Arc<Visitor>>, Denied> {
    site.attempts().begin(peer, now).map_err(Denied::Later)?;
    let wrong = || {
        tracing::info!(?peer, "a token was shown that is not known");
        Denied::Wrong
    };
    let token = shown.ok_or_else(wrong)?;
    let reviewed = reviewer.review(&token).await.map_err(|error| Denied::Unasked(error.into()));
    // What could not be asked was no attempt.
    if !matches!(reviewed, Ok(None)) {
        site.attempts().succeeded(peer, now);
    }
    let who = reviewed?.ok_or_else(wrong)?;
    let unix = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let until = now + token.lasts(unix).unwrap_or(LASTS).min(LASTS);
    let end = site.stop.child_token();
    let guest = Visitor::by_token(reviewer, token, who.clone(), home, end.clone(), now);
    let guest = Arc::new(guest.map_err(|error| Denied::Unasked(error.into()))?);
    tracing::info!(who, ?peer, "logged in");
    let entering = Entering { whose: who, until, end, guest };
    site.sessions.enter(entering, now).map_err(Denied::Unasked)
}

/// An answer with a cookie that keeps a session; for no time, one that forgets it.
pub(super) fn keeping(
    mut answer: Response,
    door: &Door,
    headers: &HeaderMap,
    id: &str,
    lasts: Duration,
) -> Response {
    let cookie =
        HeaderValue::try_from(door.set(headers, id, lasts)).expect("words of ours, and a host's port");
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    answer
}
