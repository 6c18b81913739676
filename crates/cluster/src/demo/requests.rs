//! Requests that go on all the time while pods are restarted: whether bookinfo is ever away.
//!
//! One after the other, each a connection of its own, through the visitor, who is outside the mesh and is not restarted.

use crate::demo::http;
use anyhow::{Context, bail};
use millrace_host::netns::NetNs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Productpage, which asks details and reviews, which ask ratings.
const PATH: &str = "/call/productpage/productpage";
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two requests: pods start on the same machine.
const PAUSE: Duration = Duration::from_millis(50);

/// Requests under way.
pub(crate) struct Requests {
    tally: Arc<Tally>,
    stop: Sender<()>,
    asking: JoinHandle<()>,
}

#[derive(Default)]
struct Tally {
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Requests {
    /// Begins to ask at `doors`, in turn, from the namespace `node`.
    pub(crate) fn start(node: NetNs, doors: Vec<SocketAddr>, from: Instant) -> anyhow::Result<Requests> {
        // Where it cannot enter, nothing is ever answered, which `end` tells.
        Requests::begin(doors, from, move |asking| drop(node.within(asking)))
    }

    fn begin(
        doors: Vec<SocketAddr>,
        from: Instant,
        within: impl FnOnce(&mut (dyn FnMut() + Send)) + Send + 'static,
    ) -> anyhow::Result<Requests> {
        let tally = Arc::new(Tally::default());
        let (stop, stopped) = channel::<()>();
        let told = Arc::clone(&tally);
        let mut asking = move || {
            for door in doors.iter().cycle() {
                let answer = http::get(*door, PATH, PATIENCE).and_then(|answer| answer.json());
                if let Err(cause) = answer {
                    let when = from.elapsed().as_secs_f64();
                    told.failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(format!("{when:.2} s: {cause}"));
                }
                told.done.fetch_add(1, Ordering::SeqCst);
                if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let asking = std::thread::Builder::new().spawn(move || within(&mut asking));
        Ok(Requests { tally, stop, asking: asking.context("cannot start a thread")? })
    }

    /// How many were answered or failed so far.
    pub(crate) fn done(&self) -> u64 {
        self.tally.done.load(Ordering::SeqCst)
    }

    /// Stops asking; gives how many were answered. An error if one was not.
    pub(crate) fn end(self) -> anyhow::Result<u64> {
        drop(self.stop);
        anyhow::ensure!(self.asking.join().is_ok(), "the requests broke down");
        let failed = self.tally.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.tally.done.load(Ordering::SeqCst);
        match failed.first() {
            Some(first) => {
                bail!("{} of {done} requests were not answered, the first at {first}", failed.len())
            }
            None if done == 0 => bail!("no request was made"),
            None => Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// What the end says of requests to a server that answers `said` to each.
    fn check(said: &'static str, expected: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = listener.local_addr().unwrap();
        let (heard, hears) = channel();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 1024]);
                let _ = stream.write_all(said.as_bytes());
                let _ = heard.send(());
            }
        });
        let requests = Requests::begin(vec![door], Instant::now(), |asking| asking()).unwrap();
        hears.recv_timeout(Duration::from_secs(60)).unwrap();
        let end = requests.end().map_or_else(|cause| cause.to_string(), |_| "answered".to_owned());
        assert!(end.contains(expected), "{end}");
    }

    #[test]
    fn a_request_that_fails_is_told() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "answered");
        check(
            "HTTP/1.1 502 No\r\ncontent-length: 2\r\n\r\n{}",
            "requests were not answered, the first at 0.0",
        );
    }
}
