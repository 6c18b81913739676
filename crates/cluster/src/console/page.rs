//! The page with the switch: what was read and what is proposed in, the page out. PURE.

use super::facts::{Draft, Facts, Rights};
use super::feed::BEAT;
use super::frame::{Frame, Sign, path, query};
use super::grid::Grid;
use super::namespaces::{self, Picker};
use super::notices::{Notice, notices, of_draft};
use super::pending::{Impact, Pending};
use super::proposal::{Base, mode_name};
use super::state::{self, State};
use crate::api::condition::Condition;
use crate::api::mesh::Mode;
use crate::api::status::{FailingNode, MeshCNIStatus, Operation};
use crate::args::output::Mark;
use crate::cli::ago::ago;
use crate::cli::findings::Category;
use crate::cli::happened::Happened;
use crate::cli::status::judged;
use crate::codes::Code;
use askama::Template;
use k8s_openapi::jiff::Timestamp;

/// The page.
#[derive(Template)]
#[template(path = "console/page.html")]
pub(crate) struct Page<'a> {
    frame: Frame,
    facts: &'a Facts,
    draft: &'a Draft,
    state: State,
    notices: Vec<Notice>,
    refusal: Option<Notice>,
    status: MeshCNIStatus,
    grid: Grid,
    picker: Picker,
    pending: Option<Pending<'a>>,
    base: Base,
    shown: Base,
}

impl<'a> Page<'a> {
    /// Makes it; `search` narrows the namespaces down.
    pub(crate) fn of(facts: &'a Facts, draft: &'a Draft, search: &str, frame: Frame) -> Page<'a> {
        let base = facts.base();
        let shown = match draft {
            Draft::Clean => base.clone(),
            Draft::Dirty(proposal) | Draft::Planned(proposal, _) | Draft::Conflict(proposal) => {
                Base { generation: base.generation, mode: proposal.mode, excluded: proposal.excluded.clone() }
            }
        };
        Page {
            state: state::states(facts)[0],
            refusal: of_draft(facts, draft, frame.lang),
            notices: notices(facts, frame.lang),
            status: state::status(facts),
            grid: Grid::of(facts, frame.lang),
            picker: namespaces::picker(facts, &shown.excluded, search),
            pending: Pending::of(facts, draft, frame.lang),
            frame,
            facts,
            draft,
            base,
            shown,
        }
    }

    fn title(&self) -> &'static str {
        self.state.said(self.frame.words()).0
    }

    fn sign(&self) -> Sign {
        Sign(self.state.mark())
    }

    fn may(&self) -> bool {
        self.facts.looked && self.facts.rights == Rights::Change
    }

    /// The modes: as the form spells each, what it means, and whether it is chosen.
    fn modes(&self) -> [(&'static str, &'static str, bool); 3] {
        let words = self.frame.words();
        [
            (Mode::Cni, words.mode_cni),
            (Mode::InitContainer, words.mode_init),
            (Mode::Disabled, words.mode_disabled),
        ]
        .map(|(mode, means)| (mode_name(mode), means, self.shown.mode == mode))
    }

    /// Where the page is as it is now, without what is proposed: that is not tried again at every change.
    fn now(&self) -> &str {
        if self.is_clean() { &self.frame.here } else { "/" }
    }

    fn is_clean(&self) -> bool {
        matches!(self.draft, Draft::Clean)
    }

    /// How often the stream of events beats, in seconds.
    fn beat(&self) -> u64 {
        BEAT.as_secs()
    }

    fn spelled(&self) -> &'static str {
        mode_name(self.base.mode)
    }

    fn is_paused(&self) -> bool {
        self.facts.mesh.as_ref().is_some_and(|mesh| mesh.spec.rollout.paused)
    }

    fn ago(&self, at: &Timestamp) -> String {
        ago(*at, self.facts.now)
    }

    fn left(&self, operation: &Operation) -> String {
        ago(self.facts.now, operation.deadline.0)
    }

    fn judged(&self, condition: &Condition) -> Sign {
        Sign(judged(condition))
    }

    fn node(&self, node: &FailingNode) -> String {
        path(&["node", &node.name])
    }

    fn means(&self, code: &str) -> &'static str {
        Code::from_id(code).map_or("", |code| code.text(self.frame.lang).next.as_str())
    }

    /// What happened, each with its sign and its age.
    fn events(&self) -> impl Iterator<Item = (Sign, String, &Happened)> {
        self.facts.progress.events.rows.iter().map(|event| {
            let mark = if event.kind == "Warning" { Mark::Odd } else { Mark::Good };
            (Sign(mark), event.last.map(|at| ago(at, self.facts.now)).unwrap_or_default(), event)
        })
    }

    fn events_unread(&self) -> Option<String> {
        self.facts.progress.events.unread.as_ref().map(|error| error.say(self.frame.lang))
    }

    fn owing(&self) -> String {
        format!("/workloads{}", query(&[("by", "owes")]))
    }

    fn preflight(&self) -> &[Category] {
        if matches!(self.state, State::Disabled | State::ReadOnly) { &self.facts.preflight } else { &[] }
    }
}
