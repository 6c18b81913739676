//! The server's HTTP: which request is for what, and how answers and refusals look on the wire.
//!
//! Everything is answered to everybody who can connect: who may is decided by the address that is listened on.

mod body;
mod objects;
mod parts;
mod query;
mod request;
mod reviews;

use super::path::{self, Target};
use super::refusal::Refusal;
use super::registry::Registry;
use super::server::{Answer, Server, Written};
use super::{discovery, openapi};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, WARNING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use query::Query;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What every request is answered from.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    server: Arc<Server>,
    watches: Arc<Semaphore>,
}

/// All that is served.
pub(crate) fn router(server: Arc<Server>) -> Router {
    let watches = Arc::new(Semaphore::new(server.limits.watches));
    Router::new().fallback(answer).with_state(Shared { server, watches })
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let response = match path::read(parts.uri.path()) {
        Target::Objects(target) => objects::answer(&shared, target, &parts, body).await,
        target => document(&shared.server.registry(), &target, &parts),
    };
    response.unwrap_or_else(|refusal| refused(&refusal))
}

/// What is read and belongs to no kind.
fn document(registry: &Registry, target: &Target, parts: &Parts) -> Result<Response, Refusal> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(not_allowed());
    }
    let found = match target {
        Target::Core => Some(discovery::core()),
        Target::Groups => Some(discovery::groups(registry)),
        Target::Group(name) => discovery::group(registry, name),
        Target::Resources(group, version) => discovery::resources(registry, group, version),
        Target::Other(path) => return other(registry, path, accept(&parts.headers)),
        Target::Objects(_) => None,
    };
    found.map(|found| json(StatusCode::OK, found.to_string().into_bytes())).ok_or_else(Refusal::nowhere)
}

fn other(registry: &Registry, path: &str, accept: &str) -> Result<Response, Refusal> {
    let text = |value: Value| json(StatusCode::OK, value.to_string().into_bytes());
    Ok(match path.trim_end_matches('/') {
        "/version" => text(discovery::version()),
        "/healthz" | "/livez" | "/readyz" => plain("text/plain", b"ok".to_vec()),
        "/openapi/v2" if accept.contains("protobuf") => {
            // The name with an @ that kubectl asks by is none that Go reads.
            plain("application/com.github.proto-openapi.spec.v2.v1.0+protobuf", openapi::protobuf(registry))
        }
        "/openapi/v2" => text(openapi::second(registry)),
        "/openapi/v3" => text(openapi::index(registry)),
        path => {
            let document = path.strip_prefix("/openapi/v3/").and_then(|path| openapi::third(registry, path));
            text(document.ok_or_else(Refusal::nowhere)?)
        }
    })
}

fn accept(headers: &HeaderMap) -> &str {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default()
}

fn not_allowed() -> Refusal {
    Refusal::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

fn plain(content: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

fn json(status: StatusCode, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, refusal.status().to_string());
    if refusal.code == 429 {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    response
}

/// Adds what a client should know although its request succeeded.
fn warned(mut response: Response, warnings: &[String]) -> Response {
    for warning in warnings {
        let words: String =
            warning.chars().filter(|letter| letter.is_ascii() && !letter.is_control()).collect();
        let words = words.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{words}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// A body that is not longer than it may be, as JSON; nothing where it is empty.
async fn read(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    let limit = shared.server.limits.body;
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|_| {
        let words = format!("Request entity too large: limit is {limit}");
        Refusal::new(413, "RequestEntityTooLarge", words)
    })?;
    let content = headers.get(CONTENT_TYPE).and_then(|content| content.to_str().ok()).unwrap_or_default();
    if content.contains("protobuf") {
        return body::read(&bytes).map_err(|cause| {
            let words = format!(
                "the body of the request was in an unknown format ({cause}) - accepted media types include: \
                 application/json, application/yaml; with kubectl, write a manifest and use -f"
            );
            Refusal::new(415, "UnsupportedMediaType", words)
        });
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    match serde_json::from_slice(&bytes) {
        Err(_) if content.contains("yaml") => serde_saphyr::from_slice(&bytes)
            .map_err(|cause| Refusal::bad_request(format!("the body is neither JSON nor YAML: {cause}"))),
        read => read.map_err(|cause| Refusal::bad_request(format!("the body is no JSON: {cause}"))),
    }
}
