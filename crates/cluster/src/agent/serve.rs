//! The agent's two sockets: questions of the plugin on a stream, what became of pods as datagrams.
//!
//! Answers root only, bounds everything that a peer could hold open, and never leaves a moment without a socket: a new one
//! is made under another name and renamed over the old.

use super::metrics::{Asked, Metrics};
use crate::storm::Storm;
use anyhow::{Context, Result};
use millrace_core::ask::{self, Answer, Event, Failure, Question};
use millrace_core::cni::Code;
use std::fs::{DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// The most conversations at a time (M10). A kubelet starts a few pods at once, after a boot all of them; whoever does not
/// get in waits in the backlog, and asks again when that is full.
const MOST: usize = 512;
/// How long a question may take to be sent. The plugin sends it at once.
const SLOWEST: Duration = Duration::from_secs(2);
/// How long those who asked already are still answered when the agent ends. Whoever gets no answer asks the next agent.
const GRACE: Duration = Duration::from_secs(2);
/// After an `accept` that failed: it is for want of descriptors or memory, and no event tells that there are some again.
const BREATH: Duration = Duration::from_millis(100);
/// One failure after another is one line in so long, and a number.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest datagram: an event's message is bounded at 4 KiB, which JSON may write six times as long.
const LONGEST_EVENT: usize = 64 << 10;
/// The most datagrams that wait in a socket: net.unix.max_dgram_qlen is 10, or 512 where systemd raises it.
const MOST_QUEUED: usize = 4096;

/// Opens the socket for questions at `path`.
pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    rename_into_place(path, |staged| UnixListener::bind(staged))
}

/// Opens the socket for events at `path`.
pub(crate) fn receive(path: &Path) -> Result<UnixDatagram> {
    rename_into_place(path, |staged| UnixDatagram::bind(staged))
}

/// Answers questions until `stop`, each within `patience` as it is then, which is less than the plugin's own. `answer` is given the
/// question and the moment by which it is to be answered.
pub(crate) async fn serve<A, F>(
    listener: UnixListener,
    patience: impl Fn() -> Duration,
    metrics: Metrics,
    stop: CancellationToken,
    answer: A,
) where
    A: Fn(Question, Instant) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let (answer, places) = (Arc::new(answer), Arc::new(Semaphore::new(MOST)));
    let mut open = JoinSet::new();
    let mut failures = Storm::new(SILENCE, 1);
    loop {
        let next = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            // What ended is forgotten as it ends.
            Some(_) = open.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(withheld) = failures.happens(Instant::now()) {
                    tracing::error!(
                        withheld,
                        "accept a question: {error}; raise the limit of open files if it is that"
                    );
                }
                let _ = stop.run_until_cancelled(tokio::time::sleep(BREATH)).await;
                continue;
            }
        };
        if !is_root(&stream) {
            metrics.asked(Asked::Refused);
            continue;
        }
        let (answer, metrics) = (Arc::clone(&answer), metrics.clone());
        let deadline = Instant::now() + patience();
        open.spawn(async move {
            let _place = place;
            converse(stream, deadline, &metrics, &*answer).await;
        });
    }
    // Nobody new gets in, and those in the backlog are told so by the closed socket.
    drop(listener);
    let _ = tokio::time::timeout(GRACE, async { while open.join_next().await.is_some() {} }).await;
}

/// Hands every event to `hear` until `stop`, and then those that were sent before.
pub(crate) async fn hear(socket: UnixDatagram, stop: CancellationToken, mut hear: impl FnMut(Event)) {
    let mut buffer = vec![0; LONGEST_EVENT];
    let mut failures = Storm::new(SILENCE, 1);
    let mut heard = |datagram: &[u8]| match Event::read(datagram) {
        Ok(event) => hear(event),
        Err(error) => tracing::warn!("an event is not counted: {error}"),
    };
    loop {
        let received = tokio::select! {
            received = socket.recv(&mut buffer) => received,
            () = stop.cancelled() => break,
        };
        match received {
            Ok(length) => heard(&buffer[..length]),
            Err(error) => {
                if let Some(withheld) = failures.happens(Instant::now()) {
                    tracing::error!(withheld, "receive an event: {error}");
                }
                let _ = stop.run_until_cancelled(tokio::time::sleep(BREATH)).await;
            }
        }
    }
    // Whoever sent these will not send them again. More than the kernel queues are of who keeps sending.
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..MOST_QUEUED {
        let Ok(length) = socket.recv(&mut buffer) else { return };
        heard(&buffer[..length]);
    }
}

