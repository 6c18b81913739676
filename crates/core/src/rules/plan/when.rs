//! Rules as phrases: `when().out(&lo).tcp().uid(1337).then(verdict)`.
//!
//! A condition that every packet meets (a prefix of length 0, the ports 0 to 65535) is left out, because that is what
//! iptables makes of it, and a rule must read back as it was planned.

use crate::rules::{ConnectionState, Match, Protocol, Rule, Verdict};
use crate::settings::{Interface, PortRange};
use ipnet::IpNet;

/// A rule without conditions so far.
pub(super) fn when() -> When {
    When(Vec::with_capacity(4))
}

pub(super) struct When(Vec<Match>);

impl When {
    pub(super) fn then(self, verdict: Verdict) -> Rule {
        Rule::new(self.0, verdict)
    }

    pub(super) fn from(self, net: IpNet) -> Self {
        if net.prefix_len() == 0 { self } else { self.and(Match::Source { net: net.trunc(), not: false }) }
    }

    pub(super) fn to(self, net: IpNet) -> Self {
        if net.prefix_len() == 0 {
            self
        } else {
            self.and(Match::Destination { net: net.trunc(), not: false })
        }
    }

    pub(super) fn not_to(self, net: IpNet) -> Self {
        self.and(Match::Destination { net: net.trunc(), not: true })
    }

    pub(super) fn by(self, interface: &Interface) -> Self {
        self.and(Match::In { interface: interface.clone(), not: false })
    }

    pub(super) fn out(self, interface: &Interface) -> Self {
        self.and(Match::Out { interface: interface.clone(), not: false })
    }

    pub(super) fn tcp(self) -> Self {
        self.and(Match::Protocol(Protocol::Tcp))
    }

    pub(super) fn udp(self) -> Self {
        self.and(Match::Protocol(Protocol::Udp))
    }

    pub(super) fn port(self, ports: impl Into<PortRange>) -> Self {
        let ports = ports.into();
        if (ports.first(), ports.last()) == (0, u16::MAX) {
            return self;
        }
        self.and(Match::DestinationPort { ports, not: false })
    }

    pub(super) fn source_port(self, port: u16) -> Self {
        self.and(Match::SourcePort { ports: port.into(), not: false })
    }

    /// To none of `ports`: in the singular for one, and nothing for none.
    pub(super) fn not_ports(self, ports: &[u16]) -> Self {
        match *ports {
            [] => self,
            [port] => self.and(Match::DestinationPort { ports: port.into(), not: true }),
            _ => {
                let ports = ports.iter().map(|port| PortRange::from(*port)).collect();
                self.and(Match::DestinationPorts { ports, not: true })
            }
        }
    }

    pub(super) fn uid(self, id: u32) -> Self {
        self.and(Match::Uid { id, not: false })
    }

    pub(super) fn gid(self, id: u32) -> Self {
        self.and(Match::Gid { id, not: false })
    }

    pub(super) fn not_uid(self, id: u32) -> Self {
        self.and(Match::Uid { id, not: true })
    }

    pub(super) fn not_gid(self, id: u32) -> Self {
        self.and(Match::Gid { id, not: true })
    }

    pub(super) fn mark(self, value: u32) -> Self {
        self.and(Match::Mark { value, not: false })
    }

    pub(super) fn not_mark(self, value: u32) -> Self {
        self.and(Match::Mark { value, not: true })
    }

    pub(super) fn connection_mark(self, value: u32) -> Self {
        self.and(Match::ConnectionMark { value, not: false })
    }

    pub(super) fn state(self, state: ConnectionState) -> Self {
        self.and(Match::ConnectionState(state))
    }

    pub(super) fn id(self, id: Id) -> Self {
        match id {
            Id::User(id) => self.uid(id),
            Id::Group(id) => self.gid(id),
        }
    }

    fn and(mut self, condition: Match) -> Self {
        self.0.push(condition);
        self
    }
}

/// One of the proxy's identities.
#[derive(Clone, Copy)]
pub(super) enum Id {
    User(u32),
    Group(u32),
}
