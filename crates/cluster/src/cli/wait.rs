//! Waiting until a cluster is where it was sent: one watch of the MeshCNI, a deadline, and an interrupt that ends the waiting
//! alone.

mod judge;

pub(crate) use judge::{Verdict, judge};

use super::Outcome;
use super::connect::{Connection, Error};
use crate::api::mesh::MeshCNI;
use crate::args::output::Style;
use anyhow::Result;
use futures::StreamExt;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use std::io::Write;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout_at;

/// Waits until the generation is reached, cannot be reached, or `limit` is over. What came of it is printed.
pub(crate) async fn wait(
    connection: &Connection,
    generation: i64,
    limit: Duration,
    interrupt: &mut Signal,
    style: Style,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let deadline = tokio::time::Instant::now() + limit;
    let api: Api<MeshCNI> = Api::all(connection.client.clone());
    let mut states = Box::pin(watcher::watch_object(api, super::change::NAME).default_backoff());
    let mut line = Line { live: style.live };
    let mut last = style.say("nothing was seen of the MeshCNI", "尚未看到 MeshCNI").to_owned();
    loop {
        let next = tokio::select! {
            next = timeout_at(deadline, states.next()) => next,
            _ = interrupt.recv() => {
                line.clear();
                let words = style.say(
                    "interrupted: the change goes on; `millrace status --watch` shows how far it is",
                    "已中断等待:变更仍在继续;`millrace status --watch` 显示进度",
                );
                writeln!(out, "{words}")?;
                return Ok(Outcome::Interrupted);
            }
        };
        let verdict = match next {
            Err(_) | Ok(None) => {
                line.clear();
                let words = style.say("not reached in time", "未在时限内到达");
                writeln!(out, "{words} ({} s): {last}", limit.as_secs())?;
                return Ok(Outcome::Wrong);
            }
            Ok(Some(Err(error))) => match fatal(connection, &error) {
                Some(error) => return Err(error.into()),
                None => continue,
            },
            Ok(Some(Ok(mesh))) => judge(mesh.as_ref(), generation, style),
        };
        line.clear();
        match verdict {
            Verdict::There(words) => {
                writeln!(out, "{words}")?;
                return Ok(Outcome::Well);
            }
            Verdict::Never(words) => {
                writeln!(out, "{words}")?;
                return Ok(Outcome::Wrong);
            }
            Verdict::NotYet(words) => {
                line.show(&words);
                last = words;
            }
        }
    }
}

/// Interrupts from now on: until this is asked for, one ends the program.
pub(crate) fn interrupts() -> Result<Signal> {
    Ok(signal(SignalKind::interrupt())?)
}

/// What no patience helps against.
fn fatal(connection: &Connection, error: &watcher::Error) -> Option<Error> {
    let cause = match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => cause,
        _ => return None,
    };
    let error = connection.means("watch MeshCNI default", cause);
    matches!(error, Error::Forbidden { .. } | Error::Unknown { .. } | Error::NotInstalled { .. })
        .then_some(error)
}

/// One line on standard error that replaces itself, where somebody watches.
#[derive(Debug)]
pub(crate) struct Line {
    /// Whether somebody does.
    pub(crate) live: bool,
}

impl Line {
    /// Shows a line in place of the last.
    pub(crate) fn show(&mut self, words: &str) {
        if self.live {
            // A line that wraps could not be replaced; no terminal of today is narrower.
            let short: String = words.chars().take(78).collect();
            let _ = write!(std::io::stderr(), "\r\x1b[K{short}");
        }
    }

    /// Takes it away.
    pub(crate) fn clear(&mut self) {
        if self.live {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
