//! Probes: connections whose way is predicted by `trace`, sent in the live namespace, and looked for in its counters.
//!
//! A probe goes to an address reserved for documentation or to one that is the pod's own, so that nothing outside is
//! disturbed even if no rule catches it.

use super::super::reasons;
use super::counters::{Counter, Counters};
use super::ids::Ids;
use super::report::{Counted, Probed};
use super::wanted::Wanted;
use anyhow::Result;
use millrace_core::dialect::Backend;
use millrace_core::rules::trace::{self, Owner, Packet, Path, State, trace};
use millrace_core::rules::{Place, Protocol, Rule, RuleSet, Table};
use millrace_core::settings::{Families, Interface, Outbound, OwnerGroups, PROBE_PORT, Settings};
use millrace_host::netns::NetNs;
use millrace_host::probe::{self, Fate};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long a probe waits. It is answered on this machine or not at all.
const PATIENCE: Duration = Duration::from_secs(1);
/// Documentation addresses (RFC 5737, RFC 3849).
const NOBODY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// Users and groups that are nobody's in most images, and their like where settings except the first.
const STRANGERS: [u32; 4] = [65_534, 1_000, 2_000, 3_000];
/// Ports tried in turn until one is captured.
const PORTS: [u16; 4] = [80, 443, 8_080, 9_080];

/// A connection to be sent.
pub(super) struct Probe {
    name: String,
    owner: Owner,
    /// The source, where it is not left to the kernel.
    from: Option<IpAddr>,
    to: SocketAddr,
    /// What becomes of it by the plan.
    outcome: trace::Outcome,
    /// The rules that count it.
    counted_by: Vec<(Place, Rule)>,
}

impl Probe {
    /// One probe outward and one inward for each family, where the settings capture anything at all that way.
    pub(super) fn choose(wanted: &Wanted, rules: &RuleSet) -> Vec<Probe> {
        let families: &[usize] = if wanted.families == Families::Both { &[0, 1] } else { &[0] };
        let mut probes = Vec::new();
        for &family in families {
            let v4 = family == 0;
            probes.extend(outward(wanted, rules, v4));
            probes.extend(inward(&wanted.settings, rules, v4));
        }
        probes
    }

    /// The probe, if the plan captures it.
    fn captured(name: &str, rules: &RuleSet, packet: &Packet) -> Option<Probe> {
        let way = trace(rules, packet);
        let captured =
            matches!(way.outcome, trace::Outcome::Redirected { .. } | trace::Outcome::Tproxied { .. });
        let matched = way.steps.iter().filter(|step| step.failed.is_none() && step.place.table == Table::Nat);
        let counted_by = matched.map(|step| (step.place, step.rule.clone())).collect();
        captured.then(|| Probe {
            name: format!("{name} {}", if packet.destination.is_ipv4() { "IPv4" } else { "IPv6" }),
            from: packet.source.is_loopback().then_some(packet.source),
            owner: packet.owner.expect("a probe is sent by somebody"),
            to: SocketAddr::new(packet.destination, packet.destination_port),
            outcome: way.outcome,
            counted_by,
        })
    }
}

/// A stranger connects to an address outside.
fn outward(wanted: &Wanted, rules: &RuleSet, v4: bool) -> Option<Probe> {
    let settings = &wanted.settings;
    let source =
        if v4 { Ipv4Addr::new(192, 0, 2, 10).into() } else { "2001:db8::10".parse().expect("an address") };
    let ranges = match &settings.outbound {
        Outbound::Only(ranges) => ranges.as_slice(),
        Outbound::All | Outbound::Nothing => &[],
    };
    let firsts = ranges.iter().filter_map(|range| range.hosts().next());
    let addresses = NOBODY.into_iter().chain(firsts).filter(|address| address.is_ipv4() == v4);
    let included = settings.include_outbound_ports.iter().map(|ports| ports.first());
    let ports: Vec<u16> = PORTS.into_iter().chain(included).collect();
    let groups = match &settings.owner_groups {
        OwnerGroups::Only(groups) => groups.as_slice(),
        OwnerGroups::AllExcept(_) => &STRANGERS,
    };
    for address in addresses {
        for &port in &ports {
            for (uid, gid) in STRANGERS.iter().flat_map(|uid| groups.iter().map(move |gid| (*uid, *gid))) {
                let owner = Owner { uid, gid };
                let packet = packet(owner, source, SocketAddr::new(address, port), wanted.interface.clone());
                if let Some(probe) = Probe::captured("outbound", rules, &packet) {
                    return Some(probe);
                }
            }
        }
    }
    None
}

