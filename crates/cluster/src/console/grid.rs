//! The grid of nodes: what each reports and what the controller says of it in, one small cell a node out. PURE.
//!
//! A cluster may have thousands: those that are not well come first, and behind a bound the others are a number of each mark.

use super::facts::{Facts, NodeRow};
use super::frame::{Sign, path};
use super::state;
use super::words::Words;
use crate::api::status::FailingNode;
use crate::args::output::{Lang, Mark};
use crate::cli::ago::ago;
use crate::cli::nodes::marked;
use crate::codes::Code;
use k8s_openapi::jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The most cells while something is on its way or wrong, and the most at rest.
const MOST_CELLS: usize = 120;
const AT_REST: usize = 60;

/// The grid.
#[derive(Debug)]
pub(crate) struct Grid {
    /// The cells, those that are not well first.
    pub(crate) cells: Vec<Cell>,
    /// How many more there are of each mark.
    pub(crate) more: Vec<(Sign, usize)>,
    /// How many nodes should serve of which nobody has said anything.
    pub(crate) unheard: usize,
    /// Why reports could not be read.
    pub(crate) unread: Option<String>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Cell {
    /// How it is.
    pub(crate) sign: Sign,
    /// Its name, its state and its code.
    pub(crate) said: String,
    /// Its page.
    pub(crate) link: String,
}

impl Grid {
    /// Makes it.
    pub(crate) fn of(facts: &Facts, lang: Lang) -> Grid {
        let status = state::status(facts);
        let failing: BTreeMap<&str, &FailingNode> =
            status.failing_nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        let nodes = &facts.progress.nodes;
        let going = status.operation.is_some();
        let mut all: Vec<(Mark, &str, String)> = Vec::new();
        for node in nodes.rows.iter().filter(|node| !failing.contains_key(&*node.name)) {
            let (mark, said) = judged(node, going, facts.now, lang);
            all.push((mark, &node.name, said));
        }
        for node in failing.values() {
            let mark = if state::is_awaited(node, &status, facts.now) { Mark::Odd } else { Mark::Bad };
            all.push((mark, &node.name, format!("{} {}", node.code, node.reason)));
        }
        all.sort_by_key(|(mark, name, _)| (Reverse(*mark), *name));
        let calm = !going && all.iter().all(|(mark, ..)| *mark == Mark::Good);
        let shown = all.len().min(if calm { AT_REST } else { MOST_CELLS });
        let rest = &all[shown..];
        let count = |mark: Mark| (Sign(mark), rest.iter().filter(|(of, ..)| *of == mark).count());
        let more = [Mark::Bad, Mark::Odd, Mark::Good].map(count).into_iter().filter(|(_, count)| *count > 0);
        let desired = usize::try_from(status.nodes.desired).unwrap_or(usize::MAX);
        let cell = |(mark, name, said): &(Mark, &str, String)| Cell {
            sign: Sign(*mark),
            said: format!("{name}: {said}"),
            link: path(&["node", name]),
        };
        Grid {
            cells: all[..shown].iter().map(cell).collect(),
            more: more.collect(),
            unheard: if nodes.unread.is_none() { desired.saturating_sub(all.len()) } else { 0 },
            unread: nodes.unread.as_ref().map(|error| error.say(lang)),
        }
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.unheard == 0 && self.unread.is_none()
    }
}

/// How a node is that the controller does not name, and its code; whether a change is on its way, for which some have to wait.
fn judged(node: &NodeRow, going: bool, now: Timestamp, lang: Lang) -> (Mark, String) {
    let words = Words::of(lang);
    let coded = |mark: Mark, said: &str, code: Code| (mark, format!("{said}, {code}"));
    match marked(node.serves, node.reported, now) {
        Mark::Bad if going => (Mark::Odd, words.serves_not_yet.to_owned()),
        Mark::Bad => coded(Mark::Bad, words.serves_no, Code::AgentNotReady),
        _ if node.contested => coded(Mark::Bad, words.s_chain, Code::ChainOverwritten),
        Mark::Odd => {
            let age = node.reported.map(|at| ago(at, now)).unwrap_or_default();
            coded(Mark::Odd, &format!("{} {age} {}", words.reported, words.ago), Code::ReportStale)
        }
        Mark::Good if node.drifted > 0 => {
            coded(Mark::Odd, &format!("{} {}", words.drifted, node.drifted), Code::RulesDrifted)
        }
        Mark::Good => (Mark::Good, words.serves_yes.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::mesh::MeshCNI;
    use crate::console::facts::{Listed, Progress};
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn node(number: usize, serves: bool, age: i64, contested: bool, drifted: u32) -> NodeRow {
        let reported = Timestamp::from_second(NOW - age).ok();
        NodeRow { name: format!("n{number:04}").into(), serves, reported, contested, drifted }
    }

    fn grid(nodes: Vec<NodeRow>, desired: usize, operation: bool) -> Grid {
        let going = json!({ "kind": "Enable", "generation": 1, "startedAt": "2026-01-01T00:00:00Z",
            "progressedAt": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:00Z" });
        let failing = json!([{ "name": "gone", "code": "MR2002", "reason": "no agent is on the node" }]);
        let mut status = json!({ "nodes": { "desired": desired }, "failingNodes": failing });
        if operation {
            status["operation"] = going;
        } else {
            status["failingNodes"] = json!([]);
        }
        let mesh: MeshCNI = serde_json::from_value(json!({ "apiVersion": "millrace.dev/v1alpha1",
            "kind": "MeshCNI", "metadata": { "name": "default" }, "spec": {}, "status": status }))
        .expect("it is a MeshCNI");
        let progress = Progress { nodes: Listed { rows: nodes.into(), unread: None }, ..Progress::default() };
        let now = Timestamp::from_second(NOW).expect("a time");
        Grid::of(&Facts { mesh: Some(mesh), progress, now, ..Facts::default() }, Lang::En)
    }

    fn check(grid: &Grid, shown: usize, more: &[(Mark, usize)], unheard: usize, first: &[&str]) {
        let rest: Vec<(Mark, usize)> = grid.more.iter().map(|(sign, count)| (sign.0, *count)).collect();
        assert_eq!((grid.cells.len(), rest.as_slice(), grid.unheard), (shown, more, unheard));
        for (cell, words) in grid.cells.iter().zip(first) {
            assert!(cell.said.starts_with(words), "{} is not {words}", cell.said);
        }
    }

    #[test]
    fn who_is_not_well_comes_first_and_the_rest_is_a_number() {
        let well = |count: usize| (100..100 + count).map(|number| node(number, true, 60, false, 0)).collect();
        check(&grid(well(3), 3, false), 3, &[], 0, &["n0100: serves"]);
        check(&grid(well(500), 503, false), AT_REST, &[(Mark::Good, 440)], 3, &[]);
        let mut some: Vec<NodeRow> = well(500);
        some.extend([node(1, true, 1000, false, 0), node(2, true, 9, true, 0), node(3, true, 9, false, 2)]);
        some.push(node(4, false, 9, false, 0));
        let first = [
            "gone: MR2002",
            "n0002: Chain conflict, MR2104",
            "n0001: Reported 16m ago, MR2004",
            "n0003: Drifted 2, MR2302",
            "n0004: does not serve yet",
        ];
        check(&grid(some, 0, true), MOST_CELLS, &[(Mark::Good, 385)], 0, &first);
        let bad = || (0..500).map(|number| node(number, false, 60, false, 0)).collect();
        let waiting = ["gone: ", "n0000: does not serve yet"];
        check(&grid(bad(), 501, true), MOST_CELLS, &[(Mark::Odd, 381)], 0, &waiting);
        check(
            &grid(bad(), 500, false),
            MOST_CELLS,
            &[(Mark::Bad, 380)],
            0,
            &["n0000: does not serve, MR2003"],
        );
    }
}
