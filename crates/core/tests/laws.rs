//! What holds for every setting and every packet. The numbers of invariants (M4, M5) are those of ARCHITECTURE.md.

mod generate;

use generate::{OWN, config, families, family, outside, packet, proxy_source, settings};
use millrace_core::dialect::text;
use millrace_core::rules::compare::compare;
use millrace_core::rules::origin::origin;
use millrace_core::rules::plan::plan;
use millrace_core::rules::trace::{Outcome, Owner, Packet, Path, State, trace};
use millrace_core::rules::{Content, Family, ObservedRule, Place, Protocol, RuleSet};
use millrace_core::settings::{
    DNS_PORT, Dns, Families, Inbound, Interface, Mode, Outbound, OwnerGroups, PortRange, Profile, Settings,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::net::IpAddr;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn text_reads_back_as_it_was_written(settings in settings(), families in families()) {
        let rules = plan(&settings, families).rules;
        for family in [Family::V4, Family::V6] {
            let text = text::write(&rules, family);
            let observed = text::read(&text, family).expect("our own text is readable");
            prop_assert_eq!(observed.known(), rules.family(family), "{}", text);
        }
    }

    #[test]
    fn a_damaged_text_is_read_or_refused((settings, cut, at, put) in damage()) {
        let text = text::write(&plan(&settings, Families::V4).rules, Family::V4);
        let (at, end) = (at.index(text.len()), text.len().min(at.index(text.len()) + cut));
        let damaged = format!("{}{put}{}", &text[..at], &text[end..]);
        if let Ok(observed) = text::read(&damaged, Family::V4) {
            let known = observed.known();
            let again = text::read(&text::write(&known, Family::V4), Family::V4).expect("our own text is readable");
            prop_assert_eq!(again.known(), known);
        }
    }

    #[test]
    fn what_is_as_planned_is_clean_and_what_is_not_is_not((settings, which, _, _) in damage(), at in any::<Index>()) {
        let rules = plan(&settings, Families::V4).rules;
        let mut observed = text::read(&text::write(&rules, Family::V4), Family::V4).expect("our own text is readable");
        prop_assert!(compare(&rules, &observed).is_clean());
        let places: Vec<Place> = rules.iter().filter(|(_, rules)| rules.len() > 1).map(|(place, _)| place).collect();
        let place = *at.get(&places);
        let found = observed.chains.get_mut(&place).expect("it was planned and read");
        let number = at.index(found.len() - 1);
        match which % 3 {
            0 => {
                found.remove(number);
                prop_assert!(!compare(&rules, &observed).is_intact(), "rule {} of {} is gone", number, place);
            }
            1 => {
                let same = found[number].content == found[number + 1].content;
                found.swap(number, number + 1);
                prop_assert_eq!(compare(&rules, &observed).is_intact(), same, "rule {} of {}", number, place);
            }
            _ => {
                let content = Content::Foreign { text: "a stranger".to_owned(), jump: None };
                found.insert(number, ObservedRule { handle: 0, packets: 0, bytes: 0, content });
                let drift = compare(&rules, &observed);
                prop_assert!(drift.is_intact() && !drift.findings.is_empty(), "{}", drift);
                prop_assert_eq!(drift.is_clean(), place.chain.is_hook(), "{}", drift);
            }
        }
    }

    #[test]
    fn every_planned_rule_has_an_origin(settings in settings(), families in families()) {
        for (place, rules) in plan(&settings, families).rules.iter() {
            for rule in rules {
                prop_assert!(origin(place, rule).is_some(), "{}: {}", place, rule);
            }
        }
    }

    #[test]
    fn a_family_more_changes_nothing_for_the_other(settings in settings()) {
        let (one, both) = (plan(&settings, Families::V4).rules, plan(&settings, Families::Both).rules);
        prop_assert!(one.family(Family::V6).is_empty());
        prop_assert_eq!(&both.family(Family::V4), &one);
        prop_assert!(!both.family(Family::V6).is_empty());
    }

    #[test]
    fn m4_what_the_proxy_sends_out_is_never_captured((settings, packet, pick) in sent_by_the_proxy()) {
        let rules = rules(&settings, &packet);
        // Outside, user or group suffices even where the field's listing is followed to the letter.
        let packet = Packet { owner: Some(identity(&settings, pick)), ..outside(Path::Sent, packet) };
        prop_assert_eq!(trace(&rules, &packet).outcome, Outcome::Direct);
    }

    #[test]
    fn m4_within_the_pod_only_its_calls_to_the_pod_are((settings, packet, pick) in sent_by_the_proxy()) {
        let rules = rules(&settings, &packet);
        let packet = Packet { owner: Some(proxy(&settings, pick)), interface: Interface::lo(), ..packet };
        let outcome = trace(&rules, &packet).outcome;
        let dropped = settings.drop_invalid && packet.state == State::Invalid;
        if outcome == Outcome::Direct || (outcome == Outcome::Dropped && dropped) {
            return Ok(());
        }
        let port = settings.inbound_port;
        let inbound = [Outcome::Redirected { port }, Outcome::Tproxied { port }];
        prop_assert!(inbound.contains(&outcome), "{}", outcome);
        prop_assert_eq!(packet.protocol, Some(Protocol::Tcp));
        prop_assert_ne!(packet.source, proxy_source(family_of(&packet)));
        prop_assert!(!is_loopback(&settings, packet.destination));
        // The vendor page's listing is older than the tunnel's exemption.
        let tunnel = packet.destination_port == settings.tunnel_port;
        prop_assert!(!tunnel || settings.profile == Profile::Asm114, "the tunnel was captured");
        let query = settings.dns != Dns::Off && packet.destination_port == 53;
        prop_assert!(!query, "a query to a resolver in the pod was captured");
        prop_assert!(!has(&settings.exclude_outbound_ports, packet.destination_port), "an excluded port was captured");
    }

    #[test]
    fn m4_and_those_calls_are_captured_whoever_the_proxy_is((settings, packet, pick) in sent_by_the_proxy()) {
        let packet = Packet {
            owner: Some(proxy(&settings, pick)),
            interface: Interface::lo(),
            protocol: Some(Protocol::Tcp),
            state: State::New,
            ..packet
        };
        let port = packet.destination_port;
        let spared = port == settings.tunnel_port
            || (settings.dns != Dns::Off && port == 53)
            || has(&settings.exclude_outbound_ports, port)
            || packet.source == proxy_source(family_of(&packet))
            || is_loopback(&settings, packet.destination);
        if !spared {
            let captured = Outcome::Redirected { port: settings.inbound_port };
            prop_assert_eq!(trace(&rules(&settings, &packet), &packet).outcome, captured);
        }
    }

    #[test]
    fn m4_nothing_captured_can_loop(settings in settings(), packet in any_packet(), pick in any::<usize>()) {
        let rules = rules(&settings, &packet);
        prop_assert_eq!(ends(&settings, &rules, packet, proxy(&settings, pick)), Ok(()));
    }

    #[test]
    fn m5_what_is_sent_is_captured_as_the_settings_say(settings in settings(), packet in any_packet()) {
        let packet = outside(Path::Sent, packet);
        let rules = rules(&settings, &packet);
        prop_assert_eq!(trace(&rules, &packet).outcome, meant_outbound(&settings, &packet));
    }

    #[test]
    fn m5_what_is_received_is_captured_as_the_settings_say(settings in settings(), packet in any_packet()) {
        let packet = outside(Path::Received, packet);
        let rules = rules(&settings, &packet);
        prop_assert_eq!(trace(&rules, &packet).outcome, meant_inbound(&settings, &packet));
    }
}

