//! The small HTTP server all roles share, on TCP and on unix sockets.
//!
//! Whoever connects, nothing grows: connections, headers, bodies, waiting and the life of a connection all have bounds.
//! It knows no route of its own.

use crate::storm::Storm;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// After an `accept` that failed: out of descriptors, trying again at once would only spin, and no event tells that there are
/// some again.
const BREATH: Duration = Duration::from_millis(100);
/// One failure after another is one line in so long, and a number.
const SILENCE: Duration = Duration::from_secs(60);

/// How much of everything one server grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at once; further ones wait in the kernel's backlog.
    pub(crate) connections: usize,
    /// Bytes of a request's head.
    pub(crate) head: usize,
    /// Bytes of a request's body, for handlers that read one.
    pub(crate) body: usize,
    /// How long a client may take to send a request's head, and be silent between requests.
    pub(crate) patience: Duration,
    /// How long a request may take, its body included.
    pub(crate) request: Duration,
    /// How long a connection lives, however busy.
    pub(crate) life: Duration,
    /// How long what is under way may go on after the end was called.
    pub(crate) farewell: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 32,
            head: 16 << 10,
            body: 64 << 10,
            patience: Duration::from_secs(10),
            request: Duration::from_secs(10),
            life: Duration::from_secs(120),
            farewell: Duration::from_secs(3),
        }
    }
}

