//! The agent's configuration file: as it is shipped, every key with its default; and as a MeshCNI makes it.

use super::places::{chain, way};
use crate::api::check::{check, doubts};
use crate::api::convert::{AgentConfig, agent_config};
use crate::api::mesh::MeshCNI;
use crate::args::print::{Platform, Profile};
use crate::cli::Outcome;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The longest file that is read (M10): more than an API server stores.
const LARGEST: u64 = 4 << 20;

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

/// Prints the configuration that the MeshCNI of a file makes, or tells on standard error what is wrong with it.
pub(super) fn of_file(file: &Path, out: &mut dyn Write) -> Result<Outcome> {
    let source: Box<dyn Read> =
        if file == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(open(file)?) };
    let mut text = String::new();
    let read = source.take(LARGEST + 1).read_to_string(&mut text);
    let read = read.with_context(|| format!("read {}", file.display()))? as u64;
    ensure!(read <= LARGEST, "{} has more than {LARGEST} bytes", file.display());
    let mesh: MeshCNI =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is no MeshCNI", file.display()))?;
    let complaints = check(mesh.metadata.name.as_deref().unwrap_or_default(), &mesh.spec);
    for complaint in complaints.iter().chain(&doubts(&mesh.spec)) {
        writeln!(io::stderr(), "{complaint}")?;
    }
    if complaints.is_empty() {
        let AgentConfig { text, digest } = agent_config(&mesh.spec);
        write!(out, "# sha256:{digest}\n{text}")?;
    }
    Ok(Outcome::when(complaints.is_empty()))
}

fn open(file: &Path) -> Result<File> {
    File::open(file).with_context(|| format!("open {}", file.display()))
}

/// What the audit does with what it finds, unless told otherwise.
pub(crate) fn policy(profile: Profile) -> &'static str {
    match profile {
        Profile::Zero => "Off",
        Profile::Audit => "Repair",
    }
}