const SCRAPS: [&str; 14] =
    ["", " ", "!", " ! ", "\"", "\n", "-j", "*nat\n", ":X - [0:0]\n", "[1:2] ", "é", "-m", "0.0.0.0/0", "="];

/// Settings, and a cut of some characters somewhere, with something else put there.
fn damage() -> impl Strategy<Value = (Settings, usize, Index, &'static str)> {
    (settings(), 0..12usize, any::<Index>(), select(&SCRAPS[..]))
}

/// The rules that concern the packet.
fn rules(settings: &Settings, packet: &Packet) -> RuleSet {
    let families = if packet.destination.is_ipv4() { Families::V4 } else { Families::Both };
    plan(settings, families).rules
}

fn any_packet() -> impl Strategy<Value = Packet> {
    family().prop_flat_map(packet)
}

fn sent_by_the_proxy() -> impl Strategy<Value = (Settings, Packet, usize)> {
    let sent = any_packet().prop_map(|packet| Packet { path: Path::Sent, ..packet });
    (settings(), sent, any::<usize>())
}

/// One of the proxy's identities: by user, by group, or by both.
fn identity(settings: &Settings, pick: usize) -> Owner {
    let (uids, gids) = (&settings.proxy_uids, &settings.proxy_gids);
    let stranger = 4242;
    let both = Owner { uid: uids[pick % uids.len()], gid: gids[pick % gids.len()] };
    match pick % 3 {
        0 => Owner { uid: stranger, ..both },
        1 => Owner { gid: stranger, ..both },
        _ => both,
    }
}

