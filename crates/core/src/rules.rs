//! The vocabulary of rules: what `plan` says, what a dialect writes and reads, what `trace` follows.
//!
//! The model is closed on purpose: only chains, matches and verdicts that Millrace uses can be expressed, so whatever
//! a dialect reads that does not fit is *foreign* by construction and can be reported but never planned.
//! Nothing here knows pods, settings' meaning or any dialect.

pub mod compare;
pub mod origin;
pub mod plan;
pub mod removal;
pub mod trace;
mod words;

use crate::settings::{Interface, PortRange};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// An address family of netfilter's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `ip`
    V4,
    /// `ip6`
    V6,
}

/// A table, in the order in which a packet meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `raw`: before connection tracking.
    Raw,
    /// `mangle`: marks and transparent proxying.
    Mangle,
    /// `nat`: redirection, asked only for the first packet of a connection.
    Nat,
}

/// A chain: the kernel's five hooks, then ours in the order the field lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// The hook `PREROUTING`.
    Prerouting,
    /// The hook `INPUT`.
    Input,
    /// The hook `FORWARD`.
    Forward,
    /// The hook `OUTPUT`.
    Output,
    /// The hook `POSTROUTING`.
    Postrouting,
    /// `ISTIO_INBOUND`: what comes in.
    IstioInbound,
    /// `ISTIO_REDIRECT`: to the proxy's outbound port.
    IstioRedirect,
    /// `ISTIO_IN_REDIRECT`: to the proxy's inbound port.
    IstioInRedirect,
    /// `ISTIO_OUTPUT`: what goes out.
    IstioOutput,
    /// `ISTIO_OUTPUT_DNS`: DNS queries; in `raw`, their conntrack zones.
    IstioOutputDns,
    /// `ISTIO_DIVERT`: marks packets of known transparent connections.
    IstioDivert,
    /// `ISTIO_TPROXY`: new transparent connections.
    IstioTproxy,
    /// `ISTIO_DROP`: what conntrack calls INVALID.
    IstioDrop,
}

impl Chain {
    /// All chains, in order.
    pub const ALL: [Chain; 13] = [
        Chain::Prerouting,
        Chain::Input,
        Chain::Forward,
        Chain::Output,
        Chain::Postrouting,
        Chain::IstioInbound,
        Chain::IstioRedirect,
        Chain::IstioInRedirect,
        Chain::IstioOutput,
        Chain::IstioOutputDns,
        Chain::IstioDivert,
        Chain::IstioTproxy,
        Chain::IstioDrop,
    ];

    /// Its name in iptables.
    pub fn name(self) -> &'static str {
        match self {
            Chain::Prerouting => "PREROUTING",
            Chain::Input => "INPUT",
            Chain::Forward => "FORWARD",
            Chain::Output => "OUTPUT",
            Chain::Postrouting => "POSTROUTING",
            Chain::IstioInbound => "ISTIO_INBOUND",
            Chain::IstioRedirect => "ISTIO_REDIRECT",
            Chain::IstioInRedirect => "ISTIO_IN_REDIRECT",
            Chain::IstioOutput => "ISTIO_OUTPUT",
            Chain::IstioOutputDns => "ISTIO_OUTPUT_DNS",
            Chain::IstioDivert => "ISTIO_DIVERT",
            Chain::IstioTproxy => "ISTIO_TPROXY",
            Chain::IstioDrop => "ISTIO_DROP",
        }
    }

    /// The chain of that name.
    pub fn from_name(name: &str) -> Option<Chain> {
        Chain::ALL.into_iter().find(|chain| chain.name() == name)
    }

    /// Whether the kernel owns it; we then own only our rules in it.
    pub fn is_hook(self) -> bool {
        self < Chain::IstioInbound
    }
}

impl Table {
    /// All tables, in order.
    pub const ALL: [Table; 3] = [Table::Raw, Table::Mangle, Table::Nat];

    /// Its name in iptables.
    pub fn name(self) -> &'static str {
        match self {
            Table::Raw => "raw",
            Table::Mangle => "mangle",
            Table::Nat => "nat",
        }
    }

    /// The table of that name.
    pub fn from_name(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The hooks at which this table is consulted, in the kernel's order.
    pub fn hooks(self) -> &'static [Chain] {
        use Chain::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            Table::Raw => &[Prerouting, Output],
            Table::Mangle => &[Prerouting, Input, Forward, Output, Postrouting],
            Table::Nat => &[Prerouting, Input, Output, Postrouting],
        }
    }
}

