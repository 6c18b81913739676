//! One watch of the MeshCNI for all who look, and what each of them is told as it changes: server-sent events.
//!
//! A stream tells that something changed, never what: the page is asked for again, so that there is one way in which things
//! are shown. Streams are few, and each has an end, after which a browser comes again.

use crate::api::mesh::MeshCNI;
use crate::cli::change;
use crate::cli::connect::{Connection, Error};
use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt, stream};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// How often a stream that has nothing to say shows that it lives.
pub(crate) const BEAT: Duration = Duration::from_secs(15);
/// How often a stream says at most that something changed: a rollout changes a status many times a second, and nobody reads so fast.
const GAP: Duration = Duration::from_secs(1);
/// While the watch is cut: how often it is asked whether the API server answers again.
const AGAIN: Duration = Duration::from_secs(2);
/// As long as nothing may happen to a MeshCNI.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// How long one stream lasts.
const LASTS: Duration = Duration::from_secs(600);

/// The MeshCNI as it was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Whether it was looked for with success.
    pub(crate) looked: bool,
    /// The object as it is on the wire; null if there is none.
    pub(crate) live: Value,
    /// Why it cannot be watched just now.
    pub(crate) cut: Option<Error>,
}

/// What is seen from now on, and what has to run for it.
pub(crate) fn follow(
    connection: Connection,
    stop: CancellationToken,
) -> (watch::Receiver<Seen>, impl Future<Output = ()>) {
    let (sender, receiver) = watch::channel(Seen::default());
    let run = async move {
        let api = connection.all::<MeshCNI>();
        let mut states = Box::pin(watch_object(api, change::NAME).default_backoff());
        loop {
            let is_cut = sender.borrow().cut.is_some();
            // A watch that stands again says nothing until something changes: while it is cut, whether it stands is asked.
            let patience = if is_cut { AGAIN } else { FOREVER };
            match stop.run_until_cancelled(timeout(patience, states.next())).await {
                None | Some(Ok(None)) => return,
                Some(Err(_)) if !is_cut => {}
                Some(Err(_)) => {
                    if let Ok(live) = change::read(&connection).await {
                        sender.send_replace(Seen { looked: true, live, cut: None });
                    }
                }
                Some(Ok(Some(Ok(object)))) => {
                    let live = object.map_or(Value::Null, |object| change::tree(&object));
                    sender.send_replace(Seen { looked: true, live, cut: None });
                }
                Some(Ok(Some(Err(error)))) => {
                    let cut = means(&connection, &error);
                    // A cluster that does not know the kind is one that can be shown.
                    let looked = matches!(cut, Error::NotInstalled { .. });
                    sender.send_modify(|seen| {
                        seen.looked |= looked;
                        seen.cut = Some(cut);
                    });
                }
            }
        }
    };
    (receiver, run)
}

fn means(connection: &Connection, error: &watcher::Error) -> Error {
    const ACT: &str = "watch MeshCNI default";
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => connection.means(ACT, cause),
        other => Error::Other { act: ACT.to_owned(), why: other.to_string() },
    }
}

/// What one browser is told: a word that changes with what is seen. Its place is given back when it ends.
pub(crate) fn events(
    seen: watch::Receiver<Seen>,
    place: impl Send + 'static,
    stop: CancellationToken,
) -> Body {
    Body::from_stream(held(told(seen, [GAP, BEAT], stop), place))
}

/// The texts of one stream: what is seen when it begins, each change that the `gap` lets through, and a beat after so much
/// silence.
fn told(
    seen: watch::Receiver<Seen>,
    [gap, silence]: [Duration; 2],
    stop: CancellationToken,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let end = Instant::now() + LASTS;
    stream::unfold((seen, None), move |(mut seen, last): (_, Option<Instant>)| {
        let stop = stop.clone();
        async move {
            let Some(last) = last else {
                // Whoever loses it comes again soon.
                let text = format!("retry: 1000\n{}", event(&seen.borrow_and_update()));
                return Some((Ok(Bytes::from(text)), (seen, Some(Instant::now()))));
            };
            // Of what changes meanwhile, the last counts.
            stop.run_until_cancelled(sleep_until((last + gap).min(end))).await?;
            let beat = (Instant::now() + silence).min(end);
            let changed = stop.run_until_cancelled(timeout_at(beat, seen.changed())).await?;
            let (text, last) = match changed {
                Ok(changed) => {
                    changed.ok()?;
                    (event(&seen.borrow_and_update()), Instant::now())
                }
                Err(_) if Instant::now() >= end => return None,
                Err(_) => ("event: beat\ndata: beat\n\n".to_owned(), last),
            };
            Some((Ok(Bytes::from(text)), (seen, Some(last))))
        }
    })
}

/// The stream holds its place until it ends.
fn held<T>(told: impl Stream<Item = T>, place: impl Send) -> impl Stream<Item = T> {
    told.map(move |one| {
        let _ = &place;
        one
    })
}

fn event(seen: &Seen) -> String {
    let version = seen.live["metadata"]["resourceVersion"].as_str().unwrap_or("none");
    // A version is a word of digits; whatever else came would end the event's line.
    let version: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
    let cut = if seen.cut.is_some() { " cut" } else { "" };
    format!("event: status\ndata: {version}{cut}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::connect::block_on;
    use futures::FutureExt;
    use serde_json::json;

    fn seen(version: u32) -> Seen {
        let live = json!({ "metadata": { "resourceVersion": version.to_string() } });
        Seen { looked: true, live, cut: None }
    }

    /// What a stream says after a burst of changes, as long as the gap lasts and once it is over.
    fn check(gap: Duration, expected: Option<&str>) {
        block_on(async {
            let (sender, receiver) = watch::channel(seen(1));
            let mut told = Box::pin(told(receiver, [gap, BEAT], CancellationToken::new()));
            let first = told.next().await;
            assert_eq!(first, Some(Ok(Bytes::from("retry: 1000\nevent: status\ndata: 1\n\n"))));
            for version in 2..100 {
                sender.send_replace(seen(version));
            }
            let next = match expected {
                None => told.next().now_or_never().flatten(),
                Some(_) => told.next().await,
            };
            assert_eq!(next, expected.map(|text| Ok(Bytes::copy_from_slice(text.as_bytes()))));
            assert_eq!(told.next().now_or_never(), None, "the others are told by nobody");
        });
    }

    #[test]
    fn a_burst_is_one_event() {
        check(Duration::from_secs(100), None);
        check(Duration::ZERO, Some("event: status\ndata: 99\n\n"));
    }

    #[test]
    fn silence_is_told_by_a_name() {
        block_on(async {
            let (_sender, receiver) = watch::channel(seen(1));
            let mut told = Box::pin(told(receiver, [Duration::ZERO; 2], CancellationToken::new()).skip(1));
            assert_eq!(told.next().await, Some(Ok(Bytes::from("event: beat\ndata: beat\n\n"))));
        });
    }

    #[test]
    fn a_version_is_a_word_of_its_letters() {
        let live = json!({ "metadata": { "resourceVersion": "4\n1 x" } });
        let cut = Some(Error::NotInstalled { act: String::new() });
        assert_eq!(event(&Seen { looked: true, live, cut }), "event: status\ndata: 41x cut\n\n");
    }
}
