//! The netlink dialects against the kernel, and against the node's own tools: what we write they list, save and restore
//! without a change, and what they write we read.

use millrace_core::dialect::{Batch, iptables, nftables, text};
use millrace_core::rules::plan::plan;
use millrace_core::rules::removal::{Removal, removal};
use millrace_core::rules::{Chain, Content, Family, Observed, Place, RuleSet, Table};
use millrace_core::settings::{
    Dns, Families, Inbound, Interface, Mode, Outbound, OwnerGroups, PortRange, Profile, Settings,
};
use millrace_host::netlink::{Part, Socket};
use millrace_rig::absent;
use millrace_rig::net::{Namespace, missing};

const NEEDS: [(&str, &str); 3] = [
    ("iptables-nft", "apt-get install iptables"),
    ("nft", "apt-get install nftables"),
    ("unshare", "apt-get install util-linux"),
];

/// One setting for every way in which rules can be written.
fn every_kind() -> Vec<Settings> {
    let base = Settings::default;
    let range = |first, last| PortRange::new(first, last).expect("in order");
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a range")).collect();
    let interface = |name| Interface::new(name).expect("a name");
    vec![
        base(),
        Settings { profile: Profile::Asm114, ..base() },
        Settings { mode: Mode::Tproxy, drop_invalid: true, dns: Dns::All, ..base() },
        Settings {
            mode: Mode::Tproxy,
            inbound: Inbound::Only(vec![80.into(), range(8000, 8100)]),
            dns: Dns::Servers(vec!["10.96.0.10".parse().expect("v4"), "fd00::a".parse().expect("v6")]),
            ..base()
        },
        Settings {
            inbound: Inbound::AllExcept(vec![22.into(), range(0, 100), range(65000, 65535)]),
            outbound: Outbound::Only(nets(&["10.0.0.0/8", "172.16.0.0/12", "fd00::/7", "2001:db8::/33"])),
            exclude_outbound_ranges: nets(&["10.1.2.0/23", "10.9.9.9/32", "2001:db8::1/128", "128.0.0.0/1"]),
            include_outbound_ports: vec![443.into(), range(9000, 9001)],
            exclude_outbound_ports: vec![range(3306, 3307)],
            exclude_interfaces: vec![interface("net1"), interface("a23456789012345")],
            reroute_interfaces: vec![interface("tap-0.1")],
            proxy_uids: vec![1337, 0, u32::MAX - 1],
            proxy_gids: vec![1337, 7],
            exclude_uids: vec![101],
            // iptables-restore takes 255 words a line (xshared.h, MAX_ARGC), and each group is five.
            owner_groups: OwnerGroups::Only((1..=48).collect()),
            loopback: "127.0.0.0/9".parse().expect("a range"),
            ..base()
        },
        Settings { owner_groups: OwnerGroups::AllExcept(vec![5, 6]), dns: Dns::All, ..base() },
    ]
}

fn send(namespace: &Namespace, batch: &Batch) -> Result<(), String> {
    namespace.within(|| {
        let mut socket = Socket::open(Part::Netfilter).expect("a socket");
        socket.send(&batch.bytes).map_err(|refused| format!("{refused:?}"))
    })
}

fn answers(namespace: &Namespace, requests: &[Vec<u8>]) -> Vec<u8> {
    namespace.within(|| {
        let mut socket = Socket::open(Part::Netfilter).expect("a socket");
        requests.iter().flat_map(|request| socket.dump(request).expect("an answer")).collect()
    })
}

fn observe(namespace: &Namespace) -> Observed {
    iptables::read(&answers(namespace, &iptables::requests())).expect("answers that can be read")
}

fn write_first(namespace: &Namespace, rules: &RuleSet) {
    send(namespace, &iptables::write(rules, &Removal::default())).expect("the first rules are taken");
}