/// Where a rule lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its family.
    pub family: Family,
    /// Its table.
    pub table: Table,
    /// Its chain.
    pub chain: Chain,
}

/// A condition on a packet. All conditions of a rule must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Match {
    /// The source address is in `net` (`not`: is not).
    Source { net: IpNet, not: bool },
    /// The destination address is in `net`.
    Destination { net: IpNet, not: bool },
    /// The packet came in by this interface.
    In { interface: Interface, not: bool },
    /// The packet goes out by this interface.
    Out { interface: Interface, not: bool },
    /// The transport protocol.
    Protocol(Protocol),
    /// The source port; needs a [`Match::Protocol`] before it.
    SourcePort { ports: PortRange, not: bool },
    /// The destination port; needs a [`Match::Protocol`] before it.
    DestinationPort { ports: PortRange, not: bool },
    /// The destination port is one of these; needs a [`Match::Protocol`] before it. At most 15 ports, a range counts
    /// two (xt_multiport.h, `XT_MULTI_PORTS`).
    DestinationPorts { ports: Vec<PortRange>, not: bool },
    /// The socket was opened by this user.
    Uid { id: u32, not: bool },
    /// The socket was opened by this group.
    Gid { id: u32, not: bool },
    /// The packet's mark, all 32 bits.
    Mark { value: u32, not: bool },
    /// The connection's mark, all 32 bits.
    ConnectionMark { value: u32, not: bool },
    /// What conntrack says of the packet.
    ConnectionState(ConnectionState),
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// 6
    Tcp,
    /// 17
    Udp,
}

/// What conntrack says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// INVALID
    Invalid,
    /// RELATED or ESTABLISHED
    RelatedOrEstablished,
}

/// What happens to a packet that meets all conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Verdict {
    /// Back to the calling chain; at a hook, the hook's policy (accept).
    Return,
    /// No further rule of this hook of this table.
    Accept,
    /// Gone.
    Drop,
    /// To another chain of the same table and family, and back.
    Jump(Chain),
    /// To this local port (`nat` only).
    Redirect(u16),
    /// To the local socket at this port, marking the packet (`mangle` PREROUTING only).
    Tproxy { port: u16, mark: u32 },
    /// Sets the packet's mark and goes on.
    SetMark(u32),
    /// Copies the packet's mark to the connection and goes on.
    SaveMark,
    /// Copies the connection's mark to the packet and goes on.
    RestoreMark,
    /// Puts the packet's flow into this conntrack zone and goes on (`raw` only).
    Zone(u16),
}

/// A rule: conditions in canonical order, then the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    matches: Vec<Match>,
    verdict: Verdict,
}

impl Rule {
    /// A rule. Conditions are put in the order in which `iptables-save` prints them (source, destination, in, out,
    /// protocol, then the rest as given), so that equal rules are equal values.
    pub fn new(matches: impl Into<Vec<Match>>, verdict: Verdict) -> Self {
        let mut matches = matches.into();
        // A rule has a handful of conditions, and a general sort for them is two kilobytes of millrace-cni.
        for end in 1..matches.len() {
            for at in (0..end).rev() {
                if matches[at].rank() <= matches[at + 1].rank() {
                    break;
                }
                matches.swap(at, at + 1);
            }
        }
        Rule { matches, verdict }
    }

    /// Its conditions.
    pub fn matches(&self) -> &[Match] {
        &self.matches
    }

    /// Its verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl Match {
    fn rank(&self) -> u8 {
        match self {
            Match::Source { .. } => 0,
            Match::Destination { .. } => 1,
            Match::In { .. } => 2,
            Match::Out { .. } => 3,
            Match::Protocol(_) => 4,
            _ => 5,
        }
    }
}

/// Rules by place. Two sets are equal when each place holds the same rules in the same order.
///
/// A hook without rules is absent; a chain of ours may be present and empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// By place. A dozen of them: a tree is slower to search and to build.
    chains: Vec<(Place, Vec<Rule>)>,
}

