//! Rules that Istio's own programs wrote: which of their differences from ours are theirs. PURE.
//!
//! Releases of Istio spell rules differently, and keep bugs that are mended here (docs/deviations.md). So packets are asked: rules
//! among which all of a set of packets fare as planned are another spelling; where one fares otherwise it must be by a known bug.
//! It excuses no rule that it cannot read.

use millrace_core::rules::compare::{Drift, Finding, Kind};
use millrace_core::rules::trace::{Outcome, Owner, Packet, Path, State, trace};
use millrace_core::rules::{Match, Protocol, RuleSet};
use millrace_core::settings::{Dns, Families, Inbound, Interface, Mode, Outbound, Settings};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What differs, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// Theirs, in words.
    pub(super) theirs: Vec<String>,
    /// What nothing excuses.
    pub(super) wrong: Vec<String>,
}

/// Sorts what differs between what is planned and what is there.
pub(super) fn sort(
    settings: &Settings,
    families: Families,
    planned: &RuleSet,
    there: &RuleSet,
    drift: &Drift,
) -> Differences {
    let mut sorted = Differences::default();
    let weighty = drift.findings.iter().filter(|finding| !matches!(finding.kind, Kind::Ahead { .. }));
    let (unread, read): (Vec<&Finding>, Vec<&Finding>) =
        weighty.partition(|finding| !is_asked(settings, finding));
    sorted.wrong.extend(unread.iter().map(ToString::to_string));
    let mut otherwise = 0;
    let packets = packets(settings, families, &Named::of(&[planned, there]));
    for packet in &packets {
        let (wanted, found) = (trace(planned, packet).outcome, trace(there, packet).outcome);
        if wanted == found {
            continue;
        }
        otherwise += 1;
        match known(settings, packet, &found) {
            Some(bug) => sorted.theirs.push(bug.to_owned()),
            None => sorted.wrong.push(format!("{}: planned {wanted}, found {found}", words(packet))),
        }
    }
    sorted.theirs.sort();
    sorted.theirs.dedup();
    let spelled = if otherwise == 0 { "no packet" } else { "no other packet" };
    let count = packets.len();
    let told = read.iter().map(|finding| format!("{finding} ({spelled} of {count} fares otherwise)"));
    if sorted.wrong.is_empty() {
        sorted.theirs.extend(told);
    } else {
        sorted.wrong.extend(read.iter().map(ToString::to_string));
    }
    sorted
}

/// Whether packets can tell what a rule does that differs. Nobody asks for marks, states and other interfaces; those that TPROXY's
/// own rules ask for are wanting in Istio's (A3 of docs/deviations.md).
fn is_asked(settings: &Settings, finding: &Finding) -> bool {
    let (rule, missing) = match &finding.kind {
        Kind::Unreadable { .. } => return false,
        Kind::Missing { rule, .. } => (rule, true),
        Kind::Misplaced { rule, .. } | Kind::Repeated { rule, .. } | Kind::Unplanned { rule, .. } => {
            (rule, false)
        }
        Kind::MissingChain { .. } | Kind::StrayChain { .. } | Kind::Ahead { .. } => return true,
    };
    let plain = rule.matches().iter().all(|one| match one {
        Match::Source { .. }
        | Match::Destination { .. }
        | Match::Protocol(_)
        | Match::DestinationPort { .. }
        | Match::DestinationPorts { .. }
        | Match::Uid { .. }
        | Match::Gid { .. } => true,
        Match::Out { interface, .. } => *interface == Interface::lo(),
        Match::In { .. }
        | Match::SourcePort { .. }
        | Match::Mark { .. }
        | Match::ConnectionMark { .. }
        | Match::ConnectionState(_) => false,
    });
    plain || (missing && settings.mode == Mode::Tproxy)
}

/// What rules name: of each something is asked, so that no rule is left out.
#[derive(Clone, Debug, Default)]
struct Named {
    ports: BTreeSet<u16>,
    addresses: BTreeSet<IpAddr>,
    owners: BTreeSet<(u32, u32)>,
}