fn save(namespace: &Namespace, of: &str) -> String {
    let text = namespace.sh(&format!("{of}-nft-save"));
    text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

#[test]
fn iptables_nft_saves_and_restores_what_was_written_and_both_read_back_as_planned() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::iptables_nft_saves_and_restores", what, how);
    }
    for settings in every_kind() {
        let rules = plan(&settings, Families::Both).rules;
        let namespace = Namespace::new();
        write_first(&namespace, &rules);
        assert_eq!(observe(&namespace).known(), rules);
        for of in ["iptables", "ip6tables"] {
            let before = save(&namespace, of);
            assert!(!before.contains("incompatible"), "{before}");
            namespace.feed(&[&format!("{of}-nft-restore")], &before);
            assert_eq!(save(&namespace, of), before);
        }
        // Now the rules are in the tools' own encoding.
        assert_eq!(observe(&namespace).known(), rules);
    }
}

#[test]
fn rules_that_iptables_nft_made_of_text_read_back_as_planned() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::rules_that_iptables_nft_made", what, how);
    }
    for settings in every_kind() {
        let rules = plan(&settings, Families::Both).rules;
        let namespace = Namespace::new();
        for (of, family) in [("iptables", Family::V4), ("ip6tables", Family::V6)] {
            let words = format!("{of}-nft-restore");
            namespace.feed(&[&words, "--noflush"], &text::write(&rules, family));
            assert_eq!(
                text::read(&save(&namespace, of), family).expect("a save").known(),
                rules.family(family)
            );
        }
        assert_eq!(observe(&namespace).known(), rules);
    }
}

#[test]
fn any_rules_replace_any_others_in_one_step_and_strangers_stay() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::any_rules_replace_any_others", what, how);
    }
    let namespace = Namespace::new();
    let strangers = "iptables-nft -t nat -A OUTPUT -p udp -m comment --comment mine -j ACCEPT
        iptables-nft -t nat -N MINE
        iptables-nft -t nat -A PREROUTING -i other -j MINE
        ip6tables-nft -t raw -A PREROUTING -p icmpv6 -j DROP";
    namespace.sh(strangers);
    let mut before: Option<RuleSet> = None;
    let mut kinds = every_kind();
    kinds.extend(every_kind().into_iter().rev());
    for settings in kinds {
        let rules = plan(&settings, Families::Both).rules;
        let old = before.as_ref().unwrap_or(&rules);
        let clear = iptables::write(&RuleSet::default(), &removal(&observe(&namespace), old));
        if !clear.is_empty() {
            send(&namespace, &clear).expect("what is ours goes");
        }
        assert_eq!(observe(&namespace).known(), RuleSet::default());
        write_first(&namespace, &rules);
        let first = write_again(&namespace, &rules);
        assert!(first.is_empty(), "applying twice changes nothing: {:?}", first.acts);
        before = Some(rules);
    }
    let foreign = observe(&namespace);
    assert_eq!(foreign.foreign_chains.len(), 1);
    let strange =
        |rule: &&millrace_core::rules::ObservedRule| matches!(rule.content, Content::Foreign { .. });
    assert_eq!(foreign.chains.values().flatten().filter(strange).count(), 3);
}

fn write_again(namespace: &Namespace, rules: &RuleSet) -> Batch {
    iptables::write(rules, &removal(&observe(namespace), rules))
}

#[test]
fn a_second_first_time_is_refused_whole_and_names_the_chain() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::a_second_first_time", what, how);
    }
    let namespace = Namespace::new();
    let rules = plan(&Settings::default(), Families::Both).rules;
    write_first(&namespace, &rules.family(Family::V6));
    let batch = iptables::write(&rules, &Removal::default());
    let refusal = send(&namespace, &batch).expect_err("chains of ours are there");
    assert!(refusal.contains("code: 17"), "{refusal}");
    assert_eq!(observe(&namespace).known(), rules.family(Family::V6), "nothing was half done");
}

#[test]
fn a_change_made_meanwhile_makes_what_was_decided_before_void() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::a_change_made_meanwhile", what, how);
    }
    let namespace = Namespace::new();
    let rules = plan(&Settings::default(), Families::Both).rules;
    write_first(&namespace, &rules);
    let decided = removal(&observe(&namespace), &rules);
    namespace.sh("iptables-nft -t nat -A OUTPUT -p udp -j ACCEPT");
    let late = iptables::write(&RuleSet::default(), &decided);
    // ERESTART, which no system call of a program ever gives.
    let refusal = send(&namespace, &late).expect_err("the generation is another");
    assert!(refusal.contains("85"), "{refusal}");
    assert_eq!(
        observe(&namespace).known().rules(place(Chain::IstioOutput)),
        rules.rules(place(Chain::IstioOutput))
    );
}

