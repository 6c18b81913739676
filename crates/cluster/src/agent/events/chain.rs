//! What the guard reports, as events of the node: where `kubectl describe node` shows them.
//!
//! Of one kind few are written in a while and the rest counted, and nobody waits for any of them. While the API server is
//! away they are lost; log and metrics have them all.

use super::{About, Note, Times, write};
use crate::agent::client::Link;
use crate::agent::guard::Report;
use crate::storm::Storm;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long reports of one kind are collected, and how many of them are written one by one. A guard that fights repairs
/// some times a minute before it backs off.
const WINDOW: Duration = Duration::from_secs(600);
const EACH: u64 = 3;
/// How long the API server may take for one event.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes an event for what is reported until `stop`.
pub(crate) async fn tell_chain(
    link: Link,
    node: String,
    mut reports: mpsc::Receiver<Report>,
    stop: CancellationToken,
) {
    let about = About::node(&node);
    let mut digest = Digest::default();
    let mut silence = Storm::new(WINDOW, 1);
    loop {
        let next = digest.next();
        let due = tokio::select! {
            () = stop.cancelled() => return,
            Some(report) = reports.recv() => digest.take(note(&report), Instant::now(), Timestamp::now()),
            () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => digest.rest(Instant::now()),
        };
        let Some((note, times)) = due else { continue };
        let written = timeout(PATIENCE, write(link.current().client, &about, &note, times, &node));
        let Some(written) = stop.run_until_cancelled(written).await else { return };
        let failure = match written {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the API server has not answered for {} s", PATIENCE.as_secs()),
        };
        if let Some(withheld) = silence.happens(Instant::now()) {
            tracing::warn!(
                reason = note.reason,
                withheld,
                "no event was written about the node: {failure}; if it is forbidden, let the agent's account create events"
            );
        }
    }
}

/// What was reported and not written.
#[derive(Debug, Default)]
struct Digest {
    /// Of each kind, by its reason: the reasons are few.
    kinds: BTreeMap<&'static str, Kind>,
}

#[derive(Debug)]
struct Kind {
    storm: Storm,
    /// The last that was withheld, and since when some are.
    last: Option<(Note, Times)>,
}

impl Digest {
    /// What is written now that this has happened: it and all like it that were withheld, or nothing.
    fn take(&mut self, note: Note, now: Instant, at: Timestamp) -> Option<(Note, Times)> {
        let kind = self
            .kinds
            .entry(note.reason)
            .or_insert_with(|| Kind { storm: Storm::new(WINDOW, EACH), last: None });
        let before = kind.last.take().map(|(_, times)| times);
        let times = Times {
            count: 1 + before.map_or(0, |times| times.count),
            first: before.map_or(at, |times| times.first),
            last: at,
        };
        if kind.storm.happens(now).is_some() {
            return Some((note, times));
        }
        kind.last = Some((note, times));
        None
    }

    /// When something withheld is to be written, should nothing like it happen before.
    fn next(&self) -> Option<Instant> {
        self.kinds.values().filter(|kind| kind.last.is_some()).filter_map(|kind| kind.storm.ends()).min()
    }

    /// What was withheld in a window that is over; one kind at a time.
    fn rest(&mut self, now: Instant) -> Option<(Note, Times)> {
        let over = self.kinds.values_mut().find(|kind| kind.last.is_some() && kind.storm.is_over(now))?;
        let told = over.last.take();
        // What was told counts as said in the window that begins now.
        over.storm.happens(now);
        told
    }
}

