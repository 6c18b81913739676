//! Everything that follows from one look at the cluster: the state, the status, what each group of nodes gets, what is written
//! on nodes. PURE.
//!
//! It joins what the other decisions say, and does nothing of it.

use super::children::{self, Home, Key, MANAGER, Release};
use super::observed::Observed;
use super::platforms;
use super::preconditions::Found;
use super::rollout::{self, Order, Share};
use super::status::{self, Author};
use super::taint::{self, Mark};
use super::targets::{self, Digests, Group, Nodes, Target};
use super::transition::{self, Input, Step, Wanted};
use super::world::Child;
use crate::api::condition::ConditionStatus;
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::ours::UNPROTECTED;
use crate::api::status::{MeshCNIStatus, State};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a decision depends on.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The switch.
    pub(crate) mesh: &'a MeshCNI,
    /// Where our objects live.
    pub(crate) home: &'a Home,
    /// What is seen.
    pub(crate) observed: &'a Observed,
    /// Our objects.
    pub(crate) children: &'a BTreeMap<Key, Child>,
    /// What is wanted, with its revision.
    pub(crate) release: &'a Release,
    /// See `release`.
    pub(crate) revision: i64,
    /// What a revision wanted.
    pub(crate) released: &'a dyn Fn(i64) -> Option<&'a Release>,
    /// What was wanted before.
    pub(crate) before: Option<&'a Release>,
    /// What is wrong with the cluster itself.
    pub(crate) found: &'a Found,
    /// Our objects that could not be applied.
    pub(crate) broken: &'a [String],
    /// Whether there is a webhook of ours that converts pods.
    pub(crate) webhook: bool,
    /// See [`Input::settled`].
    pub(crate) settled: bool,
    /// See [`Input::heard`].
    pub(crate) heard: bool,
    /// Why the specification that is written is not the one that is acted upon, where it is not.
    pub(crate) refused: Option<&'a str>,
    /// For how long this controller has watched that nothing moves: see [`status::dated`].
    pub(crate) unmoved: Duration,
    /// The moment.
    pub(crate) now: Timestamp,
}

/// What follows.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// What is wanted.
    pub(crate) wanted: Wanted,
    /// The next step.
    pub(crate) step: Step,
    /// What is said of it.
    pub(crate) status: MeshCNIStatus,
    /// What each group of nodes gets.
    pub(crate) shares: BTreeMap<Group, Share>,
    /// Whether pods are admitted by us: while they are converted, and while converted ones are left.
    pub(crate) admits: bool,
    /// Groups that are not touched now.
    pub(crate) held: Vec<Group>,
    /// What is written on nodes.
    pub(crate) marks: Vec<Mark>,
    /// Nodes that serve.
    pub(crate) serving: Vec<String>,
    /// Nodes to clear, each with its group.
    pub(crate) unclear: Vec<(String, Group)>,
    /// Nodes that are given up on: they could not be cleared within the deadline of an uninstallation.
    pub(crate) left: Vec<String>,
}

/// Decides.
pub(crate) fn decide(question: &Question<'_>) -> Decision {
    let Question { mesh, home, observed, release, revision, now, .. } = *question;
    let spec = &release.spec;
    let previous =
        status::dated(mesh.status.as_ref().unwrap_or(&MeshCNIStatus::default()), question.unmoved, now);
    let wanted = wanted(mesh);
    let back_to = back_to(question, &previous, wanted);
    let effective = back_to.and_then(question.released).unwrap_or(release);
    let groups = targets::groups(&effective.spec, observed);
    let digests: BTreeMap<Group, Digests> =
        groups.iter().map(|group| (*group, children::digests(home, *group, effective))).collect();
    let nodes = targets::targets(&effective.spec, observed, &digests, now);
    let stalled = status::is_stalled(&previous, now);
    let (unclear, left) = unclear(question, &nodes, wanted, stalled);
    let names: Vec<String> = unclear.iter().map(|(name, _)| name.clone()).collect();
    let sets = question.children.keys().any(|key| key.kind == "DaemonSet");
    let input = Input {
        wanted,
        paused: spec.rollout.paused,
        targets: &nodes.targets,
        dependent: if is_forsaken(mesh, wanted) { 0 } else { observed.pods.dependent() },
        settled: question.settled,
        heard: question.heard,
        agents_left: sets || observed.has_agents(),
        unclear: &names,
        clearing: observed.is_clearing(),
    };
    let step = transition::decide(previous.state.unwrap_or_default(), &input);
    let order = Order { wanted: revision, back_to, paused: spec.rollout.paused };
    let shares = rollout::plan(&groups, &nodes.targets, &has(question, &groups), order);
    let marks = taint::marks(step.state, &spec.node_taint, &nodes.targets, &observed.nodes, now);
    let author = status::author(mesh.metadata.managed_fields.as_deref().unwrap_or_default(), MANAGER);
    let status = said(question, &previous, &nodes, &step, author.as_ref(), back_to);
    let serves = |target: &&Target| target.ready && target.serving;
    let serving = nodes.targets.iter().filter(serves).map(|target| target.name.clone()).collect();
    let held = groups.into_iter().filter(|group| !shares.contains_key(group)).collect();
    let admits = matches!(step.state, State::Serving | State::Draining);
    Decision { wanted, step, status, shares, admits, held, marks, serving, unclear, left }
}

