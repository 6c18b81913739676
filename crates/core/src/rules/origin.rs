//! Why a rule exists, and the setting it comes from.
//!
//! A rule is recognised by its place and shape alone, so that live rules of any maker can be explained. Where two reasons
//! make the same rule, the text names both. It recognises what the model can say and guesses nothing else.

mod shape;

use super::{Place, Rule, Table, Verdict};
use crate::settings::DNS_PORT;

/// The reason for a rule, if it looks like one of the redirection's.
pub fn origin(place: Place, rule: &Rule) -> Option<Origin> {
    let matches = rule.matches();
    match place.table {
        Table::Raw => shape::raw(place.chain, matches, rule.verdict()),
        Table::Mangle => shape::mangle(place.chain, matches, rule.verdict()),
        Table::Nat => shape::nat(place.chain, matches, rule.verdict()),
    }
}

/// Whether a rule says by its numbers and its shape what only a redirection says, even in a hook. An interface's RETURN, or
/// the one that spares an owner's DNS, could be anybody's.
pub fn is_telling(place: Place, rule: &Rule) -> bool {
    let telling = match rule.verdict() {
        Verdict::Zone(zone) => matches!(zone, 1 | 2),
        Verdict::Redirect(port) => port == DNS_PORT,
        Verdict::SetMark(_) | Verdict::SaveMark | Verdict::RestoreMark => true,
        _ => false,
    };
    telling && origin(place, rule).is_some()
}

/// Defines [`Origin`] and its texts together, so that none can be forgotten.
macro_rules! origins {
    ($($name:ident $id:literal $why:literal $setting:expr;)*) => {
        /// The reason for a rule. The letters stand for PREROUTING, inbound, redirection, hook OUTPUT, outbound, DNS,
        /// mangle and TPROXY; the numbers follow the packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Origin {
            $(#[doc = $why] $name,)*
        }

        impl Origin {
            /// All of them, in the order in which a packet may meet them.
            pub const ALL: &[Origin] = &[$(Origin::$name,)*];

            /// Its short name, as used in the documents.
            pub fn id(self) -> &'static str {
                match self { $(Origin::$name => $id,)* }
            }

            /// Why such a rule exists, in a sentence for an operator.
            pub fn why(self) -> &'static str {
                match self { $(Origin::$name => $why,)* }
            }

            /// The annotation and the flag of `init` that it comes from.
            pub fn setting(self) -> &'static str {
                match self { $(Origin::$name => $setting,)* }
            }
        }
    };
}

const ALWAYS: &str = "no setting; every redirected pod has it";
const REROUTE: &str = "istio.io/reroute-virtual-interfaces, -k";
const INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces, -c";
const EITHER_INTERFACES: &str =
    "traffic.sidecar.istio.io/excludeInterfaces, -c; istio.io/reroute-virtual-interfaces, -k";
const INBOUND: &str = "traffic.sidecar.istio.io/includeInboundPorts, -b";
const NOT_INBOUND: &str = "traffic.sidecar.istio.io/excludeInboundPorts, -d";
const TUNNEL: &str = "--inbound-tunnel-port, -e";
const RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges, -i";
const NOT_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges, -x";
const PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts, -q";
const NOT_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts, -o";
const UID: &str = "runAsUser of istio-proxy, -u";
const GID: &str = "runAsGroup of istio-proxy, -g";
const IDS: &str = "runAsUser and runAsGroup of istio-proxy, -u and -g";
const DNS: &str = "ISTIO_META_DNS_CAPTURE of istio-proxy, --redirect-dns";
const TPROXY: &str = "sidecar.istio.io/interceptionMode: TPROXY, -m TPROXY";

