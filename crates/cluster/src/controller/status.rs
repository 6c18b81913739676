//! What is said of a cluster in the MeshCNI's status. PURE.
//!
//! It decides nothing: the state is decided before it is told here. A time that nothing moved since stays as it was, so that a
//! cluster at rest has a status at rest.

mod conditions;
mod operation;

pub(crate) use operation::{Watched, dated};

use super::children::Release;
use super::observed::Observed;
use super::preconditions::Found;
use super::targets::{Nodes, Target};
use super::transition::{Step, Wait, Wanted};
use crate::api::condition::Condition;
use crate::api::convert::text_digest;
use crate::api::mesh::MeshCNISpec;
use crate::api::status::{Change, FailingNode, MeshCNIStatus, NodeCounts, Phase, State};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// Everything that a status is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The generation of the specification.
    pub(crate) generation: i64,
    /// What the operator wants.
    pub(crate) release: &'a Release,
    /// What is wanted of the cluster.
    pub(crate) wanted: Wanted,
    /// The revision that this is.
    pub(crate) revision: i64,
    /// The revision that was gone back to, if one was.
    pub(crate) back_to: Option<i64>,
    /// Who made the change, and when, as the API server knows.
    pub(crate) author: Option<&'a Author>,
    /// The specification before this one, if it is known.
    pub(crate) before: Option<&'a MeshCNISpec>,
    /// The nodes.
    pub(crate) nodes: &'a Nodes,
    /// What follows.
    pub(crate) step: &'a Step,
    /// Whether the API server was told of our webhook, where pods are to be converted.
    pub(crate) registered: bool,
    /// Whether no webhook goes by an earlier specification any more.
    pub(crate) heard: bool,
    /// Why the specification that is written is not acted upon, where it is not.
    pub(crate) refused: Option<&'a str>,
    /// What else is seen.
    pub(crate) observed: &'a Observed,
    /// What is wrong with the cluster itself.
    pub(crate) found: &'a Found,
    /// Children that could not be applied, each as a sentence with its code.
    pub(crate) broken: &'a [String],
    /// The moment.
    pub(crate) now: Timestamp,
}

/// Who changed a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    /// The field manager.
    pub(crate) manager: String,
    /// When.
    pub(crate) at: Timestamp,
}

/// The reason of Stalled once a change was taken back.
pub(crate) const ROLLED_BACK: &str = "RolledBack";
/// The most failing nodes that are named.
const MOST_NAMED: usize = 10;
/// The most changes that are kept.
const MOST_CHANGES: usize = 5;

/// The status that follows `previous`.
pub(crate) fn status(previous: &MeshCNIStatus, facts: &Facts<'_>) -> MeshCNIStatus {
    let Facts { nodes, step, observed, release, .. } = *facts;
    let failing = failing(previous, &nodes.targets, facts.now);
    let drifted = observed.reports.values().filter_map(|report| report.drifted).sum();
    let mut status = MeshCNIStatus {
        observed_generation: Some(facts.generation),
        state: Some(step.state),
        nodes: counts(&nodes.targets, step.state),
        workloads: observed.pods.workloads(&release.spec, step.state, drifted),
        failing_nodes: if agents_wanted(step.state) { failing } else { Vec::new() },
        history: history(previous, facts),
        last_good_revision: previous.last_good_revision,
        admitted_generation: if facts.heard { Some(facts.generation) } else { previous.admitted_generation },
        ..MeshCNIStatus::default()
    };
    status.operation = operation::operation(previous, &status, facts);
    status.phase = Some(phase(&status, facts));
    if status.phase == Some(Phase::Running) && facts.back_to.is_none() {
        status.last_good_revision = Some(facts.revision);
    }
    status.conditions = conditions::conditions(previous, &status, facts);
    status
}

/// The same status, of a specification about which nothing is done.
pub(crate) fn declined(
    previous: &MeshCNIStatus,
    generation: i64,
    why: &str,
    now: Timestamp,
) -> MeshCNIStatus {
    let mut nodes = previous.nodes.clone();
    if nodes.summary.is_empty() {
        nodes = counts(&[], State::Absent);
    }
    MeshCNIStatus {
        observed_generation: Some(generation),
        phase: Some(Phase::Degraded),
        nodes,
        conditions: conditions::declined(previous, generation, why, now),
        ..previous.clone()
    }
}

/// Whether `next` says more than `previous` does of how far things are: what people and programs wait for.
pub(crate) fn is_turn(previous: &MeshCNIStatus, next: &MeshCNIStatus) -> bool {
    let condition = |one: &Condition| (one.kind.clone(), one.status, one.reason.clone());
    let conditions = |status: &MeshCNIStatus| status.conditions.iter().map(condition).collect::<Vec<_>>();
    let operation = |status: &MeshCNIStatus| {
        let going = status.operation.as_ref();
        going.map(|operation| (operation.kind.clone(), operation.generation))
    };
    let plain = |status: &MeshCNIStatus| {
        let generations = (status.observed_generation, status.admitted_generation);
        (generations, status.phase, status.state, status.last_good_revision)
    };
    plain(previous) != plain(next)
        || operation(previous) != operation(next)
        || previous.history != next.history
        || conditions(previous) != conditions(next)
}

/// Whether a change is on its way and nothing moved for as long as it may.
pub(crate) fn is_stalled(status: &MeshCNIStatus, now: Timestamp) -> bool {
    status.operation.as_ref().is_some_and(|operation| now >= operation.deadline.0)
}

