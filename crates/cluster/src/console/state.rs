//! In which state a page is, told from what was read. PURE.
//!
//! Several may hold at once; the weightiest is the page's, and the others are said beside it.

use super::facts::{Draft, Facts, Rights};
use super::words::Words;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::status::{FailingNode, MeshCNIStatus, Phase};
use crate::args::output::Mark;
use crate::cli::leader::Absent;
use crate::codes::Code;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Within this a controller has looked at what is wanted, by whatever clock.
const PROMPT: SignedDuration = SignedDuration::from_secs(90);

/// Within this a node has an agent that serves once one is wanted there, as the controller has it.
const BROUGHT: SignedDuration = SignedDuration::from_secs(120);

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
    let fail = |of: &dyn Fn(&FailingNode) -> bool| status.failing_nodes.iter().any(of);
    states.extend(fail(&|node| is_away(node, &status, facts.now)).then_some(State::AgentsUnreachable));
    states.extend(fail(&|node| is_unfit(&node.code)).then_some(State::UnsupportedRuntime));
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

/// Whether a node only waits for the agent that a change brings, or starts anew: for a while after the change or the node's own
/// trouble began that is how changes go, and nobody's fault.
pub(super) fn is_awaited(node: &FailingNode, status: &MeshCNIStatus, now: Timestamp) -> bool {
    let stalled = condition(status, "Stalled").is_some_and(|one| one.status == ConditionStatus::True);
    let Some(operation) = status.operation.as_ref().filter(|_| !stalled) else { return false };
    let began = operation.started_at.0;
    let since = node.since.as_ref().map_or(began, |since| since.0.max(began));
    // Two machines' clocks differ.
    is_agent(&node.code) && now.duration_since(since).abs() <= BROUGHT
}

/// Whether a node's agent is away, and not only on its way.
pub(super) fn is_away(node: &FailingNode, status: &MeshCNIStatus, now: Timestamp) -> bool {
    is_agent(&node.code) && !is_awaited(node, status, now)
}

/// Codes of a node whose agent is away or does not answer.
fn is_agent(code: &str) -> bool {
    let codes = [Code::AgentAbsent, Code::AgentNotReady, Code::ReportStale, Code::AgentUnreachable];
    Code::from_id(code).is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Whether a node is awaited that was without its agent since the minute `since`, if anybody knows, in the minute `now`, during a
    /// change that began in minute 10.
    #[test]
    fn a_change_has_time_to_bring_agents() {
        let at = |minute: i64| Timestamp::from_second(1_800_000_000 + 60 * minute).expect("a time");
        let check = |code: &str, since: Option<i64>, now: i64, change: &str, expected: bool| {
            let mut status = json!({});
            if change != "none" {
                let began = at(10).to_string();
                status["operation"] = json!({ "kind": "Enable", "generation": 1, "startedAt": began, "progressedAt": began,
                    "deadline": at(20).to_string() });
            }
            if change == "stalled" {
                status["conditions"] = json!([{ "type": "Stalled", "status": "True", "reason": "NotMoved", "message": "",
                    "lastTransitionTime": at(10).to_string() }]);
            }
            let status: MeshCNIStatus = serde_json::from_value(status).expect("a status");
            let since = since.map(|minute| at(minute).to_string());
            let node = json!({ "name": "n", "code": code, "reason": "", "since": since });
            let node: FailingNode = serde_json::from_value(node).expect("a node");
            assert_eq!(is_awaited(&node, &status, at(now)), expected, "{code} {since:?} {now} {change}");
        };
        for (since, now, expected) in
            [(None, 10, true), (None, 12, true), (None, 13, false), (Some(1), 12, true), (Some(1), 13, false)]
        {
            check("MR2002", since, now, "going", expected);
        }
        // One that is replaced late in a change has its own time.
        check("MR2003", Some(40), 41, "going", true);
        check("MR2003", Some(40), 43, "going", false);
        check("MR2003", Some(40), 41, "stalled", false);
        check("MR2003", Some(40), 41, "none", false);
        check("MR5003", Some(10), 10, "going", false);
    }
}
