//! What is said above the page of each state that is not well: its code, its cause, whom it affects, the next step, and all of that as
//! a report to copy. PURE.

use super::facts::{Draft, Facts, Rights};
use super::namespaces::Pods;
use super::proposal::Proposal;
use super::state::{Away, State, away, condition, is_away, is_unfit, states, status};
use super::words::Words;
use crate::api::status::{FailingNode, MeshCNIStatus};
use crate::args::output::{Lang, Mark};
use crate::cli::ago::ago;
use crate::cli::leader::Absent;
use crate::codes::Code;
use std::collections::BTreeMap;

/// What is changed here.
const MESH: &str = "MeshCNI default";
/// The most of whom it affects that are named (M10).
const MOST_NAMED: usize = 10;

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

/// What is said above the page: of each state that is not well, and of what could not be read.
pub(crate) fn notices(facts: &Facts, lang: Lang) -> Vec<Notice> {
    let said = states(facts).into_iter().filter(|state| state.mark() != Mark::Good);
    let mut notices: Vec<Notice> = said.map(|state| notice(state, facts, lang)).collect();
    let words = Words::of(lang);
    if !facts.unread.is_empty() {
        let cause = facts.unread.join("; ");
        notices.push(Notice {
            name: "unread",
            mark: Mark::Odd,
            title: words.s_unread.to_owned(),
            meaning: words.truncated.to_owned(),
            code: coded(&cause),
            cause,
            affected: vec![facts.server.clone()],
            next: "millrace check".to_owned(),
        });
    }
    notices
}

/// What is said beside a proposal: that somebody overtook it, or that it cannot be done as it is.
pub(crate) fn of_draft(facts: &Facts, draft: &Draft, lang: Lang) -> Option<Notice> {
    match draft {
        Draft::Clean | Draft::Dirty(_) | Draft::Planned(_, Ok(_)) => None,
        Draft::Conflict(proposal) => Some(conflict(facts, proposal, lang)),
        Draft::Planned(_, Err(why)) => {
            let code = coded(&why.text).or_else(|| why.is_held.then_some(Code::FieldConflict));
            Some(Notice {
                name: "refused",
                mark: Mark::Bad,
                title: Words::of(lang).refused.to_owned(),
                meaning: Words::of(lang).refused_means.to_owned(),
                code,
                cause: why.text.clone(),
                affected: vec![MESH.to_owned()],
                next: code.map(|code| code.text(lang).next.clone()).unwrap_or_default(),
            })
        }
    }
}

fn notice(state: State, facts: &Facts, lang: Lang) -> Notice {
    let status = status(facts);
    let words = Words::of(lang);
    let (title, meaning) = state.said(words);
    let (code, cause, affected) = match state {
        State::StreamLost => {
            (Some(Code::ServerUnreachable), facts.cut.clone().unwrap_or_default(), vec![facts.server.clone()])
        }
        State::ReadOnly if facts.rights == Rights::Look => {
            (Some(Code::Forbidden), words.may_not_patch.to_owned(), vec![MESH.to_owned()])
        }
        State::RestartDebt => {
            (Some(Code::RestartDebt), message(&status, "WorkloadsConverged"), owing(facts, lang))
        }
        state => of_nodes(state, facts, &status, lang),
    };
    // Whatever is wrong is wrong with something, and somebody says why.
    let is_bad = state.mark() == Mark::Bad;
    let affected = if is_bad && affected.is_empty() { vec![MESH.to_owned()] } else { affected };
    let named = || failing(&status, &|_| true).into_iter().next();
    let cause =
        if is_bad && cause.is_empty() { named().unwrap_or_else(|| message(&status, "Ready")) } else { cause };
    let by_flag = state == State::ReadOnly && facts.rights == Rights::Flag;
    Notice {
        name: state.name(),
        mark: state.mark(),
        title: title.to_owned(),
        meaning: if by_flag { words.m_read_only_flag } else { meaning }.to_owned(),
        code,
        cause,
        next: code.map(|code| naming(&code.text(lang).next, &affected)).unwrap_or_default(),
        affected,
    }
}

