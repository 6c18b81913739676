//! The text dialect and the listing against the node's own iptables, both variants, in namespaces of the test's own: what we
//! write they take, what they save we read, and what they list we list.

mod cases;

use cases::cases;
use millrace_core::dialect::{listing, text};
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Content, Family, RuleSet, Table};
use millrace_core::settings::{Families, OwnerGroups, Settings};
use millrace_rig::absent::not_run;
use millrace_rig::net::{Namespace, missing};

const TOOLS: [(&str, &str); 3] = [
    ("unshare", "apt-get install util-linux"),
    ("iptables-nft-restore", "apt-get install iptables"),
    ("iptables-legacy-restore", "apt-get install iptables"),
];
const FAMILIES: [(Family, &str); 2] = [(Family::V4, "iptables"), (Family::V6, "ip6tables")];

/// A namespace, unless this machine lacks something; then the test is counted as not run.
fn namespace(test: &str) -> Option<Namespace> {
    if let Some((what, how)) = missing(&TOOLS) {
        not_run(test, what, how);
        return None;
    }
    Some(Namespace::bare())
}

/// Loads the rules with the tool and reads back what it saves.
fn round(namespace: &Namespace, tool: &str, family: Family, rules: &RuleSet) -> RuleSet {
    let text = text::write(rules, family);
    namespace.feed(&[&format!("{tool}-restore"), "--test"], &text);
    // Without --noflush the tables named are emptied first; those that are not must not keep the last case's rules.
    let empty: String = Table::ALL.iter().map(|table| format!("*{}\nCOMMIT\n", table.name())).collect();
    namespace.feed(&[&format!("{tool}-restore")], &empty);
    namespace.feed(&[&format!("{tool}-restore"), "--noflush"], &text);
    let saved = namespace.feed(&[&format!("{tool}-save"), "-c"], "");
    text::read(&saved, family).expect("what iptables-save prints is readable").known()
}

#[test]
fn the_nft_variant_takes_it_and_saves_it_back() {
    let Some(namespace) = namespace("the_nft_variant_takes_it_and_saves_it_back") else { return };
    for case in cases() {
        for (family, tool) in FAMILIES {
            let back = round(&namespace, &format!("{tool}-nft"), family, &case.rules());
            assert_eq!(back, case.rules().family(family), "{} {family}", case.name);
        }
    }
}

#[test]
fn the_legacy_variant_takes_it_and_saves_it_back() {
    let Some(namespace) = namespace("the_legacy_variant_takes_it_and_saves_it_back") else { return };
    for case in cases() {
        for (family, tool) in FAMILIES {
            let back = round(&namespace, &format!("{tool}-legacy"), family, &case.rules());
            assert_eq!(back, case.rules().family(family), "{} {family}", case.name);
        }
    }
}

#[test]
fn the_listing_is_what_the_tool_prints() {
    let Some(namespace) = namespace("the_listing_is_what_the_tool_prints") else { return };
    for case in cases() {
        for (family, tool) in FAMILIES {
            round(&namespace, &format!("{tool}-nft"), family, &case.rules());
            check_listing(&namespace, family, tool);
        }
    }
}

#[test]
fn rules_of_others_are_listed_too() {
    let Some(namespace) = namespace("rules_of_others_are_listed_too") else { return };
    let text = "*nat\n:ISTIO_OUTPUT - [0:0]\n:MINE - [0:0]\n[3:180] -A OUTPUT -p icmp -j ACCEPT\n\
                [1:60] -A OUTPUT ! -s 10.0.0.0/8 ! -o eth+ -j ISTIO_OUTPUT\n-A OUTPUT ! -p tcp -j MINE\nCOMMIT\n";
    namespace.feed(&["iptables-nft-restore", "-c"], text);
    check_listing(&namespace, Family::V4, "iptables");
}

fn check_listing(namespace: &Namespace, family: Family, tool: &str) {
    let saved = namespace.feed(&[&format!("{tool}-nft-save"), "-c"], "");
    let observed = text::read(&saved, family).expect("what iptables-save prints is readable");
    for table in Table::ALL {
        let listed = ["-t", table.name(), "-L", "-n", "-v", "--line-numbers", "-x"];
        let tool = format!("{tool}-nft");
        let words: Vec<&str> = [tool.as_str()].into_iter().chain(listed).collect();
        assert_eq!(listing::list(&observed, family, table), namespace.feed(&words, ""), "{saved}");
    }
}

#[test]
fn a12_sixty_four_groups_fit_on_a_line() {
    let Some(namespace) = namespace("a12_sixty_four_groups_fit_on_a_line") else { return };
    let most = u32::try_from(OwnerGroups::MOST).expect("a small number");
    let owner_groups = OwnerGroups::Only((1..=most).collect());
    let rules = plan(&Settings { owner_groups, ..Settings::default() }, Families::Both).rules;
    for (family, tool) in FAMILIES {
        for variant in ["nft", "legacy"] {
            let back = round(&namespace, &format!("{tool}-{variant}"), family, &rules);
            assert_eq!(back, rules.family(family));
        }
    }
}

#[test]
fn what_the_field_writes_is_read_without_a_stranger() {
    let Some(namespace) = namespace("what_the_field_writes_is_read_without_a_stranger") else { return };
    // In the field's own spelling: options in its order, marks in decimal, `--to-port`.
    let text = "* nat\n-N ISTIO_OUTPUT\n-N ISTIO_OUTPUT_DNS\n\
                -A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j RETURN\n\
                -A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-port 15053\nCOMMIT\n\
                * mangle\n-N ISTIO_INBOUND\n-N ISTIO_DIVERT\n-N ISTIO_TPROXY\n\
                -A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark\n\
                -A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark\n\
                -A ISTIO_DIVERT -j MARK --set-mark 1337\n-A ISTIO_DIVERT -j ACCEPT\n\
                -A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006\n\
                -A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT\nCOMMIT\n";
    for variant in ["nft", "legacy"] {
        namespace.feed(&[&format!("iptables-{variant}-restore"), "--noflush"], text);
        let saved = namespace.feed(&[&format!("iptables-{variant}-save")], "");
        let observed = text::read(&saved, Family::V4).expect("what iptables-save prints is readable");
        let rules: Vec<_> = observed.chains.values().flatten().map(|rule| &rule.content).collect();
        assert_eq!(rules.len(), 8, "{saved}");
        assert!(rules.iter().all(|rule| matches!(rule, Content::Known(_))), "{rules:?}");
    }
}