/// Who made the present specification: the last manager that is not the controller itself, and wrote no status.
pub(crate) fn author(managers: &[ManagedFieldsEntry], ours: &str) -> Option<Author> {
    let others = managers.iter().filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    let others = others.filter(|entry| entry.manager.as_deref() != Some(ours));
    let known = others
        .filter_map(|entry| Some(Author { manager: entry.manager.clone()?, at: entry.time.as_ref()?.0 }));
    known.max_by_key(|author| author.at)
}

/// Whether agents are wanted on nodes.
pub(crate) fn agents_wanted(state: State) -> bool {
    matches!(state, State::Installing | State::Serving | State::Draining)
}

/// Whether the cluster is where it stays if nothing is changed. Pods that need a restart keep it from nothing but from
/// removing the agents.
fn is_at_rest(wanted: Wanted, step: &Step) -> bool {
    match wanted {
        Wanted::Cni => step.state == State::Serving,
        Wanted::InitContainer => {
            matches!(step.state, State::Installing | State::Draining)
                && step.waits.iter().all(|wait| matches!(wait, Wait::Pods(_)))
        }
        Wanted::Disabled | Wanted::Uninstall => step.state == State::Absent,
    }
}

/// Whether all nodes that should have what is wanted.
fn is_everywhere(step: &Step, targets: &[Target]) -> bool {
    !agents_wanted(step.state) || targets.iter().all(|target| target.ready && target.updated)
}

fn phase(status: &MeshCNIStatus, facts: &Facts<'_>) -> Phase {
    let Facts { step, nodes, wanted, .. } = *facts;
    let wrong = facts.refused.is_some() || !facts.broken.is_empty();
    if facts.back_to.is_some() || is_stalled(status, facts.now) || wrong {
        return Phase::Degraded;
    }
    if status.operation.is_some() {
        return Phase::Updating;
    }
    if matches!(wanted, Wanted::Disabled | Wanted::Uninstall) {
        return Phase::Disabled;
    }
    let failing = |target: &Target| target.ready && !target.serving && has_had_time(target, facts.now);
    let broken = agents_wanted(step.state) && nodes.targets.iter().any(failing);
    if broken { Phase::Degraded } else { Phase::Running }
}

/// A node that joins has an agent within this.
fn has_had_time(target: &Target, now: Timestamp) -> bool {
    let since = target.trouble.as_ref().and_then(|trouble| trouble.since);
    // A node's clock is its own.
    since.is_none_or(|since| now.duration_since(since).as_secs().abs() > 120)
}

fn counts(targets: &[Target], state: State) -> NodeCounts {
    if !agents_wanted(state) {
        return NodeCounts { summary: "0/0".to_owned(), ..NodeCounts::default() };
    }
    let count = |counted: &dyn Fn(&Target) -> bool| {
        u32::try_from(targets.iter().filter(|target| counted(target)).count()).unwrap_or(u32::MAX)
    };
    let (desired, ready) = (count(&|_| true), count(&|target| target.ready && target.serving));
    NodeCounts {
        desired,
        updated: count(&|target| target.updated),
        ready,
        failed: count(&|target| target.ready && !target.serving),
        absent: count(&|target| !target.ready),
        summary: format!("{ready}/{desired}"),
    }
}

/// The nodes that do not serve, those that are Ready first; since when, from the last status if nobody else knows.
fn failing(previous: &MeshCNIStatus, targets: &[Target], now: Timestamp) -> Vec<FailingNode> {
    let mut failing: Vec<&Target> =
        targets.iter().filter(|target| !target.ready || !target.serving).collect();
    failing.sort_by_key(|target| !target.ready);
    let named = failing.into_iter().take(MOST_NAMED).filter_map(|target| {
        let trouble = target.trouble.as_ref()?;
        let code = trouble.code.to_string();
        let was = previous.failing_nodes.iter().find(|was| was.name == target.name && was.code == code);
        let since = trouble.since.map(Time).or_else(|| was.and_then(|was| was.since.clone()));
        Some(FailingNode {
            name: target.name.clone(),
            code,
            reason: trouble.reason.clone(),
            since: since.or(Some(Time(now))),
        })
    });
    named.collect()
}

fn history(previous: &MeshCNIStatus, facts: &Facts<'_>) -> Vec<Change> {
    let hash = hash(&facts.release.spec);
    if previous.history.first().is_some_and(|last| last.spec_hash == hash) {
        return previous.history.clone();
    }
    let (by, at) = match facts.author {
        Some(author) => (author.manager.clone(), author.at),
        None => ("unknown".to_owned(), facts.now),
    };
    let change = Change {
        generation: facts.generation,
        spec_hash: hash,
        summary: summary(facts.before, &facts.release.spec),
        by,
        at: Time(at),
    };
    [change].into_iter().chain(previous.history.iter().cloned()).take(MOST_CHANGES).collect()
}

/// The digest of a specification, as it is told.
fn hash(spec: &MeshCNISpec) -> String {
    text_digest(&serde_json::to_string(spec).expect("a specification has a text"))
}

/// The fields in which two specifications differ.
fn summary(before: Option<&MeshCNISpec>, now: &MeshCNISpec) -> String {
    let tree = |spec: &MeshCNISpec| serde_json::to_value(spec).expect("a specification has a tree");
    let Some(before) = before.map(tree) else { return "created".to_owned() };
    let now = tree(now);
    let empty = serde_json::Map::new();
    let [before, now] = [&before, &now].map(|tree| tree.as_object().unwrap_or(&empty));
    let differs =
        |key: &&String| before.get(*key).unwrap_or(&Value::Null) != now.get(*key).unwrap_or(&Value::Null);
    let mut keys: Vec<&str> = now.keys().chain(before.keys()).filter(differs).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.join(", ")
}

#[cfg(test)]
mod tests;
