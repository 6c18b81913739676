//! Rules with the reason of each and the setting it comes from, for people and as JSON.

use anyhow::Result;
use millrace_core::dialect::text::arguments;
use millrace_core::rules::origin::origin;
use millrace_core::rules::{Family, Place, Rule, RuleSet};
use serde_json::{Value, json};
use std::io::Write;

/// Prints the rules of one family, chain by chain.
pub(super) fn write(out: &mut dyn Write, rules: &RuleSet, family: Family) -> Result<()> {
    for (place, rules) in rules.iter().filter(|(place, _)| place.family == family) {
        writeln!(out, "{} {} {}", name(family), place.table.name(), place.chain.name())?;
        for (number, rule) in (1..).zip(rules) {
            writeln!(out, "{number:5}  {}", arguments(family, rule))?;
            if let Some(origin) = origin(place, rule) {
                writeln!(out, "       {}: {}; from {}", origin.id(), origin.why(), origin.setting())?;
            }
        }
    }
    Ok(())
}

/// The rules of some families as JSON, in order.
pub(super) fn json(rules: &RuleSet, families: &[Family]) -> Value {
    let places = rules.iter().filter(|(place, _)| families.contains(&place.family));
    let all = places
        .flat_map(|(place, rules)| (1..).zip(rules).map(move |(number, rule)| one(place, number, rule)));
    Value::Array(all.collect())
}

/// The family as people write it.
pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn one(place: Place, number: u32, rule: &Rule) -> Value {
    let origin = origin(place, rule);
    json!({
        "family": name(place.family),
        "table": place.table.name(),
        "chain": place.chain.name(),
        "number": number,
        "rule": arguments(place.family, rule),
        "origin": origin.map(|origin| origin.id()),
        "why": origin.map(|origin| origin.why()),
        "setting": origin.map(|origin| origin.setting()),
    })
}
