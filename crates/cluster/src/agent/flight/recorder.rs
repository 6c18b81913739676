//! The recorder as a task of the agent: a thread of its own, as a disk may be slow, behind a bounded queue.
//!
//! It joins what the agent decided with what the plugin then told. A full queue or a failing disk costs entries, which are
//! counted and complained of once, and keeps nobody waiting.

use super::entry::{Condition, Entry};
use super::{Error, Flight, Limits};
use crate::agent::metrics::Metrics;
use millrace_core::ask::{Answer, Event, Question};
use millrace_core::complaint::Complaint;
use millrace_core::knobs::settings_of;
use millrace_core::pod::Pod;
use millrace_core::policy::{Decision, Mesh, decide};
use millrace_core::record::Key;
use millrace_core::settings::Families;
use millrace_host::records::Records;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

/// What waits to be written; a node's burst of pods is a few hundred calls.
const QUEUE: usize = 1024;
/// Decisions whose event has not come; it comes within the agent's timeout, or never.
const PENDING: usize = 512;
/// How long until a recorder that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What the agent decided about one attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// The container id of the pod's sandbox, and the interface: what the event will name.
    container: String,
    interface: String,
    stamp: String,
    conditions: Vec<Condition>,
    complaints: Vec<String>,
}

impl Decided {
    /// A decision as it was answered: `stamp` is the answer's text.
    pub(crate) fn new(
        container: &str,
        interface: &str,
        stamp: &str,
        decision: &Decision,
        complaints: &[Complaint],
    ) -> Decided {
        let conditions = decision.conditions.iter().map(|one| Condition {
            reason: one.reason,
            holds: one.holds,
            found: one.found.clone(),
        });
        Decided {
            container: container.to_owned(),
            interface: interface.to_owned(),
            stamp: stamp.to_owned(),
            conditions: conditions.collect(),
            complaints: complaints.iter().map(ToString::to_string).collect(),
        }
    }
}

enum Said {
    Decided(Decided),
    Told(SystemTime, Box<Event>),
    End(SyncSender<()>),
}

/// Where the agent's tasks say what happened. A clone says it to the same recorder, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    queue: SyncSender<Said>,
    metrics: Metrics,
}

impl Recorder {
    /// Starts the thread. `folder` is the recorder's, `state` the plugin's state directory, in which its records are.
    pub(crate) fn start(folder: &Path, state: &Path, metrics: Metrics) -> std::io::Result<Recorder> {
        let (queue, said) = sync_channel(QUEUE);
        let mut writer = Writer {
            folder: folder.to_owned(),
            records: Records::below(state),
            pending: VecDeque::new(),
            flight: None,
            tried: None,
            complained: String::new(),
            metrics: metrics.clone(),
        };
        std::thread::Builder::new().name("flight".to_owned()).spawn(move || writer.run(&said))?;
        Ok(Recorder { queue, metrics })
    }

    /// The agent decided; the event that tells what came of it will be joined with this.
    pub(crate) fn decided(&self, decided: Decided) {
        // One that finds no place costs an entry its conditions, no more.
        let _ = self.queue.try_send(Said::Decided(decided));
    }

    /// The agent answered a question. `pod` is what it knew of the pod, from which the conditions are seen again.
    pub(crate) fn answered(&self, question: &Question, answer: &Answer, pod: Option<&Pod>, mesh: &Mesh) {
        if let (Answer::Decided(stamp), Some(pod)) = (answer, pod) {
            let (_, complaints) = settings_of(pod, &mesh.proxy_container, &mesh.defaults);
            let decision = decide(pod, mesh);
            self.decided(Decided::new(
                &question.container,
                &question.interface,
                stamp,
                &decision,
                &complaints,
            ));
        }
    }

    /// The plugin told what it did.
    pub(crate) fn told(&self, now: SystemTime, event: Event) {
        if self.queue.try_send(Said::Told(now, Box::new(event))).is_err() {
            self.metrics.recorded(false);
        }
    }

