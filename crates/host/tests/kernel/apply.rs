//! Applying, looking and clearing: what is left alone, what is found again, what a second time changes.

use crate::runs;
use crate::scene::{Way, netns_of};
use millrace_core::dialect::{Backend, Choice};
use millrace_core::rules::Plan;
use millrace_core::rules::compare::compare;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Dns, Families, Interface, Mode, Settings};
use millrace_host::backend;
use millrace_rig::net::{Namespace, Who};

const IPTABLES: &[(&str, &str)] = &[("iptables-nft-save", "apt-get install iptables")];

/// As much as one pod can have.
fn full() -> Plan {
    let settings = Settings {
        mode: Mode::Tproxy,
        dns: Dns::All,
        drop_invalid: true,
        exclude_interfaces: vec![Interface::new("net1").expect("a name")],
        ..Settings::default()
    };
    plan(&settings, Families::Both)
}

fn default() -> Plan {
    plan(&Settings::default(), Families::Both)
}

fn apply(namespace: &Namespace, plan: &Plan, way: Way) {
    let applied = backend::apply(&netns_of(namespace), plan, way.choice(), None);
    applied.unwrap_or_else(|error| panic!("{way:?}: {error}"));
}

fn clear(namespace: &Namespace, plan: &Plan) {
    backend::clear(&netns_of(namespace), plan).unwrap_or_else(|errors| panic!("{errors}"));
}

/// Panics unless that backend finds exactly the plan's rules.
fn holds(namespace: &Namespace, plan: &Plan, by: Backend) {
    let found = backend::inspect(&netns_of(namespace)).expect("the namespace can be looked at");
    let mine = found.iter().find(|(backend, _)| *backend == by);
    let (_, observed) = mine.unwrap_or_else(|| panic!("{by}: nothing was found"));
    let drift = compare(&plan.rules, observed);
    assert!(drift.is_clean(), "{by}: {drift}");
    assert_eq!(observed.known(), plan.rules, "{by}");
}

/// Everything that netfilter shows of a namespace, without counters and comments.
fn shown(namespace: &Namespace) -> String {
    let script = "nft -s list ruleset; for family in iptables ip6tables; do $family-legacy-save; done";
    let all = namespace.sh(&format!(
        "{script}; ip rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all"
    ));
    all.lines().filter(|line| !line.starts_with('#')).map(|line| without_counters(line) + "\n").collect()
}

fn without_counters(line: &str) -> String {
    line.split(" [").next().unwrap_or_default().to_owned()
}

fn ways(name: &str) -> impl Iterator<Item = Way> {
    Way::ALL.into_iter().filter(move |way| {
        let programs: Vec<_> = way.programs().iter().chain(IPTABLES).copied().collect();
        runs(name, &programs)
    })
}

#[test]
fn what_is_applied_is_found_and_a_second_time_changes_nothing() {
    for way in ways("what_is_applied_is_found_and_a_second_time_changes_nothing") {
        for plan in [default(), full()] {
            let namespace = Namespace::new();
            way.prepare(&namespace);
            apply(&namespace, &plan, way);
            holds(&namespace, &plan, way.found_by());
            let once = shown(&namespace);
            apply(&namespace, &plan, way);
            assert_eq!(shown(&namespace), once, "{way:?}");
        }
    }
}

#[test]
fn other_rules_take_the_place_of_the_first() {
    let dns = Settings { dns: Dns::All, drop_invalid: true, ..Settings::default() };
    let dns = plan(&dns, Families::Both);
    for way in ways("other_rules_take_the_place_of_the_first") {
        let namespace = Namespace::new();
        way.prepare(&namespace);
        apply(&namespace, &default(), way);
        apply(&namespace, &dns, way);
        holds(&namespace, &dns, way.found_by());
    }
}

/// Rules and chains of others in the same tables, in both families, before and after ours.
const OTHERS: &str = "
for ipt in iptables$KIND ip6tables$KIND; do
  $ipt -t nat -N MINE; $ipt -t nat -A MINE -p tcp --dport 99 -j ACCEPT
  $ipt -t nat -A OUTPUT -j MINE; $ipt -t nat -A OUTPUT -p icmp -m comment --comment 'not ours' -j RETURN
  $ipt -t nat -A PREROUTING -p tcp --dport 98 -j REDIRECT --to-ports 97
  $ipt -t mangle -A PREROUTING -m mark --mark 0x7/0xf -j ACCEPT
  $ipt -t filter -A INPUT -p udp --dport 96 -j DROP
