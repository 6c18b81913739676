//! The text that makes a family's tables hold what is planned, or nothing of ours, given what they hold. Runs nothing.

use millrace_core::dialect::text::arguments;
use millrace_core::rules::{Content, Family, Observed, ObservedRule, Place, RuleSet, Table, Verdict};
use std::fmt::Write;

/// Takes out what is ours in `family` and puts `planned` in its place. One table's lines are one commit.
pub(super) fn replace(observed: &Observed, planned: &RuleSet, family: Family) -> String {
    Table::ALL.into_iter().map(|table| section(observed, planned, planned, family, table)).collect()
}

/// Takes out what is ours in `family`: our chains, jumps to them, and rules in hooks that are as `planned` has them.
pub(super) fn clear(observed: &Observed, planned: &RuleSet, family: Family) -> String {
    let nothing = RuleSet::default();
    Table::ALL.into_iter().map(|table| section(observed, planned, &nothing, family, table)).collect()
}

fn section(observed: &Observed, ours: &RuleSet, wanted: &RuleSet, family: Family, table: Table) -> String {
    let here = |place: &Place| (place.family, place.table) == (family, table);
    let wanted = || wanted.iter().filter(|(place, _)| here(place));
    let old = || observed.chains.iter().filter(|(place, _)| here(place));
    let leaving = || {
        let own = old().filter(|(place, _)| !place.chain.is_hook()).map(|(place, _)| place.chain);
        own.filter(|chain| wanted().all(|(place, _)| place.chain != *chain))
    };
    let mut lines = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        lines.write_fmt(text).expect("a string takes any text");
        lines.push('\n');
    };
    // With --noflush this also empties a chain that is there.
    for (place, _) in wanted().filter(|(place, _)| !place.chain.is_hook()) {
        line(format_args!(":{} - [0:0]", place.chain.name()));
    }
    for (place, rules) in old().filter(|(place, _)| place.chain.is_hook()) {
        for rule in rules {
            if let Some(rule) = is_ours(rule, ours.rules(*place), family) {
                line(format_args!("-D {} {rule}", place.chain.name()));
            }
        }
    }
    // All are emptied before the first is deleted, for they jump to one another.
    for chain in leaving() {
        line(format_args!("-F {}", chain.name()));
    }
    for chain in leaving() {
        line(format_args!("-X {}", chain.name()));
    }
    for (place, rules) in wanted() {
        for rule in rules {
            line(format_args!("-A {} {}", place.chain.name(), arguments(family, rule)));
        }
    }
    if lines.is_empty() { lines } else { format!("*{}\n{lines}COMMIT\n", table.name()) }
}

/// The arguments of a hook's rule if it is ours: a jump to a chain of ours, or as planned.
fn is_ours(rule: &ObservedRule, planned: &[millrace_core::rules::Rule], family: Family) -> Option<String> {
    match &rule.content {
        Content::Known(rule) => {
            let jumps = matches!(rule.verdict(), Verdict::Jump(_));
            (jumps || planned.contains(rule)).then(|| arguments(family, rule))
        }
        Content::Foreign { text, jump: Some(jump) } => {
            millrace_core::rules::Chain::from_name(jump).map(|_| text.clone())
        }
        Content::Foreign { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::dialect::text;
    use millrace_core::rules::{Chain, Match, Protocol, Rule};

    fn check(before: &str, replaced: &str, cleared: &str) {
        let observed = text::read(before, Family::V4).unwrap();
        let place = |chain| Place { family: Family::V4, table: Table::Nat, chain };
        let mut planned = RuleSet::default();
        planned.push(place(Chain::Output), Rule::new([], Verdict::Jump(Chain::IstioOutput)));
        planned.push(place(Chain::Output), Rule::new([Match::Protocol(Protocol::Udp)], Verdict::Return));
        planned.push(place(Chain::IstioOutput), Rule::new([], Verdict::Return));
        assert_eq!(replace(&observed, &planned, Family::V4), replaced);
        assert_eq!(clear(&observed, &planned, Family::V4), cleared);
        assert_eq!(replace(&observed, &planned, Family::V6), "");
    }

    #[test]
    fn into_empty_tables_it_only_adds() {
        let added = "*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -j ISTIO_OUTPUT\n-A OUTPUT -p udp -j RETURN\n\
                     -A ISTIO_OUTPUT -j RETURN\nCOMMIT\n";
        check("", added, "");
    }

    #[test]
    fn what_is_ours_goes_and_what_is_not_stays() {
        let before = "*mangle\n:ISTIO_DIVERT - [0:0]\nCOMMIT\n*nat\n:ISTIO_OUTPUT - [0:0]\n:ISTIO_REDIRECT - [0:0]\n\
                      :MINE - [0:0]\n-A OUTPUT -p icmp -j ISTIO_OUTPUT\n-A OUTPUT -j MINE\n-A OUTPUT -p tcp -j RETURN\n\
                      -A OUTPUT -p udp -j RETURN\n-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n-A MINE -j ACCEPT\nCOMMIT\n";
        let replaced = "*mangle\n-F ISTIO_DIVERT\n-X ISTIO_DIVERT\nCOMMIT\n*nat\n:ISTIO_OUTPUT - [0:0]\n\
                        -D OUTPUT -p icmp -j ISTIO_OUTPUT\n-D OUTPUT -p udp -j RETURN\n-F ISTIO_REDIRECT\n\
                        -X ISTIO_REDIRECT\n-A OUTPUT -j ISTIO_OUTPUT\n-A OUTPUT -p udp -j RETURN\n\
                        -A ISTIO_OUTPUT -j RETURN\nCOMMIT\n";
        let cleared = "*mangle\n-F ISTIO_DIVERT\n-X ISTIO_DIVERT\nCOMMIT\n*nat\n-D OUTPUT -p icmp -j ISTIO_OUTPUT\n\
                       -D OUTPUT -p udp -j RETURN\n-F ISTIO_REDIRECT\n-F ISTIO_OUTPUT\n-X ISTIO_REDIRECT\n\
                       -X ISTIO_OUTPUT\nCOMMIT\n";
        check(before, replaced, cleared);
    }
}
