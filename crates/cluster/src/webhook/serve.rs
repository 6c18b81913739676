//! The webhook's server: admission reviews over TLS, each answered from the wishes of that moment.
//!
//! It keeps nothing and asks nobody, so that a dry run is like any other, and any number of replicas may serve.

use super::metrics::Metrics;
use super::review::{self, Error};
use super::spec;
use super::tls::TlsListener;
use super::wishes::Wishes;
use crate::http::{self, Limits};
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

/// Where reviews of pods are posted to.
pub(crate) const PATH: &str = "/inject";
/// Where reviews of the MeshCNI are.
pub(crate) const CHECK: &str = "/check";

/// A pod is at most what etcd takes, 1.5 MiB, and a review of a change holds two. An API server closes a silent connection
/// after 90 s; were it closed here first, the review on its way would be lost.
pub(crate) const LIMITS: Limits = Limits {
    connections: 128,
    head: 16 << 10,
    body: 3 << 20,
    patience: Duration::from_secs(120),
    request: Duration::from_secs(5),
    life: Duration::from_secs(3_600),
    // As long as a request may take.
    farewell: Duration::from_secs(5),
};

/// What the answers depend on.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    /// What the operator wishes now.
    pub(crate) wishes: watch::Receiver<Wishes>,
    /// Until when that is known; for ever, if nothing. By then it is heard anew, or no pod is converted.
    pub(crate) known: watch::Receiver<Option<Instant>>,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Cancelled when this server is about to go: whoever asks is told to make another connection the next time.
    pub(crate) leaving: CancellationToken,
}

impl Admission {
    /// By wishes that are always known, of a server that nobody is taken elsewhere from.
    pub(crate) fn plain(wishes: watch::Receiver<Wishes>, metrics: Metrics) -> Admission {
        let (known, leaving) = (watch::Sender::new(None).subscribe(), CancellationToken::new());
        Admission { wishes, known, metrics, leaving }
    }

    /// What is wished, as far as that is known now.
    fn wishes(&self) -> Wishes {
        let wishes = self.wishes.borrow().clone();
        let known = self.known.borrow().is_none_or(|until| Instant::now() < until);
        Wishes { serving: wishes.serving && known, ..wishes }
    }
}

/// Serves until `stop`, with whatever certificate `served` holds when a connection begins.
pub(crate) async fn serve(
    listener: TcpListener,
    served: watch::Receiver<Arc<CertifiedKey>>,
    admission: Admission,
    limits: Limits,
    stop: CancellationToken,
) {
    let leaving = admission.leaving.clone();
    let router = Router::new().route(PATH, post(inject)).route(CHECK, post(check)).with_state(admission);
    let router =
        router.layer(from_fn(move |request, next| last_of_its_connection(leaving.clone(), request, next)));
    http::serve(TlsListener::new(listener, served), router, limits, stop).await;
}

async fn inject(State(admission): State<Admission>, body: Bytes) -> Response {
    let start = Instant::now();
    let answer = review::answer(&body, &admission.wishes());
    match answer {
        Ok((answer, outcome)) => {
            admission.metrics.admitted(outcome, start.elapsed());
            Json(answer).into_response()
        }
        Err(error) => malformed(&admission, &error),
    }
}

async fn check(State(admission): State<Admission>, body: Bytes) -> Response {
    match spec::answer(&body) {
        Ok((answer, verdict)) => {
            admission.metrics.judged(verdict);
            Json(answer).into_response()
        }
        Err(error) => malformed(&admission, &error),
    }
}

/// A connection that is kept open would be used until it is closed, and what is on its way then is lost.
async fn last_of_its_connection(leaving: CancellationToken, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if leaving.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Anybody may post anything here: it is counted, and told to whoever did.
fn malformed(admission: &Admission, error: &Error) -> Response {
    admission.metrics.refused();
    tracing::debug!("{error}");
    (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
}