/// The same, but both where the field's listing is followed to the letter (one user, one group, REDIRECT): there, the
/// group alone does not get its self-calls captured.
fn proxy(settings: &Settings, pick: usize) -> Owner {
    let one = settings.proxy_uids.len() == 1 && settings.proxy_gids.len() == 1;
    let plain = one && settings.mode == Mode::Redirect;
    identity(settings, if plain { 2 } else { pick })
}

fn family_of(packet: &Packet) -> Family {
    if packet.destination.is_ipv4() { Family::V4 } else { Family::V6 }
}

fn is_loopback(settings: &Settings, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => settings.loopback.contains(&address),
        IpAddr::V6(address) => address.is_loopback(),
    }
}

/// Follows what is captured to the proxy and what the proxy then sends, until something is direct.
fn ends(settings: &Settings, rules: &RuleSet, packet: Packet, proxy: Owner) -> Result<(), String> {
    let outcome = trace(rules, &packet).outcome;
    let (port, inbound) = match outcome {
        Outcome::Direct | Outcome::Dropped => return Ok(()),
        Outcome::Redirected { port } => (port, port == settings.inbound_port),
        Outcome::Tproxied { port } => (port, true),
        Outcome::Endless => return Err("the rules lead in a circle".to_owned()),
    };
    let again = Packet { path: Path::Sent, owner: Some(proxy), mark: 0, state: State::New, ..packet };
    if inbound {
        // To the application: from the proxy's own inbound address, or with the client's address and the mark.
        let own = OWN[usize::from(family_of(&again) == Family::V6)].parse().expect("an address");
        let hop = Packet { interface: Interface::lo(), destination: own, ..again };
        let borrowed = Packet { mark: settings.tproxy_mark, ..hop.clone() };
        let from_own = Packet { source: proxy_source(family_of(&hop)), ..hop };
        let tproxy = settings.mode == Mode::Tproxy;
        return direct(rules, &from_own)
            .and_then(|()| if tproxy { direct(rules, &borrowed) } else { Ok(()) });
    }
    let again = if again.interface == Interface::lo() || is_loopback(settings, again.destination) {
        Packet { interface: Interface::lo(), ..again }
    } else {
        again
    };
    match trace(rules, &again).outcome {
        Outcome::Direct => Ok(()),
        Outcome::Redirected { port: next } | Outcome::Tproxied { port: next } if next != port => {
            ends(settings, rules, again, proxy)
        }
        other => Err(format!("{again:?}: {other}")),
    }
}

fn direct(rules: &RuleSet, packet: &Packet) -> Result<(), String> {
    match trace(rules, packet).outcome {
        Outcome::Direct => Ok(()),
        other => Err(format!("{packet:?}: {other}")),
    }
}

fn has(ports: &[PortRange], port: u16) -> bool {
    ports.iter().any(|range| range.contains(port))
}

