//! Validated redirect settings. A value of [`Settings`] cannot hold nonsense: ports are ports, lists are parsed.
//!
//! It says what a pod's redirection should do, never how rules express it, and never where a value came from:
//! reading annotations, flags and the stamp is `knobs`' work.

use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::IpAddr;

/// Everything the redirect algorithm may depend on, except the pod's address families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which listing of rules is wanted.
    pub profile: Profile,
    /// How inbound connections reach the proxy.
    pub mode: Mode,
    /// Where captured outbound TCP goes.
    pub outbound_port: u16,
    /// Where captured inbound TCP goes.
    pub inbound_port: u16,
    /// The tunnel (HBONE) port: inbound to it is never captured, nor are self-calls to it.
    pub tunnel_port: u16,
    /// UIDs of the proxy; never empty.
    pub proxy_uids: Vec<u32>,
    /// GIDs of the proxy; never empty.
    pub proxy_gids: Vec<u32>,
    /// Which inbound ports are captured.
    pub inbound: Inbound,
    /// Which outbound destinations are captured.
    pub outbound: Outbound,
    /// Destinations never captured, whatever `outbound` says.
    pub exclude_outbound_ranges: Vec<IpNet>,
    /// Destination ports captured whatever their address, unless excluded.
    pub include_outbound_ports: Vec<PortRange>,
    /// Destination ports (TCP and UDP) never captured.
    pub exclude_outbound_ports: Vec<PortRange>,
    /// Interfaces whose traffic is captured in neither direction.
    pub exclude_interfaces: Vec<Interface>,
    /// Interfaces whose ingress is treated as outbound traffic of this pod (virtual machines).
    pub reroute_interfaces: Vec<Interface>,
    /// Whose outbound traffic is captured, by group.
    pub owner_groups: OwnerGroups,
    /// UIDs beside the proxy's whose outbound traffic is not captured.
    pub exclude_uids: Vec<u32>,
    /// Which DNS queries go to the proxy's agent.
    pub dns: Dns,
    /// Whether packets that conntrack calls INVALID are dropped on the way in.
    pub drop_invalid: bool,
    /// IPv4 destinations that count as the application's own loopback; IPv6 has only `::1`.
    pub loopback: Ipv4Net,
    /// Mark of packets that TPROXY delivers, and of the rule that routes them.
    pub tproxy_mark: u32,
    /// Routing table that delivers marked packets locally.
    pub tproxy_table: u32,
}

/// A listing of rules to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Today's rules, with known bugs mended (docs/deviations.md).
    #[default]
    Istio,
    /// The vendor page's listing of ASM 1.14, rule for rule.
    Asm114,
}

/// How inbound connections reach the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By rewriting the destination; the proxy sees the pod's own address as the peer's target only by asking.
    #[default]
    Redirect,
    /// By the kernel's transparent proxying, keeping both addresses.
    Tproxy,
}

/// Which inbound TCP ports are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Every port except these.
    AllExcept(Vec<PortRange>),
    /// Only these; never empty.
    Only(Vec<PortRange>),
    /// None.
    Nothing,
}

/// Which outbound TCP destinations are captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// Every destination.
    All,
    /// Destinations in these ranges; never empty. Each range counts in its own family only.
    Only(Vec<IpNet>),
    /// None.
    Nothing,
}

/// Whose outbound traffic is captured, by the group that opened the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerGroups {
    /// Everybody's, except these groups'.
    AllExcept(Vec<u32>),
    /// Only these groups', at most [`OwnerGroups::MOST`].
    Only(Vec<u32>),
}

impl OwnerGroups {
    /// The field's limit on the number of included groups.
    pub const MOST: usize = 64;
}

/// Which DNS queries (port 53, TCP and UDP) go to the proxy's agent on [`DNS_PORT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Dns {
    /// None.
    #[default]
    Off,
    /// Those to the pod's own resolvers (its resolv.conf); never empty.
    Servers(Vec<IpAddr>),
    /// All.
    All,
}

/// The agent's DNS listener, fixed in the field.
pub const DNS_PORT: u16 = 15053;
/// A port nobody listens on; `validate` looks for it as the original destination.
pub const PROBE_PORT: u16 = 15002;
/// The proxy's default UID and GID.
pub const PROXY_ID: u32 = 1337;

/// The address families a pod's rules are made for. IPv4 rules are always made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Families {
    /// The pod has no IPv6 address.
    V4,
    /// The pod has an IPv6 address.
    Both,
}

impl Default for Settings {
    /// What an injected pod without annotations gets from the field's CNI plugins.
    fn default() -> Self {
        Settings {
            profile: Profile::Istio,
            mode: Mode::Redirect,
            outbound_port: 15001,
            inbound_port: 15006,
            tunnel_port: 15008,
            proxy_uids: vec![PROXY_ID],
            proxy_gids: vec![PROXY_ID],
            inbound: Inbound::AllExcept(vec![15020.into(), 15021.into(), 15090.into()]),
            outbound: Outbound::All,
            exclude_outbound_ranges: Vec::new(),
            include_outbound_ports: Vec::new(),
            exclude_outbound_ports: vec![15020.into()],
            exclude_interfaces: Vec::new(),
            reroute_interfaces: Vec::new(),
            owner_groups: OwnerGroups::AllExcept(Vec::new()),
            exclude_uids: Vec::new(),
            dns: Dns::Off,
            drop_invalid: false,
            loopback: Ipv4Net::new_assert(std::net::Ipv4Addr::LOCALHOST, 32),
            tproxy_mark: 1337,
            tproxy_table: 133,
        }
    }
}

/// One port, or an inclusive range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The range from `first` to `last`, both included; `None` if it is empty.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(PortRange { first, last })
    }

    /// Its lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// Its highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is in it.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether it is a single port.
    pub fn is_single(self) -> bool {
        self.first == self.last
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        PortRange { first: port, last: port }
    }
}

impl fmt::Display for PortRange {
    /// `80` or `8000-8100`, the spelling of annotations and of nft.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// The name of a network interface: what Linux allows and no rule text can misread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(String);

impl Interface {
    /// `IFNAMSIZ` less its NUL (linux/if.h).
    pub const LONGEST: usize = 15;

    /// A name of 1 to 15 characters: a letter first, then letters, digits, `_`, `.`, `-`. Else `None`.
    pub fn new(name: &str) -> Option<Self> {
        let mut chars = name.chars();
        let starts = chars.next().is_some_and(|first| first.is_ascii_alphabetic());
        let goes_on = chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        (starts && goes_on && name.len() <= Self::LONGEST).then(|| Interface(name.to_owned()))
    }

    /// The loopback interface.
    pub fn lo() -> Self {
        Interface("lo".to_owned())
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
