//! One packet through a set of rules, step by step: the reference meaning of every rule the model can say.
//!
//! It follows the order of netfilter's hooks and the semantics of xtables. It knows no routes and no sockets: that a mark
//! leads to another route, or that nobody listens, is for the reader to conclude from the marks and the outcome.

use super::{Chain, ConnectionState, Family, Match, Place, Protocol, Rule, RuleSet, Table, Verdict};
use crate::settings::{Interface, PortRange};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most rules that one packet is led past; beyond, the outcome is [`Outcome::Endless`].
pub const MOST_STEPS: usize = 100_000;
/// As deep as chains may call chains (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

/// A packet, and what netfilter knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Whether it is sent from here or received.
    pub path: Path,
    /// The interface by which it is to go out, or came in.
    pub interface: Interface,
    /// The transport protocol; `None` is neither TCP nor UDP.
    pub protocol: Option<Protocol>,
    /// Its source.
    pub source: IpAddr,
    /// Its destination, which also gives its family.
    pub destination: IpAddr,
    /// Its source port, where there are ports.
    pub source_port: u16,
    /// Its destination port, where there are ports.
    pub destination_port: u16,
    /// Who opened the socket it was sent from; `None` if the kernel itself sends it, or if it is received.
    pub owner: Option<Owner>,
    /// Its mark.
    pub mark: u32,
    /// Its connection's mark.
    pub connection_mark: u32,
    /// What conntrack says of it.
    pub state: State,
}

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// A process here, or the kernel itself.
    Sent,
    /// An interface.
    Received,
}

/// Who opened a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// What conntrack says of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// The first of its connection, which alone is shown to `nat`.
    #[default]
    New,
    /// Of a known connection.
    Established,
    /// The first of a connection that belongs to a known one.
    Related,
    /// Neither.
    Invalid,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Outcome {
    /// It goes where it was sent. For a packet of a known connection: no rule says otherwise now; what `nat` decided for
    /// the first packet stays in force.
    Direct,
    /// Its destination was rewritten to this local port.
    Redirected { port: u16 },
    /// It is delivered to the socket at this local port, addresses unchanged.
    Tproxied { port: u16 },
    /// It is gone.
    Dropped,
    /// The rules lead in a circle, or past more than [`MOST_STEPS`] rules.
    Endless,
}

/// The way of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace<'a> {
    /// Every rule it was held against, in order.
    pub steps: Vec<Step<'a>>,
    /// What became of it.
    pub outcome: Outcome,
    /// Its mark in the end.
    pub mark: u32,
    /// Its connection's mark in the end.
    pub connection_mark: u32,
    /// The zone in which conntrack looks at it.
    pub zone: u16,
}

/// One rule that a packet was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Where the rule is.
    pub place: Place,
    /// Its number there, from 1.
    pub number: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// The first condition that did not hold; `None` if the rule matched.
    pub failed: Option<&'a Match>,
}

/// Follows a packet through the hooks it meets before it is delivered or leaves: sent ones through OUTPUT and, by `lo`, on
/// through PREROUTING, received ones through PREROUTING.
pub fn trace<'a>(rules: &'a RuleSet, packet: &Packet) -> Trace<'a> {
    let family = if packet.destination.is_ipv4() { Family::V4 } else { Family::V6 };
    let mut walk = Walk {
        rules,
        family,
        packet: packet.clone(),
        tracked: false,
        steps: Vec::new(),
        redirected: None,
        tproxied: None,
        zone: 0,
    };
    let ending = walk.whole();
    let outcome = match (ending, walk.tproxied, walk.redirected) {
        (Err(Stop::Dropped), _, _) => Outcome::Dropped,
        (Err(Stop::Endless), _, _) => Outcome::Endless,
        // The socket that TPROXY assigns is found before the rewritten destination is looked up.
        (Ok(()), Some(port), _) => Outcome::Tproxied { port },
        (Ok(()), None, Some(port)) => Outcome::Redirected { port },
        (Ok(()), None, None) => Outcome::Direct,
    };
    let Packet { mark, connection_mark, .. } = walk.packet;
    Trace { steps: walk.steps, outcome, mark, connection_mark, zone: walk.zone }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.place, self.number, self.rule)?;
        match self.failed {
            None => f.write_str(" [matches]"),
            Some(condition) => write!(f, " [no match: {condition}]"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Direct => f.write_str("direct"),
            Outcome::Redirected { port } => write!(f, "redirected to port {port}"),
            Outcome::Tproxied { port } => write!(f, "delivered to port {port}, addresses unchanged"),
            Outcome::Dropped => f.write_str("dropped"),
            Outcome::Endless => f.write_str("endless: the rules lead in a circle"),
        }
    }
}

/// Why a walk ends early.
enum Stop {
    Dropped,
    Endless,
}

/// How one chain ends.
enum End {
    /// The caller goes on with its next rule.
    Back,
    /// This table has decided.
    Decided,
}