fn said(
    question: &Question<'_>,
    previous: &MeshCNIStatus,
    nodes: &Nodes,
    step: &Step,
    author: Option<&Author>,
    back_to: Option<i64>,
) -> MeshCNIStatus {
    let Question { mesh, observed, release, revision, before, found, broken, now, .. } = *question;
    let facts = status::Facts {
        generation: mesh.metadata.generation.unwrap_or_default(),
        release,
        wanted: wanted(mesh),
        revision,
        back_to,
        author,
        before: before.map(|before| &before.spec),
        nodes,
        step,
        // Before all nodes serve it is not told yet, and when agents leave not any more.
        registered: !question.webhook
            || step.state != State::Serving
            || question.children.keys().any(|key| key.kind == "MutatingWebhookConfiguration"),
        heard: question.heard,
        refused: question.refused,
        observed,
        found,
        broken,
        now,
    };
    status::status(previous, &facts)
}

/// What is wanted.
pub(crate) fn wanted(mesh: &MeshCNI) -> Wanted {
    match mesh.spec.mode {
        _ if mesh.metadata.deletion_timestamp.is_some() => Wanted::Uninstall,
        Mode::Cni => Wanted::Cni,
        Mode::InitContainer => Wanted::InitContainer,
        Mode::Disabled => Wanted::Disabled,
    }
}

/// Whether an uninstallation was told to leave pods that depend on the agents to themselves. Anything less is not heard.
fn is_forsaken(mesh: &MeshCNI, wanted: Wanted) -> bool {
    let told = mesh.metadata.annotations.as_ref().and_then(|all| all.get(UNPROTECTED));
    wanted == Wanted::Uninstall && told.is_some_and(|value| value == "true")
}

/// The revision to go back to: of a change that stalled, once and until the specification is changed.
fn back_to(question: &Question<'_>, previous: &MeshCNIStatus, wanted: Wanted) -> Option<i64> {
    let good = previous.last_good_revision.filter(|good| *good != question.revision)?;
    (question.released)(good)?;
    let generation = question.mesh.metadata.generation;
    let is_back = previous.conditions.iter().any(|condition| {
        condition.kind == "Stalled"
            && condition.status == ConditionStatus::True
            && condition.reason == status::ROLLED_BACK
            && condition.observed_generation == generation
    });
    let stalled = status::is_stalled(previous, question.now) && previous.observed_generation == generation;
    let rolls = question.mesh.spec.rollout.auto_rollback && wanted == Wanted::Cni;
    (rolls && (is_back || stalled)).then_some(good)
}

/// The revision that each group has now.
fn has(question: &Question<'_>, groups: &[Group]) -> BTreeMap<Group, i64> {
    let revision = |group: &Group| {
        let name = children::name(*group);
        let mut sets =
            question.children.iter().filter(|(key, _)| key.kind == "DaemonSet" && key.name == name);
        let revision = sets.next()?.1.revision?;
        // One that nobody remembers cannot be made again.
        (question.released)(revision).map(|_| (*group, revision))
    };
    groups.iter().filter_map(revision).collect()
}

/// The nodes on which something of ours may be, and those that are not waited for any longer.
fn unclear(
    question: &Question<'_>,
    nodes: &Nodes,
    wanted: Wanted,
    stalled: bool,
) -> (Vec<(String, Group)>, Vec<String>) {
    let Question { observed, release, .. } = *question;
    let mut unclear: BTreeMap<String, Group> =
        nodes.targets.iter().map(|target| (target.name.clone(), target.group)).collect();
    // Nodes that were selected once.
    for name in observed.reports.keys() {
        if let Some(node) = observed.nodes.get(name) {
            let platform = release.spec.install.platform.unwrap_or_else(|| platforms::platform(node));
            unclear.entry(name.clone()).or_insert(Group { platform, canary: false });
        }
    }
    unclear.retain(|name, _| !observed.is_clear(name));
    let away = |name: &str| observed.nodes.get(name).is_none_or(|node| !node.ready);
    let gives_up = wanted == Wanted::Uninstall && stalled;
    let (left, unclear): (Vec<_>, Vec<_>) = unclear.into_iter().partition(|(name, _)| gives_up && away(name));
    (unclear, left.into_iter().map(|(name, _)| name).collect())
}
