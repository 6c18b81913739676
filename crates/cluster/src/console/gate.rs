//! Who passes: what every request goes through before its page.
//!
//! Nobody who is not known is told anything, and whatever writes has proved that it is of its session.

use super::answer::{later, plain, strict};
use super::door::Refusal;
use super::entry::{self, Denied, keeping};
use super::frame::Frame;
use super::login::Why;
use super::proposal::{Form, field};
use super::read::Reader;
use super::review::Token;
use super::secret::is_same;
use super::sessions::Known;
use super::site::{Entry, Shared, Site};
use super::visitor::Visitor;
use crate::http::Peer;
use axum::extract::{self, FromRequest, Request};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What pages begin with that are not made of the MeshCNI: who may not read that may read pods or nodes.
const ELSE: [&str; 2] = ["/pods/", "/node"];

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

/// Lets those pass who are known, and have not asked for too much.
pub(super) async fn known(extract::State(site): Shared, mut request: Request, next: Next) -> Response {
    let now = Instant::now();
    let here = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // A page that was posted to is not one to come back to.
    let here = if request.method() == Method::GET { here } else { "/".to_owned() };
    let headers = request.headers().clone();
    let headers = &headers;
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let known = match of(&site, headers, peer, now).await {
        Ok(Some(known)) => known,
        Ok(None) => {
            let why = if site.door.shown(headers).is_some() { Why::Expired } else { Why::New };
            return site.outside(site.frame(headers, None, here), why);
        }
        Err(denied) => return denied.shown(&site, site.frame(headers, None, here)),
    };
    let frame = site.frame(headers, Some(&known), here);
    // A stream comes again by itself, whether or not somebody is there.
    let by_hand = request.uri().path() != "/events";
    let is_of_mesh = !ELSE.iter().any(|begin| request.uri().path().starts_with(begin));
    if let Err(wait) = site.sessions.ask(&known.id, by_hand, now) {
        return later(frame, wait);
    }
    let (session, visitor) = (known.id.clone(), Arc::clone(&known.guest));
    let outside = Frame { csrf: String::new(), server: String::new(), who: String::new(), ..frame.clone() };
    if !is_still_known(&site, &known, now).await {
        return site.outside(outside, Why::Expired);
    }
    let barred = frame.clone();
    request.extensions_mut().insert(Asker { frame, visitor, session });
    let answer = next.run(request).await;
    // The API server may have said just now that it does not know him any more.
    if !is_still_known(&site, &known, now).await {
        return site.outside(outside, Why::Expired);
    }
    match known.guest.reader.barred() {
        Some(error) if is_of_mesh && answer.status() != StatusCode::SEE_OTHER => {
            let text = format!("{} {}", barred.words().m_barred, error.say(barred.lang));
            let title = barred.words().s_barred;
            plain(StatusCode::FORBIDDEN, barred, "barred", title, text)
        }
        _ => answer,
    }
}

/// Whose session a request is of. A proxy that shows a token with each request says by it alone who asks: a cookie may be of
/// somebody who was there before.
async fn of(
    site: &Site,
    headers: &HeaderMap,
    Peer(peer): Peer,
    now: Instant,
) -> Result<Option<Known<Arc<Visitor>>>, Denied> {
    if let Entry::Reviewed { reviewer, home } = &site.entry
        && let Some(shown) = bearer(headers)
    {
        let token = Token::shown(shown);
        let digest = token.as_ref().map(Token::digest);
        let showed = |guest: &Arc<Visitor>| digest.is_some_and(|digest| guest.showed(digest));
        if let Some(known) = site.sessions.whose(showed, now) {
            return Ok(Some(known));
        }
        return entry::enter(site, reviewer, home, token, peer, now).await.map(Some);
    }
    Ok(site.door.shown(headers).and_then(|id| site.sessions.of(id, now)))
}

/// The token of a header, if there is one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (kind, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then_some(token)
}

/// Whether whoever is in a session is still known to the API server, which is asked now and then; if not, the session ends. What
/// could not be asked is asked again later: until then the API server itself decides about each request.
async fn is_still_known(site: &Site, known: &Known<Arc<Visitor>>, now: Instant) -> bool {
    let Entry::Reviewed { reviewer, .. } = &site.entry else { return true };
    let Some(token) = known.guest.to_review(now) else { return true };
    let still = match reviewer.review(token).await {
        Ok(who) => who.is_some_and(|who| who == known.guest.who),
        Err(error) => {
            tracing::warn!(who = known.guest.who, "{error}");
            true
        }
    };
    if !still {
        tracing::info!(who = known.guest.who, "the token is not known any more; the session ends");
        site.sessions.end(&known.id);
    }
    still
}

/// Ends a session.
pub(super) async fn logout(extract::State(site): Shared, headers: HeaderMap, sent: Sent) -> Response {
    site.sessions.end(&sent.asker.session);
    let who = &sent.asker.visitor.who;
    tracing::info!(who, "logged out");
    keeping(Redirect::to("/").into_response(), &site.door, &headers, "", Duration::ZERO)
}
