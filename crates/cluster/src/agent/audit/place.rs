//! Where each pod's namespace is: what its ADD recorded says, else its processes do.
//!
//! It blocks. A pod for which there is nothing to look for is not searched, and one whose namespace is not certain is said
//! to be unseen.

use super::Known;
use super::find::{self, Sought};
use super::look::Place;
use millrace_core::policy::Mesh;
use millrace_core::record::Record;
use millrace_core::repair::{Left, wanted};
use millrace_core::settings::Settings;
use millrace_host::netns::NetNs;
use millrace_host::records::Records;
use std::collections::BTreeMap;
use std::path::Path;

/// A pod to look at.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) known: Known,
    pub(super) settings: Box<Settings>,
    pub(super) place: Place,
}

/// What became of a pod before anything of it was looked at.
pub(super) enum Placed {
    Left(String, Left),
    Unseen(Box<Known>, String),
    Found(Box<Job>),
}

/// Finds each pod's namespace, unless nothing is to be looked for there.
pub(super) fn place(
    knowns: Vec<Known>,
    proc: &Path,
    records: &Records,
    mesh: &Mesh,
    is_mended: impl Fn(&str) -> bool,
) -> Vec<Placed> {
    let all = all(records);
    let mut placed = Vec::new();
    let mut unrecorded = Vec::new();
    for known in knowns {
        let own: Vec<&Record> = all.iter().filter(|record| known.has(record)).collect();
        let settings = match wanted(&known.pod, mesh, own.first().map(|record| record.stamp.as_str())) {
            Ok(settings) => settings,
            Err(left) => {
                placed.push(Placed::Left(known.uid, left));
                continue;
            }
        };
        let mended = is_mended(&known.uid);
        match recorded(&own) {
            Some((netns, record)) => {
                let place = Place { netns, record: Some(record), mended };
                placed.push(Placed::Found(Box::new(Job { known, settings, place })));
            }
            // Which of several attachments is meant does not matter: they are of one namespace and one stamp.
            None => {
                unrecorded.push(Unrecorded { known, settings, record: own.first().copied().cloned(), mended })
            }
        }
    }
    if !unrecorded.is_empty() {
        search(unrecorded, proc, &mut placed);
    }
    placed
}

/// A pod that only its processes lead to.
struct Unrecorded {
    known: Known,
    settings: Box<Settings>,
    record: Option<Record>,
    mended: bool,
}

fn search(pods: Vec<Unrecorded>, proc: &Path, placed: &mut Vec<Placed>) {
    let sought =
        |pod: &Unrecorded| Sought { uid: pod.known.node_uid.clone(), addresses: pod.known.addresses.clone() };
    let sought: Vec<Sought> = pods.iter().map(sought).collect();
    let (mut found, trouble) = match find::by_processes(proc, &sought) {
        Ok(found) => (found, None),
        Err(error) => {
            let way = "run the agent where it sees the node's processes";
            (BTreeMap::new(), Some(format!("cannot look through {}: {error}; {way}", proc.display())))
        }
    };
    for Unrecorded { known, settings, record, mended } in pods {
        let netns = found.remove(&known.node_uid).unwrap_or(Err(find::Error::NoProcess));
        placed.push(match (netns, &trouble) {
            (Ok(netns), _) => {
                let place = Place { netns, record, mended };
                Placed::Found(Box::new(Job { known, settings, place }))
            }
            (Err(_), Some(trouble)) => Placed::Unseen(Box::new(known), trouble.clone()),
            (Err(error), None) => Placed::Unseen(Box::new(known), error.to_string()),
        });
    }
}

fn all(records: &Records) -> Vec<Record> {
    match records.all() {
        Ok((all, errors)) => {
            errors.iter().for_each(|error| tracing::warn!("{error}"));
            all
        }
        Err(error) => {
            tracing::warn!("the audit knows nothing of what was done: {error}");
            Vec::new()
        }
    }
}

impl Known {
    /// Whether a record is this pod's.
    fn has(&self, record: &Record) -> bool {
        match &record.uid {
            Some(uid) => *uid == self.node_uid || *uid == self.uid,
            None => record.namespace == self.pod.namespace && record.name == self.pod.name,
        }
    }
}

/// The namespace that a pod's records name, if they name one. A pod that is just being given another has two for a moment.
fn recorded(own: &[&Record]) -> Option<(NetNs, Record)> {
    let mut open: Vec<_> = own
        .iter()
        .filter_map(|record| {
            let netns = find::by_path(Path::new(&record.netns))?;
            Some((netns.id().ok()?, netns, (*record).clone()))
        })
        .collect();
    let (id, ..) = open.first()?;
    let id = *id;
    if open.iter().any(|(other, ..)| *other != id) {
        return None;
    }
    // The attachment that was made when the pod had the most addresses knows best.
    open.sort_by_key(|(_, _, record)| record.families);
    open.pop().map(|(_, netns, record)| (netns, record))
}
