//! The webhook's server, asked over TLS as an API server asks it: answers, refusals, and certificates that change under it.

use super::certs::{Certs, Step, make};
use super::metrics::Metrics;
use super::serve::{Admission, LIMITS, serve};
use super::tls::TlsListener;
use super::wishes::{Mode, Wishes};
use crate::http::{self, Limits};
use axum::Router;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
/// When the tests' certificates are made: a real client's clock decides whether they are good.
pub(super) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

pub(super) fn names() -> Vec<String> {
    vec!["127.0.0.1".to_owned()]
}

/// A server on a thread of its own; gone when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) wishes: watch::Sender<Wishes>,
    served: watch::Sender<Arc<CertifiedKey>>,
    pub(super) metrics: Metrics,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(certs: &Certs, limits: Limits) -> Server {
        Server::of(certs, limits, None)
    }

    /// The same, or another webhook in its place.
    pub(super) fn of(certs: &Certs, limits: Limits, other: Option<Router>) -> Server {
        let wishes = watch::Sender::new(Wishes::default());
        let served = watch::Sender::new(make::served(certs).expect("it can be served"));
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        let admission = Admission::plain(wishes.subscribe(), metrics.clone());
        let (certificate, token) = (served.subscribe(), stop.clone());
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            run(async {
                let listener = http::bind("--listen", (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
                tell.send(listener.local_addr().expect("it is bound")).expect("the test waits for it");
                match other {
                    Some(router) => {
                        http::serve(TlsListener::new(listener, certificate), router, limits, token).await;
                    }
                    None => serve(listener, certificate, admission, limits, token).await,
                }
            });
        });
        let address = told.recv_timeout(PATIENCE).expect("the server listens");
        Server { address, wishes, served, metrics, stop, thread: Some(thread) }
    }

    pub(super) fn serve(&self, certs: &Certs) {
        self.served.send_replace(make::served(certs).expect("it can be served"));
    }

    /// A connection of a client that trusts this bundle.
    async fn connect(&self, bundle: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server's thread panicked");
    }
}

pub(super) fn run<F: Future<Output = ()>>(act: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(act);
}

pub(super) fn certs() -> Certs {
    make::carry_out(Step::Start, None, &names(), now()).expect("certificates")
}

fn review() -> Value {
    let containers = json!([{ "name": "app" }, { "name": "istio-proxy" }]);
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "7", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": "CREATE", "namespace": "shop",
        "object": { "metadata": { "annotations": { "sidecar.istio.io/status": "{}" } }, "spec": { "containers": containers } } } })
}

fn request(line: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status and the body of one answer; the connection stays.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> (String, String) {
    let exchange = async {
        // A refusal may come before all is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&heard).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                if body.len() >= length.unwrap_or(0) {
                    return (head.lines().next().unwrap_or_default().to_owned(), body.to_owned());
                }
            }
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => heard.extend(&buffer[..count]),
                _ => return (String::new(), String::from_utf8_lossy(&heard).into_owned()),
            }
        }
    };
    timeout(PATIENCE, exchange).await.expect("an answer within the deadline")
}

fn allowed_with_patch(body: &str) -> bool {
    let answer: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(
        (&answer["response"]["uid"], &answer["response"]["allowed"]),
        (&json!("7"), &json!(true)),
        "{body}"
    );
    answer["response"]["patchType"] == "JSONPatch"
}

fn check(line: &str, body: &str, status: &str, says: &str) {
    let certs = certs();
    let server = Server::start(&certs, LIMITS);
    run(async {
        let mut stream = server.connect(&certs.bundle()).await.expect("it is trusted");
        let (first, answer) = ask(&mut stream, &request(line, body)).await;
        assert_eq!(first, format!("HTTP/1.1 {status}"), "{line}: {answer}");
        assert!(answer.contains(says), "{line}: {answer}");
    });
}

#[test]
fn what_is_asked_is_answered_and_what_is_not_is_told_so() {
    check("POST /inject", &review().to_string(), "200 OK", "\"allowed\":true");
    check("POST /inject", "{", "400 Bad Request", "read the admission review: ");
    check("POST /inject", "{}", "400 Bad Request", "admissionReviewVersions");
    check("GET /inject", "", "405 Method Not Allowed", "");
    check("POST /", "", "404 Not Found", "");
    check("POST /inject", &" ".repeat(LIMITS.body + 1), "413 Payload Too Large", "");
}

#[test]
fn who_does_not_speak_tls_harms_nobody() {
    let certs = certs();
    let limits = Limits { patience: Duration::from_millis(200), ..LIMITS };
    let server = Server::start(&certs, limits);
    run(async {
        let mut plain = TcpStream::connect(server.address).await.expect("a connection");
        plain.write_all(b"POST /inject HTTP/1.1\r\n\r\n").await.expect("it is sent");
        let silent = TcpStream::connect(server.address).await.expect("a connection");
        for mut stream in [plain, silent] {
            let mut heard = Vec::new();
            // However the server ends it, it ends.
            let _ = timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("it is hung up on");
            assert!(!heard.starts_with(b"HTTP"));
        }
        let mut stream = server.connect(&certs.bundle()).await.expect("it is trusted");
        let (_, body) = ask(&mut stream, &request("POST /inject", &review().to_string())).await;
        assert!(allowed_with_patch(&body));
    });
}

#[test]
fn the_certificate_changes_and_no_connection_breaks() {
    let first = certs();
    let second = certs();
    let server = Server::start(&first, LIMITS);
    let asked = request("POST /inject", &review().to_string());
    run(async {
        let mut open = server.connect(&first.bundle()).await.expect("it is trusted");
        assert!(allowed_with_patch(&ask(&mut open, &asked).await.1));
        server.serve(&second);
        assert!(allowed_with_patch(&ask(&mut open, &asked).await.1), "what is open stays open");
        assert!(server.connect(&first.bundle()).await.is_err(), "the old authority did not sign this");
        let mut new = server.connect(&second.bundle()).await.expect("it is trusted");
        assert!(allowed_with_patch(&ask(&mut new, &asked).await.1));
    });
}

#[test]
fn wishes_are_those_of_the_moment_and_counted() {
    let certs = certs();
    let server = Server::start(&certs, LIMITS);
    let asked = request("POST /inject", &review().to_string());
    run(async {
        let mut stream = server.connect(&certs.bundle()).await.expect("it is trusted");
        assert!(allowed_with_patch(&ask(&mut stream, &asked).await.1));
        server.wishes.send_replace(Wishes { mode: Mode::Disabled, ..Wishes::default() });
        assert!(!allowed_with_patch(&ask(&mut stream, &asked).await.1));
        ask(&mut stream, &request("POST /inject", "nonsense")).await;
    });
    let mut registry = prometheus_client::registry::Registry::with_prefix("millrace");
    server.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    for line in [
        r#"millrace_admissions_total{outcome="stamped",reason="none"} 1"#,
        r#"millrace_admissions_total{outcome="untouched",reason="none"} 1"#,
        "millrace_malformed_reviews_total 1",
        "millrace_admission_duration_seconds_count 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
