//! `millrace verify`: whether pods are redirected as planned, and were seen at work: a network namespace of this machine, or pods of a
//! cluster.
//!
//! Changes nothing there. It opens connections that carry no byte, and counts them, so that they can be taken off
//! the counters again.

mod cluster;
mod counters;
mod held;
mod ids;
mod probes;
mod report;
mod stock;
mod wanted;

pub(super) use cluster::tell;
pub(crate) use cluster::{Ask, Found, look_into};
pub(crate) use report::{Counted, Held, Probed, Report};
#[cfg(test)]
pub(crate) use {
    super::afar::Unreached,
    cluster::Skip,
    report::{Listed, Traffic},
};

use super::live::{self, Opened};
use super::{Outcome, form, reasons, source};
use crate::args::pod::Verify;
use anyhow::Result;
use counters::Counters;
use ids::Ids;
use millrace_core::dialect::Backend;
use millrace_core::rules::compare::{Drift, compare};
use millrace_core::rules::plan::{members, plan};
use millrace_core::rules::{Family, Observed, RuleSet};
use millrace_core::settings::{Families, Profile};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use probes::{Probe, Witness};
use report::Planned;
use std::io::Write;
use wanted::Wanted;

/// Verifies the namespace that is named, else pods of a cluster.
pub(crate) fn run(args: &Verify, out: &mut dyn Write) -> Result<Outcome> {
    let Some(opened) = live::open(&args.target.live)? else { return cluster::run(args, out) };
    let wanted = wanted::of(args, &opened)?;
    let report = look(&opened, wanted, args.node.stock, args.no_probes)?;
    let outcome = Outcome::when(report.verified);
    let value = serde_json::to_value(&report)?;
    if !form::data(args.asking.output, &value, "", out)? {
        report.write(out, "")?;
        writeln!(out, "{}", if report.verified { "VERIFIED" } else { "NOT VERIFIED" })?;
    }
    Ok(outcome)
}

/// Looks at a namespace. Rules that are somebody else's work are held against what packets make of them.
fn look(opened: &Opened, mut wanted: Wanted, stock: bool, no_probes: bool) -> Result<Report> {
    let netns = &opened.netns;
    let found = backend::inspect(netns)?;
    let mut theirs = Vec::new();
    if stock {
        theirs.extend(adapt(&mut wanted, &found));
    }
    let rules = plan(&wanted.settings, wanted.families).rules;
    let mut verified = Verified::new(netns, &wanted, &rules, found);
    let there = verified.observed.known();
    if stock && verified.backend.is_some() && !verified.drift.is_clean() {
        let sorted = stock::sort(&wanted.settings, wanted.families, &rules, &there, &verified.drift);
        theirs.extend(sorted.theirs);
        verified.excused = sorted.wrong.is_empty();
        verified.wrong = Some(sorted.wrong);
    }
    verified.theirs = theirs;
    if let Some(backend) = verified.backend.filter(|_| verified.is_intact() && !no_probes) {
        let ids = Ids::of(netns, opened.pid)?;
        let held = if stock { &there } else { &rules };
        verified.witnesses = probes::send(netns, &ids, Probe::choose(&wanted, held), backend)?;
        verified.after = Some(backend::inspect(netns)?);
    }
    Ok(verified.report(no_probes))
}

/// Takes the listing that comes nearest to what is there, and the families that it has. What that leaves out is told.
fn adapt(wanted: &mut Wanted, found: &[(Backend, Observed)]) -> Vec<String> {
    let has = |family: Family| {
        let all = found.iter().flat_map(|(_, observed)| observed.chains.keys());
        all.into_iter().any(|place| place.family == family && !place.chain.is_hook())
    };
    let mut told = Vec::new();
    if wanted.families == Families::Both && has(Family::V4) && !has(Family::V6) {
        wanted.families = Families::V4;
        let words = "IPv6 is not redirected: istio-init writes rules for it by the order of the pod's addresses, or for dual \
                     stack (A2 of docs/deviations.md)";
        told.push(words.to_owned());
    }
    let far = |profile: Profile| {
        let settings = millrace_core::settings::Settings { profile, ..wanted.settings.clone() };
        let rules = plan(&settings, wanted.families).rules;
        found.iter().map(|(_, observed)| compare(&rules, observed).findings.len()).min()
    };
    if far(Profile::Asm114) < far(Profile::Istio) {
        wanted.settings.profile = Profile::Asm114;
        told.push("the listing is that of releases before 1.18 (profile asm-1.14)".to_owned());
    }
    told
}

