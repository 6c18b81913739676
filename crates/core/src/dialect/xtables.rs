//! The binary structs of iptables' matches and targets (linux/netfilter/xt_*.h) that the default dialect writes, and
//! the readers of what it, or a stock `iptables-nft`, has written.
//!
//! Structs are in host byte order, except the ports of REDIRECT and TPROXY, and as long as `XT_ALIGN` makes them: the kernel refuses any other
//! length. A reader answers `None` to whatever our vocabulary cannot say in full.

use crate::rules::{ConnectionState, Family, Match, Protocol, Verdict};
use crate::settings::PortRange;

/// The longest struct here, `xt_conntrack_mtinfo3`.
const LONGEST: usize = 168;

/// A match or target as the kernel wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its name.
    pub name: &'static str,
    /// The revision of its struct.
    pub revision: u32,
    bytes: [u8; LONGEST],
    length: usize,
}

impl Extension {
    /// The struct.
    pub fn info(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn new(name: &'static str, revision: u32, length: usize) -> Self {
        Extension { name, revision, bytes: [0; LONGEST], length }
    }

    fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn word(self, at: usize, word: u32) -> Self {
        self.with(at, &word.to_ne_bytes())
    }

    fn half(self, at: usize, half: u16) -> Self {
        self.with(at, &half.to_ne_bytes())
    }

    fn port(self, at: usize, port: u16) -> Self {
        self.with(at, &port.to_be_bytes())
    }
}

/// All 32 bits of a mark.
const ALL: u32 = u32::MAX;
/// `XT_OWNER_UID`, `XT_OWNER_GID`
const UID: u8 = 1;
const GID: u8 = 2;
/// `XT_CONNTRACK_STATE`
const STATE: u16 = 1;
/// `XT_CONNTRACK_STATE_INVALID`; of RELATED and ESTABLISHED, `XT_CONNTRACK_STATE_BIT`
const INVALID: u16 = 1;
const RELATED_OR_ESTABLISHED: u16 = 4 | 2;
/// `XT_MULTIPORT_DESTINATION`
const DESTINATION: u8 = 1;
/// `XT_MULTI_PORTS`
const MOST_PORTS: usize = 15;
/// `XT_CONNMARK_SAVE`, `XT_CONNMARK_RESTORE`
const SAVE: u8 = 1;
const RESTORE: u8 = 2;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`
const PORT_GIVEN: u32 = 2;

/// `xt_owner_match_info` for a user.
pub fn uid(id: u32, not: bool) -> Extension {
    owner(UID, not).word(0, id).word(4, id)
}

/// `xt_owner_match_info` for a group.
pub fn gid(id: u32, not: bool) -> Extension {
    owner(GID, not).word(8, id).word(12, id)
}

fn owner(what: u8, not: bool) -> Extension {
    Extension::new("owner", 1, 24).with(16, &[what, if not { what } else { 0 }])
}

/// `xt_mark_mtinfo1`.
pub fn mark(value: u32, not: bool) -> Extension {
    Extension::new("mark", 1, 16).word(0, value).word(4, ALL).with(8, &[u8::from(not)])
}

/// `xt_connmark_mtinfo1`, the same struct.
pub fn connection_mark(value: u32, not: bool) -> Extension {
    Extension { name: "connmark", ..mark(value, not) }
}

/// `xt_conntrack_mtinfo3`.
pub fn connection_state(state: ConnectionState) -> Extension {
    let bits = match state {
        ConnectionState::Invalid => INVALID,
        ConnectionState::RelatedOrEstablished => RELATED_OR_ESTABLISHED,
    };
    Extension::new("conntrack", 3, 168).half(146, STATE).half(150, bits)
}

/// `xt_multiport_v1` for destination ports; ports beyond `XT_MULTI_PORTS` do not fit, which the model forbids.
pub fn destination_ports(ports: &[PortRange], not: bool) -> Extension {
    let mut extension = Extension::new("multiport", 1, 48);
    let mut count: usize = 0;
    for range in ports {
        let entries = if range.is_single() { 1 } else { 2 };
        assert!(count + entries <= MOST_PORTS, "a multiport match holds at most 15 ports");
        extension = extension.half(2 + 2 * count, range.first());
        if !range.is_single() {
            extension = extension.with(32 + count, &[1]).half(4 + 2 * count, range.last());
        }
        count += entries;
    }
    let count = u8::try_from(count).expect("at most 15");
    extension.with(0, &[DESTINATION, count]).with(47, &[u8::from(not)])
}

/// `nf_nat_ipv4_multi_range_compat`, and `nf_nat_range` for IPv6.
pub fn redirect(family: Family, port: u16) -> Extension {
    let target = match family {
        Family::V4 => Extension::new("REDIRECT", 0, 24).word(0, 1).word(4, PORT_GIVEN),
        Family::V6 => Extension::new("REDIRECT", 0, 40).word(0, PORT_GIVEN),
    };
    let ports = redirect_ports(family);
    target.port(ports, port).port(ports + 2, port)
}

fn redirect_ports(family: Family) -> usize {
    match family {
        Family::V4 => 16,
        Family::V6 => 36,
    }
}

/// `xt_tproxy_target_info_v1`.
pub fn tproxy(port: u16, mark: u32) -> Extension {
    Extension::new("TPROXY", 1, 32).word(0, ALL).word(4, mark).port(24, port)
}

/// `xt_mark_tginfo2`.
pub fn set_mark(mark: u32) -> Extension {
    Extension::new("MARK", 2, 8).word(0, mark).word(4, ALL)
}

/// `xt_connmark_tginfo2`, saving.
pub fn save_mark() -> Extension {
    connection_marking(SAVE)
}

/// `xt_connmark_tginfo2`, restoring.
pub fn restore_mark() -> Extension {
    connection_marking(RESTORE)
}

fn connection_marking(mode: u8) -> Extension {
    Extension::new("CONNMARK", 2, 16).word(4, ALL).word(8, ALL).with(14, &[mode])
}

/// `xt_ct_target_info_v1`.
pub fn zone(zone: u16) -> Extension {
    Extension::new("CT", 2, 72).half(2, zone)
}

/// What a match says, as one or more of ours.
pub fn read_match(name: &[u8], revision: u32, info: &[u8]) -> Option<Vec<Match>> {
    match (name, revision) {
        (b"owner", 1) => read_owner(info),
        (b"mark", 1) => {
            let (value, not) = read_mark(info)?;
            Some(vec![Match::Mark { value, not }])
        }
        (b"connmark", 1) => {
            let (value, not) = read_mark(info)?;
            Some(vec![Match::ConnectionMark { value, not }])
        }
        (b"conntrack", 1..=3) => read_connection_state(revision, info),
        (b"multiport", 1) => read_destination_ports(info),
        (b"tcp", 0) => read_ports(info, Protocol::Tcp),
        (b"udp", 0) => read_ports(info, Protocol::Udp),
        _ => None,
    }
}

/// What a target does. `CONNMARK` rev 1 and `CT` rev 1 are what older tools write.
pub fn read_target(family: Family, name: &[u8], revision: u32, info: &[u8]) -> Option<Verdict> {
    let same = |verdict: Verdict, as_written: Extension| (info == as_written.info()).then_some(verdict);
    match (name, revision) {
        (b"REDIRECT", 0) => {
            let port = port_at(info, redirect_ports(family))?;
            same(Verdict::Redirect(port), redirect(family, port))
        }
        (b"TPROXY", 1) => {
            let (mark, port) = (word_at(info, 4)?, port_at(info, 24)?);
            same(Verdict::Tproxy { port, mark }, tproxy(port, mark))
        }
        (b"MARK", 2) => {
            let mark = word_at(info, 0)?;
            same(Verdict::SetMark(mark), set_mark(mark))
        }
        (b"CONNMARK", 2) => {
            same(Verdict::SaveMark, save_mark()).or_else(|| same(Verdict::RestoreMark, restore_mark()))
        }
        (b"CONNMARK", 1) => match (word_at(info, 4)?, word_at(info, 8)?, *info.get(12)?) {
            (ALL, ALL, SAVE) => Some(Verdict::SaveMark),
            (ALL, ALL, RESTORE) => Some(Verdict::RestoreMark),
            _ => None,
        },
        (b"CT", 1 | 2) => {
            // The last word is the kernel's own pointer, which it does not show.
            let number = half_at(info, 2)?;
            (info.get(..64)? == &zone(number).info()[..64]).then_some(Verdict::Zone(number))
        }
        _ => None,
    }
}

fn read_owner(info: &[u8]) -> Option<Vec<Match>> {
    let (what, inverted) = (*info.get(16)?, *info.get(17)?);
    if what & !(UID | GID) != 0 {
        return None;
    }
    let mut matches = Vec::with_capacity(2);
    for (bit, at) in [(UID, 0), (GID, 8)] {
        if what & bit == 0 {
            continue;
        }
        let (id, not) = (word_at(info, at)?, inverted & bit != 0);
        if word_at(info, at + 4)? != id {
            return None;
        }
        matches.push(if bit == UID { Match::Uid { id, not } } else { Match::Gid { id, not } });
    }
    Some(matches)
}

fn read_mark(info: &[u8]) -> Option<(u32, bool)> {
    (word_at(info, 4)? == ALL).then_some((word_at(info, 0)?, *info.get(8)? != 0))
}

/// Revision 1 has 8-bit masks; only the state matters here, and only the two states of ours.
fn read_connection_state(revision: u32, info: &[u8]) -> Option<Vec<Match>> {
    let (what, inverted) = (half_at(info, 146)?, half_at(info, 148)?);
    let states = if revision == 1 { u16::from(*info.get(150)?) } else { half_at(info, 150)? };
    let state = match states {
        INVALID => ConnectionState::Invalid,
        RELATED_OR_ESTABLISHED => ConnectionState::RelatedOrEstablished,
        _ => return None,
    };
    (what == STATE && inverted & STATE == 0).then(|| vec![Match::ConnectionState(state)])
}

fn read_destination_ports(info: &[u8]) -> Option<Vec<Match>> {
    let (what, count, not) = (*info.first()?, usize::from(*info.get(1)?), *info.get(47)? != 0);
    if what != DESTINATION || count > MOST_PORTS {
        return None;
    }
    let mut ports = Vec::with_capacity(count);
    let mut at = 0;
    while at < count {
        let first = half_at(info, 2 + 2 * at)?;
        let is_range = *info.get(32 + at)? != 0;
        at += if is_range { 2 } else { 1 };
        let last = if is_range { half_at(info, 2 * at)? } else { first };
        ports.push(PortRange::new(first, last)?);
    }
    (at == count).then(|| vec![Match::DestinationPorts { ports, not }])
}

/// `xt_tcp` and `xt_udp` begin with the same four ports; a full range says nothing.
fn read_ports(info: &[u8], protocol: Protocol) -> Option<Vec<Match>> {
    let flags = match protocol {
        Protocol::Tcp if info.get(8..11)? == [0, 0, 0] => *info.get(11)?,
        Protocol::Tcp => return None,
        Protocol::Udp => *info.get(8)?,
    };
    if flags & !3 != 0 {
        return None;
    }
    let mut matches = Vec::with_capacity(2);
    for (bit, at) in [(1, 0), (2, 4)] {
        let ports = PortRange::new(half_at(info, at)?, half_at(info, at + 2)?)?;
        let not = flags & bit != 0;
        if ports == PortRange::new(0, u16::MAX)? && !not {
            continue;
        }
        matches.push(match bit {
            1 => Match::SourcePort { ports, not },
            _ => Match::DestinationPort { ports, not },
        });
    }
    Some(matches)
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn port_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