struct Walk<'a> {
    rules: &'a RuleSet,
    family: Family,
    packet: Packet,
    /// Whether conntrack knows the packet already; then it is too late for a zone.
    tracked: bool,
    steps: Vec<Step<'a>>,
    redirected: Option<u16>,
    tproxied: Option<u16>,
    zone: u16,
}

impl<'a> Walk<'a> {
    fn whole(&mut self) -> Result<(), Stop> {
        if self.packet.path == Path::Received {
            return self.hook(Chain::Prerouting, true);
        }
        self.hook(Chain::Output, true)?;
        if self.packet.interface == Interface::lo() {
            // The same packet again, coming in: conntrack knows it, and its destination is settled, so `nat` is not asked.
            self.packet.path = Path::Received;
            self.packet.owner = None;
            self.hook(Chain::Prerouting, false)?;
        }
        Ok(())
    }

    fn hook(&mut self, hook: Chain, with_nat: bool) -> Result<(), Stop> {
        for table in [Table::Raw, Table::Mangle] {
            self.chain(table, hook, 0)?;
            self.tracked = true;
        }
        if with_nat && matches!(self.packet.state, State::New | State::Related) {
            self.chain(Table::Nat, hook, 0)?;
        }
        Ok(())
    }

    fn chain(&mut self, table: Table, chain: Chain, depth: usize) -> Result<End, Stop> {
        if depth > DEEPEST {
            return Err(Stop::Endless);
        }
        let rules = self.rules;
        let place = Place { family: self.family, table, chain };
        for (number, rule) in (1..).zip(rules.rules(place)) {
            if self.steps.len() >= MOST_STEPS {
                return Err(Stop::Endless);
            }
            let failed = rule.matches().iter().find(|condition| !holds(condition, &self.packet));
            self.steps.push(Step { place, number, rule, failed });
            if failed.is_some() {
                continue;
            }
            match rule.verdict() {
                Verdict::Return => return Ok(End::Back),
                Verdict::Jump(chain) => {
                    if let End::Decided = self.chain(table, chain, depth + 1)? {
                        return Ok(End::Decided);
                    }
                }
                verdict => {
                    if let Some(end) = self.act(verdict)? {
                        return Ok(end);
                    }
                }
            }
        }
        Ok(End::Back)
    }

    /// Does what the verdict says; `None` if the next rule is to be asked.
    fn act(&mut self, verdict: Verdict) -> Result<Option<End>, Stop> {
        match verdict {
            Verdict::Drop => return Err(Stop::Dropped),
            Verdict::Redirect(port) => self.redirect(port),
            Verdict::Tproxy { port, mark } => {
                self.tproxied = Some(port);
                self.packet.mark = mark;
            }
            Verdict::SetMark(mark) => {
                self.packet.mark = mark;
                return Ok(None);
            }
            Verdict::SaveMark => {
                self.packet.connection_mark = self.packet.mark;
                return Ok(None);
            }
            Verdict::RestoreMark => {
                self.packet.mark = self.packet.connection_mark;
                return Ok(None);
            }
            Verdict::Zone(zone) => {
                // xt_CT leaves a packet alone that has a template or a connection, so the first zone wins.
                if !self.tracked {
                    self.zone = zone;
                    self.tracked = true;
                }
                return Ok(None);
            }
            Verdict::Accept | Verdict::Return | Verdict::Jump(_) => {}
        }
        Ok(Some(End::Decided))
    }

    /// What is sent is redirected to loopback and so goes out by `lo`; what is received, to the interface's own address.
    fn redirect(&mut self, port: u16) {
        self.redirected = Some(port);
        self.packet.destination_port = port;
        if self.packet.path == Path::Sent {
            self.packet.interface = Interface::lo();
            self.packet.destination = match self.family {
                Family::V4 => Ipv4Addr::LOCALHOST.into(),
                Family::V6 => Ipv6Addr::LOCALHOST.into(),
            };
        }
    }
}

/// Whether a condition holds for a packet, as xtables sees it.
fn holds(condition: &Match, packet: &Packet) -> bool {
    let port = |number: u16, ports: &[PortRange]| {
        packet.protocol.is_some().then(|| ports.iter().any(|range| range.contains(number)))
    };
    let (is, not) = match condition {
        Match::Source { net, not } => (net.contains(&packet.source), *not),
        Match::Destination { net, not } => (net.contains(&packet.destination), *not),
        Match::In { interface, not } => (is_at(packet, Path::Received, interface), *not),
        Match::Out { interface, not } => (is_at(packet, Path::Sent, interface), *not),
        Match::Protocol(protocol) => (packet.protocol == Some(*protocol), false),
        Match::SourcePort { ports, not } => match port(packet.source_port, &[*ports]) {
            Some(is) => (is, *not),
            None => return false,
        },
        Match::DestinationPort { ports, not } => match port(packet.destination_port, &[*ports]) {
            Some(is) => (is, *not),
            None => return false,
        },
        Match::DestinationPorts { ports, not } => match port(packet.destination_port, ports) {
            Some(is) => (is, *not),
            None => return false,
        },
        // Without a socket nobody is the owner, so "not this owner" holds.
        Match::Uid { id, not } => (packet.owner.is_some_and(|owner| owner.uid == *id), *not),
        Match::Gid { id, not } => (packet.owner.is_some_and(|owner| owner.gid == *id), *not),
        Match::Mark { value, not } => (packet.mark == *value, *not),
        Match::ConnectionMark { value, not } => (packet.connection_mark == *value, *not),
        Match::ConnectionState(ConnectionState::Invalid) => (packet.state == State::Invalid, false),
        Match::ConnectionState(ConnectionState::RelatedOrEstablished) => {
            (matches!(packet.state, State::Related | State::Established), false)
        }
    };
    is != not
}

