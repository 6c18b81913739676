//! The text that makes a family's tables hold what is planned, or nothing of ours, given what they hold. Runs nothing.

use millrace_core::dialect::text::arguments;
use millrace_core::rules::removal::Removal;
use millrace_core::rules::{Family, Place, RuleSet, Table};
use std::fmt::Write;

/// Takes out what is ours in `family` and puts `wanted` in its place. One table's lines are one commit.
pub(super) fn replace(removal: &Removal, wanted: &RuleSet, family: Family) -> String {
    Table::ALL.into_iter().map(|table| section(removal, wanted, family, table)).collect()
}

/// Takes out what is ours in `family`.
pub(super) fn clear(removal: &Removal, family: Family) -> String {
    replace(removal, &RuleSet::default(), family)
}

fn section(removal: &Removal, wanted: &RuleSet, family: Family, table: Table) -> String {
    let here = |place: &Place| (place.family, place.table) == (family, table);
    let wanted = || wanted.iter().filter(|(place, _)| here(place));
    let old = || removal.present.iter().filter(|(place, _)| here(place));
    let leaving = || {
        let own = old().filter(|(place, _)| !place.chain.is_hook());
        own.filter(|(place, _)| wanted().all(|(other, _)| other != **place))
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
    for (place, present) in old().filter(|(place, _)| place.chain.is_hook()) {
        for rule in present.rules.iter().filter_map(|(_, rule)| rule.as_ref()) {
            line(format_args!("-D {} {}", place.chain.name(), arguments(family, rule)));
        }
    }
    // All are emptied before the first is deleted, for they jump to one another.
    for (place, _) in leaving() {
        line(format_args!("-F {}", place.chain.name()));
    }
    for (place, _) in leaving().filter(|(_, present)| !present.held) {
        line(format_args!("-X {}", place.chain.name()));
    }
    for (place, rules) in wanted() {
        for rule in rules {
            line(format_args!("-A {} {}", place.chain.name(), arguments(family, rule)));
        }
    }
    if lines.is_empty() { lines } else { format!("*{}\n{lines}COMMIT\n", table.name()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::dialect::text;
    use millrace_core::rules::removal::removal;
    use millrace_core::rules::{Chain, Match, Protocol, Rule, Verdict};

    fn check(before: &str, replaced: &str, cleared: &str) {
        let observed = text::read(before, Family::V4).unwrap();
        let place = |chain| Place { family: Family::V4, table: Table::Nat, chain };
        let mut planned = RuleSet::default();
        planned.push(place(Chain::Output), Rule::new([], Verdict::Jump(Chain::IstioOutput)));
        planned.push(place(Chain::Output), Rule::new([Match::Protocol(Protocol::Udp)], Verdict::Return));
        planned.push(place(Chain::IstioOutput), Rule::new([], Verdict::Return));
        let removal = removal(&observed, &planned);
        assert_eq!(replace(&removal, &planned, Family::V4), replaced);
        assert_eq!(clear(&removal, Family::V4), cleared);
        assert_eq!(replace(&removal, &planned, Family::V6), "");
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
                      :MINE - [0:0]\n-A OUTPUT -p icmp -j ISTIO_REDIRECT\n-A OUTPUT -j MINE\n-A OUTPUT -p tcp -j RETURN\n\
                      -A OUTPUT -p udp -j RETURN\n-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n-A MINE -j ACCEPT\nCOMMIT\n";
        let replaced = "*mangle\n-F ISTIO_DIVERT\n-X ISTIO_DIVERT\nCOMMIT\n*nat\n:ISTIO_OUTPUT - [0:0]\n\
                        -D OUTPUT -p udp -j RETURN\n-F ISTIO_REDIRECT\n\
                        -A OUTPUT -j ISTIO_OUTPUT\n-A OUTPUT -p udp -j RETURN\n\
                        -A ISTIO_OUTPUT -j RETURN\nCOMMIT\n";
        let cleared = "*mangle\n-F ISTIO_DIVERT\n-X ISTIO_DIVERT\nCOMMIT\n*nat\n\
                       -D OUTPUT -p udp -j RETURN\n-F ISTIO_REDIRECT\n-F ISTIO_OUTPUT\n\
                       -X ISTIO_OUTPUT\nCOMMIT\n";
        check(before, replaced, cleared);
    }
}
