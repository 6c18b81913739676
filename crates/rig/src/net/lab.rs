//! A pod and the rest of the world: two namespaces on one wire, both families, documentation addresses (RFC 5737,
//! RFC 3849), so that a packet that strays has nowhere to go.

use super::Namespace;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A pod wired to the world.
#[derive(Debug)]
pub struct Lab {
    /// The pod: `eth0`, and a default route to the world.
    pub pod: Namespace,
    /// Everything else: it holds each of [`WORLD`] and [`RESOLVER`].
    pub world: Namespace,
}

/// The pod's addresses, IPv4 and IPv6.
pub const POD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2))];
/// The world's end of the wire.
pub const GATEWAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1))];
/// Somewhere far away.
pub const WORLD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 7))];
/// The resolver, also far away.
pub const RESOLVER: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x53))];
/// The pod's addresses on its second interface, `net1`, where it has one.
pub const SECOND: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 2))];
/// The world's end of the second wire.
pub const SECOND_GATEWAY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1))];

impl Lab {
    /// An ordinary pod.
    pub fn new() -> Lab {
        Lab::around(Namespace::new())
    }

    /// A given pod, wired by `eth0`.
    pub fn around(pod: Namespace) -> Lab {
        let lab = Lab { pod, world: Namespace::new() };
        lab.wire("eth0", POD, GATEWAY);
        let [v4, v6] = GATEWAY;
        lab.pod.sh(&format!("ip route add default via {v4}; ip -6 route add default via {v6}"));
        for address in WORLD.into_iter().chain(RESOLVER) {
            lab.world.sh(&format!("ip addr add {address} dev lo nodad"));
        }
        lab
    }

    /// Gives the pod `net1`, a second wire to the world.
    pub fn second_wire(&self) {
        self.wire("net1", SECOND, SECOND_GATEWAY);
    }

    fn wire(&self, name: &str, pod: [IpAddr; 2], world: [IpAddr; 2]) {
        let peer = self.world.pid();
        self.pod.sh(&format!("ip link add {name} type veth peer name {name} netns {peer}"));
        for (end, addresses) in [(&self.pod, pod), (&self.world, world)] {
            let [v4, v6] = addresses;
            // nodad: an address that is still being checked for duplicates cannot be bound to.
            end.sh(&format!(
                "ip addr add {v4}/24 dev {name}; ip addr add {v6}/64 dev {name} nodad; ip link set {name} up"
            ));
        }
    }
}

impl Default for Lab {
    fn default() -> Self {
        Lab::new()
    }
}
