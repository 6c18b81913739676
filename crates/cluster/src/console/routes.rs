//! Which request is for which page. Who passes is decided in `gate`, before anything here runs.

mod pod;

use super::act;
use super::answer::{back, html, plain};
use super::facts::Draft;
use super::frame::{Frame, Theme};
use super::gate::{Asker, Sent, admitted, known, logout};
use super::lists::{Filter, History, Nodes, Workloads};
use super::node::{Around, Node};
use super::page::Page;
use super::proposal::{self, Form, field};
use super::site::Site;
use super::{assets, entry, feed};
use crate::cli::told;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use k8s_openapi::jiff::Timestamp;
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// The most streams of events at once (M10).
const STREAMS: usize = 48;
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(STREAMS)));

/// All pages.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let inside = Router::new()
        .route("/", get(page))
        .route("/plan", get(plan))
        .route("/update", post(update))
        .route("/act", post(press))
        .route("/workloads", get(workloads))
        .route("/pods/{namespace}/{name}", get(pod::show))
        .route("/pods/{namespace}/{name}/probe", post(pod::probe))
        .route("/nodes", get(nodes))
        .route("/node/{name}", get(node))
        .route("/history", get(history))
        .route("/events", get(events))
        .route("/logout", post(logout))
        .fallback(nowhere)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), known));
    Router::new()
        .route("/login", get(entry::ask).post(entry::login))
        .route("/look", get(look))
        .route("/assets/{name}", get(asset))
        .merge(inside)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), admitted))
        .with_state(site)
}

async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = assets::find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let kept = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
    ([(header::CONTENT_TYPE, asset.kind), kept], asset.text).into_response()
}

async fn page(Extension(asker): Extension<Asker>, Query(form): Query<Form>) -> Response {
    let draft = match proposal::read(&form) {
        Ok(proposal) => proposal.map_or(Draft::Clean, Draft::Dirty),
        Err(error) => return wrong(asker.frame, &error),
    };
    whole(asker, &draft, field(&form, "q").unwrap_or_default(), StatusCode::OK).await
}

async fn whole(asker: Asker, draft: &Draft, search: &str, status: StatusCode) -> Response {
    let facts = asker.reader().facts(asker.frame.lang).await;
    let mut response = html(status, &Page::of(&facts, draft, search, asker.frame));
    if !facts.looked {
        // Without a script, too, a page that had nothing to show yet comes again by itself.
        response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("3"));
    }
    response
}

async fn plan(Extension(asker): Extension<Asker>, Query(form): Query<Form>) -> Response {
    let draft = match proposal::read(&form) {
        Ok(Some(proposal)) => act::try_out(asker.reader(), proposal, asker.frame.lang).await,
        Ok(None) => Draft::Clean,
        Err(error) => return wrong(asker.frame, &error),
    };
    whole(asker, &draft, field(&form, "q").unwrap_or_default(), StatusCode::OK).await
}

async fn update(Sent { asker, form }: Sent) -> Response {
    let lang = asker.frame.lang;
    let proposal = match proposal::read(&form) {
        Ok(Some(proposal)) => proposal,
        Ok(None) => return Redirect::to("/").into_response(),
        Err(error) => return wrong(asker.frame, &error),
    };
    match act::update(asker.reader(), proposal, lang).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(draft) => {
            let status = match &draft {
                Draft::Conflict(_) => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            whole(asker, &draft, "", status).await
        }
    }
}

async fn press(Sent { asker, form }: Sent) -> Response {
    match act::press(asker.reader(), &form, asker.frame.lang).await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => wrong(asker.frame, &error),
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
        node: text("node"),
        by: text("by"),
        text: text("q"),
        page: text("page").parse().unwrap_or_default(),
    }
}

async fn workloads(Extension(asker): Extension<Asker>, Query(form): Query<Form>) -> Response {
    let facts = asker.reader().facts(asker.frame.lang).await;
    html(StatusCode::OK, &Workloads::of(&facts, filter(&form), asker.frame))
}

async fn nodes(Extension(asker): Extension<Asker>, Query(form): Query<Form>) -> Response {
    let reports = asker.reader().reports(asker.frame.lang).await;
    html(StatusCode::OK, &Nodes::of(&reports, filter(&form), Timestamp::now(), asker.frame))
}

async fn history(Extension(asker): Extension<Asker>) -> Response {
    let facts = asker.reader().mesh(asker.frame.lang).await;
    let past = asker.reader().past(asker.frame.lang).await;
    html(StatusCode::OK, &History::of(&facts, &past, asker.frame))
}

async fn node(Extension(asker): Extension<Asker>, Path(name): Path<String>) -> Response {
    let (reader, lang) = (asker.reader(), asker.frame.lang);
    let (found, facts, past) = tokio::join!(reader.node(&name), reader.mesh(lang), reader.past(lang));
    let around = Around::of(&name, &facts, &past);
    match found {
        Ok(found) => html(StatusCode::OK, &Node::of(Some(&found), around, facts.now, asker.frame)),
        // Of one that never reported, the controller may know why.
        Err(_) if around.is_known() => html(StatusCode::OK, &Node::of(None, around, facts.now, asker.frame)),
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

async fn events(Extension(asker): Extension<Asker>) -> Response {
    let visitor = asker.visitor;
    let (of_all, of_one) = (&PLACES, &visitor.streams);
    let places = [of_one, of_all].map(|places| Arc::clone(places).try_acquire_owned());
    let [Ok(one), Ok(another)] = places else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let body = feed::events(visitor.reader.seen.clone(), (one, another), visitor.end.clone());
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// Keeps a browser's language and colours, and goes back to where it was.
async fn look(Query(form): Query<Form>) -> Response {
    let mut response = back(&form).into_response();
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
