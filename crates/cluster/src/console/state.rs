//! In which state a page is, told from what was read. PURE.
//!
//! Several may hold at once; the weightiest is the page's, and the others are said beside it.

use super::facts::{Draft, Facts, Rights};
use super::words::Words;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::status::{MeshCNIStatus, Phase};
use crate::args::output::Mark;
use crate::cli::leader::Absent;
use crate::codes::Code;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Within this a controller has looked at what is wanted, by whatever clock.
const PROMPT: SignedDuration = SignedDuration::from_secs(90);

/// The states of a cluster as its page shows it, the weightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Nobody is known to look.
    SessionExpired,
    /// The watch is cut.
    StreamLost,
    /// Nothing was read yet.
    Loading,
    /// No controller acts.
    ControllerAway,
    /// Somebody else writes a chain.
    ChainConflict,
    /// There is no injector.
    InjectorMissing,
    /// Nodes cannot serve as they are.
    UnsupportedRuntime,
    /// Agents do not answer.
    AgentsUnreachable,
    /// Nothing moves.
    Stalled,
    /// It is not where it should be.
    Degraded,
    /// A change stops where it is.
    Paused,
    /// On its way.
    Updating,
    /// Whoever looks may change nothing.
    ReadOnly,
    /// There, but for pods that were not restarted.
    RestartDebt,
    /// There.
    Running,
    /// Agents are there, and pods redirect themselves.
    Clean,
    /// Off.
    Disabled,
}

impl State {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [State; 17] = [
        State::SessionExpired,
        State::StreamLost,
        State::Loading,
        State::ControllerAway,
        State::ChainConflict,
        State::InjectorMissing,
        State::UnsupportedRuntime,
        State::AgentsUnreachable,
        State::Stalled,
        State::Degraded,
        State::Paused,
        State::Updating,
        State::ReadOnly,
        State::RestartDebt,
        State::Running,
        State::Clean,
        State::Disabled,
    ];

    /// Its name, in the page and in tests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::SessionExpired => "session-expired",
            State::Loading => "loading",
            State::StreamLost => "stream-lost",
            State::ControllerAway => "controller-away",
            State::ChainConflict => "chain-conflict",
            State::InjectorMissing => "injector-missing",
            State::UnsupportedRuntime => "unsupported-runtime",
            State::AgentsUnreachable => "agents-unreachable",
            State::Stalled => "stalled",
            State::Degraded => "degraded",
            State::Paused => "paused",
            State::Updating => "updating",
            State::ReadOnly => "read-only",
            State::RestartDebt => "running-restart-debt",
            State::Running => "running",
            State::Clean => "clean",
            State::Disabled => "disabled",
        }
    }

    /// How good it is.
    pub(crate) fn mark(self) -> Mark {
        match self {
            State::SessionExpired
            | State::ControllerAway
            | State::ChainConflict
            | State::InjectorMissing
            | State::UnsupportedRuntime
            | State::AgentsUnreachable
            | State::Stalled
            | State::Degraded => Mark::Bad,
            State::Running | State::Clean | State::Disabled => Mark::Good,
            _ => Mark::Odd,
        }
    }

    /// Its title, and what it means.
    pub(crate) fn said(self, words: &Words) -> (&'static str, &'static str) {
        match self {
            State::SessionExpired => (words.s_session, words.m_session),
            State::Loading => (words.s_loading, words.m_loading),
            State::StreamLost => (words.s_stream_lost, words.m_stream_lost),
            State::ControllerAway => (words.s_controller, words.m_controller),
            State::ChainConflict => (words.s_chain, words.m_chain),
            State::InjectorMissing => (words.s_injector, words.m_injector),
            State::UnsupportedRuntime => (words.s_runtime, words.m_runtime),
            State::AgentsUnreachable => (words.s_agents, words.m_agents),
            State::Stalled => (words.s_stalled, words.m_stalled),
            State::Degraded => (words.s_degraded, words.m_degraded),
            State::Paused => (words.s_paused, words.m_paused),
            State::Updating => (words.s_updating, words.m_updating),
            State::ReadOnly => (words.s_read_only, words.m_read_only),
            State::RestartDebt => (words.s_debt, words.m_debt),
            State::Running => (words.s_running, words.m_running),
            State::Clean => (words.s_clean, words.m_clean),
            State::Disabled => (words.s_disabled, words.m_disabled),
        }
    }
}

