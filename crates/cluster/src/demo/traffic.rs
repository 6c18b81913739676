//! The requests of a walk through bookinfo, and what their answers say of every connection.
//!
//! All begin at the visitor, outside the mesh. Each answer names every pod it took, and whom each saw as its peer: the
//! programs' own record, which rules and proxies must confirm.

use crate::demo::app::Hop;
use crate::demo::counts::Counts;
use crate::demo::pods::{Member, Part, VISITOR};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What is asked of the visitor, in turn, in each family.
pub(crate) fn itinerary<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<String> {
    // Twice round the three versions of reviews, and once more from the excluded namespace.
    let mut paths = vec!["/call/productpage/productpage".to_owned(); 6];
    paths.extend(vec!["/call/productpage.legacy/productpage".to_owned(); 3]);
    // Details, ratings and reviews-v1 call nobody by themselves; their way out is shown by a call back to the visitor.
    let meshed = members.filter(|member| member.part != Part::Outside);
    paths.extend(meshed.map(|member| format!("/call/{}/call/{VISITOR}/health", member.key)));
    paths
}

/// What the programs say of one pod's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// How many.
    pub(crate) counts: Counts,
    /// Whom its program saw as its peers.
    pub(crate) peers: BTreeSet<IpAddr>,
}

/// Each pod's ledger, by key.
pub(crate) fn ledgers(hops: &[Hop]) -> BTreeMap<String, Ledger> {
    let mut ledgers: BTreeMap<String, Ledger> = BTreeMap::new();
    for hop in hops {
        let v4 = hop.peer.is_ipv4();
        let to = ledgers.entry(hop.to.clone()).or_default();
        *to.counts.inbound.of(v4) += 1;
        to.peers.insert(hop.peer);
        *ledgers.entry(hop.from.clone()).or_default().counts.outbound.of(v4) += 1;
    }
    ledgers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::counts::Both;

    #[test]
    fn a_hop_is_one_connection_out_and_one_in() {
        let hop = |from: &str, to: &str, peer: &str| Hop {
            from: from.to_owned(),
            to: to.to_owned(),
            peer: peer.parse().unwrap(),
        };
        let hops = [hop("a", "b", "127.0.0.6"), hop("a", "b", "::6"), hop("b", "c", "127.0.0.6")];
        let ledgers = ledgers(&hops);
        let one = Both { v4: 1, v6: 0 };
        let both = Both { v4: 1, v6: 1 };
        assert_eq!(ledgers["a"].counts, Counts { inbound: Both::default(), outbound: both });
        assert_eq!(ledgers["b"].counts, Counts { inbound: both, outbound: one });
        assert_eq!(ledgers["b"].peers.len(), 2);
        assert_eq!(ledgers["c"].counts, Counts { inbound: one, outbound: Both::default() });
    }
}
