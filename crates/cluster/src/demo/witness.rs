//! What is in a pod's network namespace: the rules that are there, and what their counters say.

use crate::demo::counts::Counts;
use anyhow::Context;
use millrace_core::dialect::Backend;
use millrace_core::rules::compare::compare;
use millrace_core::rules::{Content, Family, Observed, RuleSet, Verdict};
use millrace_core::settings::Settings;
use millrace_host::backend;
use millrace_host::netns::NetNs;

/// The rules found in a network namespace.
#[derive(Debug)]
pub(crate) struct Found(Vec<(Backend, Observed)>);

impl Found {
    /// Reads them.
    pub(crate) fn read(netns: &NetNs) -> anyhow::Result<Found> {
        let found = backend::inspect(netns);
        Ok(Found(found.with_context(|| format!("cannot read the rules of {}", netns.path().display()))?))
    }

    /// The backend that holds rules, and what it holds.
    pub(crate) fn held(&self) -> Option<(Backend, &Observed)> {
        let holds = |(_, observed): &&(Backend, Observed)| size(observed) > 0;
        self.0.iter().find(holds).map(|(backend, observed)| (*backend, observed))
    }

    /// The number of rules found, ours and others', in every backend.
    pub(crate) fn number(&self) -> usize {
        self.0.iter().map(|(_, observed)| size(observed)).sum()
    }

    /// How they differ from those planned, if they do.
    pub(crate) fn drift(&self, planned: &RuleSet) -> Option<String> {
        let nothing = Observed::default();
        let observed = self.held().map_or(&nothing, |(_, observed)| observed);
        let drift = compare(planned, observed);
        (!drift.is_clean()).then(|| short(&drift.to_string()))
    }

    /// How many connections the redirecting rules have counted. The table `nat` is asked for the first packet of a
    /// connection only, so packets are connections.
    pub(crate) fn redirected(&self, settings: &Settings) -> Counts {
        let mut counts = Counts::default();
        for (place, rules) in self.0.iter().flat_map(|(_, observed)| &observed.chains) {
            for rule in rules {
                let Content::Known(known) = &rule.content else { continue };
                let direction = match known.verdict() {
                    Verdict::Redirect(port) if port == settings.inbound_port => &mut counts.inbound,
                    Verdict::Redirect(port) if port == settings.outbound_port => &mut counts.outbound,
                    _ => continue,
                };
                *direction.of(place.family == Family::V4) += rule.packets;
            }
        }
        counts
    }
}

/// The first difference, and how many more there are: one usually explains the others.
fn short(drift: &str) -> String {
    let mut lines = drift.lines();
    let first = lines.next().unwrap_or_default();
    match lines.count() {
        0 => first.to_owned(),
        more => format!("{first}; and {more} more"),
    }
}

fn size(observed: &Observed) -> usize {
    let foreign: usize = observed.foreign_chains.iter().map(|chain| chain.rules).sum();
    observed.chains.values().map(Vec::len).sum::<usize>() + foreign
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::rules::{Chain, ForeignChain, ObservedRule, Place, Rule, Table};

    fn found(family: Family, verdict: Verdict, packets: u64) -> Found {
        let place = Place { family, table: Table::Nat, chain: Chain::IstioRedirect };
        let content = Content::Known(Rule::new([], verdict));
        let mut observed = Observed::default();
        observed
            .chains
            .insert(place, vec![ObservedRule { handle: 1, packets, bytes: 60 * packets, content }]);
        Found(vec![(Backend::Iptables, Observed::default()), (Backend::Nftables, observed)])
    }

    fn check(family: Family, verdict: Verdict, expected: impl FnOnce(&mut Counts)) {
        let mut counts = Counts::default();
        expected(&mut counts);
        assert_eq!(found(family, verdict, 7).redirected(&Settings::default()), counts);
    }

    #[test]
    fn redirections_are_counted_by_port_and_family() {
        check(Family::V4, Verdict::Redirect(15006), |counts| counts.inbound.v4 = 7);
        check(Family::V6, Verdict::Redirect(15001), |counts| counts.outbound.v6 = 7);
        check(Family::V4, Verdict::Redirect(15053), |_| {});
        check(Family::V4, Verdict::Return, |_| {});
    }

    #[test]
    fn strangers_rules_are_found_too() {
        let mut strange = Observed::default();
        let name = "SOMEBODY".to_owned();
        strange.foreign_chains.push(ForeignChain { family: Family::V4, table: Table::Nat, name, rules: 2 });
        let found = Found(vec![(Backend::Iptables, strange)]);
        assert_eq!(found.number(), 2);
        assert_eq!(found.held().map(|(backend, _)| backend), Some(Backend::Iptables));
    }

    #[test]
    fn a_long_drift_is_cut_and_says_so() {
        assert_eq!(short("a"), "a");
        assert_eq!(short("a\nb\nc\n"), "a; and 2 more");
    }

    #[test]
    fn nothing_is_no_drift_from_nothing() {
        assert_eq!(Found(Vec::new()).drift(&RuleSet::default()), None);
        assert!(found(Family::V4, Verdict::Return, 0).drift(&RuleSet::default()).is_some());
    }
}
