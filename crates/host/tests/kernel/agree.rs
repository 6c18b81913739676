//! M5: what `trace` says of a packet, what the kernel counted, and who answered are the same thing.

use millrace_core::rules::trace::{Outcome, Packet, trace};
use millrace_core::rules::{Family, Observed, Place, RuleSet, Table};
use std::collections::BTreeMap;

/// Whether the listener that answered is the one that the outcome leads to.
pub(crate) fn outcome(rules: &RuleSet, packet: &Packet, by: &str) -> Result<(), String> {
    let said = trace(rules, packet).outcome;
    let fits = match said {
        Outcome::Redirected { port: 15001 } => by == "outbound",
        Outcome::Redirected { port: 15006 } | Outcome::Tproxied { port: 15006 } => by == "inbound",
        Outcome::Redirected { port: 15053 } => by == "agent",
        Outcome::Direct => !matches!(by, "" | "outbound" | "inbound" | "agent"),
        _ => by.is_empty(),
    };
    if fits { Ok(()) } else { Err(format!("trace says {said}, but {by:?} answered")) }
}

/// Whether the kernel counted what `trace` says, between two looks, in the packet's own family: a rule that the
/// nftables dialect has written once for both counts for both.
///
/// `nat` is shown the first packet only, so there the numbers are the same; the other tables see the answers too, so
/// there a rule that `trace` says matches has counted something.
pub(crate) fn counts(rules: &RuleSet, packet: &Packet, before: &Observed, after: &Observed) -> Vec<String> {
    let mut said: BTreeMap<(Place, usize), u64> = BTreeMap::new();
    for step in trace(rules, packet).steps.iter().filter(|step| step.failed.is_none()) {
        *said.entry((step.place, step.number)).or_default() += 1;
    }
    let mut wrong = Vec::new();
    let family = if packet.destination.is_ipv4() { Family::V4 } else { Family::V6 };
    for (place, planned) in rules.iter().filter(|(place, _)| place.family == family) {
        for number in 1..=planned.len() {
            let said = said.get(&(place, number)).copied().unwrap_or(0);
            let counted = packets(after, place, number).saturating_sub(packets(before, place, number));
            let fits = if place.table == Table::Nat { counted == said } else { said == 0 || counted > 0 };
            if !fits {
                let rule = &planned[number - 1];
                wrong.push(format!(
                    "{place} {number} ({rule}): trace says {said}, the kernel counted {counted}"
                ));
            }
        }
    }
    wrong
}

pub(crate) fn packets(observed: &Observed, place: Place, number: usize) -> u64 {
    observed.chains.get(&place).and_then(|rules| rules.get(number - 1)).map_or(0, |rule| rule.packets)
}
