//! `millrace verify`: whether a live network namespace is redirected as planned, and was seen at work.
//!
//! Changes nothing there. It opens connections that carry no byte, and counts them, so that they can be taken off
//! the counters again.

mod counters;
mod ids;
mod probes;
mod wanted;

use super::{Outcome, form, live, reasons};
use crate::args::pod::Verify;
use anyhow::{Context, Result};
use counters::{Counters, Traffic};
use ids::Ids;
use millrace_core::dialect::Backend;
use millrace_core::rules::compare::{Drift, compare};
use millrace_core::rules::plan::{members, plan};
use millrace_core::rules::{Observed, RuleSet};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use probes::{Probe, Witness};
use serde_json::{Value, json};
use std::io::Write;
use wanted::Wanted;

/// Verifies the namespace.
pub(crate) fn run(args: &Verify, out: &mut dyn Write) -> Result<Outcome> {
    let opened = live::open(&args.live)?;
    let opened = opened.context("say which network namespace, by --netns, --pid or --container")?;
    let netns = opened.netns;
    let wanted = wanted::of(args, &netns)?;
    let rules = plan(&wanted.settings, wanted.families).rules;
    let found = backend::inspect(&netns)?;
    let mut verified = Verified::new(&netns, &wanted, &rules, &found);
    if let Some(backend) = verified.backend.filter(|_| verified.is_intact() && !args.no_probes) {
        let ids = Ids::of(&netns, opened.pid)?;
        verified.witnesses = probes::send(&netns, &ids, Probe::choose(&wanted, &rules), backend)?;
    }
    let outcome = Outcome::when(verified.is_well(args.no_probes));
    if !form::data(args.output, &verified.json(outcome), "", out)? {
        verified.write(out, outcome)?;
    }
    Ok(outcome)
}

/// What was found out.
struct Verified {
    netns: String,
    settings_from: String,
    /// The backend whose rules come nearest to the plan.
    backend: Option<Backend>,
    /// Others that hold chains of ours as well: packets would be redirected twice, or by the wrong ones.
    also: Vec<Backend>,
    drift: Drift,
    counts: Vec<(&'static str, usize)>,
    traffic: Vec<Traffic>,
    witnesses: Vec<Witness>,
}

impl Verified {
    fn new(netns: &NetNs, wanted: &Wanted, rules: &RuleSet, found: &[(Backend, Observed)]) -> Verified {
        let ours = || found.iter().filter(|(_, observed)| has_ours(observed));
        let drift = |observed: &Observed| compare(rules, observed);
        let nearest = ours().min_by_key(|(_, observed)| drift(observed).findings.len());
        let nothing = Observed::default();
        let observed = nearest.map_or(&nothing, |(_, observed)| observed);
        let backend = nearest.map(|(backend, _)| *backend);
        let also = ours().map(|(other, _)| *other).filter(|other| Some(*other) != backend).collect();
        let families = members(wanted.families).iter();
        Verified {
            netns: netns.path().display().to_string(),
            settings_from: wanted.from.clone(),
            backend,
            also,
            drift: drift(observed),
            counts: families.map(|family| (reasons::name(*family), rules.family(*family).len())).collect(),
            traffic: nearest
                .map(|(backend, observed)| Counters::of(*backend, observed).traffic())
                .unwrap_or_default(),
            witnesses: Vec::new(),
        }
    }

    fn is_intact(&self) -> bool {
        self.drift.is_clean() && self.also.is_empty()
    }

    fn is_well(&self, no_probes: bool) -> bool {
        let seen = self.witnesses.iter().all(Witness::is_well);
        let some = no_probes || self.witnesses.iter().any(Witness::is_seen);
        self.is_intact() && seen && some
    }

    fn write(&self, out: &mut dyn Write, outcome: Outcome) -> Result<()> {
        writeln!(out, "network namespace {}", self.netns)?;
        writeln!(out, "  settings  from {}", self.settings_from)?;
        writeln!(out, "  backend   {}", self.backend.map_or("none holds rules of ours", Backend::name))?;
        for other in &self.also {
            writeln!(out, "    ✗ {other} holds rules of ours as well; clear them")?;
        }
        let counts: Vec<String> =
            self.counts.iter().map(|(family, count)| format!("{count} of {family}")).collect();
        if self.drift.is_clean() {
            writeln!(out, "  rules     ✓ {}, as planned, none missing, none foreign", counts.join(", "))?;
        } else {
            writeln!(out, "  rules     ✗ {} planned", counts.join(", "))?;
        }
        for finding in &self.drift.findings {
            writeln!(out, "    {finding}")?;
        }
        for traffic in &self.traffic {
            let (title, connections, port) = (traffic.title(), traffic.connections(), traffic.port());
            writeln!(out, "  traffic   {title}: {connections} connections to port {port} before the probes")?;
        }
        for witness in &self.witnesses {
            writeln!(out, "  probe     {witness}")?;
        }
        writeln!(out, "{}", if outcome == Outcome::Well { "VERIFIED" } else { "NOT VERIFIED" })?;
        Ok(())
    }

    fn json(&self, outcome: Outcome) -> Value {
        let traffic = self.traffic.iter().map(|one| {
            json!({
                "families": one.families(),
                "chain": one.chain(),
                "port": one.port(),
                "connectionsBefore": one.connections(),
            })
        });
        json!({
            "verified": outcome == Outcome::Well,
            "netns": self.netns,
            "settingsFrom": self.settings_from,
            "backend": self.backend.map(Backend::name),
            "alsoIn": self.also.iter().map(|backend| backend.name()).collect::<Vec<_>>(),
            "rulesAsPlanned": self.drift.is_clean(),
            "findings": self.drift.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "traffic": traffic.collect::<Vec<_>>(),
            "probes": self.witnesses.iter().map(Witness::json).collect::<Vec<_>>(),
        })
    }
}

/// Whether a chain of ours is there.
fn has_ours(observed: &Observed) -> bool {
    observed.chains.keys().any(|place| !place.chain.is_hook())
}
