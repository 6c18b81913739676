//! Bugs of the field that only a kernel can show, each by its letter in `docs/deviations.md`.

use crate::packets::{only_ipv4, play_in};
use crate::runs;
use crate::scene::{Scene, Way, netns_of};
use millrace_core::dialect::{Backend, Choice};
use millrace_core::rules::compare::compare;
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Family, Plan};
use millrace_core::settings::{Dns, Families, Inbound, Interface, Mode, Profile, Settings};
use millrace_host::backend::{self, How};
use millrace_rig::net::Namespace;

const LEGACY: (&str, &str) = ("iptables-legacy", "apt-get install iptables");
const NFT: (&str, &str) = ("nft", "apt-get install nftables");

/// The ways that can be gone here.
fn ways(name: &str) -> impl Iterator<Item = Way> {
    Way::ALL.into_iter().filter(move |way| {
        let programs: Vec<_> = way.programs().iter().copied().chain([LEGACY, NFT]).collect();
        runs(name, &programs)
    })
}

fn apply(namespace: &Namespace, plan: &Plan, choice: Choice) -> Backend {
    let applied = backend::apply(&netns_of(namespace), plan, choice, None);
    applied.unwrap_or_else(|error| panic!("{choice:?}: {error}"))
}

/// Panics unless one backend finds rules, and exactly these.
fn holds(namespace: &Namespace, plan: &Plan, by: Backend) {
    let found = backend::inspect(&netns_of(namespace)).expect("the namespace can be looked at");
    let names: Vec<Backend> = found.iter().map(|(backend, _)| *backend).collect();
    assert_eq!(names, [by]);
    let drift = compare(&plan.rules, &found[0].1);
    assert!(drift.is_clean(), "{by}: {drift}");
    // Not even a RETURN that could be anybody's.
    assert_eq!(found[0].1.known(), plan.rules, "{by}");
}

#[test]
fn a1_a_pod_without_ipv6_rules_keeps_its_ipv6_as_it_was() {
    let redirect = Settings { dns: Dns::All, drop_invalid: true, ..Settings::default() };
    let tproxy = Settings { mode: Mode::Tproxy, ..redirect.clone() };
    for way in ways("a1_a_pod_without_ipv6_rules_keeps_its_ipv6_as_it_was") {
        for settings in [&redirect, &tproxy] {
            let scene = Scene::around(Namespace::new(), way, settings, Families::V4);
            let (four, six) = only_ipv4();
            let wrong = [play_in(&scene, way, 0, four), play_in(&scene, way, 1, six)].concat();
            assert!(wrong.is_empty(), "{way:?}: {wrong:#?}");
            assert!(scene.observed(way).known().family(Family::V6).is_empty());
        }
    }
}

#[test]
fn a7_a_second_run_finds_the_first_ones_rules_and_no_table_that_looking_made() {
    let name = "a7_a_second_run_finds_the_first_ones_rules_and_no_table_that_looking_made";
    if !runs(name, &[LEGACY, NFT]) {
        return;
    }
    let plan = plan(&Settings::default(), Families::Both);
    for choice in [Choice::Auto, Choice::Only(Backend::Iptables), Choice::Only(Backend::Text)] {
        let namespace = Namespace::new();
        let taken: Vec<Backend> = (0..3).map(|_| apply(&namespace, &plan, choice)).collect();
        assert!(taken.iter().all(|backend| *backend == taken[0]), "{choice:?}: {taken:?}");
        holds(&namespace, &plan, Backend::Iptables);
        let legacy = namespace.sh("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names");
        assert_eq!(legacy, "", "{choice:?}");
    }
}

/// As unlike each other as they come.
fn redirections() -> [Settings; 5] {
    let net1 = || vec![Interface::new("net1").expect("a name")];
    [
        Settings::default(),
        Settings {
            mode: Mode::Tproxy,
            drop_invalid: true,
            reroute_interfaces: net1(),
            ..Settings::default()
        },
        Settings { dns: Dns::All, exclude_interfaces: net1(), ..Settings::default() },
        Settings { inbound: Inbound::Nothing, ..Settings::default() },
        Settings { profile: Profile::Asm114, ..Settings::default() },
    ]
}

#[test]
fn a8_any_redirection_takes_the_place_of_any_other() {
    for way in ways("a8_any_redirection_takes_the_place_of_any_other") {
        let plans = redirections().map(|settings| plan(&settings, Families::Both));
        for old in &plans {
            for new in &plans {
                let namespace = Namespace::new();
                way.prepare(&namespace);
                apply(&namespace, old, way.choice());
                // As a second ADD does, which has the first one's record.
                let netns = netns_of(&namespace);
                let how = How { choice: way.choice(), earlier: Some(old), ..How::default() };
                let applied = netns.within(|| backend::apply_here(&netns, new, &how));
                let left = applied.expect("it can be entered").expect("it takes the rules").left;
                assert!(left.is_empty(), "{way:?}: {left:?}");
                holds(&namespace, new, way.found_by());
                let gone = backend::missing_routes(&netns, old).expect("routes can be looked at");
                let stale: Vec<_> = old.routes.iter().filter(|route| !new.routes.contains(route)).collect();
                assert_eq!(gone.iter().collect::<Vec<_>>(), stale, "{way:?}");
            }
        }
    }
}

#[test]
fn a9_a_stray_chain_where_ipv6_is_not_redirected_hinders_nothing() {
    let plan = plan(&Settings::default(), Families::V4);
    for way in ways("a9_a_stray_chain_where_ipv6_is_not_redirected_hinders_nothing") {
        let namespace = Namespace::new();
        way.prepare(&namespace);
        let kind = if way == Way::Legacy { "legacy" } else { "nft" };
        namespace.sh(&format!("ip6tables-{kind} -t nat -N ISTIO_REDIRECT"));
        for _ in 0..2 {
            apply(&namespace, &plan, way.choice());
            let found = backend::inspect(&netns_of(&namespace)).expect("the namespace can be looked at");
            let mine = found.iter().find(|(backend, _)| *backend == way.found_by());
            let known = mine.unwrap_or_else(|| panic!("{way:?}: no rules were found")).1.known();
            assert_eq!(known.family(Family::V4), plan.rules, "{way:?}");
        }
    }
}
