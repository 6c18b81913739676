//! In which state a page is, told from what was read. PURE.
//!
//! Several may hold at once; the weightiest is the page's, and the others are said beside it.

use super::facts::{Draft, Facts, Rights};
use super::words::Words;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::mesh::Mode;
use crate::api::status::{MeshCNIStatus, Phase};
use crate::args::output::{Lang, Mark};
use crate::codes::Code;

/// The states of a cluster as its page shows it, the weightiest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Nobody is known to look.
    SessionExpired,
    /// The watch is cut.
    StreamLost,
    /// Nothing was read yet.
    Loading,
    /// Somebody else writes a chain.
    ChainConflict,
    /// There is no injector.
    InjectorMissing,
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
    pub(crate) const ALL: [State; 15] = [
        State::SessionExpired,
        State::StreamLost,
        State::Loading,
        State::ChainConflict,
        State::InjectorMissing,
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
            State::ChainConflict => "chain-conflict",
            State::InjectorMissing => "injector-missing",
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
            | State::ChainConflict
            | State::InjectorMissing
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
            State::ChainConflict => (words.s_chain, words.m_chain),
            State::InjectorMissing => (words.s_injector, words.m_injector),
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

/// One thing that is said above the page: what, why, of whom, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Its name, in the page and in tests.
    pub(crate) name: &'static str,
    /// How bad it is.
    pub(crate) mark: Mark,
    /// What.
    pub(crate) title: String,
    /// What it means.
    pub(crate) meaning: String,
    /// As `millrace explain` knows it.
    pub(crate) code: Option<Code>,
    /// What the cluster says of it.
    pub(crate) cause: String,
    /// Of whom.
    pub(crate) affected: Vec<String>,
    /// The next command or act.
    pub(crate) next: String,
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
    if status.failing_nodes.iter().any(|node| is_agent(&node.code)) {
        states.push(State::AgentsUnreachable);
    }
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
    let behind =
        status.observed_generation.unwrap_or_default() < mesh.metadata.generation.unwrap_or_default();
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

/// What is said above the page: of each state that is not well, and of what could not be read.
pub(crate) fn notices(facts: &Facts, lang: Lang) -> Vec<Notice> {
    let said = states(facts).into_iter().filter(|state| state.mark() != Mark::Good);
    let mut notices: Vec<Notice> = said.map(|state| notice(state, facts, lang)).collect();
    let words = Words::of(lang);
    if !facts.unread.is_empty() {
        notices.push(Notice {
            name: "unread",
            mark: Mark::Odd,
            title: words.s_unread.to_owned(),
            meaning: words.truncated.to_owned(),
            code: None,
            cause: facts.unread.join("; "),
            affected: Vec::new(),
            next: "millrace check".to_owned(),
        });
    }
    notices
}

fn notice(state: State, facts: &Facts, lang: Lang) -> Notice {
    let status = status(facts);
    let (title, meaning) = state.said(Words::of(lang));
    let message = |kind: &str| condition(&status, kind).map(|one| one.message.clone()).unwrap_or_default();
    let failing = status.failing_nodes.iter();
    let named =
        |node: &crate::api::status::FailingNode| format!("{} {}: {}", node.code, node.name, node.reason);
    let first = status.failing_nodes.first().and_then(|node| Code::from_id(&node.code));
    let (code, cause, affected) = match state {
        State::StreamLost => {
            (Some(Code::ServerUnreachable), facts.cut.clone().unwrap_or_default(), vec![facts.server.clone()])
        }
        State::ChainConflict => {
            let cause = message("NoChainConflict");
            let code = coded(&cause).unwrap_or(Code::ChainOverwritten);
            (Some(code), cause, failing.map(named).collect())
        }
        State::InjectorMissing => (Some(Code::NoInjector), message("InjectorSynced"), Vec::new()),
        State::AgentsUnreachable => {
            let nodes: Vec<String> = failing.filter(|node| is_agent(&node.code)).map(named).collect();
            let code = nodes.first().and_then(|text| coded(text));
            (code, message("NodesConfigured"), nodes)
        }
        State::Stalled => (Some(Code::RolloutStalled), message("Stalled"), failing.map(named).collect()),
        State::Degraded => (first, message("Ready"), failing.map(named).collect()),
        State::Paused => (Some(Code::RolloutPaused), message("Reconciling"), Vec::new()),
        State::Updating => (None, message("Ready"), Vec::new()),
        State::RestartDebt => (Some(Code::RestartDebt), message("WorkloadsConverged"), Vec::new()),
        State::ReadOnly if facts.rights == Rights::Look => (Some(Code::Forbidden), String::new(), Vec::new()),
        _ => (None, String::new(), Vec::new()),
    };
    let by_flag = state == State::ReadOnly && facts.rights == Rights::Flag;
    Notice {
        name: state.name(),
        mark: state.mark(),
        title: title.to_owned(),
        meaning: if by_flag { Words::of(lang).m_read_only_flag } else { meaning }.to_owned(),
        code,
        cause,
        affected,
        next: code.map(|code| code.text(lang).next.clone()).unwrap_or_default(),
    }
}

impl Notice {
    /// What is copied into a ticket: in English where it is ours, as the cluster says it else.
    pub(crate) fn report(&self, facts: &Facts) -> String {
        let code = self.code.map(|code| format!("{code} ")).unwrap_or_default();
        let generation = facts.base().generation;
        let mut text = format!("{code}{} ({})\n", self.title, self.name);
        text.push_str(&format!("server: {}\ngeneration: {generation}\nat: {}\n", facts.server, facts.now));
        for (key, value) in [("cause", &self.cause), ("next", &self.next)] {
            if !value.is_empty() {
                text.push_str(&format!("{key}: {value}\n"));
            }
        }
        for one in &self.affected {
            text.push_str(&format!("affected: {one}\n"));
        }
        text
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

fn condition<'a>(status: &'a MeshCNIStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.kind == kind)
}

/// Codes of a node whose agent is away or does not answer.
fn is_agent(code: &str) -> bool {
    let codes = [Code::AgentAbsent, Code::AgentNotReady, Code::ReportStale, Code::AgentUnreachable];
    Code::from_id(code).is_some_and(|code| codes.contains(&code))
}

/// The first code that a text names.
fn coded(text: &str) -> Option<Code> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).find_map(Code::from_id)
}
