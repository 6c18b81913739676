//! Pods are looked into for pages, and probed, as `millrace verify` does both, with the rights of whoever asks.
//!
//! Few at once, one probe of a pod at a time, each with a deadline. A probe goes to its end whether or not somebody still waits
//! for it, and the log says who sent it.

use super::live::{Busy, Looking};
use crate::args::output::Lang;
use crate::cli::change;
use crate::cli::connect::Connection;
use crate::cli::verify::{self, Ask, Found};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The most pods that are looked into at once, and the most that are probed (M10).
const LOOKS: usize = 4;
const PROBES: usize = 2;
/// How long a page waits for what a pod holds, its turn included.
const LOOK: Duration = Duration::from_secs(20);
/// How long a probe may take: four connections, a second each, by the agent of a node that may be far.
const PROBE: Duration = Duration::from_secs(75);

const LATE: Looking = Looking::Late { probe: true, seconds: PROBE.as_secs() };

/// Whose turn it is.
pub(crate) struct Turns {
    looks: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    probed: Arc<Mutex<BTreeSet<String>>>,
}

/// Who looks, and from where.
#[derive(Clone)]
pub(crate) struct Looker {
    /// As whom the API server is asked.
    pub(crate) connection: Connection,
    /// Where this machine's attachments are recorded; nothing where whoever asks is not who runs this.
    pub(crate) state_dir: Option<PathBuf>,
    /// In which language the ways are told.
    pub(crate) lang: Lang,
    /// Who it is, for the log; nothing where only the API server knows.
    pub(crate) who: String,
}

/// A turn to probe a pod, until it is dropped.
struct Turn {
    pod: String,
    probed: Arc<Mutex<BTreeSet<String>>>,
    _place: OwnedSemaphorePermit,
}

impl Turns {
    /// Nobody's turn yet.
    pub(crate) fn new() -> Turns {
        let (looks, probes) = (Arc::new(Semaphore::new(LOOKS)), Arc::new(Semaphore::new(PROBES)));
        Turns { looks, probes, probed: Arc::default() }
    }

    fn probe(&self, pod: String) -> Result<Turn, Busy> {
        let place = Arc::clone(&self.probes).try_acquire_owned();
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if probed.contains(&pod) {
            return Err(Busy::Pod);
        }
        let place = place.map_err(|_| Busy::Others)?;
        probed.insert(pod.clone());
        Ok(Turn { pod, probed: Arc::clone(&self.probed), _place: place })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.probed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.pod);
    }
}

/// Looks at what a pod holds, and sends nothing.
pub(crate) async fn look(turns: &Turns, looker: &Looker, pod: &Value) -> Looking {
    let looked = async {
        let _turn = turns.looks.acquire().await;
        verify::look_into(looker.ask(false), pod).await
    };
    match timeout(LOOK, looked).await {
        Ok(found) => Looking::Looked(found),
        Err(_) => Looking::Late { probe: false, seconds: LOOK.as_secs() },
    }
}

/// Probes a pod.
pub(crate) async fn probe(turns: &Turns, looker: &Looker, pod: Value) -> Looking {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let name = format!("{}/{}", text("namespace"), text("name"));
    let turn = match turns.probe(name.clone()) {
        Ok(turn) => turn,
        Err(busy) => return Looking::Busy(busy),
    };
    let looker = looker.clone();
    let probed = tokio::spawn(async move {
        let user = match looker.who.as_str() {
            "" => change::user(&looker.connection).await.unwrap_or_else(|| "unknown".to_owned()),
            who => who.to_owned(),
        };
        tracing::info!(user, pod = name, "probes a pod");
        let found = timeout(PROBE, verify::look_into(looker.ask(true), &pod)).await;
        drop(turn);
        tracing::info!(user, pod = name, verdict = said(found.as_ref().ok()), "probed a pod");
        found.map_or(LATE, Looking::Probed)
    });
    // A task that was not waited for to its end is one of a program that ends.
    probed.await.unwrap_or(LATE)
}

fn said(found: Option<&Found>) -> &'static str {
    match found {
        Some(Found::Seen { report, .. }) if report.verified => "VERIFIED",
        Some(Found::Seen { .. }) => "NOT VERIFIED",
        Some(Found::Skipped(_)) => "skipped",
        Some(Found::Missed(_)) => "NOT LOOKED INTO",
        None => "too late",
    }
}

impl Looker {
    fn ask(&self, probes: bool) -> Ask<'_> {
        Ask { connection: &self.connection, state_dir: self.state_dir.as_deref(), lang: self.lang, probes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_probed_once_at_a_time_and_few_are_at_all() {
        let turns = Turns::new();
        let check = |pod: &str, expected: Result<(), Busy>| {
            let turn = turns.probe(pod.to_owned());
            assert_eq!(turn.as_ref().map(drop).map_err(|busy| *busy), expected, "{pod}");
            turn.ok()
        };
        let first = check("a/one", Ok(()));
        check("a/one", Err(Busy::Pod));
        let second = check("a/two", Ok(()));
        check("a/three", Err(Busy::Others));
        check("a/two", Err(Busy::Pod));
        drop(first);
        check("a/one", Ok(()));
        drop(second);
    }
}
