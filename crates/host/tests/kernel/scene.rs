//! A redirected pod with everybody in it: the application, the proxy's two listeners, its DNS, and the world outside.

use millrace_core::dialect::{Backend, Choice};
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Observed, Plan};
use millrace_core::settings::{Families, Mode, Settings};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_rig::net::lab::{Lab, POD, RESOLVER, SECOND, SECOND_GATEWAY, WORLD};
use millrace_rig::net::listen::Listener;
use millrace_rig::net::{NEEDS, Namespace, Who};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A way to put the rules in, and what has to be there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The default dialect.
    Iptables,
    /// The nftables dialect.
    Nftables,
    /// The node's own `iptables-restore`.
    Text,
    /// `iptables-legacy-restore`, as on a node whose pods have legacy tables.
    Legacy,
}

impl Way {
    pub(crate) const ALL: [Way; 4] = [Way::Iptables, Way::Nftables, Way::Text, Way::Legacy];

    /// The backend to ask for.
    pub(crate) fn choice(self) -> Choice {
        Choice::Only(match self {
            Way::Iptables => Backend::Iptables,
            Way::Nftables => Backend::Nftables,
            Way::Text | Way::Legacy => Backend::Text,
        })
    }

    /// The backend that finds its rules again: what `iptables-nft` writes, netlink reads.
    pub(crate) fn found_by(self) -> Backend {
        match self {
            Way::Iptables | Way::Text => Backend::Iptables,
            Way::Nftables => Backend::Nftables,
            Way::Legacy => Backend::Text,
        }
    }

    /// Makes a namespace one in which this way is taken.
    pub(crate) fn prepare(self, namespace: &Namespace) {
        if self == Way::Legacy {
            namespace.sh("iptables-legacy -t nat -L >/dev/null; ip6tables-legacy -t nat -L >/dev/null");
        }
    }

    /// The programs it takes.
    pub(crate) fn programs(self) -> &'static [(&'static str, &'static str)] {
        const IPTABLES: &str = "apt-get install iptables";
        match self {
            Way::Iptables | Way::Nftables => &NEEDS,
            Way::Text => &[("iptables-restore", IPTABLES), ("ip6tables-restore", IPTABLES)],
            Way::Legacy => &[("iptables-legacy-restore", IPTABLES), ("ip6tables-legacy-restore", IPTABLES)],
        }
    }
}

/// The application's port.
pub(crate) const APP: u16 = 8080;
/// The world's port.
pub(crate) const WEB: u16 = 80;
/// Another port of the world's.
pub(crate) const OTHER: u16 = 9090;
/// Loopback, by family.
pub(crate) const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// Where the proxy's hop to the application comes from, by family.
pub(crate) const INBOUND_SOURCE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)), IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6))];

/// Where the pod's second wire leads to: what the world sends there comes in by `net1`, and is not the pod's own.
pub(crate) const BEYOND: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x99))];

/// The stage and the players.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) netns: NetNs,
    pub(crate) plan: Plan,
    _listeners: Vec<Listener>,
}

impl Scene {
    /// A pod with `settings`, redirected that way.
    pub(crate) fn new(way: Way, settings: &Settings) -> Scene {
        Scene::around(Namespace::new(), way, settings, Families::Both)
    }

    /// A given pod, likewise, with rules for those families.
    pub(crate) fn around(pod: Namespace, way: Way, settings: &Settings, families: Families) -> Scene {
        let lab = Lab::around(pod);
        lab.second_wire();
        for family in [0, 1] {
            lab.world.sh(&format!("ip route add {} via {}", BEYOND[family], SECOND[family]));
        }
        way.prepare(&lab.pod);
        let netns = netns_of(&lab.pod);
        let plan = plan(settings, families);
        let applied = backend::apply(&netns, &plan, way.choice(), None);
        applied.unwrap_or_else(|error| panic!("{way:?}: {error}"));
        // Only now, since `::6` must be there to be bound to.
        let listeners = listeners(&lab, settings.mode);
        Scene { lab, netns, plan, _listeners: listeners }
    }

    /// What is in the pod's namespace.
    pub(crate) fn observed(&self, way: Way) -> Observed {
        let found = backend::inspect(&self.netns).expect("the namespace can be looked at");
        let mut mine = found.into_iter().filter(|(backend, _)| *backend == way.found_by());
        mine.next().unwrap_or_else(|| panic!("{way:?}: no rules were found")).1
    }
}

fn listeners(lab: &Lab, mode: Mode) -> Vec<Listener> {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let mut all = Vec::new();
    for family in [0, 1] {
        let mut pod = |who, by, port| {
            all.push(Listener::tcp(&lab.pod, who, by, SocketAddr::new(any[family], port)));
        };
        pod(Who::PROXY, "outbound", 15001);
        pod(Who::PROXY, "tunnel", 15008);
        pod(Who::PROXY, "status", 15020);
        pod(Who::APP, "app", APP);
        let inbound = SocketAddr::new(any[family], 15006);
        all.push(match mode {
            Mode::Redirect => Listener::tcp(&lab.pod, Who::PROXY, "inbound", inbound),
            // Being transparent takes a right that only root has; the field runs its proxy so.
            Mode::Tproxy => Listener::transparent(&lab.pod, Who::ROOT_PROXY, "inbound", inbound),
        });
        // Not at all addresses: the answer must leave from the one that was asked.
        let agent = SocketAddr::new(LOOPBACK[family], 15053);
        all.push(Listener::tcp(&lab.pod, Who::PROXY, "agent", agent));
        all.push(Listener::udp(&lab.pod, Who::PROXY, "agent", agent));
        let mut world = |by, at, port| {
            all.push(Listener::tcp(&lab.world, Who::ROOT, by, SocketAddr::new(at, port)));
            all.push(Listener::udp(&lab.world, Who::ROOT, by, SocketAddr::new(at, port)));
        };
        for port in [WEB, OTHER, 15020] {
            world("world", WORLD[family], port);
        }
        world("second", SECOND_GATEWAY[family], WEB);
        world("resolver", RESOLVER[family], 53);
        world("elsewhere", WORLD[family], 53);
    }
    all
}

/// A namespace as the product opens it.
pub(crate) fn netns_of(namespace: &Namespace) -> NetNs {
    NetNs::open(&namespace.path()).expect("the namespace is there")
}

/// The pod's addresses by interface and family.
pub(crate) fn pod(family: usize, second: bool) -> IpAddr {
    if second { SECOND[family] } else { POD[family] }
}