fn place(chain: Chain) -> Place {
    Place { family: Family::V4, table: Table::Nat, chain }
}

#[test]
fn a_chain_that_others_jump_to_is_emptied_and_stays() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::a_chain_that_others_jump_to", what, how);
    }
    let namespace = Namespace::new();
    let rules = plan(&Settings::default(), Families::V4).rules;
    write_first(&namespace, &rules);
    namespace.sh("iptables-nft -t nat -N MINE; iptables-nft -t nat -A MINE -p udp -j ISTIO_REDIRECT");
    let clear = iptables::write(&RuleSet::default(), &removal(&observe(&namespace), &rules));
    send(&namespace, &clear).expect("what is ours goes");
    let left = observe(&namespace);
    let ours: Vec<Chain> =
        left.chains.keys().map(|place| place.chain).filter(|chain| !chain.is_hook()).collect();
    assert_eq!(ours, [Chain::IstioRedirect]);
    assert!(left.known().rules(place(Chain::IstioRedirect)).is_empty());
    write_again_and_see(&namespace, &rules);
}

fn write_again_and_see(namespace: &Namespace, rules: &RuleSet) {
    send(namespace, &write_again(namespace, rules)).expect("the rules are taken");
    assert_eq!(observe(namespace).known(), *rules);
}

#[test]
fn drift_is_mended_where_it_is_and_the_order_at_hooks_kept() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::drift_is_mended", what, how);
    }
    let namespace = Namespace::new();
    let rules = plan(&Settings::default(), Families::Both).rules;
    write_first(&namespace, &rules);
    namespace.sh("iptables-nft -t nat -A OUTPUT -p udp -j ACCEPT
        iptables-nft -t nat -I ISTIO_OUTPUT 3 -p udp -j ACCEPT
        iptables-nft -t nat -A OUTPUT -j ISTIO_REDIRECT
        iptables-nft -t nat -F ISTIO_INBOUND
        ip6tables-nft -t nat -D PREROUTING 1");
    send(&namespace, &write_again(&namespace, &rules)).expect("the rules are taken");
    let listed = namespace.sh("iptables-nft -t nat -S OUTPUT");
    assert_eq!(listed, "-P OUTPUT ACCEPT\n-A OUTPUT -j ISTIO_OUTPUT\n-A OUTPUT -p udp -j ACCEPT\n");
    namespace.sh("iptables-nft -t nat -D OUTPUT 2");
    assert_eq!(observe(&namespace).known(), rules);
}

fn observe_own(namespace: &Namespace) -> Observed {
    nftables::read(&answers(namespace, &nftables::requests())).expect("answers that can be read")
}

#[test]
fn nft_lists_and_reloads_what_was_written_and_both_read_back_as_planned() {
    if let Some((what, how)) = missing(&NEEDS) {
        return absent::not_run("dialects_kernel::nft_lists_and_reloads", what, how);
    }
    for settings in every_kind() {
        for families in [Families::Both, Families::V4] {
            let rules = plan(&settings, families).rules;
            let namespace = Namespace::new();
            let batch = nftables::write(&rules, &Removal::default());
            send(&namespace, &batch).expect("the first rules are taken");
            assert_eq!(observe_own(&namespace).known(), rules);
            assert_eq!(
                nftables::listing(&observe_own(&namespace)),
                namespace.sh("nft list table inet millrace")
            );
            let before = namespace.sh("nft -s list ruleset");
            namespace.feed(&["nft", "-f", "-"], &format!("flush ruleset\n{before}"));
            assert_eq!(namespace.sh("nft -s list ruleset"), before);
            // Now the rules are in the tool's own encoding.
            assert_eq!(observe_own(&namespace).known(), rules);
        }
    }
}
