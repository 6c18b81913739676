//! The counters of a namespace's rules, and which of them are one and the same.
//!
//! The nftables dialect writes a rule that both families share once, so that one counter counts both.

use super::super::reasons;
use super::report;
use anyhow::{Context, Result};
use millrace_core::dialect::Backend;
use millrace_core::rules::{Content, Family, Observed, Place, Rule, Verdict};
use millrace_host::backend;
use millrace_host::netns::NetNs;

/// What one backend's rules have counted.
pub(super) struct Counters {
    backend: Backend,
    observed: Observed,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    /// Where its rule is; for a shared one, in the family that was asked for.
    pub(super) place: Place,
    /// The rule's number there, from 1.
    pub(super) number: usize,
    /// The rule's handle.
    handle: u64,
    pub(super) packets: u64,
}

/// What a redirecting rule has counted.
pub(super) struct Traffic {
    families: Vec<Family>,
    counter: Counter,
    rule: Rule,
    port: u16,
}

impl Counters {
    /// Takes what was observed.
    pub(super) fn of(backend: Backend, observed: &Observed) -> Counters {
        Counters { backend, observed: observed.clone() }
    }

    /// Reads them.
    pub(super) fn read(netns: &NetNs, backend: Backend) -> Result<Counters> {
        let found = backend::inspect(netns)?.into_iter().find(|(other, _)| *other == backend);
        let (_, observed) = found.context("the rules went away while they were verified")?;
        Ok(Counters { backend, observed })
    }

    /// The counter of a rule.
    pub(super) fn find(&self, place: Place, wanted: &Rule) -> Option<Counter> {
        let rules = (1..).zip(self.observed.chains.get(&place)?);
        let mut same =
            rules.filter(|(_, rule)| matches!(&rule.content, Content::Known(known) if known == wanted));
        same.next().map(|(number, rule)| Counter {
            place,
            number,
            handle: rule.handle,
            packets: rule.packets,
        })
    }

    /// Whether two counters are one.
    pub(super) fn same(&self, one: &Counter, other: &Counter) -> bool {
        let family = self.backend == Backend::Nftables || one.place.family == other.place.family;
        let place = (one.place.table, one.place.chain) == (other.place.table, other.place.chain);
        // A dialect without handles has no shared rules, and there the number tells them apart.
        let rule = if one.handle > 0 { one.handle == other.handle } else { one.number == other.number };
        family && place && rule
    }

    /// What each redirecting rule has counted.
    pub(super) fn traffic(&self) -> Vec<Traffic> {
        let mut found: Vec<Traffic> = Vec::new();
        for (place, rule) in self.observed.known().iter().flat_map(|(place, rules)| {
            rules.iter().map(move |rule| (place, rule.clone())).collect::<Vec<_>>()
        }) {
            let (Verdict::Redirect(port) | Verdict::Tproxy { port, .. }) = rule.verdict() else { continue };
            let Some(counter) = self.find(place, &rule) else { continue };
            match found.iter_mut().find(|traffic| self.same(&traffic.counter, &counter)) {
                Some(shared) => shared.families.push(place.family),
                None => found.push(Traffic { families: vec![place.family], counter, rule, port }),
            }
        }
        found
    }
}

impl Traffic {
    pub(super) fn report(&self, after: Option<&Counters>) -> report::Traffic {
        report::Traffic {
            families: self.families.iter().map(|family| reasons::name(*family).to_owned()).collect(),
            chain: self.counter.place.chain.name().to_owned(),
            port: self.port,
            connections_before: self.counter.packets,
            connections_after: after
                .and_then(|after| after.find(self.counter.place, &self.rule))
                .map(|one| one.packets),
        }
    }
}