    /// Writes what waits and lets go of the files, so that the next agent may have them; within `limit`, or not at all.
    pub(crate) fn end(self, limit: Duration) {
        let (done, ended) = sync_channel(1);
        if self.queue.try_send(Said::End(done)).is_ok() {
            let _ = ended.recv_timeout(limit);
        }
    }
}

struct Writer {
    folder: PathBuf,
    records: Records,
    pending: VecDeque<Decided>,
    flight: Option<Flight>,
    tried: Option<Instant>,
    complained: String,
    metrics: Metrics,
}

impl Writer {
    fn run(&mut self, said: &Receiver<Said>) {
        loop {
            match said.recv_timeout(Duration::from_secs(3600)) {
                Ok(Said::Decided(decided)) => {
                    if self.pending.len() >= PENDING {
                        self.pending.pop_front();
                    }
                    self.pending.push_back(decided);
                }
                Ok(Said::Told(at, event)) => self.write(at, *event),
                Ok(Said::End(done)) => {
                    self.flight = None;
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, at: SystemTime, event: Event) {
        let entry = self.entry(at, event);
        let written = self
            .open(Instant::now())
            .and_then(|flight| flight.map(|flight| flight.record(&entry)).transpose());
        self.metrics.recorded(matches!(written, Ok(Some(()))));
        match written {
            Ok(Some(())) => self.complained.clear(),
            Ok(None) => {}
            Err(error) => {
                let error = error.to_string();
                if error != self.complained {
                    tracing::warn!("the flight recorder loses entries: {error}");
                    self.complained = error;
                }
            }
        }
    }

    /// The open recorder; none if it is not time yet to try again.
    fn open(&mut self, now: Instant) -> Result<Option<&mut Flight>, Error> {
        if self.flight.as_ref().is_some_and(Flight::is_lost) {
            tracing::warn!(folder = %self.folder.display(), "the flight recorder's file was taken away; a new one is begun");
            (self.flight, self.tried) = (None, None);
        }
        if self.flight.is_none() {
            if self.tried.is_some_and(|tried| now.duration_since(tried) < AGAIN) {
                return Ok(None);
            }
            self.tried = Some(now);
            self.flight = Some(Flight::open(&self.folder, Limits::default())?);
        }
        Ok(self.flight.as_mut())
    }

    fn entry(&mut self, at: SystemTime, event: Event) -> Entry {
        let about = |one: &Decided| one.container == event.container && one.interface == event.interface;
        let place = self.pending.iter().rposition(about).filter(|_| event.verb == "ADD");
        let decided = place.and_then(|place| self.pending.remove(place));
        let (mut stamp, mut families) = (None, None);
        if event.outcome == "redirected" {
            (stamp, families) = self.recorded(&event).map_or((None, None), |(s, f)| (Some(s), Some(f)));
        }
        let (decided_stamp, conditions, complaints) = decided
            .map_or((None, Vec::new(), Vec::new()), |one| (Some(one.stamp), one.conditions, one.complaints));
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Entry {
            at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            event,
            stamp: stamp.or(decided_stamp),
            families,
            conditions,
            complaints,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// What the plugin left about a pod that it redirected without asking us.
    fn recorded(&self, event: &Event) -> Option<(String, Families)> {
        let key = Key {
            network: event.network.clone(),
            container: event.container.clone(),
            interface: event.interface.clone(),
        };
        let record = self.records.find(&key).ok()??;
        Some((record.stamp, record.families))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Wanted, find};
    use super::*;
    use millrace_core::dialect::Backend;
    use millrace_core::record::Record;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("millrace-recorder-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const DEADLINE: Duration = Duration::from_secs(30);

    fn event(name: &str, outcome: &str) -> Event {
        Event {
            verb: "ADD".into(),
            network: "net".into(),
            container: format!("c-{name}"),
            interface: "eth0".into(),
            namespace: "default".into(),
            name: name.into(),
            outcome: outcome.into(),
            ..Event::default()
        }
    }

    fn found(folder: &Folder, name: &str) -> Vec<Entry> {
        let wanted = Wanted::Pod { namespace: "default".into(), name: name.into() };
        find(&folder.0.join("flight"), &wanted).unwrap().entries
    }

    fn start(folder: &Folder) -> Recorder {
        Recorder::start(&folder.0.join("flight"), &folder.0, Metrics::new("0.0.0")).unwrap()
    }

    #[test]
    fn an_event_is_joined_with_what_the_agent_decided() {
        let folder = Folder::new("joined");
        let recorder = start(&folder);
        let (pod, mesh) = (Pod::default(), Mesh::default());
        let decision = decide(&pod, &mesh);
        let question = Question { container: "c-a".into(), interface: "eth0".into(), ..Question::default() };
        recorder.answered(&question, &Answer::Decided("the stamp".into()), Some(&pod), &mesh);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234);
        recorder.told(at, event("b", "passed"));
        recorder.told(at, event("a", "passed"));
        recorder.told(at, event("a", "passed"));
        recorder.end(DEADLINE);
        let known: Vec<_> = found(&folder, "a")
            .into_iter()
            .map(|entry| (entry.at, entry.stamp, entry.conditions.len()))
            .collect();
        let conditions = decision.conditions.len();
        assert_eq!(known, [(1_234, Some("the stamp".to_owned()), conditions), (1_234, None, 0)]);
        assert_eq!(found(&folder, "b")[0].conditions, []);
    }

    #[test]
    fn what_the_plugin_decided_by_itself_is_read_from_its_record() {
        let folder = Folder::new("record");
        let told = event("a", "redirected");
        let record = Record {
            key: Key {
                network: told.network.clone(),
                container: told.container.clone(),
                interface: told.interface.clone(),
            },
            netns: "/n".into(),
            namespace: "default".into(),
            name: "a".into(),
            uid: None,
            stamp: "as stamped".into(),
            families: Families::V4,
            backend: Backend::Nftables,
            release: None,
        };
        Records::below(&folder.0).keep(&record).unwrap();
        let recorder = start(&folder);
        recorder.told(SystemTime::UNIX_EPOCH, told);
        recorder.end(DEADLINE);
        let entry = found(&folder, "a").remove(0);
        assert_eq!((entry.stamp.as_deref(), entry.families), (Some("as stamped"), Some(Families::V4)));
    }

    #[test]
    fn a_file_that_was_taken_away_is_made_again_for_the_next_entry() {
        let folder = Folder::new("taken");
        let flight = folder.0.join("flight");
        let at = SystemTime::UNIX_EPOCH;
        let count = |metrics: &Metrics, number: u32| {
            let line = format!("millrace_flight_records_total{{result=\"ok\"}} {number}\n");
            let deadline = Instant::now() + DEADLINE;
            while !metrics.write().contains(&line) {
                assert!(Instant::now() < deadline, "{}", metrics.write());
                std::thread::yield_now();
            }
        };
        let recorder = start(&folder);
        let takes: [&dyn Fn(); 2] = [&|| std::fs::remove_file(flight.join("flight.log")).unwrap(), &|| {
            std::fs::remove_dir_all(&flight).unwrap()
        }];
        for (number, take) in (1..).zip(takes) {
            recorder.told(at, event("lost", "passed"));
            count(&recorder.metrics, number * 2 - 1);
            take();
            recorder.told(at, event("kept", "passed"));
            count(&recorder.metrics, number * 2);
            assert_eq!((found(&folder, "lost").len(), found(&folder, "kept").len()), (0, 1));
        }
        recorder.end(DEADLINE);
    }

    #[test]
    fn a_disk_that_fails_costs_entries_and_is_counted() {
        let folder = Folder::new("failing");
        std::fs::create_dir_all(&folder.0).unwrap();
        std::fs::write(folder.0.join("flight"), "no directory").unwrap();
        let recorder = start(&folder);
        let metrics = recorder.metrics.clone();
        recorder.told(SystemTime::UNIX_EPOCH, event("a", "passed"));
        recorder.told(SystemTime::UNIX_EPOCH, event("a", "passed"));
        recorder.end(DEADLINE);
        let text = metrics.write();
        assert!(text.contains("millrace_flight_records_total{result=\"failed\"} 2"), "{text}");
    }
}
