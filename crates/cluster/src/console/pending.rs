//! A change that was not sent yet: what differs, what it does to pods, and what somebody else made of it meanwhile. PURE.

use super::facts::{Draft, Facts};
use super::proposal::{self, Base, Proposal, mode_name};
use crate::api::mesh::{MeshCNI, Mode};
use crate::args::output::{Lang, Style};
use crate::cli::change::{self, diff};
use crate::cli::plan::{Change, Plan, summary};
use crate::print::yaml;
use kube::Resource;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The most namespaces that are listed.
const MOST_TOTALS: usize = 20;
/// The most pods that are listed.
const MOST_LISTED: usize = 30;

/// A change that was not sent yet.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    /// What differs from what is there, line by line.
    pub(crate) lines: Vec<String>,
    /// What the form sends on.
    pub(crate) sent: Vec<(&'static str, String)>,
    /// The same from a terminal.
    pub(crate) command: String,
    /// The same for kubectl.
    pub(crate) yaml: String,
    /// Whether it could be done by taking over what others applied.
    pub(crate) is_held: bool,
    /// What becomes of the pods.
    pub(crate) impact: Option<Impact<'a>>,
    /// Of each field: as it was seen, as it is, as it is wanted.
    pub(crate) three: Vec<[String; 4]>,
}

/// What becomes of the pods.
#[derive(Debug)]
pub(crate) struct Impact<'a> {
    /// In a sentence.
    pub(crate) summary: String,
    /// By namespace, the most first: how many change, and how many of them nobody restarts.
    pub(crate) totals: Vec<(&'a str, [usize; 2])>,
    /// How many more namespaces there are.
    pub(crate) others: usize,
    /// The first of those that change.
    pub(crate) changes: &'a [Change],
    /// How many more there are.
    pub(crate) more: usize,
    /// What is to be known, each as a line.
    pub(crate) remarks: Vec<String>,
}

impl<'a> Pending<'a> {
    /// Makes it; nothing where nothing is proposed.
    pub(crate) fn of(facts: &Facts, draft: &'a Draft, lang: Lang) -> Option<Pending<'a>> {
        let (proposal, planned) = match draft {
            Draft::Clean => return None,
            Draft::Dirty(proposal) | Draft::Conflict(proposal) => (proposal, None),
            Draft::Planned(proposal, planned) => (proposal, Some(planned)),
        };
        let now = facts.base();
        let wanted = Base { generation: 0, mode: proposal.mode, excluded: proposal.excluded.clone() };
        let is_conflict = matches!(draft, Draft::Conflict(_));
        // On top of what is there now is how a conflict is reviewed again.
        let sent = match is_conflict {
            true => proposal::sent(&Proposal { base: now.clone(), ..proposal.clone() }),
            false => proposal::sent(proposal),
        };
        Some(Pending {
            lines: diff::lines(&tree(&now), &tree(&wanted)),
            sent,
            command: command(proposal),
            yaml: applied(&wanted),
            is_held: planned.is_some_and(|planned| planned.as_ref().is_err_and(|why| why.is_held)),
            impact: planned.and_then(|planned| planned.as_ref().ok()).map(|plan| impact(plan, lang)),
            three: if is_conflict { three(&proposal.base, &now, &wanted) } else { Vec::new() },
        })
    }
}

impl Impact<'_> {
    /// Who would start a pod again.
    pub(crate) fn workload(change: &Change) -> String {
        change.workload.as_ref().map(|(kind, name)| format!("{kind}/{name}")).unwrap_or_default()
    }
}

fn impact(plan: &Plan, lang: Lang) -> Impact<'_> {
    let mut totals: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for change in &plan.changes {
        let [all, bare] = totals.entry(&change.namespace).or_default();
        *all += 1;
        *bare += usize::from(change.workload.is_none());
    }
    let others = totals.len().saturating_sub(MOST_TOTALS);
    let mut totals: Vec<(&str, [usize; 2])> = totals.into_iter().collect();
    totals.sort_by_key(|(name, [all, _])| (Reverse(*all), *name));
    totals.truncate(MOST_TOTALS);
    let listed = plan.changes.len().min(MOST_LISTED);
    let remarks = plan.remarks.iter().take(MOST_LISTED);
    Impact {
        summary: summary(plan, Style { lang, ..Style::default() }),
        totals,
        others,
        changes: &plan.changes[..listed],
        more: plan.changes.len() - listed,
        remarks: remarks.map(|(pod, code, words)| format!("{code} {pod}: {words}")).collect(),
    }
}

fn tree(base: &Base) -> Value {
    json!({ "mode": mode_name(base.mode), "excludeNamespaces": base.excluded })
}

/// What `kubectl apply` is to be given: the fields that are decided here, and no other.
fn applied(wanted: &Base) -> String {
    let kind = MeshCNI::kind(&());
    let version = MeshCNI::api_version(&());
    let metadata = json!({ "name": change::NAME });
    yaml::document(
        &json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": tree(wanted) }),
    )
}

fn three(saw: &Base, now: &Base, wanted: &Base) -> Vec<[String; 4]> {
    let names = |base: &Base| base.excluded.join(", ");
    let field = |field: &str, of: &dyn Fn(&Base) -> String| [field.to_owned(), of(saw), of(now), of(wanted)];
    vec![field("mode", &|base| mode_name(base.mode).to_owned()), field("excludeNamespaces", &names)]
}

/// The same from a terminal.
fn command(proposal: &Proposal) -> String {
    let exclude = proposal.excluded.join(",");
    match proposal.mode {
        Mode::Cni if exclude.is_empty() => "millrace enable && millrace exclude set".to_owned(),
        Mode::Cni => format!("millrace enable --exclude {exclude}"),
        Mode::InitContainer => format!("millrace exclude set {exclude} && millrace disable --keep-agents"),
        Mode::Disabled => format!("millrace exclude set {exclude} && millrace disable"),
    }
}