/// The states that hold, the weightiest first. There is always one.
pub(crate) fn states(facts: &Facts) -> Vec<State> {
    let mut states = vec![at(facts)];
    if facts.cut.is_some() {
        states.push(State::StreamLost);
    }
    if matches!(facts.rights, Rights::Look | Rights::Flag) {
        states.push(State::ReadOnly);
    }
    let status = status(facts);
    let is = |kind: &str, reason: &str| {
        condition(&status, kind).is_some_and(|one| {
            one.status == ConditionStatus::False && (reason.is_empty() || one.reason == reason)
        })
    };
    if is("NoChainConflict", "") {
        states.push(State::ChainConflict);
    }
    if is("InjectorSynced", "NoInjector") {
        states.push(State::InjectorMissing);
    }
    let fail = |of: fn(&str) -> bool| status.failing_nodes.iter().any(|node| of(&node.code));
    states.extend(fail(is_agent).then_some(State::AgentsUnreachable));
    states.extend(fail(is_unfit).then_some(State::UnsupportedRuntime));
    states.extend(away(facts).map(|_| State::ControllerAway));
    states.sort();
    states
}

/// Where the cluster itself is.
fn at(facts: &Facts) -> State {
    if !facts.looked {
        return State::Loading;
    }
    let Some(mesh) = &facts.mesh else {
        // One that this program cannot read is there, and nobody can say how it is.
        return if facts.live.is_null() { State::Disabled } else { State::Degraded };
    };
    let status = status(facts);
    let behind = is_behind(mesh, &status);
    let holds = |kind: &str| condition(&status, kind).is_some_and(|one| one.status == ConditionStatus::True);
    match status.phase {
        _ if holds("Stalled") && !behind => State::Stalled,
        _ if mesh.spec.rollout.paused && (behind || status.operation.is_some()) => State::Paused,
        _ if behind => State::Updating,
        None | Some(Phase::Updating) => State::Updating,
        Some(Phase::Degraded) => State::Degraded,
        Some(Phase::Disabled) => State::Disabled,
        Some(Phase::Running) if status.workloads.restart_debt > 0 => State::RestartDebt,
        Some(Phase::Running) if mesh.spec.mode == Mode::Cni => State::Running,
        Some(Phase::Running) => State::Clean,
    }
}

impl Draft {
    /// Its name, in the page and in tests.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Draft::Clean => "clean",
            Draft::Dirty(_) => "dirty",
            Draft::Planned(..) => "planning",
            Draft::Conflict(_) => "edit-conflict",
        }
    }
}

/// What the controller says; nothing before it said anything.
pub(crate) fn status(facts: &Facts) -> MeshCNIStatus {
    facts.mesh.as_ref().and_then(|mesh| mesh.status.clone()).unwrap_or_default()
}

pub(super) fn condition<'a>(status: &'a MeshCNIStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.kind == kind)
}

/// Why no controller is known to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// Its Lease says so.
    Lease(Absent),
    /// What is wanted since then was not looked at.
    Behind(Timestamp),
}

/// Why no controller is known to act; nothing while one does, and where nobody can tell.
pub(super) fn away(facts: &Facts) -> Option<Away> {
    if let Some(absent) = facts.progress.lease.as_ref().and_then(|lease| lease.absent(facts.now)) {
        return Some(Away::Lease(absent));
    }
    let mesh = facts.mesh.as_ref()?;
    let since = mesh.metadata.managed_fields.iter().flatten().filter(|one| one.subresource.is_none());
    let since = since.filter_map(|one| Some(one.time.as_ref()?.0)).max()?;
    let late = facts.now.duration_since(since) > PROMPT;
    (late && is_behind(mesh, &status(facts))).then_some(Away::Behind(since))
}

/// Whether the controller has not looked at what is wanted now.
fn is_behind(mesh: &MeshCNI, status: &MeshCNIStatus) -> bool {
    status.observed_generation.unwrap_or_default() < mesh.metadata.generation.unwrap_or_default()
}

/// Codes of a node that cannot serve as it is.
pub(super) fn is_unfit(code: &str) -> bool {
    let codes = [
        Code::RuntimeTooOld,
        Code::RuntimeHidesAnnotations,
        Code::KernelTooOld,
        Code::NodeUnsupported,
        Code::NoBackend,
    ];
    Code::from_id(code).is_some_and(|code| codes.contains(&code))
}

/// Codes of a node whose agent is away or does not answer.
pub(super) fn is_agent(code: &str) -> bool {
    let codes = [Code::AgentAbsent, Code::AgentNotReady, Code::ReportStale, Code::AgentUnreachable];
    Code::from_id(code).is_some_and(|code| codes.contains(&code))
}
