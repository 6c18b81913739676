//! Which request is for which page. Every answer has the same strict headers, and nobody who is not known is told anything.

use super::act;
use super::door::{self, Door, Refusal};
use super::facts::Draft;
use super::frame::{Frame, Plain, Theme};
use super::lists::{Filter, History, Nodes, Workloads};
use super::node::Node;
use super::page::Page;
use super::pod::Pod;
use super::proposal::{self, Form, field};
use super::read::Reader;
use super::state::State;
use super::{assets, feed};
use crate::args::output::Lang;
use crate::cli::told;
use askama::Template;
use axum::extract::{self, FromRequest, Path, Query, Request};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use k8s_openapi::jiff::Timestamp;
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The most streams of events at once (M10).
const STREAMS: usize = 48;
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(STREAMS)));

/// What every request is answered from.
pub(crate) struct Site {
    /// Who gets in.
    pub(crate) door: Door,
    /// Who reads.
    pub(crate) reader: Reader,
    /// The language of who chose none.
    pub(crate) lang: Lang,
    /// When all ends.
    pub(crate) stop: CancellationToken,
}

type Shared = extract::State<Arc<Site>>;

/// All pages.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let inside = Router::new()
        .route("/", get(page))
        .route("/plan", get(plan))
        .route("/update", post(update))
        .route("/act", post(press))
        .route("/workloads", get(workloads))
        .route("/pods/{namespace}/{name}", get(pod))
        .route("/nodes", get(nodes))
        .route("/node/{name}", get(node))
        .route("/history", get(history))
        .route("/events", get(events))
        .route("/look", get(look))
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), known));
    Router::new()
        .route("/login", get(login))
        .route("/assets/{name}", get(asset))
        .merge(inside)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), admitted))
        .with_state(site)
}

/// Looks at where a request is from before anything else, and gives each answer its headers.
async fn admitted(extract::State(site): Shared, request: Request, next: Next) -> Response {
    let mut response = match site.door.admits(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal),
    };
    let strict: [(HeaderName, &'static str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in strict {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, assets::POLICY.clone());
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refused(refusal: Refusal) -> Response {
    (StatusCode::FORBIDDEN, format!("{}\n", refusal.words())).into_response()
}

/// Whoever asks, as pages need it.
#[derive(Clone)]
struct Asker {
    frame: Frame,
}

/// A form, of the session that sends it. Whatever writes takes one, so that none can be taken unproved.
struct Sent {
    frame: Frame,
    form: Form,
}

impl FromRequest<Arc<Site>> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Sent, Response> {
        let frame = request.extensions().get::<Asker>().map(|asker| asker.frame.clone());
        let form = extract::Form::<Form>::from_request(request, site).await;
        let extract::Form(form) = form.map_err(IntoResponse::into_response)?;
        let is_ours = |frame: &Frame| door::is_same(field(&form, "csrf").unwrap_or_default(), &frame.csrf);
        let frame = frame.filter(is_ours).ok_or_else(|| refused(Refusal::Csrf))?;
        Ok(Sent { frame, form })
    }
}

/// Lets those pass who hold a session.
async fn known(extract::State(site): Shared, mut request: Request, next: Next) -> Response {
    let csrf = site.door.known(request.headers(), Instant::now());
    let here = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    // A page that was posted to is not one to come back to.
    let here = if request.method() == axum::http::Method::GET { here } else { "/".to_owned() };
    let frame = site.frame(request.headers(), csrf.clone().unwrap_or_default(), here);
    if csrf.is_none() {
        return expired(frame);
    }
    request.extensions_mut().insert(Asker { frame });
    next.run(request).await
}

impl Site {
    fn frame(&self, headers: &HeaderMap, csrf: String, here: String) -> Frame {
        let lang = match door::cookie(headers, "lang") {
            Some("en") => Lang::En,
            Some("zh") => Lang::Zh,
            _ => self.lang,
        };
        let theme = door::cookie(headers, "theme").and_then(Theme::of).unwrap_or_default();
        let server = if csrf.is_empty() { String::new() } else { self.reader.connection.server.clone() };
        Frame { lang, theme, csrf, here, server }
    }
}

fn expired(frame: Frame) -> Response {
    let (title, text) = State::SessionExpired.said(frame.words());
    plain(StatusCode::UNAUTHORIZED, frame, State::SessionExpired.name(), title, text.to_owned())
}

fn plain(status: StatusCode, frame: Frame, name: &'static str, title: &str, text: String) -> Response {
    html(status, &Plain { frame, name, title: title.to_owned(), text })
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        // A template fails only where what it writes into does, and that is memory.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Lets the holder of the printed token in. The answer is a page, not a redirection: a browser that came here by a link from
/// elsewhere sends a strict cookie only with what our own page asks for.
async fn login(extract::State(site): Shared, Query(form): Query<Form>, headers: HeaderMap) -> Response {
    let frame = site.frame(&headers, String::new(), "/".to_owned());
    let cookie = match site.door.enter(field(&form, "token").unwrap_or_default(), Instant::now()) {
        Ok(Some(cookie)) => cookie,
        Ok(None) => return expired(frame),
        Err(error) => {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, frame, "refused", "✗", format!("{error:#}"));
        }
    };
    let title = frame.words().welcome;
    let welcome = plain(StatusCode::OK, frame, "welcome", title, String::new());
    ([(header::SET_COOKIE, cookie), (header::REFRESH, "0; url=/".to_owned())], welcome).into_response()
}

async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = assets::find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let kept = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
    ([(header::CONTENT_TYPE, asset.kind), kept], asset.text).into_response()
}