origins! {
    TrackDns "D1"
        "the flows of DNS queries are told apart before connection tracking sees them"
        DNS;
    AgentToResolver "D2"
        "the agent's own query to the resolver is tracked apart from the application's, with which it may \
         share ports"
        DNS;
    AgentToApplication "D3"
        "the agent's answer belongs to the application's query, so both are tracked in the same zone"
        DNS;
    ApplicationToAgent "D4"
        "the application's query is tracked in the zone where the agent's answer will be"
        DNS;
    ResolverToAgent "D5"
        "the resolver's answer belongs to the agent's query, so both are tracked in the same zone"
        DNS;
    DropInvalid "M1"
        "packets that connection tracking calls invalid would escape redirection and provoke resets, so \
         they are sorted out"
        "INVALID_DROP of istio-proxy, --drop-invalid";
    Dropped "M2"
        "what was sorted out as invalid is dropped"
        "INVALID_DROP of istio-proxy, --drop-invalid";
    TproxyInterface "T1"
        "what comes in by this interface is not inbound traffic of the mesh: it is excluded, or carries \
         outbound traffic of a virtual machine"
        EITHER_INTERFACES;
    TproxyInbound "T2"
        "incoming TCP is looked at for transparent proxying"
        INBOUND;
    TproxySaveMark "T3"
        "a connection on which the proxy took the client's address is remembered, so that the answers find \
         the proxy"
        TPROXY;
    TproxyMarked "T4"
        "what the proxy has marked has been through it; another round would never end"
        TPROXY;
    TproxyHop "T5"
        "the proxy's own hop to the application is delivered"
        TPROXY;
    TproxyLocal "T6"
        "what the application sends to its own pod stays direct; only the proxy's calls carry the other \
         mark"
        TPROXY;
    TproxyTunnel "T7"
        "the tunnel has its own listener in the proxy"
        TUNNEL;
    TproxyExcluded "T8"
        "this inbound port is excluded from capture"
        NOT_INBOUND;
    TproxyKnown "T9"
        "packets of connections that the proxy already has are brought to it"
        INBOUND;
    TproxyNew "T10"
        "new incoming connections are given to the proxy's listener"
        INBOUND;
    DivertMark "T11"
        "the mark leads the packet to the route that delivers it locally, whatever its address"
        "--istio-inbound-tproxy-mark, -t";
    DivertAccept "T12"
        "the packet has its way; no later rule of this table is to touch it"
        TPROXY;
    Tproxy "T13"
        "the proxy's inbound listener gets the connection with both addresses unchanged"
        "--inbound-capture-port, -z";
    TproxyOut "T14"
        "what leaves by this interface is excluded from capture"
        INTERFACES;
    TproxyKeepMark "T15"
        "the proxy's packets with the client's address keep their mark"
        TPROXY;
    TproxySpared "T15'"
        "this outbound port is excluded from capture, for the proxy's calls to its own pod too"
        NOT_PORTS;
    TproxySelfCall "T16"
        "the proxy's calls to its own pod are marked, to be told from the application's"
        IDS;
    TproxyRestoreMark "T17"
        "the application's answers to a connection with a borrowed address go back to the proxy"
        TPROXY;
    RerouteExcluded "P0"
        "this destination is excluded from capture, for a virtual machine behind this interface too"
        "traffic.sidecar.istio.io/excludeOutboundPorts, -o; \
         traffic.sidecar.istio.io/excludeOutboundIPRanges, -x";
    Rerouted "P1"
        "what a virtual machine sends by this interface is outbound traffic of the pod"
        REROUTE;
    InterfaceIn "P3"
        "what else comes in by this interface is not captured: it is excluded, or carries outbound traffic \
         of a virtual machine"
        EITHER_INTERFACES;
    Inbound "P4"
        "incoming TCP is looked at for capture"
        INBOUND;
    InboundTunnel "I1"
        "the tunnel has its own listener in the proxy"
        TUNNEL;
    InboundExcluded "I2"
        "this inbound port is excluded from capture"
        NOT_INBOUND;
    InboundRest "I3"
        "every other inbound port is captured"
        INBOUND;
    InboundPort "I3'"
        "this inbound port is captured"
        INBOUND;
    ToOutboundListener "R1"
        "captured outbound TCP goes to the proxy's outbound listener"
        "--envoy-port, -p";
    ToInboundListener "R2"
        "captured inbound TCP goes to the proxy's inbound listener"
        "--inbound-capture-port, -z";
    InterfaceOut "H1"
        "what leaves by this interface is excluded from capture"
        INTERFACES;
    DnsSpared "H2"
        "queries of the proxy's agent, and of users and groups left alone, go to the resolver itself"
        DNS;
    Outbound "H3"
        "what the pod's processes send is looked at for capture"
        ALWAYS;
    PortExcluded "O1"
        "this destination port is excluded from capture"
        NOT_PORTS;
    ProxyHop "O2"
        "the proxy's own hop to the application is delivered; captured, it would go round without end"
        ALWAYS;
    ProxyBorrowedHop "O2'"
        "the proxy's hop to the application with the client's address has the proxy's mark; captured, it would \
         go round without end"
        TPROXY;
    SelfCallUser "O3a"
        "the proxy calls its own pod: the call passes the server side, so that inbound policy holds"
        UID;
    LocalUser "O3b"
        "what other processes send within the pod stays direct"
        UID;
    SentByUser "O3c"
        "what this user sends is not captured again: it is the proxy, or a user left alone"
        "runAsUser of istio-proxy, -u; millrace.dev/excludeOutboundUIDs";
    SelfCallGroup "O4a"
        "the proxy calls its own pod: the call passes the server side, so that inbound policy holds"
        GID;
    LocalGroup "O4b"
        "what other processes send within the pod stays direct"
        GID;
    SentByGroup "O4c"
        "what this group sends is not captured again: it is the proxy, or a group left alone"
        "runAsGroup of istio-proxy, -g; ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE";
    OtherGroups "O5"
        "only the listed groups' traffic is captured; this is everybody else's"
        "ISTIO_OUTBOUND_OWNER_GROUPS";
    Nothing "O5'"
        "no traffic that comes this far is captured: no group is listed, every address is excluded, or a \
         list of ranges ends here"
        "ISTIO_OUTBOUND_OWNER_GROUPS; traffic.sidecar.istio.io/excludeOutboundIPRanges, -x";
    DnsOutbound "O6"
        "DNS queries are looked at for capture"
        DNS;
    DnsCaptured "D6"
        "this query goes to the proxy's agent, which answers for the mesh"
        DNS;
    Loopback "O7"
        "an explicit loopback address is never captured"
        "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR";
    RangeExcluded "O8"
        "this destination range is excluded from capture"
        NOT_RANGES;
    PortIncluded "O9"
        "this destination port is captured whatever the address"
        PORTS;
    OutboundRest "O10"
        "every other destination is captured"
        RANGES;
    RangeIncluded "O10'"
        "this destination range is captured"
        RANGES;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Chain, Family, Match, Protocol};
    use crate::settings::Interface;
    use std::collections::BTreeSet;

    fn check(table: Table, chain: Chain, matches: &[Match], verdict: Verdict, id: Option<&str>) {
        let place = Place { family: Family::V4, table, chain };
        let rule = Rule::new(matches, verdict);
        assert_eq!(origin(place, &rule).map(Origin::id), id, "{place}: {rule}");
    }

    #[test]
    fn every_origin_has_its_own_name_and_a_sentence() {
        let ids: BTreeSet<_> = Origin::ALL.iter().map(|origin| origin.id()).collect();
        assert_eq!(ids.len(), Origin::ALL.len());
        for origin in Origin::ALL {
            assert!(origin.why().len() > 20 && !origin.setting().is_empty(), "{origin:?}");
        }
    }

    #[test]
    fn old_spellings_of_the_field_are_known() {
        let lo = Match::Out { interface: Interface::lo(), not: false };
        let loopback = Match::Destination { net: "127.0.0.1/32".parse().expect("an address"), not: true };
        let user = Match::Uid { id: 1337, not: false };
        let call = [loopback, lo, user];
        check(Table::Nat, Chain::IstioOutput, &call, Verdict::Jump(Chain::IstioInRedirect), Some("O3a"));
        check(Table::Nat, Chain::IstioOutput, &[], Verdict::Return, Some("O5'"));
        let tcp = [Match::Protocol(Protocol::Tcp)];
        check(Table::Nat, Chain::Output, &tcp, Verdict::Jump(Chain::IstioOutput), Some("H3"));
    }

    #[test]
    fn a_rule_of_another_kind_has_no_origin() {
        check(Table::Nat, Chain::Postrouting, &[], Verdict::Return, None);
        check(Table::Nat, Chain::IstioOutput, &[], Verdict::Drop, None);
        check(Table::Raw, Chain::IstioDrop, &[], Verdict::Drop, None);
        let marked = [Match::Mark { value: 1, not: false }];
        check(Table::Nat, Chain::IstioInbound, &marked, Verdict::Return, None);
    }
}
