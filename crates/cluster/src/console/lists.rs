//! The lists: workloads, nodes and the history, each filtered and paged here, so that a page stays light. PURE.

use super::facts::{Facts, Past, PodRow, Reports, Rights};
use super::frame::{Frame, Sign, path, query};
use super::namespaces::Pods;
use crate::api::node::MeshCNINode;
use crate::api::status::Change;
use crate::cli::ago::ago;
use crate::cli::change::diff;
use crate::cli::nodes;
use crate::cli::revisions::Revision;
use crate::mechanism::Mechanism;
use askama::Template;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Rows of one page.
pub(crate) const ROWS: usize = 50;

/// What a list is narrowed down to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The namespace; any if empty.
    pub(crate) namespace: String,
    /// The node; any if empty.
    pub(crate) node: String,
    /// Who redirects, or `owes`; any if empty.
    pub(crate) by: String,
    /// What the name has in it.
    pub(crate) text: String,
    /// Which page, from 0.
    pub(crate) page: usize,
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Part<T> {
    /// Its rows.
    pub(crate) rows: Vec<T>,
    /// How many match in all.
    pub(crate) all: usize,
    /// Where the page before is, if there is one.
    pub(crate) earlier: Option<String>,
    /// Where the page after is, if there is one.
    pub(crate) later: Option<String>,
}

impl Filter {
    fn part<T>(&self, at: &str, matching: Vec<T>) -> Part<T> {
        let all = matching.len();
        let page = self.page.min(all.saturating_sub(1) / ROWS);
        let rows = matching.into_iter().skip(page * ROWS).take(ROWS).collect();
        let link = |page: usize| {
            let number = page.to_string();
            let pairs =
                [("ns", &*self.namespace), ("node", &*self.node), ("by", &*self.by), ("q", &*self.text)];
            format!("{at}{}", query(&[&pairs[..], &[("page", &*number)]].concat()))
        };
        let later = ((page + 1) * ROWS < all).then(|| link(page + 1));
        Part { rows, all, earlier: page.checked_sub(1).map(link), later }
    }

    fn takes(&self, pod: &PodRow) -> bool {
        let by = match self.by.as_str() {
            "" => true,
            "owes" => pod.owes,
            by => pod.before.name() == by,
        };
        let workload = pod.workload.as_ref().is_some_and(|(_, name)| name.contains(&self.text));
        by && (self.namespace.is_empty() || pod.namespace == self.namespace)
            && (self.node.is_empty() || pod.node == self.node)
            && (pod.name.contains(&self.text) || workload)
    }
}

/// Pods of the mesh.
#[derive(Template)]
#[template(path = "console/workloads.html")]
pub(crate) struct Workloads<'a> {
    frame: Frame,
    facts: &'a Facts,
    filter: Filter,
    part: Part<&'a PodRow>,
    pods: Pods,
}

impl<'a> Workloads<'a> {
    /// Makes the page.
    pub(crate) fn of(facts: &'a Facts, filter: Filter, frame: Frame) -> Workloads<'a> {
        let matching: Vec<&PodRow> = facts.pods.iter().filter(|pod| filter.takes(pod)).collect();
        let mut pods = Pods::default();
        matching.iter().for_each(|pod| pods.count(pod));
        Workloads { part: filter.part("/workloads", matching), pods, frame, facts, filter }
    }

    /// What may be chosen: the value, the words, whether it is chosen.
    fn choices(&self) -> Vec<(&'static str, &'static str, bool)> {
        let words = self.frame.words();
        let all = [
            ("", words.all),
            (Mechanism::Cni.name(), words.by_cni),
            (Mechanism::InitContainer.name(), words.by_init),
            (Mechanism::None.name(), words.by_nobody),
            ("owes", words.owes),
        ];
        all.into_iter().map(|(value, said)| (value, said, self.filter.by == value)).collect()
    }

    fn link(&self, pod: &PodRow) -> String {
        path(&["pods", &pod.namespace, &pod.name])
    }

    fn workload(&self, pod: &PodRow) -> String {
        let named = pod.workload.as_ref().map(|(kind, name)| format!("{kind}/{name}"));
        named.unwrap_or_else(|| self.frame.words().nobody_restarts.to_owned())
    }

    fn node(&self, pod: &PodRow) -> String {
        path(&["node", &pod.node])
    }
}

/// Nodes.
#[derive(Template)]
#[template(path = "console/nodes.html")]
pub(crate) struct Nodes<'a> {
    frame: Frame,
    reports: &'a Reports,
    filter: Filter,
    part: Part<&'a MeshCNINode>,
    now: Timestamp,
}

