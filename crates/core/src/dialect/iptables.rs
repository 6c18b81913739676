//! iptables over netlink: the tables `raw`, `mangle` and `nat` of `ip` and `ip6`, in the encoding of `iptables-nft`,
//! so that the node's own tools list, save and restore what we write, and we read what they, or a stock init
//! container, have written. One transaction for both families, and no process started.
//!
//! Base chains that no rule of ours needs are not made: `iptables-nft` 1.8.9 lists and saves all hooks of a table that
//! exists, whether or not their chains do (tried with only `OUTPUT` there).
//!
//! It never touches a rule or chain that is not named in a [`Removal`](crate::rules::removal::Removal).

mod read;
mod write;

pub use read::{Error, read, requests};
pub use write::write;

use crate::rules::{Chain, Family, Table};

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`
fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn family_name(family: Family) -> &'static str {
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
fn priority(table: Table, hook: Chain) -> i32 {
    match (table, hook) {
        (Table::Raw, _) => -300,
        (Table::Mangle, _) => -150,
        (Table::Nat, Chain::Input | Chain::Postrouting) => 100,
        (Table::Nat, _) => -100,
    }
}

/// A base chain's type. In `mangle` OUTPUT a changed mark must find its way again, which `route` sees to.
fn chain_type(table: Table, hook: Chain) -> &'static str {
    match (table, hook) {
        (Table::Nat, _) => "nat",
        (Table::Mangle, Chain::Output) => "route",
        _ => "filter",
    }
}
