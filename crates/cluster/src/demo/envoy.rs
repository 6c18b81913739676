//! The sidecar: a real Envoy's configuration, and what its statistics say it saw.
//!
//! The configuration depends on nothing but the ports: the proxy asks the kernel for each connection's original
//! destination and goes there, so it can only see what the rules brought to it. It decides no route and holds no name.

use crate::demo::counts::{Both, Counts};
use crate::demo::http;
use anyhow::Context;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The port of Envoy's administration, on the pod's loopback only.
pub(crate) const ADMIN: u16 = 15000;
/// The sources of the hop from proxy to app, by which the rules know it (architecture M4).
const INBOUND_SOURCES: [&str; 2] = ["127.0.0.6", "::6"];

/// What one proxy is told: listeners for captured connections, one per direction and family.
pub(crate) fn config(inbound_port: u16, outbound_port: u16, v6: bool) -> Value {
    let families = if v6 { &FAMILIES[..] } else { &FAMILIES[..1] };
    let mut listeners = Vec::new();
    let mut clusters = Vec::new();
    for (at, (family, wildcard)) in families.iter().enumerate() {
        let source = INBOUND_SOURCES[at];
        listeners.push(listener(&format!("inbound_{family}"), wildcard, inbound_port, "INBOUND"));
        listeners.push(listener(&format!("outbound_{family}"), wildcard, outbound_port, "OUTBOUND"));
        clusters.push(cluster(&format!("inbound_{family}"), Some(source)));
        clusters.push(cluster(&format!("outbound_{family}"), None));
    }
    json!({
        "admin": { "address": socket("127.0.0.1", ADMIN) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

const FAMILIES: [(&str, &str); 2] = [("v4", "0.0.0.0"), ("v6", "::")];

fn socket(address: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": address, "port_value": port } })
}

fn listener(name: &str, wildcard: &str, port: u16, direction: &str) -> Value {
    json!({
        "name": name,
        "traffic_direction": direction,
        "address": socket(wildcard, port),
        "listener_filters": [extension(
            "envoy.filters.listener.original_dst",
            "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
            json!({}),
        )],
        "filter_chains": [
            // Whoever dials this port itself has it as original destination: going there would go round for ever.
            // A chain without filters closes the connection.
            { "name": "itself", "filter_chain_match": { "destination_port": port }, "filters": [] },
            { "name": "captured", "filters": [extension(
                "envoy.filters.network.tcp_proxy",
                "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                json!({ "stat_prefix": name, "cluster": name }),
            )] },
        ],
    })
}

fn cluster(name: &str, source: Option<&str>) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "3s",
    });
    if let Some(source) = source {
        cluster["upstream_bind_config"] = json!({ "source_address": { "address": source, "port_value": 0 } });
    }
    cluster
}

fn extension(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = Value::from(format!("type.googleapis.com/{kind}"));
    json!({ "name": name, "typed_config": config })
}

/// The arguments of a proxy whose configuration is at `config`: one worker, and no shared memory with others.
pub(crate) fn arguments(config: &Path) -> Vec<String> {
    let path = config.to_string_lossy().into_owned();
    let words =
        ["--config-path", &path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Asks the proxy of the namespace the calling thread is in what it has accepted so far.
pub(crate) fn accepted(v6: bool) -> anyhow::Result<Counts> {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN));
    let answer =
        http::get(admin, "/stats?filter=%5Etcp%5C.", Duration::from_secs(5)).context("asking Envoy")?;
    anyhow::ensure!(answer.status == 200, "Envoy refuses its statistics with status {}", answer.status);
    counts(&String::from_utf8_lossy(&answer.body), v6)
}

/// Whether the proxy of the namespace the calling thread is in has read its configuration and listens.
pub(crate) fn ready() -> bool {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN));
    http::get(admin, "/ready", Duration::from_secs(1)).is_ok_and(|answer| answer.status == 200)
}

/// Reads Envoy's text of statistics, lines of `NAME: VALUE`.
fn counts(stats: &str, v6: bool) -> anyhow::Result<Counts> {
    let one = |direction: &str, family: &str| -> anyhow::Result<u64> {
        let name = format!("tcp.{direction}_{family}.downstream_cx_total");
        let line = stats.lines().find_map(|line| line.strip_prefix(name.as_str())?.strip_prefix(": "));
        let value = line.with_context(|| format!("Envoy's statistics hold no {name}"))?;
        value.trim().parse().with_context(|| format!("Envoy's {name} is no number"))
    };
    let both = |direction: &str| -> anyhow::Result<Both> {
        Ok(Both { v4: one(direction, "v4")?, v6: if v6 { one(direction, "v6")? } else { 0 } })
    };
    Ok(Counts { inbound: both("inbound")?, outbound: both("outbound")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_and_family_has_a_listener_of_its_own() {
        let config = config(15006, 15001, true);
        let listeners = config["static_resources"]["listeners"].as_array().unwrap();
        let at = |listener: &Value| {
            let socket = &listener["address"]["socket_address"];
            (socket["address"].as_str().unwrap().to_owned(), socket["port_value"].as_u64().unwrap())
        };
        let mut ports: Vec<_> = listeners.iter().map(at).collect();
        ports.sort();
        let expected = [("0.0.0.0", 15001), ("0.0.0.0", 15006), ("::", 15001), ("::", 15006)];
        assert_eq!(ports, expected.map(|(address, port)| (address.to_owned(), port)));
    }

    #[test]
    fn the_hop_to_the_app_leaves_from_the_address_the_rules_know() {
        let config = config(15006, 15001, true);
        let clusters = config["static_resources"]["clusters"].as_array().unwrap();
        let source = |name: &str| {
            let cluster = clusters.iter().find(|cluster| cluster["name"] == name).unwrap();
            cluster["upstream_bind_config"]["source_address"]["address"].as_str().map(str::to_owned)
        };
        assert_eq!(source("inbound_v4").as_deref(), Some("127.0.0.6"));
        assert_eq!(source("inbound_v6").as_deref(), Some("::6"));
        assert_eq!(source("outbound_v4"), None);
    }

    #[test]
    fn without_ipv6_nothing_of_it_is_configured() {
        assert!(!config(15006, 15001, false).to_string().contains("::"));
    }

    fn check(stats: &str, v6: bool) -> Option<Counts> {
        counts(stats, v6).ok()
    }

    #[test]
    fn statistics_are_read_by_their_whole_name() {
        let stats = "tcp.inbound_v4.downstream_cx_total: 3\n\
                     tcp.inbound_v4.downstream_cx_total_more: 9\n\
                     tcp.outbound_v4.downstream_cx_total: 2\n";
        let expected = Counts { inbound: Both { v4: 3, v6: 0 }, outbound: Both { v4: 2, v6: 0 } };
        assert_eq!(check(stats, false), Some(expected));
        assert_eq!(check(stats, true), None, "IPv6 is missing");
        assert_eq!(check("tcp.inbound_v4.downstream_cx_total: many\n", false), None);
    }
}
