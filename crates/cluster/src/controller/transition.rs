//! The state machine of a cluster: what follows from where it is, from what is wanted and from what is seen. PURE.
//!
//! One call is one step, and the state it leads to is written down before anything is done about it: whoever takes over
//! begins from there. A model of a small cluster (tests/controller/model.rs) walks it with everything that can go wrong.
//!
//! ```text
//!            wanted: CNI, InitContainer                  CNI: every Ready target serves
//!   Absent ─────────────────────────────▶ Installing ──────────────────────────────────▶ Serving
//!      ▲                                   ▲      │ Disabled, deleted                        │ not CNI
//!      │ nodes are clear      CNI (anyone) │      ▼                                          ▼
//!      └──────────── Removing ◀────────────┴── Draining ◀────────────────────────────────────┘
//!                             no pod depends on the agents, and none can be on its way
//! ```

use super::targets::Target;
use crate::api::status::State;

/// What is wanted of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// The node's chain redirects.
    Cni,
    /// Pods redirect themselves; agents stay.
    InitContainer,
    /// Pods redirect themselves; agents leave.
    Disabled,
    /// The MeshCNI is being deleted: everything of ours leaves.
    Uninstall,
}

/// What a step depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    /// What is wanted.
    pub(crate) wanted: Wanted,
    /// Whether changes stop where they are.
    pub(crate) paused: bool,
    /// The nodes that should serve.
    pub(crate) targets: &'a [Target],
    /// Pods that the chain redirects, running or about to.
    pub(crate) dependent: u32,
    /// Whether no pod can be on its way any more that was converted while Serving was the state, and the pods were listed
    /// since.
    pub(crate) settled: bool,
    /// Whether no webhook goes by an earlier specification any more.
    pub(crate) heard: bool,
    /// Whether anything that runs an agent is there: a DaemonSet, or a pod of one on a node that is Ready.
    pub(crate) agents_left: bool,
    /// Nodes of which it is not known that nothing of ours is on them.
    pub(crate) unclear: &'a [String],
    /// Whether a node is being cleared.
    pub(crate) clearing: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where the cluster is then.
    pub(crate) state: State,
    /// What is done about agents there.
    pub(crate) agents: Agents,
    /// What keeps it from the next state; empty where it is at rest.
    pub(crate) waits: Vec<Wait>,
}

/// What is done about agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Agents {
    /// Nothing: none is there.
    None,
    /// What runs them is applied, again and again.
    Apply,
    /// What clears nodes is taken away first, with the reports of these nodes, so that no node is cleared of an agent that was
    /// just installed, and none counts as serving for what was on it before.
    Spare,
    /// What runs them is deleted; then the nodes are cleared.
    Remove,
}

/// What a cluster waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A Ready node that does not serve.
    Node(String),
    /// Any node that is Ready.
    AnyNode,
    /// Changes are paused.
    Unpause,
    /// So many pods depend on the agents; they are restarted by people, or by `millrace migrate`.
    Pods(u32),
    /// Webhooks that may still go by what was wanted before.
    Webhooks,
    /// Pods that were admitted before may be on their way.
    Settling,
    /// Agents that are about to leave.
    Agents,
    /// Nodes that were being cleared when that was called off.
    Spared,
    /// A node that is not clear yet.
    Clear(String),
}

/// The step from `state`.
pub(crate) fn decide(state: State, input: &Input<'_>) -> Step {
    let (state, waits) = next(state, input);
    let agents = match state {
        State::Absent => Agents::None,
        State::Installing | State::Serving | State::Draining if input.clearing => Agents::Spare,
        State::Installing | State::Serving | State::Draining => Agents::Apply,
        State::Removing => Agents::Remove,
    };
    Step { state, agents, waits }
}

fn next(state: State, input: &Input<'_>) -> (State, Vec<Wait>) {
    let at = |state| (state, Vec::new());
    let stays = matches!(input.wanted, Wanted::Cni | Wanted::InitContainer);
    match (state, input.wanted) {
        // Also where the status was lost, as by a restored backup: agents that are there may have pods that depend on them.
        (State::Absent, _) if !stays && input.agents_left => at(State::Draining),
        (State::Absent, _) if !stays => at(State::Absent),
        (State::Absent | State::Removing, _) if stays && input.paused => (state, vec![Wait::Unpause]),
        (State::Absent | State::Removing, _) if stays => at(State::Installing),
        (State::Installing, Wanted::Cni) => match installing(input) {
            waits if waits.is_empty() => at(State::Serving),
            waits => (State::Installing, waits),
        },
        (State::Installing, Wanted::InitContainer) => (State::Installing, unserving(input.targets)),
        (State::Installing, _) => at(State::Draining),
        (State::Serving, Wanted::Cni) => at(State::Serving),
        // To stop converting is safe at any time, so that no pause is in the way of whoever needs it now.
        (State::Serving, _) => at(State::Draining),
        (State::Draining, Wanted::Cni) => at(State::Installing),
        (State::Draining, Wanted::InitContainer) => (State::Draining, converted(input)),
        (State::Draining, _) => match draining(input) {
            waits if waits.is_empty() => at(State::Removing),
            waits => (State::Draining, waits),
        },
        (State::Removing, _) => match removing(input) {
            waits if waits.is_empty() => at(State::Absent),
            waits => (State::Removing, waits),
        },
        // Every state other than these two was met above; with agents that stay, they were as well.
        (State::Absent, _) => at(State::Absent),
    }
}

/// What keeps pods from being converted. A node that is not Ready starts no pod, and is not waited for.
fn installing(input: &Input<'_>) -> Vec<Wait> {
    let mut waits = unserving(input.targets);
    // A node that was just cleared may still be reported as serving.
    if input.clearing {
        waits.push(Wait::Spared);
    }
    if !input.targets.iter().any(|target| target.ready) {
        waits.push(Wait::AnyNode);
    }
    if input.paused {
        waits.push(Wait::Unpause);
    }
    waits
}

fn unserving(targets: &[Target]) -> Vec<Wait> {
    let failing = targets.iter().filter(|target| target.ready && !target.serving);
    failing.map(|target| Wait::Node(target.name.clone())).collect()
}

fn pods(input: &Input<'_>) -> Vec<Wait> {
    (input.dependent > 0).then_some(Wait::Pods(input.dependent)).into_iter().collect()
}

/// Who may convert pods, and those that are.
fn converted(input: &Input<'_>) -> Vec<Wait> {
    (!input.heard).then_some(Wait::Webhooks).into_iter().chain(pods(input)).collect()
}

/// What keeps agents on the nodes.
fn draining(input: &Input<'_>) -> Vec<Wait> {
    let mut waits = converted(input);
    if waits.is_empty() && !input.settled {
        waits.push(Wait::Settling);
    }
    if input.paused && input.wanted != Wanted::Uninstall {
        waits.push(Wait::Unpause);
    }
    waits
}

fn removing(input: &Input<'_>) -> Vec<Wait> {
    if input.agents_left {
        return vec![Wait::Agents];
    }
    input.unclear.iter().cloned().map(Wait::Clear).collect()
}

#[cfg(test)]
#[path = "../../tests/controller/model.rs"]
mod model;