async fn page(
    extract::State(site): Shared,
    Extension(asker): Extension<Asker>,
    Query(form): Query<Form>,
) -> Response {
    let draft = match proposal::read(&form) {
        Ok(proposal) => proposal.map_or(Draft::Clean, Draft::Dirty),
        Err(error) => return wrong(asker.frame, &error),
    };
    whole(&site, asker.frame, &draft, field(&form, "q").unwrap_or_default(), StatusCode::OK).await
}

async fn whole(site: &Site, frame: Frame, draft: &Draft, search: &str, status: StatusCode) -> Response {
    let facts = site.reader.facts(frame.lang).await;
    let mut response = html(status, &Page::of(&facts, draft, search, frame));
    if !facts.looked {
        // Without a script, too, a page that had nothing to show yet comes again by itself.
        response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("3"));
    }
    response
}

async fn plan(
    extract::State(site): Shared,
    Extension(asker): Extension<Asker>,
    Query(form): Query<Form>,
) -> Response {
    let draft = match proposal::read(&form) {
        Ok(Some(proposal)) => act::try_out(&site.reader, proposal, asker.frame.lang).await,
        Ok(None) => Draft::Clean,
        Err(error) => return wrong(asker.frame, &error),
    };
    whole(&site, asker.frame, &draft, field(&form, "q").unwrap_or_default(), StatusCode::OK).await
}

async fn update(extract::State(site): Shared, Sent { frame, form }: Sent) -> Response {
    let lang = frame.lang;
    let proposal = match proposal::read(&form) {
        Ok(Some(proposal)) => proposal,
        Ok(None) => return Redirect::to("/").into_response(),
        Err(error) => return wrong(frame, &error),
    };
    match act::update(&site.reader, proposal, lang).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(draft) => {
            let status = match &draft {
                Draft::Conflict(_) => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            whole(&site, frame, &draft, "", status).await
        }
    }
}

async fn press(extract::State(site): Shared, Sent { frame, form }: Sent) -> Response {
    match act::press(&site.reader, &form, frame.lang).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => wrong(frame, &error),
    }
}

/// What could not be done, in words.
fn wrong(frame: Frame, error: &anyhow::Error) -> Response {
    let (title, text) = (frame.words().refused_title, told(error, frame.lang));
    plain(StatusCode::UNPROCESSABLE_ENTITY, frame, "refused", title, text)
}

fn filter(form: &Form) -> Filter {
    let text = |name: &str| field(form, name).unwrap_or_default().to_owned();
    Filter {
        namespace: text("ns"),
        by: text("by"),
        text: text("q"),
        page: text("page").parse().unwrap_or_default(),
    }
}

async fn workloads(
    extract::State(site): Shared,
    Extension(asker): Extension<Asker>,
    Query(form): Query<Form>,
) -> Response {
    let facts = site.reader.facts(asker.frame.lang).await;
    html(StatusCode::OK, &Workloads::of(&facts, filter(&form), asker.frame))
}

async fn nodes(
    extract::State(site): Shared,
    Extension(asker): Extension<Asker>,
    Query(form): Query<Form>,
) -> Response {
    let reports = site.reader.reports(asker.frame.lang).await;
    html(StatusCode::OK, &Nodes::of(&reports, filter(&form), Timestamp::now(), asker.frame))
}

async fn history(extract::State(site): Shared, Extension(asker): Extension<Asker>) -> Response {
    let facts = site.reader.mesh(asker.frame.lang).await;
    let past = site.reader.past(asker.frame.lang).await;
    html(StatusCode::OK, &History::of(&facts, &past, asker.frame))
}

async fn pod(
    extract::State(site): Shared,
    Extension(asker): Extension<Asker>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    match site.reader.pod(&namespace, &name).await {
        Ok((found, under)) => html(StatusCode::OK, &Pod::of(&found, &under, asker.frame)),
        Err(error) => missing(asker.frame, &error),
    }
}

async fn node(
    extract::State(site): Shared,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
) -> Response {
    match site.reader.node(&name).await {
        Ok(found) => html(StatusCode::OK, &Node::of(&found, Timestamp::now(), asker.frame)),
        Err(error) => missing(asker.frame, &error),
    }
}

/// What could not be read of one object.
fn missing(frame: Frame, error: &anyhow::Error) -> Response {
    let (title, text) = (frame.words().s_unread, told(error, frame.lang));
    plain(StatusCode::NOT_FOUND, frame, "unread", title, text)
}

async fn nowhere(Extension(asker): Extension<Asker>) -> Response {
    let text = asker.frame.words().not_found;
    plain(StatusCode::NOT_FOUND, asker.frame, "nowhere", "404", text.to_owned())
}

async fn events(extract::State(site): Shared) -> Response {
    let Ok(place) = Arc::clone(&PLACES).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let body = feed::events(site.reader.seen.clone(), place, site.stop.clone());
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// Keeps a browser's language and colours, and goes back to where it was.
async fn look(Query(form): Query<Form>) -> Response {
    let back = field(&form, "back")
        .filter(|path| path.starts_with('/') && !path.starts_with("//") && !path.contains('\\'));
    let mut response = Redirect::to(back.unwrap_or("/")).into_response();
    let lang = field(&form, "lang").filter(|lang| matches!(*lang, "en" | "zh")).map(|lang| ("lang", lang));
    let theme = field(&form, "theme").and_then(Theme::of).map(|theme| ("theme", theme.name()));
    for (name, value) in lang.into_iter().chain(theme) {
        let cookie = format!("{name}={value}; SameSite=Strict; Path=/; Max-Age=31536000");
        response
            .headers_mut()
            .append(header::SET_COOKIE, HeaderValue::try_from(cookie).expect("words of ours"));
    }
    response
}