done";

#[test]
fn what_others_have_there_survives_to_the_byte() {
    for way in ways("what_others_have_there_survives_to_the_byte") {
        let kind = if way == Way::Legacy { "-legacy" } else { "-nft" };
        let save = format!("for ipt in iptables{kind} ip6tables{kind}; do $ipt-save; done");
        let saved = |namespace: &Namespace| {
            let text = namespace.sh(&save);
            let ours = |line: &&str| !line.starts_with('#') && !line.contains("ISTIO_");
            text.lines().filter(ours).map(|line| without_counters(line) + "\n").collect::<String>()
        };
        let namespace = Namespace::new();
        way.prepare(&namespace);
        namespace.sh(&OTHERS.replace("$KIND", kind));
        let before = saved(&namespace);
        assert!(before.contains("not ours"), "{before}");
        let plan = default();
        for _ in 0..2 {
            apply(&namespace, &plan, way);
            assert_eq!(saved(&namespace), before, "{way:?}, applied");
        }
        clear(&namespace, &plan);
        assert_eq!(saved(&namespace), before, "{way:?}, cleared");
        assert!(!namespace.sh(&save).contains("ISTIO_"), "{way:?}");
    }
}

#[test]
fn clearing_leaves_nothing_and_succeeds_when_nothing_is_there() {
    for way in ways("clearing_leaves_nothing_and_succeeds_when_nothing_is_there") {
        let namespace = Namespace::new();
        way.prepare(&namespace);
        let routes =
            |namespace: &Namespace| namespace.sh("ip rule; ip -6 rule; ip route show table all; ip addr");
        let before = routes(&namespace);
        clear(&namespace, &full());
        apply(&namespace, &full(), way);
        clear(&namespace, &full());
        assert_eq!(routes(&namespace), before, "{way:?}");
        let found = backend::inspect(&netns_of(&namespace)).expect("the namespace can be looked at");
        assert!(found.is_empty(), "{way:?}: {found:?}");
        clear(&namespace, &full());
    }
}

#[test]
fn looking_makes_no_table() {
    if !runs("looking_makes_no_table", IPTABLES) {
        return;
    }
    let namespace = Namespace::new();
    let found = backend::inspect(&netns_of(&namespace)).expect("the namespace can be looked at");
    assert!(found.is_empty(), "{found:?}");
    clear(&namespace, &default());
    let names = "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names; nft list tables";
    assert_eq!(namespace.sh(names), "");
}

#[test]
fn auto_takes_iptables_for_an_ordinary_pod_and_nftables_for_one_with_its_own_users() {
    if !runs("auto_takes_iptables_for_an_ordinary_pod_and_nftables_for_one_with_its_own_users", &[]) {
        return;
    }
    let memory = std::env::temp_dir().join(format!("millrace-kernel-memory-{}", std::process::id()));
    let taken = |namespace: &Namespace| {
        let applied = backend::apply(&netns_of(namespace), &default(), Choice::Auto, Some(&memory));
        applied.expect("some backend does it")
    };
    assert_eq!(taken(&Namespace::new()), Backend::Iptables);
    assert_eq!(taken(&Namespace::shifted()), Backend::Nftables);
    assert!(!memory.exists(), "neither is worth remembering");
    std::fs::write(&memory, "nftables\n").expect("the folder for temporary files can be written");
    assert_eq!(taken(&Namespace::new()), Backend::Nftables);
    std::fs::remove_file(&memory).expect("it is there");
}

#[test]
fn a_refusal_names_the_rule_and_changes_nothing() {
    if !runs("a_refusal_names_the_rule_and_changes_nothing", &[("nft", "apt-get install nftables")]) {
        return;
    }
    let namespace = Namespace::shifted();
    let choice = Choice::Only(Backend::Iptables);
    let error =
        backend::apply(&netns_of(&namespace), &default(), choice, None).expect_err("owner is refused");
    let text = error.to_string();
    assert!(text.contains("rule"), "{text}");
    assert!(text.contains("ISTIO_OUTPUT") && text.contains("Invalid argument"), "{text}");
    assert!(text.ends_with("use backend auto or nftables"), "{text}");
    assert_eq!(namespace.sh("nft list ruleset"), "");
}

