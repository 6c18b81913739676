//! Who passes: what every request goes through before its page, and how one gets a session.
//!
//! Nobody who is not known is told anything, and whatever writes has proved that it is of its session.

use super::answer::{later, plain, strict};
use super::door::{self, Door, Refusal};
use super::frame::{Frame, Theme};
use super::limits::{Attempts, Rate};
use super::proposal::{Form, field};
use super::read::Reader;
use super::secret::is_same;
use super::sessions::{Entering, Grants, Known, Sessions};
use super::state::State;
use super::visitor::Visitor;
use crate::args::output::Lang;
use axum::extract::{self, FromRequest, Query, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);
/// Sessions of one person's browsers, on his own machine.
const GRANTS: Grants = Grants {
    most: 16,
    of_one: 16,
    idle: LASTS,
    requests: Rate { burst: 240, every: Duration::from_millis(50) },
};
/// Wrong tokens: of one peer, and of all.
const WRONG: (Rate, Rate) =
    (Rate { burst: 5, every: Duration::from_secs(10) }, Rate { burst: 30, every: Duration::from_secs(2) });

/// What every request is answered from.
pub(crate) struct Site {
    /// By which names it is asked for.
    pub(crate) door: Door,
    /// How one gets in.
    pub(crate) entry: Entry,
    /// Who is in.
    pub(crate) sessions: Sessions<Arc<Visitor>>,
    /// The language of who chose none.
    pub(crate) lang: Lang,
    /// When all ends.
    pub(crate) stop: CancellationToken,
    attempts: Mutex<Attempts>,
}

/// How one gets in.
pub(crate) enum Entry {
    /// By the printed token: all who hold it look by the same rights.
    Printed { token: String, reader: Arc<Reader> },
}

pub(super) type Shared = extract::State<Arc<Site>>;

/// Whoever asks, as pages need it.
#[derive(Clone)]
pub(super) struct Asker {
    /// What is around his page.
    pub(super) frame: Frame,
    /// Who he is.
    pub(super) visitor: Arc<Visitor>,
    session: String,
}

impl Asker {
    /// By whose rights pages are read.
    pub(super) fn reader(&self) -> &Reader {
        &self.visitor.reader
    }
}

/// A form, of the session that sends it. Whatever writes takes one, so that none can be taken unproved.
pub(super) struct Sent {
    /// Who sends it.
    pub(super) asker: Asker,
    /// What is in it.
    pub(super) form: Form,
}

impl FromRequest<Arc<Site>> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Sent, Response> {
        let asker = request.extensions().get::<Asker>().cloned();
        let form = extract::Form::<Form>::from_request(request, site).await;
        let extract::Form(form) = form.map_err(IntoResponse::into_response)?;
        let is_ours = |asker: &Asker| is_same(field(&form, "csrf").unwrap_or_default(), &asker.frame.csrf);
        let asker = asker.filter(is_ours).ok_or_else(|| refused(Refusal::Csrf))?;
        Ok(Sent { asker, form })
    }
}

impl Site {
    /// One that nobody is in yet.
    pub(crate) fn new(door: Door, entry: Entry, lang: Lang, stop: CancellationToken) -> Site {
        let attempts = Mutex::new(Attempts::new(WRONG.0, WRONG.1));
        Site { door, entry, sessions: Sessions::new(GRANTS), lang, stop, attempts }
    }

    fn frame(&self, headers: &HeaderMap, known: Option<&Known<Arc<Visitor>>>, here: String) -> Frame {
        let lang = match door::cookie(headers, "lang") {
            Some("en") => Lang::En,
            Some("zh") => Lang::Zh,
            _ => self.lang,
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
}

/// Looks at where a request is from before anything else, and gives each answer its headers.
pub(super) async fn admitted(extract::State(site): Shared, request: Request, next: Next) -> Response {
    strict(match site.door.admits(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    })
}

fn refused(refusal: Refusal) -> Response {
    (StatusCode::FORBIDDEN, format!("{}\n", refusal.words())).into_response()
}

/// Lets those pass who hold a session, and have not asked for too much.
pub(super) async fn known(extract::State(site): Shared, mut request: Request, next: Next) -> Response {
    let now = Instant::now();
    let known = site.door.shown(request.headers()).and_then(|id| site.sessions.of(id, now));
    let here = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // A page that was posted to is not one to come back to.
    let here = if request.method() == Method::GET { here } else { "/".to_owned() };
    let frame = site.frame(request.headers(), known.as_ref(), here);
    let Some(Known { id, guest, .. }) = known else { return expired(frame) };
    // A stream comes again by itself, whether or not somebody is there.
    let by_hand = request.uri().path() != "/events";
    if let Err(wait) = site.sessions.ask(&id, by_hand, now) {
        return later(frame, wait);
    }
    request.extensions_mut().insert(Asker { frame, visitor: guest, session: id });
    next.run(request).await
}

fn expired(frame: Frame) -> Response {
    let (title, text) = State::SessionExpired.said(frame.words());
    plain(StatusCode::UNAUTHORIZED, frame, State::SessionExpired.name(), title, text.to_owned())
}

/// Lets the holder of the printed token in. The answer is a page, not a redirection: a browser that came here by a link from
/// elsewhere sends a strict cookie only with what our own page asks for.
pub(super) async fn login(
    extract::State(site): Shared,
    Query(form): Query<Form>,
    headers: HeaderMap,
) -> Response {
    let now = Instant::now();
    let frame = site.frame(&headers, None, "/".to_owned());
    let Entry::Printed { token, reader } = &site.entry;
    if !is_same(field(&form, "token").unwrap_or_default(), token) {
        let tried = site.attempts.lock().unwrap_or_else(PoisonError::into_inner).begin(None, now);
        return tried.map_or_else(|wait| later(frame.clone(), wait), |()| expired(frame.clone()));
    }
    let end = site.stop.child_token();
    let guest = Arc::new(Visitor::new(Arc::clone(reader), String::new(), end.clone()));
    let entering = Entering { whose: String::new(), until: now + LASTS, end, guest };
    let known = match site.sessions.enter(entering, now) {
        Ok(known) => known,
        Err(error) => {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, frame, "refused", "✗", format!("{error:#}"));
        }
    };
    let title = frame.words().welcome;
    let welcome = plain(StatusCode::OK, frame, "welcome", title, String::new());
    let cookie = site.door.set(&headers, &known.id, LASTS);
    ([(header::SET_COOKIE, cookie), (header::REFRESH, "0; url=/".to_owned())], welcome).into_response()
}

/// Ends a session.
pub(super) async fn logout(extract::State(site): Shared, headers: HeaderMap, sent: Sent) -> Response {
    site.sessions.end(&sent.asker.session);
    let cookie = site.door.set(&headers, "", Duration::ZERO);
    let mut response = Redirect::to("/").into_response();
    response.headers_mut().insert(header::SET_COOKIE, HeaderValue::try_from(cookie).expect("words of ours"));
    response
}