/// A packet has only one interface at a hook; the other counts as none.
fn is_at(packet: &Packet, path: Path, interface: &Interface) -> bool {
    packet.path == path && packet.interface == *interface
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAT: Place = Place { family: Family::V4, table: Table::Nat, chain: Chain::Output };

    fn packet() -> Packet {
        Packet {
            path: Path::Sent,
            interface: Interface::new("eth0").expect("a name"),
            protocol: Some(Protocol::Tcp),
            source: Ipv4Addr::new(10, 0, 0, 7).into(),
            destination: Ipv4Addr::new(192, 0, 2, 1).into(),
            source_port: 40000,
            destination_port: 80,
            owner: Some(Owner { uid: 1000, gid: 1000 }),
            mark: 0,
            connection_mark: 0,
            state: State::New,
        }
    }

    fn check(place: Place, rules: &[(&[Match], Verdict)], packet: &Packet) -> Outcome {
        let mut set = RuleSet::default();
        for (matches, verdict) in rules {
            set.push(place, Rule::new(*matches, *verdict));
        }
        trace(&set, packet).outcome
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let tcp = [Match::Protocol(Protocol::Tcp)];
        let rules: [(&[Match], Verdict); 2] = [(&tcp, Verdict::Redirect(15001)), (&[], Verdict::Redirect(1))];
        assert_eq!(check(NAT, &rules, &packet()), Outcome::Redirected { port: 15001 });
        let udp = Packet { protocol: Some(Protocol::Udp), ..packet() };
        assert_eq!(check(NAT, &rules, &udp), Outcome::Redirected { port: 1 });
    }

    #[test]
    fn nat_sees_only_the_first_packet() {
        let rules: [(&[Match], Verdict); 1] = [(&[], Verdict::Redirect(1))];
        let later = Packet { state: State::Established, ..packet() };
        assert_eq!(check(NAT, &rules, &later), Outcome::Direct);
    }

    #[test]
    fn without_a_socket_everybody_else_is_meant() {
        let others = [Match::Uid { id: 1337, not: true }];
        let one = [Match::Uid { id: 1337, not: false }];
        let kernel = Packet { owner: None, ..packet() };
        assert_eq!(check(NAT, &[(&others, Verdict::Redirect(1))], &kernel), Outcome::Redirected { port: 1 });
        assert_eq!(check(NAT, &[(&one, Verdict::Redirect(1))], &kernel), Outcome::Direct);
    }

    #[test]
    fn the_first_zone_wins() {
        let raw = |chain| Place { family: Family::V4, table: Table::Raw, chain };
        let mut set = RuleSet::default();
        set.push(raw(Chain::Output), Rule::new([], Verdict::Zone(1)));
        set.push(raw(Chain::Output), Rule::new([], Verdict::Zone(2)));
        set.push(raw(Chain::Prerouting), Rule::new([], Verdict::Zone(3)));
        assert_eq!(trace(&set, &Packet { interface: Interface::lo(), ..packet() }).zone, 1);
    }

    #[test]
    fn what_leaves_by_lo_comes_in_by_lo() {
        let prerouting = Place { family: Family::V4, table: Table::Mangle, chain: Chain::Prerouting };
        let by = [Match::In { interface: Interface::lo(), not: false }];
        assert_eq!(check(prerouting, &[(&by, Verdict::Drop)], &packet()), Outcome::Direct);
        let local = Packet { interface: Interface::lo(), ..packet() };
        assert_eq!(check(prerouting, &[(&by, Verdict::Drop)], &local), Outcome::Dropped);
    }

    #[test]
    fn a_circle_ends() {
        let place = Place { chain: Chain::IstioOutput, ..NAT };
        let mut set = RuleSet::default();
        set.push(NAT, Rule::new([], Verdict::Jump(Chain::IstioOutput)));
        set.push(place, Rule::new([], Verdict::Jump(Chain::IstioOutput)));
        assert_eq!(trace(&set, &packet()).outcome, Outcome::Endless);
    }

    #[test]
    fn a_step_says_what_did_not_hold() {
        let mut set = RuleSet::default();
        let port = Match::DestinationPort { ports: 81.into(), not: false };
        set.push(NAT, Rule::new([Match::Protocol(Protocol::Tcp), port], Verdict::Return));
        let trace = trace(&set, &packet());
        let words = "IPv4 nat OUTPUT 1: tcp, to port 81: return [no match: to port 81]";
        assert_eq!(trace.steps[0].to_string(), words);
    }
}
