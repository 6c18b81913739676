//! The agent's configuration file, as it is shipped: every key, each with its default.

use super::places::{chain, way};
use crate::args::print::{Platform, Profile};
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    exclude_namespaces: Vec<&'static str>,
    failure_policy: &'static str,
    backend: &'static str,
    agent_timeout: &'static str,
    status_gating: bool,
    install: Install,
    audit: Audit,
    selection: Selection,
    defaults: serde_json::Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Install {
    platform: &'static str,
    way: &'static str,
    conf_dir: &'static str,
    bin_dir: &'static str,
    list: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Selection {
    proxy_container: &'static str,
    min_containers: u8,
}

#[derive(Debug, Serialize)]
struct Audit {
    policy: &'static str,
    findings: [&'static str; 2],
    period: &'static str,
    label: &'static str,
}

/// The configuration of an agent on `platform`, as a tree for the writer.
pub(crate) fn config(profile: Profile, platform: Platform) -> Value {
    let (conf_dir, bin_dir) = chain(platform).unwrap_or_default();
    let config = Config {
        exclude_namespaces: vec!["kube-system", super::words::NAMESPACE],
        failure_policy: "Closed",
        backend: "auto",
        agent_timeout: "10s",
        status_gating: false,
        install: Install { platform: platform.name(), way: way(platform), conf_dir, bin_dir, list: "" },
        audit: Audit {
            policy: policy(profile),
            findings: ["Bypass", "Drift"],
            period: "5m",
            label: "millrace.dev/unredirected=true",
        },
        selection: Selection { proxy_container: "istio-proxy", min_containers: 2 },
        defaults: serde_json::Map::new(),
    };
    serde_json::to_value(config).expect("plain data has a tree")
}

/// What the audit does with what it finds, unless told otherwise.
pub(crate) fn policy(profile: Profile) -> &'static str {
    match profile {
        Profile::Zero => "Off",
        Profile::Audit => "Repair",
    }
}
