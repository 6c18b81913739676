//! Where a table's base chains hook into the kernel: the same in both netlink dialects, and as `iptables-nft` has them.

use super::batch::attribute;
use super::wire::Writer;
use crate::rules::{Chain, Family, Table};

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`
pub(super) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// `NF_INET_*`
fn hook_number(hook: Chain) -> Option<u32> {
    [Chain::Prerouting, Chain::Input, Chain::Forward, Chain::Output, Chain::Postrouting]
        .into_iter()
        .zip(0..)
        .find_map(|(chain, number)| (chain == hook).then_some(number))
}

/// The priority of a table's base chain, `NF_IP_PRI_*`: source NAT comes last of all.
pub(super) fn priority(table: Table, hook: Chain) -> i32 {
    match (table, hook) {
        (Table::Raw, _) => -300,
        (Table::Mangle, _) => -150,
        (Table::Nat, Chain::Input | Chain::Postrouting) => 100,
        (Table::Nat, _) => -100,
    }
}

/// A base chain's type. In `mangle` OUTPUT a changed mark must find its way again, which `route` sees to.
pub(super) fn chain_type(table: Table, hook: Chain) -> &'static str {
    match (table, hook) {
        (Table::Nat, _) => "nat",
        (Table::Mangle, Chain::Output) => "route",
        _ => "filter",
    }
}

/// Writes what makes a chain a base chain; nothing for a chain of ours.
pub(super) fn write(w: &mut Writer, table: Table, chain: Chain) {
    if let Some(hook) = hook_number(chain) {
        w.nest(attribute::CHAIN_HOOK, |w| {
            w.be32(1, hook);
            w.attribute(2, &priority(table, chain).to_be_bytes());
        });
        w.string(attribute::CHAIN_TYPE, chain_type(table, chain));
    }
}
