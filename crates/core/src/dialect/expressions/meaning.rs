//! What a rule's expressions say together, in our vocabulary.
//!
//! It understands our own writing, that of `iptables-nft` and that of `nft`. A rule of which anything is not
//! understood has no meaning here, rather than a part of one.

use super::phrases::{DESTINATION_PORT, SOURCE_PORT, destination_offset, source_offset};
use super::registers::{Fact, Loaded, Registers};
use super::{Expression, Order, base, ct, meta, verdict};
use crate::dialect::xtables;
use crate::rules::{Chain, ConnectionState, Family, Match, Protocol, Rule, Verdict};
use crate::settings::{Interface, PortRange};
use ipnet::IpNet;
use std::net::IpAddr;

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The family it is for; `None` if for both.
    pub family: Option<Family>,
    /// The rule itself.
    pub rule: Rule,
}

/// Reads a rule of a table of `family`, or of both families. `chain` finds the chain a name stands for.
pub fn meaning(
    expressions: &[Expression<'_>],
    family: Option<Family>,
    chain: impl Fn(&[u8]) -> Option<Chain>,
) -> Option<Meaning> {
    let mut reader = Reader { family, ..Reader::default() };
    for expression in expressions {
        reader.take(expression, &chain)?;
    }
    reader.end()
}

#[derive(Default)]
struct Reader {
    family: Option<Family>,
    registers: Registers,
    /// Whether the expression before was a lower bound, which the next may close to a range.
    open: bool,
    matches: Vec<Match>,
    /// What the rule does, in order.
    does: Vec<Verdict>,
    counted: bool,
}

impl Reader {
    fn take(&mut self, expression: &Expression<'_>, chain: impl Fn(&[u8]) -> Option<Chain>) -> Option<()> {
        let open = std::mem::take(&mut self.open);
        match *expression {
            Expression::Meta { key, register } => self.registers.load(register, Fact::Meta(key)),
            Expression::Ct { key, register } => self.registers.load(register, Fact::Ct(key)),
            Expression::Payload { base, offset, length, register } => {
                self.registers.load(register, Fact::Payload { base, offset, length })
            }
            Expression::Value { register, value } => {
                self.registers.load(register, Fact::Value(value.to_vec()))
            }
            Expression::Bitwise { from, to, mask, xor } => self.registers.mask(from, to, mask, xor),
            Expression::Compare { register, not, value } => {
                let loaded = self.registers.get(register)?.clone();
                self.compare(&loaded, not, value)
            }
            Expression::Range { register, not, from, to } => {
                let loaded = self.registers.get(register)?.clone();
                self.range(&loaded, not, from, to)
            }
            Expression::Bound { register, is, value } => self.bound(register, is, value, open),
            Expression::Match { name, revision, info } => {
                for condition in xtables::read_match(name, revision, info)? {
                    self.add(condition)?;
                }
                Some(())
            }
            // Two counters would be one too many to show.
            Expression::Counter { .. } if self.counted => None,
            Expression::Counter { .. } => {
                self.counted = true;
                Some(())
            }
            _ => {
                let does = self.verdict(expression, chain)?;
                self.does.push(does);
                Some(())
            }
        }
    }

    fn end(self) -> Option<Meaning> {
        let verdict = match *self.does {
            // In nf_tables' own words marking and accepting are not part of `tproxy`.
            [Verdict::Tproxy { port, .. }, Verdict::SetMark(mark), Verdict::Accept] => {
                Verdict::Tproxy { port, mark }
            }
            [verdict] => verdict,
            _ => return None,
        };
        Some(Meaning { family: self.family, rule: Rule::new(self.matches, verdict) })
    }

    /// Adds a condition. Ports that must all be different from a packet's are one condition, however many it took.
    fn add(&mut self, condition: Match) -> Option<()> {
        if !self.does.is_empty() {
            return None;
        }
        let Match::DestinationPort { ports: port, not: true } = condition else {
            self.matches.push(condition);
            return Some(());
        };
        match self.matches.last_mut() {
            Some(Match::DestinationPorts { ports, not: true }) => ports.push(port),
            Some(last @ Match::DestinationPort { not: true, .. }) => {
                let Match::DestinationPort { ports: first, .. } = *last else { return None };
                *last = Match::DestinationPorts { ports: vec![first, port], not: true };
            }
            _ => self.matches.push(condition),
        }
        Some(())
    }

    fn compare(&mut self, loaded: &Loaded, not: bool, value: &[u8]) -> Option<()> {
        let condition = match (&loaded.fact, &loaded.mask) {
            (Fact::Payload { base: base::NETWORK, offset, length }, mask) => {
                self.network(*offset, *length, mask.as_deref(), not, value)?
            }
            (Fact::Ct(ct::STATE), Some(mask)) => {
                // `state & mask != 0`
                (not && value.iter().all(|byte| *byte == 0)).then_some(())?;
                Match::ConnectionState(connection_state(word(mask)?)?)
            }
            (_, Some(_)) => return None,
            (Fact::Meta(meta::NFPROTO), None) => return self.restrict(not, value),
            (Fact::Meta(meta::L4PROTO), None) => Match::Protocol(protocol(not, value)?),
            (Fact::Meta(meta::IIFNAME), None) => Match::In { interface: interface(value)?, not },
            (Fact::Meta(meta::OIFNAME), None) => Match::Out { interface: interface(value)?, not },
            (Fact::Meta(meta::MARK), None) => Match::Mark { value: word(value)?, not },
            (Fact::Meta(meta::SKUID), None) => Match::Uid { id: word(value)?, not },
            (Fact::Meta(meta::SKGID), None) => Match::Gid { id: word(value)?, not },
            (Fact::Ct(ct::MARK), None) => Match::ConnectionMark { value: word(value)?, not },
            (Fact::Payload { .. }, None) => self.port(&loaded.fact, not, half(value)?.into())?,
            _ => return None,
        };
        // `nft` and ours both name the protocol before the port; only one of them matters.
        if matches!(condition, Match::Protocol(_)) && self.matches.contains(&condition) {
            return Some(());
        }
        self.add(condition)
    }

    fn range(&mut self, loaded: &Loaded, not: bool, from: &[u8], to: &[u8]) -> Option<()> {
        loaded.mask.is_none().then_some(())?;
        let ports = PortRange::new(half(from)?, half(to)?)?;
        let condition = self.port(&loaded.fact, not, ports)?;
        self.add(condition)
    }

    /// Older and newer `iptables-nft` write ranges as bounds, as one alone where the other says nothing.
    fn bound(&mut self, register: u32, is: Order, value: &[u8], open: bool) -> Option<()> {
        let loaded = self.registers.get(register)?.clone();
        loaded.mask.is_none().then_some(())?;
        let value = half(value)?;
        let (from, to) = match is {
            Order::Below => (0, value.checked_sub(1)?),
            Order::AtMost => (0, value),
            Order::Above => (value.checked_add(1)?, u16::MAX),
            Order::AtLeast => (value, u16::MAX),
        };
        let mut condition = self.port(&loaded.fact, false, PortRange::new(from, to)?)?;
        if open && from == 0 {
            let (Match::SourcePort { ports, .. } | Match::DestinationPort { ports, .. }) = &mut condition
            else {
                return None;
            };
            let from = match (self.matches.pop()?, &loaded.fact) {
                (Match::SourcePort { ports, .. }, Fact::Payload { offset: SOURCE_PORT, .. })
                | (Match::DestinationPort { ports, .. }, Fact::Payload { offset: DESTINATION_PORT, .. }) => {
                    ports.first()
                }
                _ => return None,
            };
            *ports = PortRange::new(from, to)?;
        }
        self.open = to == u16::MAX;
        self.add(condition)
    }

    /// A port, the protocol being known.
    fn port(&self, fact: &Fact, not: bool, ports: PortRange) -> Option<Match> {
        self.matches.iter().find(|condition| matches!(condition, Match::Protocol(_)))?;
        match fact {
            Fact::Payload { base: base::TRANSPORT, offset: SOURCE_PORT, length: 2 } => {
                Some(Match::SourcePort { ports, not })
            }
            Fact::Payload { base: base::TRANSPORT, offset: DESTINATION_PORT, length: 2 } => {
                Some(Match::DestinationPort { ports, not })
            }
            _ => None,
        }
    }

    /// Something in the IP header, the family being known.
    fn network(
        &self,
        offset: u32,
        length: u32,
        mask: Option<&[u8]>,
        not: bool,
        value: &[u8],
    ) -> Option<Match> {
        let family = self.family?;
        if (family, offset, length, mask) == (Family::V4, PROTOCOL_OFFSET, 1, None) {
            return Some(Match::Protocol(protocol(not, value)?));
        }
        (usize::try_from(length).ok()? == value.len()).then_some(())?;
        let net = network(family, value, mask)?;
        if offset == source_offset(family) {
            Some(Match::Source { net, not })
        } else if offset == destination_offset(family) {
            Some(Match::Destination { net, not })
        } else {
            None
        }
    }

    /// `meta nfproto`
    fn restrict(&mut self, not: bool, value: &[u8]) -> Option<()> {
        let family = match value {
            [2] => Family::V4,
            [10] => Family::V6,
            _ => return None,
        };
        (!not && self.family.is_none_or(|known| known == family)).then_some(())?;
        self.family = Some(family);
        Some(())
    }

    fn verdict(
        &self,
        expression: &Expression<'_>,
        chain: impl Fn(&[u8]) -> Option<Chain>,
    ) -> Option<Verdict> {
        let fact = |register| {
            let loaded = self.registers.get(register)?;
            loaded.mask.is_none().then_some(&loaded.fact)
        };
        match *expression {
            Expression::Verdict { code, chain: name } => match (code, name) {
                (verdict::RETURN, None) => Some(Verdict::Return),
                (verdict::ACCEPT, None) => Some(Verdict::Accept),
                (verdict::DROP, None) => Some(Verdict::Drop),
                (verdict::JUMP, Some(name)) => chain(name).map(Verdict::Jump),
                _ => None,
            },
            // Extensions differ between the families.
            Expression::Target { name, revision, info } => {
                xtables::read_target(self.family?, name, revision, info)
            }
            Expression::Redirect { register } => {
                fact(register)?.value().and_then(half).map(Verdict::Redirect)
            }
            Expression::Tproxy { register, .. } => {
                let port = fact(register)?.value().and_then(half)?;
                Some(Verdict::Tproxy { port, mark: 0 })
            }
            Expression::SetMeta { key: meta::MARK, register } => match fact(register)? {
                Fact::Ct(ct::MARK) => Some(Verdict::RestoreMark),
                fact => fact.value().and_then(word).map(Verdict::SetMark),
            },
            Expression::SetCt { key: ct::MARK, register } => match fact(register)? {
                Fact::Meta(meta::MARK) => Some(Verdict::SaveMark),
                _ => None,
            },
            Expression::SetCt { key: ct::ZONE, register } => {
                let zone = fact(register)?.value()?.try_into().ok()?;
                Some(Verdict::Zone(u16::from_ne_bytes(zone)))
            }
            _ => None,
        }
    }
}

/// Where an IPv4 header has the protocol.
const PROTOCOL_OFFSET: u32 = 9;

fn connection_state(bits: u32) -> Option<ConnectionState> {
    const KNOWN: u32 = ct::RELATED | ct::ESTABLISHED;
    match bits {
        ct::INVALID => Some(ConnectionState::Invalid),
        KNOWN => Some(ConnectionState::RelatedOrEstablished),
        _ => None,
    }
}

fn protocol(not: bool, value: &[u8]) -> Option<Protocol> {
    match value {
        [6] if !not => Some(Protocol::Tcp),
        [17] if !not => Some(Protocol::Udp),
        _ => None,
    }
}

/// A whole name: without its NUL it would be the beginning of many.
fn interface(value: &[u8]) -> Option<Interface> {
    let end = value.iter().position(|byte| *byte == 0)?;
    value[end..].iter().all(|byte| *byte == 0).then_some(())?;
    Interface::new(std::str::from_utf8(&value[..end]).ok()?)
}

/// A range of addresses: whole bytes of a prefix, or a whole address under a mask.
fn network(family: Family, value: &[u8], mask: Option<&[u8]>) -> Option<IpNet> {
    let whole = if family == Family::V4 { 4 } else { 16 };
    let prefix = match mask {
        None => value.len() * 8,
        Some(mask) => {
            let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
            let set: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
            let broken = mask.windows(2).any(|pair| pair[0] != 0xff && pair[1] != 0);
            (mask.len() == whole && ones == set && !broken).then_some(usize::try_from(ones).ok()?)?
        }
    };
    let mut bytes = [0; 16];
    bytes.get_mut(..value.len()).filter(|_| value.len() <= whole)?.copy_from_slice(value);
    let address = match family {
        Family::V4 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        Family::V6 => IpAddr::from(bytes),
    };
    let net = IpNet::new(address, u8::try_from(prefix).ok()?).ok()?;
    // With bits beyond the mask no packet would ever meet it.
    (net.network() == address).then_some(net)
}

fn half(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