/// The next step, with the name of the first node that it is about.
fn naming(next: &str, affected: &[String]) -> String {
    let name = affected.first().and_then(|text| text.split(": ").next()?.rsplit(' ').next());
    name.map_or_else(|| next.to_owned(), |name| next.replace("NODE", name))
}

/// The same of states that the controller, or nobody, tells.
fn of_nodes(
    state: State,
    facts: &Facts,
    status: &MeshCNIStatus,
    lang: Lang,
) -> (Option<Code>, String, Vec<String>) {
    let all = |_: &FailingNode| true;
    let first = |nodes: &[String]| nodes.first().and_then(|text| coded(text));
    match state {
        State::ControllerAway => {
            let cause = away(facts).map(|why| absence(&why, facts, lang)).unwrap_or_default();
            (Some(Code::ControllerAbsent), cause, vec![MESH.to_owned()])
        }
        State::ChainConflict => {
            let cause = message(status, "NoChainConflict");
            let contested = facts.progress.nodes.rows.iter().filter(|node| node.contested);
            let mut nodes: Vec<String> = contested.map(|node| node.name.to_string()).collect();
            // Who may not read reports knows the one that the condition names.
            let named = cause.split_once(": ").map(|(node, _)| node.to_owned());
            nodes.extend(named.filter(|name| !name.contains(' ') && !nodes.contains(name)));
            (Some(coded(&cause).unwrap_or(Code::ChainOverwritten)), cause, few(nodes, lang))
        }
        State::InjectorMissing => {
            let labelled = facts.namespaces.iter().filter(|one| !one.injection.is_empty());
            let named = labelled.map(|one| format!("{} ({})", one.name, one.injection)).collect();
            (Some(Code::NoInjector), message(status, "InjectorSynced"), few(named, lang))
        }
        State::AgentsUnreachable => {
            let nodes = failing(status, &|node| is_away(node, status, facts.now));
            (first(&nodes), message(status, "NodesConfigured"), nodes)
        }
        State::UnsupportedRuntime => {
            let reason = status.failing_nodes.iter().find(|node| is_unfit(&node.code));
            let reason = reason.map(|node| node.reason.clone()).unwrap_or_default();
            let nodes = failing(status, &|node| is_unfit(&node.code));
            (first(&nodes), reason, nodes)
        }
        State::Stalled => (Some(Code::RolloutStalled), message(status, "Stalled"), failing(status, &all)),
        State::Degraded => {
            let (nodes, cause) = (failing(status, &all), message(status, "Ready"));
            (first(&nodes).or_else(|| coded(&cause)), cause, nodes)
        }
        State::Paused => {
            let going = status.operation.iter();
            let going =
                going.map(|one| format!("{}, {} {}", one.kind, Words::of(lang).generation, one.generation));
            (Some(Code::RolloutPaused), message(status, "Reconciling"), going.collect())
        }
        State::Updating => (None, message(status, "Ready"), Vec::new()),
        _ => (None, String::new(), Vec::new()),
    }
}

/// Why no controller is known to act.
fn absence(why: &Away, facts: &Facts, lang: Lang) -> String {
    let words = Words::of(lang);
    let holder = facts.progress.lease.as_ref().map(|lease| lease.holder.as_str()).unwrap_or_default();
    match why {
        Away::Lease(Absent::Nobody) => words.lease_free.to_owned(),
        Away::Lease(Absent::Silent(age)) => {
            let age = age.map_or_else(|| "?".to_owned(), |age| format!("{age}s"));
            format!("{holder}: {} {age}", words.lease_silent)
        }
        Away::Behind(since) => {
            let generation = facts.base().generation;
            format!("{} {generation}: {} {}", words.generation, words.not_looked_at, ago(*since, facts.now))
        }
    }
}

