//! How answers are made of pages: markup with its headers. Every answer has the same strict ones.

use super::assets;
use super::frame::{Frame, Plain};
use super::proposal::{Form, field};
use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use std::time::Duration;

/// Gives an answer the headers of all.
pub(super) fn strict(mut response: Response) -> Response {
    let strict: [(HeaderName, &'static str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Under `no-referrer` browsers post our own forms with the origin `null`, as strangers do.
        (header::REFERRER_POLICY, "same-origin"),
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

/// A page.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        // A template fails only where what it writes into does, and that is memory.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// A page that says one thing.
pub(super) fn plain(
    status: StatusCode,
    frame: Frame,
    name: &'static str,
    title: &str,
    text: String,
) -> Response {
    html(status, &Plain { frame, name, title: title.to_owned(), text })
}

/// Back to where a form says that one came from, if that is a page of ours.
pub(super) fn back(form: &Form) -> Redirect {
    let ours = |path: &&str| path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    Redirect::to(field(form, "back").filter(ours).unwrap_or("/"))
}

/// Who asked for too much is told when he may again.
pub(super) fn later(frame: Frame, wait: Duration) -> Response {
    let words = frame.words();
    // A part of a second is one: who comes too early waits again.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let text = format!("{} {seconds} s.", words.m_later);
    let page = plain(StatusCode::TOO_MANY_REQUESTS, frame, "later", words.s_later, text);
    ([(header::RETRY_AFTER, seconds.to_string())], page).into_response()
}