impl<'a> Nodes<'a> {
    /// Makes the page: those that do not serve first.
    pub(crate) fn of(reports: &'a Reports, filter: Filter, now: Timestamp, frame: Frame) -> Nodes<'a> {
        let named = |node: &&MeshCNINode| name(node).contains(&filter.text);
        let mut matching: Vec<&MeshCNINode> = reports.nodes.iter().filter(named).collect();
        matching.sort_by_key(|node| (nodes::serves(node), name(node).to_owned()));
        Nodes { part: filter.part("/nodes", matching), reports, frame, filter, now }
    }

    fn cells(&self, node: &MeshCNINode) -> Cells {
        let status = node.status.clone().unwrap_or_default();
        let chain = status.chain.map(|chain| chain.file);
        Cells {
            name: name(node).to_owned(),
            link: path(&["node", name(node)]),
            sign: Sign(nodes::mark(&node.status.clone().unwrap_or_default(), self.now)),
            serves: status.serving,
            version: status.agent_version,
            list: chain.unwrap_or_default(),
            backend: status.backend.unwrap_or_default(),
            outcomes: [status.outcomes.redirected, status.outcomes.failed],
            reported: status.reported_at.map(|at| ago(at.0, self.now)).unwrap_or_default(),
        }
    }
}

/// A node's row.
struct Cells {
    name: String,
    link: String,
    sign: Sign,
    serves: bool,
    version: String,
    list: String,
    backend: String,
    outcomes: [u64; 2],
    reported: String,
}

fn name(node: &MeshCNINode) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// The history.
#[derive(Template)]
#[template(path = "console/history.html")]
pub(crate) struct History<'a> {
    frame: Frame,
    facts: &'a Facts,
    past: &'a Past,
    rows: Vec<Entry>,
}

/// A revision, and what changed with it.
#[derive(Debug)]
struct Entry {
    revision: i64,
    generation: Option<i64>,
    age: String,
    by: String,
    image: String,
    is_now: bool,
    is_good: bool,
    lines: Vec<String>,
}

impl<'a> History<'a> {
    /// Makes the page, the latest first.
    pub(crate) fn of(facts: &'a Facts, past: &'a Past, frame: Frame) -> History<'a> {
        let status = super::state::status(facts);
        let changes: BTreeMap<i64, &Change> =
            status.history.iter().map(|one| (one.generation, one)).collect();
        let live = facts.mesh.as_ref().map(|mesh| &mesh.spec);
        let now = past.kept.iter().rev().find(|one| Some(&one.release.spec) == live).map(|one| one.number);
        let tree = |one: &Revision| serde_json::to_value(&one.release.spec).unwrap_or_default();
        let entry = |(index, one): (usize, &Revision)| {
            let before = index.checked_sub(1).map(|before| tree(&past.kept[before]));
            Entry {
                revision: one.number,
                generation: one.generation,
                age: one.at.map(|at| ago(at, facts.now)).unwrap_or_default(),
                by: one
                    .generation
                    .and_then(|at| changes.get(&at))
                    .map(|one| one.by.clone())
                    .unwrap_or_default(),
                image: one.release.agents().to_owned(),
                is_now: now == Some(one.number),
                is_good: status.last_good_revision == Some(one.number),
                lines: before.map(|before| diff::lines(&before, &tree(one))).unwrap_or_default(),
            }
        };
        let rows = past.kept.iter().enumerate().map(entry).rev().collect();
        History { frame, facts, past, rows }
    }

    fn may(&self) -> bool {
        self.facts.rights == Rights::Change
    }
}

/// What the labels of a namespace say of injection, as they say it.
pub(crate) fn injection(namespace: &Value) -> String {
    let labels = &namespace["metadata"]["labels"];
    let said = ["istio-injection", "istio.io/rev", "sidecar.istio.io/inject"];
    let said = said.iter().filter_map(|key| Some(format!("{key}={}", labels[*key].as_str()?)));
    said.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_narrowed_down_and_paged() {
        let pod = |number: usize| PodRow {
            namespace: if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned(),
            name: format!("p{number:03}"),
            node: format!("n{}", number % 4),
            workload: None,
            before: if number < 10 { Mechanism::InitContainer } else { Mechanism::Cni },
            owes: number < 5,
        };
        let pods: Vec<PodRow> = (0..120).map(pod).collect();
        let check = |filter: Filter, first: &str, all: usize, earlier: bool, later: bool| {
            let matching = pods.iter().filter(|pod| filter.takes(pod)).collect();
            let part = filter.part("/workloads", matching);
            assert_eq!(part.rows.first().map_or("", |pod: &&PodRow| &pod.name), first);
            assert_eq!((part.all, part.earlier.is_some(), part.later.is_some()), (all, earlier, later));
        };
        check(Filter::default(), "p000", 120, false, true);
        check(Filter { page: 2, ..Filter::default() }, "p100", 120, true, false);
        check(Filter { page: 99, ..Filter::default() }, "p100", 120, true, false);
        check(
            Filter { by: "owes".into(), namespace: "odd".into(), ..Filter::default() },
            "p001",
            2,
            false,
            false,
        );
        check(Filter { node: "n3".into(), ..Filter::default() }, "p003", 30, false, false);
        check(Filter { node: "n".into(), ..Filter::default() }, "", 0, false, false);
        check(Filter { by: "cni".into(), text: "p11".into(), ..Filter::default() }, "p110", 10, false, false);
        check(Filter { text: "none".into(), ..Filter::default() }, "", 0, false, false);
    }
}