/// Why a server does not listen.
#[derive(Debug)]
pub(crate) enum Error {
    /// The address, as the flag names it, cannot be had.
    Address { flag: &'static str, address: SocketAddr, cause: io::Error },
    /// The socket's file cannot be made.
    Socket { path: PathBuf, cause: io::Error },
    /// Something that is no socket stands at the socket's path; it is left alone.
    InTheWay { path: PathBuf },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Address { flag, address, cause } if cause.kind() == ErrorKind::AddrInUse => write!(
                f,
                "listen on {address}: another process of this machine has that address; give {flag} another one"
            ),
            Error::Address { flag, address, cause } => {
                write!(f, "listen on {address}: {cause}; give {flag} an address of this machine")
            }
            Error::Socket { path, cause } => write!(
                f,
                "listen on {}: {cause}; see that its directory is there and this process may write to it",
                path.display()
            ),
            Error::InTheWay { path } => {
                write!(f, "listen on {}: a file that is no socket is there; remove it", path.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// Listens on TCP. `[::]` means every address of both families, and of IPv4 alone on a machine without IPv6.
pub(crate) fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = match bind_to(address) {
        Err(cause) if is_everywhere(address) && has_no_ipv6(&cause) => {
            bind_to((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    };
    bound.map_err(|cause| Error::Address { flag, address, cause })
}

/// Listens on a unix socket that only its owner may use. A socket that a dead process left there is replaced.
pub(crate) fn bind_unix(path: &Path) -> Result<UnixListener, Error> {
    let failed = |cause| Error::Socket { path: path.to_owned(), cause };
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(Error::InTheWay { path: path.to_owned() }),
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Err(cause) => return Err(failed(cause)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Where connections come from.
pub(crate) trait Accept {
    /// What a connection is.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next connection, and whose it is where that has an address.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

/// Whose connection a request came by; each request has it as an extension. Nothing of a unix socket's peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) Option<IpAddr>);

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        TcpListener::accept(self).await.map(|(stream, address)| (stream, Peer(Some(address.ip()))))
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;
    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        UnixListener::accept(self).await.map(|(stream, _)| (stream, Peer(None)))
    }
}

/// Serves until `stop`: then the listener is closed at once, and what is under way ends within [`Limits::farewell`].
pub(crate) async fn serve(listener: impl Accept, router: Router, limits: Limits, stop: CancellationToken) {
    let router = router
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(middleware::from_fn(move |request, next| within(limits.request, request, next)));
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut failures = Storm::new(SILENCE, 1);
    loop {
        let Some(Ok(place)) = stop.run_until_cancelled(Arc::clone(&places).acquire_owned()).await else {
            break;
        };
        match stop.run_until_cancelled(listener.accept()).await {
            None => break,
            Some(Ok((stream, peer))) => {
                let (router, stop) = (router.clone(), stop.clone());
                tokio::spawn(async move {
                    converse(stream, peer, router, limits, stop).await;
                    drop(place);
                });
            }
            Some(Err(error)) => {
                if let Some(withheld) = failures.happens(Instant::now()) {
                    tracing::error!(
                        withheld,
                        "accept a connection: {error}; raise the limit of open files if it is that"
                    );
                }
                let _ = stop.run_until_cancelled(sleep(BREATH)).await;
            }
        }
    }
    drop(listener);
    // Each ends by itself within the farewell; this is for a handler that does not yield.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = timeout(limits.farewell * 2, places.acquire_many(all)).await;
}

async fn converse<S>(stream: S, peer: Peer, router: Router, limits: Limits, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        // hyper refuses smaller ones.
        .max_buf_size(limits.head.max(8 << 10))
        .max_header_size(limits.head);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A client that breaks off or talks nonsense is no concern of anybody else.
        _ = &mut connection => return,
        () = stop.cancelled() => {}
        () = sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits.farewell, connection).await;
}

async fn within(limit: Duration, request: Request, next: Next) -> Response {
    let late = || (StatusCode::SERVICE_UNAVAILABLE, "the answer took too long\n").into_response();
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| late())
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    if address.is_ipv6() {
        // net.ipv6.bindv6only may have changed the default, and `[::]` would then mean half of what it says.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // A connection of an agent that is gone by now must not hold the address for minutes.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

fn is_everywhere(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Not compiled in or switched off at boot; or `disable_ipv6`, which leaves the family without an address.
fn has_no_ipv6(cause: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    cause.raw_os_error() == Some(unsupported) || cause.kind() == ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Extension;
    use axum::routing::{get, post};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn quick() -> Limits {
        Limits { patience: Duration::from_millis(200), ..Limits::default() }
    }

    fn router() -> Router {
        let echo = |body: String| async move { body };
        let never = || async { std::future::pending::<String>().await };
        Router::new()
            .route("/", get(|| async { "well" }))
            .route("/echo", post(echo))
            .route("/peer", get(|Extension(Peer(peer)): Extension<Peer>| async move { format!("{peer:?}") }))
            .route("/never", get(never))
    }

    struct Server {
        address: SocketAddr,
        stop: CancellationToken,
        ended: tokio::task::JoinHandle<()>,
    }

    fn start(limits: Limits, router: Router) -> Server {
        let listener = bind("--flag", (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(serve(listener, router, limits, stop.clone()));
        Server { address, stop, ended }
    }

    /// Sends and returns all that comes until the server closes the connection.
    async fn say(server: &Server, words: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // A refusal may come, and the connection close, before all is sent.
        let _ = stream.write_all(words).await;
        heard(&mut stream).await
    }

    async fn heard(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
        // A reset after the answer is an end like any other.
        let _ = read.expect("the server closes the connection");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn check(words: &[u8], expected: &str) {
        let server = start(quick(), router());
        let answer = say(&server, words).await;
        let first = answer.lines().next().unwrap_or_default();
        assert_eq!(first, expected, "{}", String::from_utf8_lossy(&words[..words.len().min(80)]));
        server.stop.cancel();
        timeout(DEADLINE, server.ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_is_answered_and_what_is_too_much_refused() {
        check(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK").await;
        check(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 Not Found")
            .await;
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(64 << 10));
        check(long.as_bytes(), "HTTP/1.1 431 Request Header Fields Too Large").await;
        let body = "b".repeat(quick().body + 1);
        let length = body.len();
        let big = format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        check(big.as_bytes(), "HTTP/1.1 413 Payload Too Large").await;
        check(b"nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request").await;
    }

    #[tokio::test]
    async fn a_request_says_whose_it_is() {
        let server = start(quick(), router());
        let answer = say(&server, b"GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("Some(127.0.0.1)"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_is_slow_or_silent_is_hung_up_on() {
        check(b"GET / HTTP/1.1\r\nHos", "").await;
        check(b"", "").await;
        let kept = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        check(kept, "HTTP/1.1 200 OK").await;
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_is_an_error() {
        let limits = Limits { request: Duration::from_millis(50), ..quick() };
        let server = start(limits, router());
        let answer = say(&server, b"GET /never HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }

    #[tokio::test]
    async fn no_more_connections_than_granted() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&most);
        let pairs = Arc::new(tokio::sync::Barrier::new(2));
        let handler = move || async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            // Each waits for another, so that two are there at once however the machine is loaded.
            pairs.wait().await;
            now.fetch_sub(1, Ordering::SeqCst);
            "well"
        };
        let limits = Limits { connections: 2, ..Limits::default() };
        let server = start(limits, Router::new().route("/", get(handler)));
        let asks = (0..12).map(|_| say(&server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        for answer in futures::future::join_all(asks).await {
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert_eq!(seen.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_end_waits_for_what_is_under_way_but_not_for_ever() {
        let limits = Limits { farewell: Duration::from_millis(100), ..Limits::default() };
        let server = start(limits, router());
        let mut stuck = TcpStream::connect(server.address).await.unwrap();
        stuck.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // Answered means that the server has accepted both.
        let answer = say(&server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        server.stop.cancel();
        timeout(DEADLINE, server.ended).await.expect("it ends").unwrap();
        assert_eq!(heard(&mut stuck).await, "");
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn errors_name_the_flag() {
        let taken = bind("--one", (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind("--metrics-address", address).unwrap_err().to_string();
        let expected = format!(
            "listen on {address}: another process of this machine has that address; give --metrics-address another one"
        );
        assert_eq!(error, expected);
        let error = bind("--metrics-address", "192.0.2.1:1".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("give --metrics-address an address of this machine"), "{error}");
    }

    #[tokio::test]
    async fn everywhere_is_both_families_whatever_the_machine_has() {
        let listener = bind("--flag", "[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }

    #[tokio::test]
    async fn a_unix_socket_replaces_a_dead_one_and_nothing_else() {
        let folder = Folder(std::env::temp_dir().join(format!("millrace-http-{}", std::process::id())));
        let _ = std::fs::remove_dir_all(&folder.0);
        std::fs::create_dir(&folder.0).unwrap();
        let folder = &folder.0;
        let path = folder.join("s");
        drop(bind_unix(&path).unwrap());
        let listener = bind_unix(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, router(), quick(), stop.clone()));
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("well"), "{answer}");
        stop.cancel();
        timeout(DEADLINE, server).await.unwrap().unwrap();
        let file = folder.join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(bind_unix(&file), Err(Error::InTheWay { .. })));
        assert!(matches!(bind_unix(&folder.join("no/s")), Err(Error::Socket { .. })));
    }

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
