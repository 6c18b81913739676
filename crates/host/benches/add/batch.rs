//! The floor under the kernel's part: a batch's very bytes, sent by a bare loop in a warm process; and, for the curious, the fewest rules
//! that decide the same, written by hand.

use crate::space::Space;
use crate::transaction::Transaction;
use millrace_core::dialect::expressions::{Expression, base, meta, verdict};
use millrace_core::dialect::wire::{self, APPEND, CREATE};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Enters the namespace, opens a socket, sends the batch and takes the one acknowledgement.
pub(crate) fn replay(space: &Space, bytes: &[u8]) {
    space.enter();
    let kind = (AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC);
    let socket =
        rustix::net::socket_with(kind.0, kind.1, kind.2, Some(NETFILTER)).expect("a netlink socket opens");
    let kernel = SocketAddrNetlink::new(0, 0);
    let sent = rustix::net::sendto(&socket, bytes, SendFlags::empty(), &kernel).expect("a batch fits");
    assert_eq!(sent, bytes.len());
    let mut answer = [0; 4096];
    let (length, _) =
        rustix::net::recv(&socket, &mut answer, RecvFlags::empty()).expect("the kernel answers");
    for message in wire::messages(&answer[..length]) {
        let body = message.expect("the kernel sends whole messages").body;
        let code = i32::from_ne_bytes(body[..4].try_into().expect("an acknowledgement has a code"));
        assert_eq!(code, 0, "the kernel took the batch");
    }
}

/// The decisions of the default settings in the fewest words that nf_tables has: one `inet` table for both families, native
/// expressions, no counters, a set for the ports, no chain that is only jumped to, and none of the rules that no packet can
/// reach after those before them. No iptables could list it, and nothing in it could be counted or told apart.
pub(crate) fn leanest() -> Vec<u8> {
    let mut lean = Transaction::default();
    lean.bound(0x10);
    lean.message(0, CREATE, |w| w.string(1, TABLE));
    lean.base_chain("in", 0);
    lean.base_chain("out", 3);
    lean.ports(&[15008, 15020, 15021, 15090]);
    let (tcp, proxy) = ([6], 1337_u32.to_ne_bytes());
    let protocol = Expression::Meta { key: meta::L4PROTO, register: 1 };
    let port = Expression::Payload { base: base::TRANSPORT, offset: 2, length: 2, register: 1 };
    let lo = [Expression::Meta { key: OIF, register: 1 }, is(&LO)];
    let user = [Expression::Meta { key: meta::SKUID, register: 1 }, is(&proxy)];
    let group = [Expression::Meta { key: meta::SKGID, register: 1 }, is(&proxy)];
    let back = Expression::Verdict { code: verdict::RETURN, chain: None };
    let (inbound, outbound) = (15006_u16.to_be_bytes(), 15001_u16.to_be_bytes());
    let redirect =
        |port| [Expression::Value { register: 1, value: port }, Expression::Redirect { register: 1 }];

    lean.rule("in", &[&[protocol, is_not(&tcp), back]]);
    let set = Expression::Lookup { set: SET, id: Some(1), register: 1, not: false };
    lean.rule("in", &[&[port, set, back]]);
    lean.rule("in", &[&redirect(&inbound)]);

    lean.rule("out", &[&[protocol, is_not(&tcp), back]]);
    lean.rule("out", &[&[port, is(&15020_u16.to_be_bytes()), back]]);
    let (v4, v6) =
        (std::net::Ipv4Addr::new(127, 0, 0, 6).octets(), std::net::Ipv6Addr::from_bits(6).octets());
    let (here4, here6) = (std::net::Ipv4Addr::LOCALHOST.octets(), std::net::Ipv6Addr::LOCALHOST.octets());
    for (family, source, destination, hop, here) in [
        (&[2], address(12, 4), address(16, 4), &v4[..], &here4[..]),
        (&[10], address(8, 16), address(24, 16), &v6[..], &here6[..]),
    ] {
        let of = [Expression::Meta { key: meta::NFPROTO, register: 1 }, is(family)];
        lean.rule("out", &[&lo, &of, &[source, is(hop), back]]);
        let tunnel = 15008_u16.to_be_bytes();
        let call = [destination, is_not(here), port, is_not(&tunnel)];
        lean.rule("out", &[&lo, &of, &call, &user, &redirect(&inbound)]);
    }
    lean.rule("out", &[&lo, &[back]]);
    lean.rule("out", &[&user, &[back]]);
    lean.rule("out", &[&group, &[back]]);
    lean.rule("out", &[&redirect(&outbound)]);
    // Only the last message asks to be acknowledged, as in our own batches.
    lean.w.acknowledge();
    lean.bound(0x11);
    lean.w.finish()
}

const TABLE: &str = "lean";
const SET: &[u8] = b"ports";
/// `NFT_META_OIF`; `lo` has the index 1 in every namespace.
const OIF: u32 = 5;
const LO: [u8; 4] = 1_u32.to_ne_bytes();

fn is(value: &[u8]) -> Expression<'_> {
    Expression::Compare { register: 1, not: false, value }
}

fn is_not(value: &[u8]) -> Expression<'_> {
    Expression::Compare { register: 1, not: true, value }
}

fn address(offset: u32, length: u32) -> Expression<'static> {
    Expression::Payload { base: base::NETWORK, offset, length, register: 1 }
}

impl Transaction {
    fn base_chain(&mut self, name: &str, hook: u32) {
        self.message(3, CREATE, |w| {
            w.string(1, TABLE);
            w.string(3, name);
            w.nest(4, |w| {
                w.be32(1, hook);
                w.attribute(2, &(-100_i32).to_be_bytes());
            });
            w.string(7, "nat");
        });
    }

    /// A constant set of ports.
    fn ports(&mut self, ports: &[u16]) {
        self.message(9, CREATE, |w| {
            w.string(1, TABLE);
            w.name(2, SET);
            // NFT_SET_ANONYMOUS | NFT_SET_CONSTANT; the key is an inet_service (13) of two bytes.
            w.be32(3, 3);
            w.be32(4, 13);
            w.be32(5, 2);
            w.be32(10, 1);
        });
        self.message(12, CREATE, |w| {
            w.string(1, TABLE);
            w.name(2, SET);
            w.nest(3, |w| {
                for port in ports {
                    w.nest(1, |w| w.nest(1, |w| w.attribute(1, &port.to_be_bytes())));
                }
            });
            w.be32(4, 1);
        });
    }

    fn rule(&mut self, chain: &str, parts: &[&[Expression<'_>]]) {
        self.message(6, CREATE | APPEND, |w| {
            w.string(1, TABLE);
            w.string(2, chain);
            w.nest(4, |w| {
                parts.iter().flat_map(|part| part.iter()).for_each(|expression| expression.write(w))
            });
        });
    }
}

/// The same rules for `nft -f`, as `iptables-restore-translate` and a person would put them: one `inet` table.
pub(crate) const NFT: &str = include_str!("rules.nft");
