//! Sequences of expressions that both netlink dialects write alike: what is in a packet's headers and which interface
//! it uses.

use super::{Expression, REGISTER, base, meta};
use crate::dialect::wire::Writer;
use crate::rules::{Family, Match, Protocol};
use crate::settings::PortRange;
use ipnet::IpNet;
use std::net::IpAddr;

/// Writes a condition on addresses, interfaces, protocol or one range of ports; nothing for any other.
pub(crate) fn header(w: &mut Writer, family: Family, condition: &Match) {
    match condition {
        Match::Source { net, not } => address(w, *net, *not, source_offset(family)),
        Match::Destination { net, not } => address(w, *net, *not, destination_offset(family)),
        Match::In { interface, not } => name(w, meta::IIFNAME, interface.as_str(), *not),
        Match::Out { interface, not } => name(w, meta::OIFNAME, interface.as_str(), *not),
        Match::Protocol(protocol) => {
            Expression::Meta { key: meta::L4PROTO, register: REGISTER }.write(w);
            compare(w, false, &[protocol_number(*protocol)]);
        }
        Match::SourcePort { ports, not } => {
            load_port(w, SOURCE_PORT);
            compare_port(w, *ports, *not);
        }
        Match::DestinationPort { ports, not } => {
            load_port(w, DESTINATION_PORT);
            compare_port(w, *ports, *not);
        }
        _ => {}
    }
}

/// Where a TCP or UDP header has the ports.
pub(crate) const SOURCE_PORT: u32 = 0;
pub(crate) const DESTINATION_PORT: u32 = 2;

/// Where an IP header has the source address.
pub(crate) fn source_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

/// Where an IP header has the destination address.
pub(crate) fn destination_offset(family: Family) -> u32 {
    match family {
        Family::V4 => 16,
        Family::V6 => 24,
    }
}

/// `IPPROTO_*`
pub(crate) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

/// Compares what was loaded last.
pub(crate) fn compare(w: &mut Writer, not: bool, value: &[u8]) {
    Expression::Compare { register: REGISTER, not, value }.write(w);
}

/// Loads a port.
pub(crate) fn load_port(w: &mut Writer, offset: u32) {
    Expression::Payload { base: base::TRANSPORT, offset, length: 2, register: REGISTER }.write(w);
}

/// Compares the port loaded last.
pub(crate) fn compare_port(w: &mut Writer, ports: PortRange, not: bool) {
    let (from, to) = (ports.first().to_be_bytes(), ports.last().to_be_bytes());
    if ports.is_single() {
        return compare(w, not, &from);
    }
    Expression::Range { register: REGISTER, not, from: &from, to: &to }.write(w);
}

fn address(w: &mut Writer, net: IpNet, not: bool, offset: u32) {
    let prefix = usize::from(net.prefix_len());
    let length = prefix.div_ceil(8);
    let bytes: ([u8; 16], usize) = match net.network() {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            (bytes, 4)
        }
        IpAddr::V6(address) => (address.octets(), 16),
    };
    let (value, whole) = (&bytes.0[..length], bytes.1);
    let load = |length: usize| Expression::Payload {
        base: base::NETWORK,
        offset,
        length: u32::try_from(length).expect("at most 16"),
        register: REGISTER,
    };
    if prefix == 0 && !not {
        // Every address: no condition, and the kernel knows no load of no bytes.
        return;
    }
    if prefix % 8 == 0 && prefix > 0 {
        load(length).write(w);
        return compare(w, not, value);
    }
    // With a mask iptables-nft expects the whole address.
    let mut mask = [0; 16];
    mask[..prefix / 8].fill(0xff);
    mask[prefix / 8] = !(0xff >> (prefix % 8));
    load(whole).write(w);
    let mask = &mask[..whole];
    Expression::Bitwise { from: REGISTER, to: REGISTER, mask, xor: &[0; 16][..whole] }.write(w);
    compare(w, not, &bytes.0[..whole]);
}

/// The NUL is compared with the name: without it, `lo` would be every interface whose name begins so.
fn name(w: &mut Writer, key: u32, name: &str, not: bool) {
    let mut value = [0; 16];
    value[..name.len()].copy_from_slice(name.as_bytes());
    Expression::Meta { key, register: REGISTER }.write(w);
    compare(w, not, &value[..=name.len()]);
}
