//! nftables: one table of our own, `inet millrace`, in nf_tables' native words, for both families. Chosen by the
//! operator, or where xtables' `owner` match is refused (a pod with `hostUsers: false`).
//!
//! Everything in the table is ours, so it is replaced as a whole, in one transaction, and no other table is looked at.
//! No set, comment or other userdata is written: rules that share a set would share a counter and a reason to exist,
//! and userdata has broken listings on nodes with an older `nft` than the writer's.
//!
//! A rule that both families have in the same order is written once. Where the families differ, `meta nfproto` says for
//! which one a rule is; in a chain of ours that only one family reaches, that goes without saying.
//!
//! Two things differ from iptables. `skuid != X` does not match a packet without a socket, or whose socket no file
//! stands for, where xtables' owner match does; nat sees only the first packet of a connection, which has a socket, but
//! one of the kernel's own (NFS, say) has no file, and "only these groups" does not spare it. And where several tables have a nat chain
//! at one hook and priority, the one registered last was asked first (tried on 6.18), and the first translation wins.

mod families;
mod listing;
mod read;
mod write;

pub use crate::dialect::dump::Error;
pub use listing::{draft, listing};
pub use read::{read, requests};
pub use write::write;

use crate::rules::{Chain, Table};

/// The table's name.
pub const TABLE: &str = "millrace";
/// `NFPROTO_INET`
const INET: u8 = 1;

macro_rules! names {
    ($table:literal) => {
        [
            concat!($table, "-prerouting"),
            concat!($table, "-input"),
            concat!($table, "-forward"),
            concat!($table, "-output"),
            concat!($table, "-postrouting"),
            concat!($table, "-istio-inbound"),
            concat!($table, "-istio-redirect"),
            concat!($table, "-istio-in-redirect"),
            concat!($table, "-istio-output"),
            concat!($table, "-istio-output-dns"),
            concat!($table, "-istio-divert"),
            concat!($table, "-istio-tproxy"),
            concat!($table, "-istio-drop"),
        ]
    };
}

/// The chains' names, by table and chain: in one table they need both.
const NAMES: [[&str; Chain::ALL.len()]; Table::ALL.len()] = [names!("raw"), names!("mangle"), names!("nat")];

/// The name of a table's chain in our table.
fn chain_name(table: Table, chain: Chain) -> &'static str {
    NAMES[table as usize][chain as usize]
}

/// The chain of that name.
fn chain_named(name: &[u8]) -> Option<(Table, Chain)> {
    let all =
        Table::ALL.into_iter().flat_map(|table| Chain::ALL.into_iter().map(move |chain| (table, chain)));
    all.into_iter().find(|(table, chain)| chain_name(*table, *chain).as_bytes() == name)
}