/// That somebody else was faster: who, as far as it is known, and in what.
fn conflict(facts: &Facts, proposal: &Proposal, lang: Lang) -> Notice {
    let words = Words::of(lang);
    let (saw, now) = (proposal.base.generation, facts.base().generation);
    let status = status(facts);
    let last = status.history.first().filter(|change| change.generation == now);
    let by = last.map(|change| format!(" ({}: {})", change.by, change.summary)).unwrap_or_default();
    let code = Code::FieldConflict;
    Notice {
        name: "edit-conflict",
        mark: Mark::Odd,
        title: words.conflict.to_owned(),
        meaning: words.conflict_means.to_owned(),
        code: Some(code),
        cause: format!("{} {saw} → {now}{by}", words.generation),
        affected: vec![MESH.to_owned()],
        next: words.review_again.to_owned(),
    }
}

fn message(status: &MeshCNIStatus, kind: &str) -> String {
    condition(status, kind).map(|one| one.message.clone()).unwrap_or_default()
}

/// The failing nodes of which this is so; the status has ten at most.
fn failing(status: &MeshCNIStatus, of: &dyn Fn(&FailingNode) -> bool) -> Vec<String> {
    let named = |node: &FailingNode| format!("{} {}: {}", node.code, node.name, node.reason);
    status.failing_nodes.iter().filter(|node| of(node)).map(named).collect()
}

/// Namespaces by their pods that owe a restart, the most first.
fn owing(facts: &Facts, lang: Lang) -> Vec<String> {
    let mut pods: BTreeMap<&str, Pods> = BTreeMap::new();
    facts.pods.iter().for_each(|pod| pods.entry(&pod.namespace).or_default().count(pod));
    let mut owing: Vec<(&str, usize)> = pods.into_iter().map(|(name, pods)| (name, pods.owing)).collect();
    owing.retain(|(_, count)| *count > 0);
    owing.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    few(owing.into_iter().map(|(name, count)| format!("{name}: {count}")).collect(), lang)
}

/// The first of them, and how many more there are.
fn few(mut all: Vec<String>, lang: Lang) -> Vec<String> {
    let more = all.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        all.truncate(MOST_NAMED);
        all.push(format!("+ {more} {}", Words::of(lang).more));
    }
    all
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

/// The first code that a text names.
pub(super) fn coded(text: &str) -> Option<Code> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).find_map(Code::from_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::mesh::MeshCNI;
    use crate::cli::leader::Lease;
    use serde_json::{Value, json};

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn facts(observed: i64, written: &str, lease: Option<Lease>) -> Facts {
        let managed = |time: &str, more: Value| {
            let mut one = json!({ "manager": "m", "operation": "Apply", "time": time });
            one.as_object_mut().expect("a map").extend(more.as_object().cloned().unwrap_or_default());
            one
        };
        let fields = json!([managed(written, json!({})), managed(NOW, json!({ "subresource": "status" }))]);
        let mesh: MeshCNI =
            serde_json::from_value(json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI",
            "metadata": { "name": "default", "generation": 7, "managedFields": fields }, "spec": {},
            "status": { "observedGeneration": observed, "phase": "Running" } }))
            .expect("it is a MeshCNI");
        let mut facts =
            Facts { looked: true, mesh: Some(mesh), now: NOW.parse().expect("a time"), ..Facts::default() };
        facts.progress.lease = lease;
        facts
    }

    #[test]
    fn a_controller_that_is_away_is_told_from_one_that_is_busy() {
        let lease = |holder: &str, renewed: &str| {
            Some(Lease { holder: holder.into(), renewed: renewed.parse().ok(), lasts: 15 })
        };
        let check = |observed: i64, written: &str, lease: Option<Lease>, cause: &str| {
            let facts = facts(observed, written, lease);
            let said = notices(&facts, Lang::En);
            let found = said.first().filter(|notice| notice.name == "controller-away");
            assert_eq!(found.map_or("", |notice| &notice.cause), cause);
        };
        let (early, late) = ("2026-11-22T11:50:00Z", "2026-11-22T11:59:00Z");
        check(7, early, None, "");
        check(6, late, None, "");
        check(6, early, None, "generation 7: has not been looked at for 10m");
        check(7, early, lease("one", late), "one: has the Lease and has not renewed it for 60s");
        check(7, early, lease("one", "2026-11-22T11:59:50Z"), "");
        check(7, early, lease("", late), "nobody holds the controllers' Lease");
    }
}