/// The proxy calls its own pod, as `istio-validation` does: the one way into the inbound redirect from inside.
fn inward(settings: &Settings, rules: &RuleSet, v4: bool) -> Option<Probe> {
    let (source, to): (IpAddr, IpAddr) = if v4 {
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 6).into())
    } else {
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into())
    };
    let owner = Owner { uid: *settings.proxy_uids.first()?, gid: *settings.proxy_gids.first()? };
    let packet = packet(owner, source, SocketAddr::new(to, PROBE_PORT), Interface::lo());
    Probe::captured("inbound", rules, &packet)
}

fn packet(owner: Owner, source: IpAddr, to: SocketAddr, interface: Interface) -> Packet {
    Packet {
        path: Path::Sent,
        interface,
        protocol: Some(Protocol::Tcp),
        source,
        destination: to.ip(),
        source_port: 40_000,
        destination_port: to.port(),
        owner: Some(owner),
        mark: 0,
        connection_mark: 0,
        state: State::New,
    }
}

/// What was seen of a probe.
pub(super) struct Witness {
    probe: Probe,
    fate: Fate,
    /// The counters that should have counted it.
    rises: Vec<Rise>,
    /// Whether each of them was there before and after.
    whole: bool,
}

/// By how much a counter rose: by 1 for the probe, and by what the pod's own traffic added meanwhile.
struct Rise {
    counter: Counter,
    by: u64,
}

impl Witness {
    /// Whether it was sent and every rule counted it.
    pub(super) fn is_seen(&self) -> bool {
        self.is_sent() && self.whole && self.rises.iter().all(|rise| rise.by > 0)
    }

    /// Whether nothing speaks against the redirection. A probe that finds no route is not sent, which is the
    /// network's affair.
    pub(super) fn is_well(&self) -> bool {
        !self.is_sent() || self.is_seen()
    }

    fn is_sent(&self) -> bool {
        !matches!(self.fate, Fate::Unsent(_))
    }

    pub(super) fn report(&self) -> Probed {
        let counters = self.rises.iter().map(|Rise { counter, by }| Counted {
            family: reasons::name(counter.place.family).to_owned(),
            chain: counter.place.chain.name().to_owned(),
            number: counter.number,
            before: counter.packets.saturating_sub(*by),
            after: counter.packets,
            rise: *by,
            ours: u64::from(self.is_sent()),
        });
        Probed {
            name: self.probe.name.clone(),
            uid: self.probe.owner.uid,
            gid: self.probe.owner.gid,
            to: self.probe.to.to_string(),
            planned: self.probe.outcome.to_string(),
            fate: self.fate.to_string(),
            sent: self.is_sent(),
            seen: self.is_seen(),
            counters: counters.collect(),
        }
    }
}

/// Sends the probes, one after the other, and says what the counters of `backend` made of each.
pub(super) fn send(netns: &NetNs, ids: &Ids, probes: Vec<Probe>, backend: Backend) -> Result<Vec<Witness>> {
    let mut before = Counters::read(netns, backend)?;
    let mut witnesses = Vec::new();
    for probe in probes {
        let fate = match ids.outside(probe.owner) {
            Some(who) => probe::connect(netns, who, probe.from, probe.to, PATIENCE)?,
            None => {
                Fate::Unsent("the pod's users are unknown here; say --pid of one of its processes".to_owned())
            }
        };
        let after = Counters::read(netns, backend)?;
        let rises = probe.counted_by.iter().filter_map(|(place, rule)| {
            let (then, now) = (before.find(*place, rule)?, after.find(*place, rule)?);
            Some(Rise { by: now.packets.saturating_sub(then.packets), counter: now })
        });
        let rises: Vec<Rise> = rises.collect();
        let whole = rises.len() == probe.counted_by.len();
        witnesses.push(Witness { probe, fate, rises, whole });
        before = after;
    }
    Ok(witnesses)
}