impl Named {
    fn of(rules: &[&RuleSet]) -> Named {
        let mut named = Named::default();
        let all = rules.iter().flat_map(|rules| rules.iter()).flat_map(|(_, rules)| rules);
        for one in all.flat_map(|rule| rule.matches()) {
            match one {
                Match::Source { net, .. } | Match::Destination { net, .. } => {
                    named.addresses.extend(net.hosts().next());
                }
                Match::DestinationPort { ports, .. } => named.ports.extend([ports.first()]),
                Match::DestinationPorts { ports, .. } => {
                    named.ports.extend(ports.iter().map(|ports| ports.first()));
                }
                Match::Uid { id, .. } => named.owners.extend([(*id, 1000)]),
                Match::Gid { id, .. } => named.owners.extend([(1000, *id)]),
                _ => {}
            }
        }
        named
    }
}

/// The known bug of Istio's by which a packet fares otherwise.
fn known(settings: &Settings, packet: &Packet, found: &Outcome) -> Option<&'static str> {
    let tproxy = settings.mode == Mode::Tproxy;
    let plain = !tproxy && settings.proxy_uids.len() == 1 && settings.proxy_gids.len() == 1;
    let loopback = packet.interface == Interface::lo();
    let tunnel = packet.destination_port == settings.tunnel_port;
    match packet.path {
        Path::Received if tproxy && tunnel && matches!(found, Outcome::Tproxied { .. }) => {
            Some("the tunnel port is captured under TPROXY (A4 of docs/deviations.md)")
        }
        Path::Sent if loopback && tunnel => {
            Some("releases before the tunnel do not spare its port when the proxy calls its own pod")
        }
        Path::Sent if loopback && !plain => Some(
            "not every identity of the proxy has its calls to its own pod captured (A3, A14 of docs/deviations.md)",
        ),
        _ if packet.protocol == Some(Protocol::Udp) && packet.destination_port != 53 => {
            Some("releases before 1.25 exclude outbound ports for TCP alone")
        }
        _ => None,
    }
}

/// Packets of everybody who matters to everywhere that matters.
fn packets(settings: &Settings, families: Families, named: &Named) -> Vec<Packet> {
    let mut packets = Vec::new();
    let versions: &[bool] = if families == Families::Both { &[true, false] } else { &[true] };
    for &v4 in versions {
        let own = if v4 { "192.0.2.10" } else { "2001:db8::10" };
        let own: IpAddr = own.parse().expect("an address");
        let owners: Vec<Owner> = owners(settings, named);
        for port in ports(settings, named) {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                packets.push(received(own, port, protocol));
                for &owner in &owners {
                    for to in addresses(settings, named, own) {
                        packets.push(sent(owner, own, to, port, protocol));
                    }
                }
            }
        }
        // What the proxy passes on to the application comes from an address of its own.
        let from: IpAddr = if v4 { "127.0.0.6" } else { "::6" }.parse().expect("an address");
        packets.extend(owners.into_iter().map(|owner| sent(owner, from, own, 8080, Protocol::Tcp)));
    }
    packets
}

fn ports(settings: &Settings, named: &Named) -> BTreeSet<u16> {
    let mut ports =
        BTreeSet::from([80, 443, 53, 8080, 15_001, 15_006, 15_020, 15_021, 15_090, settings.tunnel_port]);
    let inbound = match &settings.inbound {
        Inbound::AllExcept(ports) | Inbound::Only(ports) => ports.as_slice(),
        Inbound::Nothing => &[],
    };
    let stated = [inbound, &settings.include_outbound_ports, &settings.exclude_outbound_ports];
    ports.extend(stated.into_iter().flatten().map(|range| range.first()));
    ports.extend(&named.ports);
    ports
}

/// A stranger and root, and the proxy by its user and by its group.
fn owners(settings: &Settings, named: &Named) -> Vec<Owner> {
    let mut owners = vec![Owner { uid: 1000, gid: 1000 }, Owner { uid: 0, gid: 0 }];
    owners.extend(settings.proxy_uids.iter().map(|&uid| Owner { uid, gid: 1000 }));
    owners.extend(settings.proxy_gids.iter().map(|&gid| Owner { uid: 1000, gid }));
    owners.extend(named.owners.iter().map(|&(uid, gid)| Owner { uid, gid }));
    owners.dedup();
    owners
}