/// What was found out.
struct Verified {
    netns: String,
    settings_from: String,
    /// The backend whose rules come nearest to the plan.
    backend: Option<Backend>,
    also: Vec<Backend>,
    observed: Observed,
    /// All that was found, and the same after the probes.
    found: Vec<(Backend, Observed)>,
    after: Option<Vec<(Backend, Observed)>>,
    drift: Drift,
    /// Whether nothing of the drift counts.
    excused: bool,
    /// What counts of the drift, where it is somebody else's rules that drift.
    wrong: Option<Vec<String>>,
    theirs: Vec<String>,
    planned: Vec<Planned>,
    witnesses: Vec<Witness>,
}

impl Verified {
    fn new(netns: &NetNs, wanted: &Wanted, rules: &RuleSet, found: Vec<(Backend, Observed)>) -> Verified {
        let ours = || found.iter().filter(|(_, observed)| has_ours(observed));
        let drift = |observed: &Observed| compare(rules, observed);
        let nearest = ours().min_by_key(|(_, observed)| drift(observed).findings.len());
        let observed = nearest.map(|(_, observed)| observed.clone()).unwrap_or_default();
        let backend = nearest.map(|(backend, _)| *backend);
        let also = ours().map(|(other, _)| *other).filter(|other| Some(*other) != backend).collect();
        let planned = |family: &Family| Planned {
            family: reasons::name(*family).to_owned(),
            rules: rules.family(*family).len(),
        };
        Verified {
            netns: netns.path().display().to_string(),
            settings_from: wanted.from.clone(),
            backend,
            also,
            drift: drift(&observed),
            observed,
            found,
            after: None,
            excused: false,
            wrong: None,
            theirs: Vec::new(),
            planned: members(wanted.families).iter().map(planned).collect(),
            witnesses: Vec::new(),
        }
    }

    fn is_as_planned(&self) -> bool {
        self.drift.is_clean() || self.excused
    }

    fn is_intact(&self) -> bool {
        self.is_as_planned() && self.also.is_empty()
    }

    fn is_well(&self, no_probes: bool) -> bool {
        let seen = self.witnesses.iter().all(Witness::is_well);
        let some = no_probes || self.witnesses.iter().any(Witness::is_seen);
        self.is_intact() && seen && some
    }

    fn report(&self, no_probes: bool) -> Report {
        let backend = |backend: Backend| backend.name().to_owned();
        let traffic = self.backend.map(|backend| Counters::of(backend, &self.observed).traffic());
        let now = self.after.as_ref().unwrap_or(&self.found);
        let nearest =
            now.iter().find(|(backend, _)| Some(*backend) == self.backend).map(|(_, observed)| observed);
        let after = nearest.filter(|_| self.after.is_some());
        let after = self.backend.zip(after).map(|(backend, observed)| Counters::of(backend, observed));
        let findings = || self.drift.findings.iter().map(ToString::to_string).collect();
        Report {
            verified: self.is_well(no_probes),
            netns: self.netns.clone(),
            settings_from: self.settings_from.clone(),
            backend: self.backend.map(backend),
            also_in: self.also.iter().copied().map(backend).collect(),
            rules_as_planned: self.is_as_planned(),
            planned: self.planned.clone(),
            findings: self.wrong.clone().unwrap_or_else(findings),
            theirs: self.theirs.clone(),
            traffic: traffic.into_iter().flatten().map(|one| one.report(after.as_ref())).collect(),
            probes: self.witnesses.iter().map(Witness::report).collect(),
            tables: held::tables(now),
            rules: nearest.map(held::rules).unwrap_or_default(),
        }
    }
}

/// Whether a chain of ours is there.
fn has_ours(observed: &Observed) -> bool {
    observed.chains.keys().any(|place| !place.chain.is_hook())
}
