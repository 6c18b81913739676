//! How pods are redirected where they say nothing themselves: one field for each setting of `core::knobs`, by the same names.
//!
//! A list is a list here and a text there; `core` reads both alike. Plain data.

use super::rules;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pods are redirected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Redirection {
    /// How rules are put into the kernel. Auto: as the node's kernel takes them, tried with the pod's own rules. Iptables:
    /// netlink, in the encoding that the node's iptables-nft lists. Nftables: netlink, in a table of our own. IptablesText:
    /// by the node's iptables-restore.
    pub(crate) backend: Backend,
    /// What pods get that say nothing themselves; each by the annotation that docs/settings.md names.
    pub(crate) defaults: Defaults,
}

/// How rules are put into the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Backend {
    /// As the node's kernel takes them.
    #[default]
    Auto,
    /// Netlink, as iptables-nft lists them.
    Iptables,
    /// Netlink, in a table of our own.
    Nftables,
    /// By the node's iptables-restore.
    IptablesText,
}

/// What pods get that say nothing themselves. What is absent has the default that docs/settings.md names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::three_ports()))]
pub(crate) struct Defaults {
    /// The listing of rules to follow: istio, or asm-1.14 for the one ASM documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profile: Option<Profile>,
    /// How inbound connections reach the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<Interception>,
    /// The port captured outbound TCP is sent to, 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) outbound_port: Option<u32>,
    /// The port captured inbound TCP is sent to, 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) inbound_port: Option<u32>,
    /// The tunnel (HBONE) port, never captured, 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) tunnel_port: Option<u32>,
    /// Users whose outbound traffic is the proxy's.
    #[serde(rename = "proxyUIDs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(range(min = 0, max = 4294967294_u32)))]
    pub(crate) proxy_uids: Option<Vec<i64>>,
    /// Groups whose outbound traffic is the proxy's.
    #[serde(rename = "proxyGIDs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(range(min = 0, max = 4294967294_u32)))]
    pub(crate) proxy_gids: Option<Vec<i64>>,
    /// Inbound TCP ports that are captured: ["*"] for all, ports and ranges as in 8000-8100, or an empty list for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(max = 11), regex(pattern = r"^(\*|[0-9]{1,5}([-:][0-9]{1,5})?)$"))
    )]
    #[schemars(extend("x-kubernetes-validations" = rules::star_alone()))]
    pub(crate) include_inbound_ports: Option<Vec<String>>,
    /// Inbound TCP ports never captured, when all others are: ports and ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(max = 11), regex(pattern = r"^[0-9]{1,5}([-:][0-9]{1,5})?$"))
    )]
    pub(crate) exclude_inbound_ports: Option<Vec<String>>,
    /// Outbound destinations that are captured: ["*"] for all, address ranges, or an empty list for none.
    #[serde(rename = "includeOutboundIPRanges", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(max = 49), regex(pattern = r"^(\*|[0-9a-fA-F.:]+(/[0-9]{1,3})?)$"))
    )]
    #[schemars(extend("x-kubernetes-validations" = rules::star_alone()))]
    pub(crate) include_outbound_ip_ranges: Option<Vec<String>>,
    /// Outbound destinations never captured, as address ranges.
    #[serde(rename = "excludeOutboundIPRanges", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(max = 49), regex(pattern = r"^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"))
    )]
    pub(crate) exclude_outbound_ip_ranges: Option<Vec<String>>,
    /// Outbound TCP ports captured whatever their address, unless excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(max = 11), regex(pattern = r"^[0-9]{1,5}([-:][0-9]{1,5})?$"))
    )]
    pub(crate) include_outbound_ports: Option<Vec<String>>,
    /// Outbound TCP and UDP ports never captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(max = 11), regex(pattern = r"^[0-9]{1,5}([-:][0-9]{1,5})?$"))
    )]
    pub(crate) exclude_outbound_ports: Option<Vec<String>>,
    /// Interfaces whose traffic is captured in neither direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z][-A-Za-z0-9_.]*$"))
    )]
    pub(crate) exclude_interfaces: Option<Vec<String>>,
    /// Interfaces whose inbound traffic is this pod's outbound traffic (virtual machines).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z][-A-Za-z0-9_.]*$"))
    )]
    pub(crate) reroute_interfaces: Option<Vec<String>>,
    /// Groups whose outbound traffic is captured: ["*"] for all, at most 64 groups, or an empty list for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 10), regex(pattern = r"^(\*|[0-9]{1,10})$")))]
    #[schemars(extend("x-kubernetes-validations" = rules::star_alone()))]
    pub(crate) include_owner_groups: Option<Vec<String>>,
    /// Groups whose outbound traffic is not captured, when all others' is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(max = 10), regex(pattern = r"^[0-9]{1,10}$")))]
    pub(crate) exclude_owner_groups: Option<Vec<String>>,
    /// Users beside the proxy's whose outbound traffic is not captured.
    #[serde(rename = "excludeOutboundUIDs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(range(min = 0, max = 4294967294_u32)))]
    pub(crate) exclude_outbound_uids: Option<Vec<i64>>,
    /// DNS queries (port 53) that go to the sidecar's agent: off, all, or the addresses of resolvers, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = r"^(off|all|[0-9a-fA-F.:]+(,[0-9a-fA-F.:]+)*)$"))]
    pub(crate) dns_capture: Option<String>,
    /// Whether inbound packets that conntrack calls INVALID are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drop_invalid: Option<bool>,
    /// IPv4 destinations that are the application's own loopback, within 127.0.0.0/8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 18), regex(pattern = r"^127(\.[0-9]{1,3}){3}/[0-9]{1,2}$"))]
    pub(crate) loopback_cidr: Option<String>,
    /// The mark of packets that TPROXY delivers, 1 to 4294967295, other than 1338.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_u32))]
    #[schemars(extend("x-kubernetes-validations" = rules::free_mark()))]
    pub(crate) tproxy_mark: Option<i64>,
    /// The routing table that delivers marked packets, 1 to 4294967295, other than the kernel's own 253 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4294967295_u32))]
    #[schemars(extend("x-kubernetes-validations" = rules::free_table()))]
    pub(crate) tproxy_table: Option<i64>,
}

/// A listing of rules to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Profile {
    /// Today's rules.
    #[serde(rename = "istio")]
    Istio,
    /// The listing that ASM documents.
    #[serde(rename = "asm-1.14")]
    Asm114,
}

/// How inbound connections reach the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Interception {
    /// By rewriting the destination.
    Redirect,
    /// By the kernel's transparent proxying, which keeps both addresses.
    Tproxy,
}
