//! Observed rules as `iptables-save` text, as JSON, and as the list of their reasons.

use super::args::Args;
use millrace_core::dialect::{Backend, text};
use millrace_core::rules::origin::origin;
use millrace_core::rules::{Content, Family, Observed, ObservedRule, Place, Table};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::Path;

/// A table as `iptables-save` prints it. Rules the model cannot say are comments.
pub(super) fn save(observed: &Observed, family: Family, table: Table) -> String {
    let mut all = format!("*{}\n", table.name());
    for hook in table.hooks() {
        let _ = writeln!(all, ":{} ACCEPT [0:0]", hook.name());
    }
    let here = || places(observed, family, table);
    for (place, _) in here().filter(|(place, _)| !place.chain.is_hook()) {
        let _ = writeln!(all, ":{} - [0:0]", place.chain.name());
    }
    for (place, rules) in here() {
        for rule in rules {
            let chain = place.chain.name();
            let _ = match &rule.content {
                Content::Known(known) => writeln!(all, "-A {chain} {}", text::arguments(family, known)),
                Content::Foreign { text, .. } => writeln!(all, "# not ours, in {chain}: {text}"),
            };
        }
    }
    all.push_str("COMMIT\n");
    all
}

/// Why each rule of a table exists: chain, number, reason, setting.
pub(super) fn reasons(observed: &Observed, family: Family, table: Table) -> String {
    let mut all = String::new();
    for (place, rules) in places(observed, family, table) {
        for (number, rule) in (1..).zip(rules) {
            let chain = place.chain.name();
            let _ = match reason(place, rule) {
                Some(origin) => writeln!(
                    all,
                    "{chain} {number}: {} {}; from {}",
                    origin.id(),
                    origin.why(),
                    origin.setting()
                ),
                None => writeln!(all, "{chain} {number}: not of the redirection"),
            };
        }
    }
    if all.is_empty() {
        all.push_str("there are no rules\n");
    }
    all
}

/// Everything that was asked for.
pub(super) fn json(netns: &Path, found: &[(Backend, Observed)], args: &Args) -> String {
    let backends: Vec<Value> = found
        .iter()
        .map(|(backend, observed)| {
            let mut rules = Vec::new();
            for family in &args.families {
                for table in &args.tables {
                    for (place, found) in places(observed, *family, *table) {
                        rules.extend((1..).zip(found).map(|(number, rule)| entry(place, number, rule)));
                    }
                }
            }
            let others: Vec<Value> = observed
                .foreign_chains
                .iter()
                .filter(|chain| args.families.contains(&chain.family) && args.tables.contains(&chain.table))
                .map(|chain| {
                    json!({
                        "family": family_name(chain.family),
                        "table": chain.table.name(),
                        "chain": chain.name,
                        "rules": chain.rules,
                    })
                })
                .collect();
            json!({ "backend": backend.name(), "rules": rules, "otherChains": others })
        })
        .collect();
    let mut text = format!("{:#}", json!({ "netns": netns.display().to_string(), "backends": backends }));
    text.push('\n');
    text
}

/// `ipv4` or `ipv6`.
pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// The chains of a table that the model can name, with their rules.
pub(super) fn places(
    observed: &Observed,
    family: Family,
    table: Table,
) -> impl Iterator<Item = (Place, &[ObservedRule])> {
    let here = move |place: &Place| (place.family, place.table) == (family, table);
    observed
        .chains
        .iter()
        .filter(move |(place, _)| here(place))
        .map(|(place, rules)| (*place, rules.as_slice()))
}

fn reason(place: Place, rule: &ObservedRule) -> Option<millrace_core::rules::origin::Origin> {
    match &rule.content {
        Content::Known(known) => origin(place, known),
        Content::Foreign { .. } => None,
    }
}

fn entry(place: Place, number: usize, rule: &ObservedRule) -> Value {
    let mut entry = Map::new();
    let mut put = |key: &str, value: Value| drop(entry.insert(key.to_owned(), value));
    put("family", family_name(place.family).into());
    put("table", place.table.name().into());
    put("chain", place.chain.name().into());
    put("number", number.into());
    put("packets", rule.packets.into());
    put("bytes", rule.bytes.into());
    match &rule.content {
        Content::Known(known) => {
            put("rule", text::arguments(place.family, known).into());
            put("says", known.to_string().into());
        }
        Content::Foreign { text, .. } => put("foreign", text.as_str().into()),
    }
    if let Some(origin) = reason(place, rule) {
        put("reason", json!({ "id": origin.id(), "why": origin.why(), "setting": origin.setting() }));
    }
    Value::Object(entry)
}