/// A socket is its owner's from the first moment: the directory is, and it gets its name when it is ready.
fn rename_into_place<S>(path: &Path, bind: impl FnOnce(&Path) -> io::Result<S>) -> Result<S> {
    let named = |act: &str| format!("{act} the socket {}", path.display());
    if let Some(folder) = path.parent() {
        let mut make = DirBuilder::new();
        let made = make.recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("make the directory {}", folder.display()))?;
    }
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    // Left by an agent that was killed between two lines of this function; there is never a second one that serves.
    match std::fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", staged.display()));
        }
        _ => {}
    }
    let socket = bind(&staged).with_context(|| named("bind"))?;
    std::fs::set_permissions(&staged, Permissions::from_mode(0o600)).with_context(|| named("close"))?;
    std::fs::rename(&staged, path).with_context(|| named("put into place"))?;
    Ok(socket)
}

fn is_root(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), "refused a question: only root may ask");
            false
        }
        Err(error) => {
            tracing::warn!("refused a question: who asks is not known: {error}");
            false
        }
    }
}

async fn converse<A, F>(mut stream: UnixStream, deadline: Instant, metrics: &Metrics, answer: &A)
where
    A: Fn(Question, Instant) -> F,
    F: Future<Output = Answer>,
{
    let sent = deadline.min(Instant::now() + SLOWEST);
    let body = match timeout_at(sent.into(), read(&mut stream)).await {
        Ok(Ok(body)) => body,
        Ok(Err(Unread::Gone)) => return,
        Ok(Err(Unread::Bad(error))) => return refuse(&mut stream, sent, metrics, &error).await,
        Err(_) => {
            metrics.asked(Asked::Refused);
            return tracing::warn!("refused a question: it was not sent within {} s", SLOWEST.as_secs());
        }
    };
    let answer = match Question::read(&body) {
        Ok(question) => answer(question, deadline).await,
        Err(error) => return refuse(&mut stream, sent, metrics, &error).await,
    };
    let frame = answer.write().or_else(|error| {
        let message =
            format!("the answer cannot be sent: {error}; remove what is long from the pod's annotations");
        failed(message).write()
    });
    let Ok(frame) = frame else { return tracing::error!("an answer cannot be written: {frame:?}") };
    // Late is better than never, and the plugin knows best how long it waits.
    let deadline = deadline.max(Instant::now() + SLOWEST);
    if let Ok(Err(error)) = timeout_at(deadline.into(), stream.write_all(&frame)).await {
        tracing::debug!("who asked is gone: {error}");
    }
}

enum Unread {
    /// A probe that only connects, or a plugin that was killed.
    Gone,
    Bad(ask::Error),
}

async fn read(stream: &mut UnixStream) -> Result<Vec<u8>, Unread> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.map_err(|_| Unread::Gone)?;
    let length = ask::length(header).map_err(Unread::Bad)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(|_| Unread::Gone)?;
    Ok(body)
}

/// Says what is wrong, in our version: the plugin reads that too, if it is one release away.
async fn refuse(stream: &mut UnixStream, deadline: Instant, metrics: &Metrics, error: &ask::Error) {
    metrics.asked(Asked::Refused);
    tracing::warn!("refused a question: {error}");
    if let Ok(frame) = failed(format!("the question cannot be read: {error}")).write() {
        // Whoever sends nonsense need not listen.
        let _ = timeout_at(deadline.into(), stream.write_all(&frame)).await;
    }
}

fn failed(message: String) -> Answer {
    Answer::Failed(Failure { code: Code::Answer as u16, message })
}

#[cfg(test)]
#[path = "../../tests/agent_pods/sockets.rs"]
mod tests;