/// Somebody elsewhere, the pod itself, its loopback, and the first of each range that is stated.
fn addresses(settings: &Settings, named: &Named, own: IpAddr) -> Vec<IpAddr> {
    let others = if own.is_ipv4() { ["198.51.100.7", "127.0.0.1"] } else { ["2001:db8:1::7", "::1"] };
    let mut addresses: Vec<IpAddr> = others.map(|text| text.parse().expect("an address")).into();
    addresses.push(own);
    let included = match &settings.outbound {
        Outbound::Only(ranges) => ranges.as_slice(),
        Outbound::All | Outbound::Nothing => &[],
    };
    let ranges = included.iter().chain(&settings.exclude_outbound_ranges);
    addresses.extend(ranges.filter_map(|range| range.hosts().next()));
    if let Dns::Servers(servers) = &settings.dns {
        addresses.extend(servers);
    }
    addresses.extend(&named.addresses);
    addresses.retain(|address| address.is_ipv4() == own.is_ipv4());
    addresses
}

fn sent(owner: Owner, own: IpAddr, to: IpAddr, port: u16, protocol: Protocol) -> Packet {
    let loopback = to.is_loopback() || to == own || own.is_loopback();
    let interface = if loopback { Interface::lo() } else { Interface::new("eth0").expect("eth0 is a name") };
    let source = if to.is_loopback() { to } else { own };
    Packet {
        path: Path::Sent,
        interface,
        protocol: Some(protocol),
        source,
        destination: to,
        source_port: 40_000,
        destination_port: port,
        owner: Some(owner),
        mark: 0,
        connection_mark: 0,
        state: State::New,
    }
}

fn received(own: IpAddr, port: u16, protocol: Protocol) -> Packet {
    let client = if own.is_ipv4() { "198.51.100.7" } else { "2001:db8:1::7" };
    let source = client.parse().expect("an address");
    let interface = Interface::new("eth0").expect("eth0 is a name");
    let anybody = Owner { uid: 0, gid: 0 };
    let packet = sent(anybody, own, source, port, protocol);
    Packet { path: Path::Received, interface, source, destination: own, owner: None, ..packet }
}

fn words(packet: &Packet) -> String {
    let protocol = packet.protocol.map_or_else(String::new, |protocol| protocol.to_string());
    let (from, to, port) = (packet.source, packet.destination, packet.destination_port);
    match packet.owner {
        Some(Owner { uid, gid }) => format!("{protocol} of user {uid}, group {gid} to {to} port {port}"),
        None => format!("{protocol} from {from} to port {port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::rules::compare::compare;
    use millrace_core::rules::plan::plan;
    use millrace_core::rules::{Content, Observed, ObservedRule};
    use millrace_core::settings::Profile;

    fn observed(rules: &RuleSet) -> Observed {
        let rule = |rule: &millrace_core::rules::Rule| ObservedRule {
            handle: 0,
            packets: 0,
            bytes: 0,
            content: Content::Known(rule.clone()),
        };
        let chains = rules.iter().map(|(place, rules)| (place, rules.iter().map(rule).collect()));
        Observed { chains: chains.collect(), ..Observed::default() }
    }

    /// What `there` differs in from what is planned for `settings`.
    fn check(settings: &Settings, there: &RuleSet, theirs: bool, wrong: bool) -> Differences {
        let planned = plan(settings, Families::V4).rules;
        let observed = observed(there);
        let drift = compare(&planned, &observed);
        let sorted = sort(settings, Families::V4, &planned, &observed.known(), &drift);
        assert_eq!((!sorted.theirs.is_empty(), !sorted.wrong.is_empty()), (theirs, wrong), "{sorted:#?}");
        sorted
    }

    #[test]
    fn another_spelling_is_theirs_and_another_meaning_is_wrong() {
        let settings = Settings::default();
        check(&settings, &plan(&settings, Families::V4).rules, false, false);
        // Without excluded ports the old listing means the same, and is spelled otherwise.
        let bare = Settings { exclude_outbound_ports: Vec::new(), ..Settings::default() };
        let old = plan(&Settings { profile: Profile::Asm114, ..bare.clone() }, Families::V4).rules;
        check(&bare, &old, true, false);
        let ports = vec![3306.into()];
        let other = plan(&Settings { exclude_outbound_ports: ports, ..bare.clone() }, Families::V4).rules;
        let sorted = check(&bare, &other, false, true);
        assert!(
            sorted.wrong[0].contains("port 3306: planned redirected to port 15001, found direct"),
            "{sorted:#?}"
        );
    }
}
