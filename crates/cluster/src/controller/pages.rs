//! What a controller answers about itself: `/livez`, `/readyz` and `/metrics`.
//!
//! It repeats what the tasks say, and looks at nothing itself. A standby is ready: it is ready to act. One that
//! was told to go is not, though it answers yet.

use super::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// What a controller says of itself. A clone is about the same one.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    does: Arc<Mutex<Option<&'static str>>>,
    /// Cancelled when it is about to go.
    leaving: CancellationToken,
}

/// The kind of text that metrics are.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Health {
    /// Of one that is starting.
    pub(crate) fn new(leaving: CancellationToken) -> Health {
        Health { does: Arc::default(), leaving }
    }

    /// It is ready, and does this.
    pub(crate) fn ready(&self, does: &'static str) {
        *self.does.lock().unwrap_or_else(PoisonError::into_inner) = Some(does);
    }

    fn does(&self) -> Option<&'static str> {
        *self.does.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The three pages.
pub(crate) fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        // That it answers shows that its one thread goes on.
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(|State((health, _)): State<(Health, Metrics)>| async move { readyz(&health) }))
        .route(
            "/metrics",
            get(|State((_, metrics)): State<(Health, Metrics)>| async move { written(&metrics) }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n") })
        .with_state((health, metrics))
}

fn readyz(health: &Health) -> Response {
    if health.leaving.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready: about to go\n").into_response();
    }
    match health.does() {
        Some(does) => format!("ready: {does}\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting\n").into_response(),
    }
}

fn written(metrics: &Metrics) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics.write()).into_response()
}