/// A chain of that name that hooks in differently is no chain of ours, however often one looks.
#[test]
fn a_chain_of_others_under_the_name_that_we_need_is_told_and_auto_goes_round_it() {
    let name = "a_chain_of_others_under_the_name_that_we_need_is_told_and_auto_goes_round_it";
    if !runs(name, &[("nft", "apt-get install nftables")]) {
        return;
    }
    let namespace = Namespace::new();
    namespace.sh("nft 'table ip nat { chain OUTPUT { type nat hook output priority -50; }; }'");
    let netns = netns_of(&namespace);
    let error = backend::apply(&netns, &default(), Choice::Only(Backend::Iptables), None);
    let text = error.expect_err("the name is taken").to_string();
    assert!(text.contains("make chain OUTPUT of table ip nat") && text.contains("differently"), "{text}");
    let memory = std::env::temp_dir().join(format!("millrace-kernel-taken-{}", std::process::id()));
    let applied = backend::apply(&netns, &default(), Choice::Auto, Some(&memory));
    assert_eq!(applied.expect("nftables has names of its own"), Backend::Nftables);
    assert!(!memory.exists(), "it says nothing about the node");
    holds(&namespace, &default(), Backend::Nftables);
}

/// The programs commit table by table: `mangle` is done when `nat`, with its owner matches, is refused.
#[test]
fn the_text_backend_takes_back_the_tables_before_the_refused_one() {
    let name = "the_text_backend_takes_back_the_tables_before_the_refused_one";
    for way in [Way::Text, Way::Legacy] {
        if !runs(name, way.programs()) || !runs(name, IPTABLES) {
            return;
        }
        let namespace = Namespace::shifted();
        way.prepare(&namespace);
        let settings = Settings { drop_invalid: true, ..Settings::default() };
        let plan = plan(&settings, Families::Both);
        backend::apply(&netns_of(&namespace), &plan, way.choice(), None).expect_err("owner is refused");
        let shown = shown(&namespace);
        assert!(!shown.contains("ISTIO_"), "{way:?}: {shown}");
    }
}

/// M8: every part is tried, and every failure told.
#[test]
fn clearing_goes_on_after_a_failure_and_tells_all_of_them() {
    if !runs("clearing_goes_on_after_a_failure_and_tells_all_of_them", &[]) {
        return;
    }
    let namespace = Namespace::new();
    apply(&namespace, &full(), Way::Iptables);
    let netns = netns_of(&namespace);
    let cleared = namespace.within_as(Who::APP, || backend::clear(&netns, &full()));
    let errors: Vec<String> =
        cleared.expect_err("an application may not").0.iter().map(ToString::to_string).collect();
    for part in ["backend iptables:", "backend nftables:", "(ip -4)", "route local default", "::6/128"] {
        assert!(errors.iter().any(|error| error.contains(part)), "{part}: {errors:#?}");
    }
    assert!(errors.iter().all(|error| error.contains("not permitted")), "{errors:#?}");
    holds(&namespace, &full(), Backend::Iptables);
}

/// Far beyond what one netlink message holds by default, and far beyond one datagram of a dump.
#[test]
fn thousands_of_rules_are_one_transaction_too() {
    let ranges = (0..4000u32).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250).parse().expect("a range"));
    let settings = Settings { exclude_outbound_ranges: ranges.collect(), ..Settings::default() };
    let plan = plan(&settings, Families::Both);
    for way in ways("thousands_of_rules_are_one_transaction_too") {
        let namespace = Namespace::new();
        way.prepare(&namespace);
        apply(&namespace, &plan, way);
        holds(&namespace, &plan, way.found_by());
        apply(&namespace, &default(), way);
        holds(&namespace, &default(), way.found_by());
    }
}

#[test]
fn where_ipv6_is_off_both_families_are_written_all_the_same() {
    for way in ways("where_ipv6_is_off_both_families_are_written_all_the_same") {
        let namespace = Namespace::new();
        way.prepare(&namespace);
        namespace.sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
        apply(&namespace, &full(), way);
        holds(&namespace, &full(), way.found_by());
        let netns = netns_of(&namespace);
        assert_eq!(backend::missing_routes(&netns, &full()).expect("routes can be looked at"), []);
        clear(&namespace, &full());
    }
}