/// The settings' meaning for what leaves the pod, said without rules.
fn meant_outbound(settings: &Settings, packet: &Packet) -> Outcome {
    let port = packet.destination_port;
    let tcp = packet.protocol == Some(Protocol::Tcp);
    let asm = settings.profile == Profile::Asm114;
    let first = matches!(packet.state, State::New | State::Related);
    if !first || packet.protocol.is_none() || settings.exclude_interfaces.contains(&packet.interface) {
        return Outcome::Direct;
    }
    // The old listing's exclusions are for TCP only.
    if (tcp || !asm) && has(&settings.exclude_outbound_ports, port) {
        return Outcome::Direct;
    }
    // Its UDP rules for DNS knew nothing of the proxy's inbound address either.
    let hop = packet.source == proxy_source(family_of(packet)) && packet.interface == Interface::lo();
    if hop || is_spared(settings, packet.owner) {
        return Outcome::Direct;
    }
    let dns = match &settings.dns {
        Dns::Off => false,
        Dns::All => true,
        Dns::Servers(servers) => servers.contains(&packet.destination),
    };
    if dns && port == 53 {
        return Outcome::Redirected { port: DNS_PORT };
    }
    let captured = match &settings.outbound {
        Outbound::All => true,
        Outbound::Only(ranges) => ranges.iter().any(|range| range.contains(&packet.destination)),
        Outbound::Nothing => false,
    };
    let excluded = settings.exclude_outbound_ranges.iter().any(|range| range.contains(&packet.destination));
    let captured = captured || has(&settings.include_outbound_ports, port);
    if !tcp || is_loopback(settings, packet.destination) || excluded || !captured {
        return Outcome::Direct;
    }
    Outcome::Redirected { port: settings.outbound_port }
}

fn is_spared(settings: &Settings, owner: Option<Owner>) -> bool {
    let proxy = owner.is_some_and(|owner| {
        settings.proxy_uids.contains(&owner.uid)
            || settings.proxy_gids.contains(&owner.gid)
            || settings.exclude_uids.contains(&owner.uid)
    });
    let in_groups = |groups: &[u32]| owner.is_some_and(|owner| groups.contains(&owner.gid));
    proxy
        || match &settings.owner_groups {
            OwnerGroups::AllExcept(groups) => in_groups(groups),
            OwnerGroups::Only(groups) => !in_groups(groups),
        }
}

/// The settings' meaning for what comes in from outside, said without rules.
fn meant_inbound(settings: &Settings, packet: &Packet) -> Outcome {
    let first = matches!(packet.state, State::New | State::Related);
    if settings.drop_invalid && packet.state == State::Invalid {
        return Outcome::Dropped;
    }
    if packet.protocol != Some(Protocol::Tcp) {
        return Outcome::Direct;
    }
    let port = packet.destination_port;
    if settings.reroute_interfaces.contains(&packet.interface) {
        let excluded = has(&settings.exclude_outbound_ports, port)
            || settings.exclude_outbound_ranges.iter().any(|range| range.contains(&packet.destination));
        let captured = match &settings.outbound {
            Outbound::All => true,
            Outbound::Only(ranges) => ranges.iter().any(|range| range.contains(&packet.destination)),
            Outbound::Nothing => false,
        };
        let captured = captured || has(&settings.include_outbound_ports, port);
        let redirected = first && captured && !excluded;
        let outcome = Outcome::Redirected { port: settings.outbound_port };
        return if redirected { outcome } else { Outcome::Direct };
    }
    let captured = match &settings.inbound {
        Inbound::AllExcept(ports) => !has(ports, port),
        Inbound::Only(ports) => has(ports, port),
        Inbound::Nothing => false,
    };
    let excluded = settings.exclude_interfaces.contains(&packet.interface) || port == settings.tunnel_port;
    if !captured || excluded {
        return Outcome::Direct;
    }
    match settings.mode {
        Mode::Redirect if first => Outcome::Redirected { port: settings.inbound_port },
        // The proxy's own hop never comes from outside, but it would be left alone; so is what is marked already.
        Mode::Tproxy if packet.state == State::New || packet.state == State::Invalid => {
            if is_loopback(settings, packet.destination) {
                return Outcome::Direct;
            }
            Outcome::Tproxied { port: settings.inbound_port }
        }
        Mode::Redirect | Mode::Tproxy => Outcome::Direct,
    }
}
