//! A kubelet's door, for tests: TLS on loopback, to which a real kube-apiserver passes on `exec` and `log`.
//!
//! Of containers it knows what the test says: a container's name stands for a network namespace of this machine. Commands of the agent's
//! image are run by the programs under test.

use millrace_rig::wait;
use rcgen::generate_simple_self_signed;
use serde_json::json;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_util::sync::CancellationToken;

/// How a test runs a command of a container.
type Run = dyn Fn(&[String]) -> Output + Send + Sync;

/// A kubelet that listens until it is dropped.
pub(crate) struct Kubelet {
    pub(crate) address: SocketAddr,
    /// Every command line that was run, in order.
    pub(crate) commands: Arc<Mutex<Vec<Vec<String>>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Kubelet {
    /// Listens; `run` is what a container does with a command, `logs` what there is to read of one.
    pub(crate) fn start(
        run: impl Fn(&[String]) -> Output + Send + Sync + 'static,
        logs: impl Fn() -> String + Send + Sync + 'static,
    ) -> Kubelet {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let commands = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&commands);
        let run: Arc<Run> = Arc::new(move |words| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(words.to_vec());
            run(words)
        });
        let logs = Arc::new(logs);
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let acceptor = TlsAcceptor::from(Arc::new(identity()));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (acceptor, run, logs) = (acceptor.clone(), Arc::clone(&run), Arc::clone(&logs));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        // Who asks and breaks off is told nothing.
                        let _ = answer(stream, run, &*logs).await;
                    }
                });
            }
        };
        let thread = std::thread::spawn(move || runtime.block_on(serve));
        Kubelet { address, commands, stop, thread: Some(thread) }
    }

    /// The status of a node that says where this kubelet is.
    pub(crate) fn node(&self) -> serde_json::Value {
        json!({
            "addresses": [{ "type": "InternalIP", "address": self.address.ip().to_string() }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": self.address.port() } },
        })
    }

    /// The last command that was run.
    pub(crate) fn last(&self) -> Vec<String> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).last().cloned().unwrap_or_default()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().expect("it runs").join();
    }
}

fn identity() -> ServerConfig {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    config.with_single_cert(vec![made.cert.der().clone()], key).expect("an identity")
}

async fn answer<S>(mut stream: S, run: Arc<Run>, logs: &(dyn Fn() -> String + Send + Sync)) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 << 10 {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    if target.starts_with("/containerLogs/") {
        let log = logs();
        let reply =
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{log}", log.len());
        stream.write_all(reply.as_bytes()).await?;
        return stream.shutdown().await;
    }
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\
         Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(reply.as_bytes()).await?;
    let words = words(target);
    let output = tokio::task::spawn_blocking(move || run(&words)).await.map_err(io::Error::other)?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let status = match output.status.code() {
        Some(0) => json!({ "metadata": {}, "status": "Success" }),
        code => {
            json!({ "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": "it failed",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.unwrap_or(137).to_string() }] } })
        }
    };
    let status = status.to_string().into_bytes();
    for (channel, bytes) in [(1, output.stdout), (2, output.stderr), (3, status)] {
        // A container's output comes in pieces.
        for piece in bytes.chunks(4096) {
            let frame = [&[channel], piece].concat();
            futures::SinkExt::send(&mut socket, Message::Binary(frame.into()))
                .await
                .map_err(io::Error::other)?;
        }
    }
    socket.close(None).await.map_err(io::Error::other)
}

/// The command's words, out of `?command=a&command=b`.
fn words(target: &str) -> Vec<String> {
    let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    values.map(decoded).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| char::from(digit.unwrap_or(b'0')));
                u8::from_str_radix(&String::from_iter(digits), 16).expect("two digits")
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).expect("words are text")
}

/// Runs a command of our image as if its container `id` were the process `pid` of this machine.
pub(crate) fn on_this_machine(words: &[String], id: &str, pid: u32) -> Output {
    assert!(words[0].ends_with("/millrace"), "the agent's own program is run: {words:?}");
    let mut words = words[1..].to_vec();
    if let Some(at) = words.iter().position(|word| word == "--container") {
        assert_eq!(words[at + 1], format!("containerd://{id}"), "the pod's own container is named");
        words.splice(at..at + 2, ["--pid".to_owned(), pid.to_string()]);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(&words).env_remove("KUBECONFIG").output().expect("millrace runs")
}

/// Waits for what `find` gives.
pub(crate) fn until<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    wait::until(what, Duration::from_secs(120), || find().ok_or_else(|| what.to_owned()))
}