fn note(report: &Report) -> Note {
    match report {
        Report::Repaired { what, suspect } => Note {
            warning: false,
            reason: "ChainRepaired",
            action: "Repair",
            text: format!("the CNI chain was repaired: {what}; it was undone by {suspect}"),
        },
        Report::BackedOff { what, pause, suspect } => Note {
            warning: true,
            reason: "ChainOverwritten",
            action: "BackOff",
            text: format!(
                "the CNI chain is not repaired for {} s, as repairs are undone: {what}; it is undone by {suspect}; {}",
                pause.as_secs(),
                suspect.fix
            ),
        },
        Report::Failed { error } => Note {
            warning: true,
            reason: "ChainNotGuarded",
            action: "Repair",
            text: format!("the CNI chain is not guarded: {error}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::client::Access;
    use crate::agent::guard::Suspect;
    use millrace_rig::apiserver::Apiserver;

    const TEST_PATIENCE: Duration = Duration::from_secs(120);

    fn repaired(number: u64) -> Report {
        Report::Repaired { what: format!("repair {number}"), suspect: suspect() }
    }

    fn suspect() -> Suspect {
        Suspect {
            who: "Cilium's agent".into(),
            deed: "rewrote 05-cilium.conflist".into(),
            fix: "set cni.exclusive=false".into(),
            process: None,
        }
    }

    /// What is written of repairs at these seconds, and what is left for the window's end.
    fn check(seconds: &[u64], expected: &[&str], rest: Option<&str>) {
        let (start, epoch) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut digest = Digest::default();
        let words = |(note, times): (Note, Times)| {
            let (first, last) = (times.first.as_second(), times.last.as_second());
            let what = note.text.split([':', ';']).nth(1).unwrap_or_default().trim().to_owned();
            format!("{what} x{} {first}-{last}", times.count)
        };
        let taken = seconds.iter().filter_map(|second| {
            let since = Duration::from_secs(*second);
            let at = epoch.checked_add(since).expect("a time");
            digest.take(note(&repaired(*second)), start + since, at)
        });
        assert_eq!(taken.map(words).collect::<Vec<_>>(), expected, "{seconds:?}");
        let end = digest.next();
        assert_eq!(end.is_some(), rest.is_some(), "{seconds:?}");
        assert!(digest.rest(start).is_none(), "{seconds:?}");
        let told = end.and_then(|end| digest.rest(end)).map(words);
        assert_eq!(told.as_deref(), rest, "{seconds:?}");
        assert_eq!(digest.next(), None, "{seconds:?}");
    }

    #[test]
    fn few_are_written_and_the_others_counted_with_their_time() {
        check(&[5], &["repair 5 x1 5-5"], None);
        let three = ["repair 0 x1 0-0", "repair 1 x1 1-1", "repair 2 x1 2-2"];
        check(&[0, 1, 2], &three, None);
        check(&[0, 1, 2, 3, 4], &three, Some("repair 4 x2 3-4"));
        let then = [three[0], three[1], three[2], "repair 600 x3 3-600"];
        check(&[0, 1, 2, 3, 4, 600], &then, None);
    }

    #[test]
    fn each_kind_is_counted_by_itself_and_says_who_must_act() {
        let mut digest = Digest::default();
        let (now, at) = (Instant::now(), Timestamp::UNIX_EPOCH);
        (0..10).for_each(|number| drop(digest.take(note(&repaired(number)), now, at)));
        let pause = Duration::from_secs(60);
        let backed_off =
            note(&Report::BackedOff { what: "it lacks our entry".into(), pause, suspect: suspect() });
        let (note, times) = digest.take(backed_off, now, at).expect("the first of its kind");
        assert_eq!((note.warning, note.reason, times.count), (true, "ChainOverwritten", 1));
        assert_eq!(
            note.text,
            "the CNI chain is not repaired for 60 s, as repairs are undone: it lacks our entry; it is undone by Cilium's agent, \
             which rewrote 05-cilium.conflist; set cni.exclusive=false"
        );
    }

    #[test]
    fn a_real_server_shows_them_at_the_node() {
        let name = "events::chain::a_real_server_shows_them_at_the_node";
        let Some(api) = Apiserver::start(name) else { return };
        api.done(&["create", "-f", "-"], r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#);
        api.allow("agent", "create", "events");
        let access = Access::Kubeconfig(api.user("agent", &["agents"]));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(async {
            let link = Link::new(access).await.expect("a usable kubeconfig");
            let (tell, reports) = mpsc::channel(8);
            let stop = CancellationToken::new();
            let telling = tokio::spawn(tell_chain(link, "n1".to_owned(), reports, stop.clone()));
            tell.send(repaired(1)).await.expect("somebody tells");
            let pause = Duration::from_secs(60);
            let what = "it lacks our entry".to_owned();
            tell.send(Report::BackedOff { what, pause, suspect: suspect() }).await.expect("somebody tells");
            let deadline = Instant::now() + TEST_PATIENCE;
            let said = loop {
                let said = api.done(&["describe", "node", "n1"], "");
                if said.contains("ChainOverwritten") {
                    break said;
                }
                assert!(Instant::now() < deadline, "{said}");
                // kubectl is another process, whose end says nothing of events that are still to come.
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            for words in ["ChainRepaired", "Warning", "millrace-agent", "set cni.exclusive=false"] {
                assert!(said.contains(words), "no {words}: {said}");
            }
            stop.cancel();
            timeout(TEST_PATIENCE, telling).await.expect("it stops").expect("in peace");
        });
    }
}