impl RuleSet {
    /// Makes the chain exist, without rules if it is new. Does nothing for a hook.
    pub fn declare(&mut self, place: Place) {
        if !place.chain.is_hook() {
            self.entry(place);
        }
    }

    /// Appends a rule.
    pub fn push(&mut self, place: Place, rule: Rule) {
        self.entry(place).push(rule);
    }

    /// The rules of a place, in order; empty if there are none.
    pub fn rules(&self, place: Place) -> &[Rule] {
        self.chains.iter().find(|(other, _)| *other == place).map_or(&[], |(_, rules)| rules)
    }

    /// Whether the chain exists here.
    pub fn has(&self, place: Place) -> bool {
        self.chains.iter().any(|(other, _)| *other == place)
    }

    /// All places and their rules, by family, table, chain.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &[Rule])> {
        self.chains.iter().map(|(place, rules)| (*place, rules.as_slice()))
    }

    /// The number of rules.
    pub fn len(&self) -> usize {
        self.chains.iter().map(|(_, rules)| rules.len()).sum()
    }

    /// Whether there is neither a rule nor a chain.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// The part of it for one family.
    pub fn family(&self, family: Family) -> RuleSet {
        let part = self.chains.iter().filter(|(place, _)| place.family == family);
        RuleSet { chains: part.cloned().collect() }
    }

    fn entry(&mut self, place: Place) -> &mut Vec<Rule> {
        let at = self.chains.iter().position(|(other, _)| *other >= place).unwrap_or(self.chains.len());
        if self.chains.get(at).is_none_or(|(other, _)| *other != place) {
            self.chains.insert(at, (place, Vec::with_capacity(12)));
        }
        &mut self.chains[at].1
    }
}

/// All that a pod's redirection needs in its network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Addresses, rules and routes to be there before the rules (M3).
    pub routes: Vec<Route>,
    /// The rules.
    pub rules: RuleSet,
}

/// One thing that routing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Route {
    /// `::6/128` on `lo`: IPv6 loopback is a single address, so binding `::6` would fail without it.
    InboundSourceAddress,
    /// `ip rule add fwmark MARK lookup TABLE pref PREFERENCE`. The preference is explicit because the kernel otherwise
    /// gives each repetition a new one and duplicates pile up.
    Rule { family: Family, mark: u32, table: u32, preference: u32 },
    /// `ip route add local default dev lo table TABLE`.
    LocalDefault { family: Family, table: u32 },
}

/// What was found in a network namespace, in one dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The rules of every chain the model can name, in order, readable or not.
    pub chains: BTreeMap<Place, Vec<ObservedRule>>,
    /// Chains of others in the tables looked at.
    pub foreign_chains: Vec<ForeignChain>,
    /// Tables in which another redirects to a sidecar, as `nft` names them. What they say is not read.
    pub redirectors: BTreeSet<String>,
    /// Chains of ours that rules in chains of others jump to.
    pub held: BTreeSet<Place>,
    /// The generation of the ruleset it was read from, when the dialect has one.
    pub generation: Option<u32>,
}

/// One rule as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedRule {
    /// The kernel's handle; 0 where the dialect has none.
    pub handle: u64,
    /// Packets counted.
    pub packets: u64,
    /// Bytes counted.
    pub bytes: u64,
    /// What it says.
    pub content: Content,
}

/// What an observed rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Content {
    /// A rule the model can express.
    Known(Rule),
    /// Something else, in words for people; its jump target if it has one, so that nobody deletes a chain in use.
    Foreign { text: String, jump: Option<String> },
}

/// A chain the model has no name for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// Its family.
    pub family: Family,
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: String,
    /// The number of rules in it.
    pub rules: usize,
}

impl Content {
    /// The rule, if the model can express it.
    pub fn rule(&self) -> Option<&Rule> {
        match self {
            Content::Known(rule) => Some(rule),
            Content::Foreign { .. } => None,
        }
    }
}

impl Observed {
    /// The rules of it that the model can express, without counters; the rest is left out.
    pub fn known(&self) -> RuleSet {
        let mut known = RuleSet::default();
        for (place, rules) in &self.chains {
            known.declare(*place);
            for rule in rules {
                if let Content::Known(rule) = &rule.content {
                    known.push(*place, rule.clone());
                }
            }
        }
        known
    }
}
