//! A MeshCNI's specification as what others work with: settings, the mesh that decisions look at, the agent's file. PURE.
//!
//! The only place that turns it into anything. It adds no meaning: `core` reads defaults as it reads annotations, and every
//! complaint names its field.

use super::mesh::{AuditPolicy, FailurePolicy, Finding, MeshCNISpec, Way};
use super::platform::Platform;
use super::redirection::{Backend, Defaults as Fields};
use crate::print::yaml;
use millrace_core::complaint::Complaint;
use millrace_core::knobs::Defaults;
use millrace_core::policy::Mesh;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

/// Where the defaults are.
const DEFAULTS: &str = "spec.redirection.defaults";

/// The agent's configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentConfig {
    /// Its text, YAML.
    pub(crate) text: String,
    /// What [`text_digest`] makes of it.
    pub(crate) digest: String,
}

/// The settings of pods that state none, or everything that is wrong with them.
pub(crate) fn defaults(fields: &Fields) -> Result<Defaults, Vec<Complaint>> {
    let fields = tree(fields);
    let mut complaints: Vec<Complaint> = fields.iter().flat_map(|(key, value)| several(key, value)).collect();
    let texts: Vec<(&String, String)> = fields.iter().map(|(key, value)| (key, text(value))).collect();
    let read = Defaults::read(texts.iter().map(|(key, text)| (key.as_str(), text.as_str())));
    match read {
        Ok(read) if complaints.is_empty() => Ok(read),
        read => {
            let found = read.err().into_iter().flatten();
            complaints.extend(found.map(|complaint| placed(complaint, &fields)));
            Err(complaints)
        }
    }
}

/// What decisions about pods are made by; `excludeNamespaces` counts where the mode is CNI.
pub(crate) fn mesh(spec: &MeshCNISpec) -> Result<Mesh, Vec<Complaint>> {
    Ok(Mesh {
        excluded_namespaces: spec.exclude_namespaces.clone(),
        enrolled_namespaces: None,
        proxy_container: spec.selection.proxy_container.clone(),
        min_containers: usize::try_from(spec.selection.min_containers).unwrap_or(usize::MAX),
        defaults: defaults(&spec.redirection.defaults)?,
    })
}

/// The configuration of the agents. What `check` accepts, they accept.
pub(crate) fn agent_config(spec: &MeshCNISpec) -> AgentConfig {
    let texts = tree(&spec.redirection.defaults).into_iter().map(|(key, value)| (key, text(&value).into()));
    let mut install = Map::new();
    let mut say = |key: &str, value: Option<&str>| {
        drop(value.map(|value| install.insert(key.to_owned(), value.into())));
    };
    say("platform", spec.install.platform.map(Platform::name));
    say("way", spec.install.way.map(Way::name));
    say("confDir", spec.install.conf_dir.as_deref());
    say("binDir", spec.install.bin_dir.as_deref());
    say("list", spec.install.list.as_deref());
    let tree = json!({
        "excludeNamespaces": spec.exclude_namespaces,
        "failurePolicy": match spec.failure_policy {
            FailurePolicy::Closed => "Closed",
            FailurePolicy::Open => "Open",
        },
        "backend": match spec.redirection.backend {
            Backend::Auto => "auto",
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
            Backend::IptablesText => "iptables-text",
        },
        "agentTimeout": format!("{}s", spec.agent_timeout_seconds),
        "statusGating": spec.status_gating,
        "install": install,
        "audit": {
            "policy": spec.audit.policy.name(),
            "findings": spec.audit.findings.iter().map(|finding| finding.name()).collect::<Vec<_>>(),
            "period": format!("{}s", spec.audit.period_seconds),
            "label": spec.audit.label,
        },
        "selection": {
            "proxyContainer": spec.selection.proxy_container,
            "minContainers": spec.selection.min_containers,
        },
        "defaults": texts.collect::<Map<_, _>>(),
    });
    let text = yaml::write(&yaml::Node::of(&tree), "Config");
    AgentConfig { digest: text_digest(&text), text }
}

/// The first 16 hexadecimal digits of a text's SHA-256.
pub(crate) fn text_digest(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Way {
    /// Its name in the agent's configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::InPlace => "in-place",
            Way::OwnList => "own-list",
            Way::Auxiliary => "auxiliary",
        }
    }
}

impl AuditPolicy {
    /// Its name, here and in the agent's configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AuditPolicy::Off => "Off",
            AuditPolicy::Report => "Report",
            AuditPolicy::Repair => "Repair",
            AuditPolicy::Delete => "Delete",
            AuditPolicy::Label => "Label",
        }
    }
}

impl Finding {
    /// Its name, here and in the agent's configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Finding::Bypass => "Bypass",
            Finding::Drift => "Drift",
        }
    }
}

/// The fields that are said, by name: those of `core`'s table.
fn tree(fields: &Fields) -> Map<String, Value> {
    match serde_json::to_value(fields).expect("plain data has a tree") {
        Value::Object(fields) => fields,
        _ => unreachable!("a struct is a map"),
    }
}

/// A field as annotations have it: a list's items with commas between them.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Items that would be several, or none, once they are joined.
fn several(key: &str, value: &Value) -> Vec<Complaint> {
    let items = value.as_array().into_iter().flatten().map(text).enumerate();
    let odd = items.filter(|(_, item)| {
        item.is_empty() || item.contains(|sign| sign == ',' || char::is_whitespace(sign))
    });
    let told = odd.map(|(index, item)| {
        let path = format!("{DEFAULTS}.{key}[{index}]");
        Complaint::fatal(
            &path,
            &item,
            "is not one item",
            "write each item by itself, without commas and blanks",
        )
    });
    let wanted_some = matches!(key, "proxyUIDs" | "proxyGIDs") && value.as_array().is_some_and(Vec::is_empty);
    let none = wanted_some.then(|| {
        let fix = "write the proxy's, or leave the field out";
        Complaint::fatal(&format!("{DEFAULTS}.{key}"), "[]", "is empty, so the proxy would not be known", fix)
    });
    told.chain(none).collect()
}

/// A complaint of `core`'s at its field, and at its item if it is about one.
fn placed(complaint: Complaint, fields: &Map<String, Value>) -> Complaint {
    let items = fields.get(&complaint.what).and_then(Value::as_array);
    // Of two that are the same it is the second that is too many.
    let index = items.and_then(|items| items.iter().rposition(|item| text(item) == complaint.value));
    let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
    Complaint { what: format!("{DEFAULTS}.{}{index}", complaint.what), fatal: true, ..complaint }
}

#[cfg(test)]
#[path = "../../tests/crd/convert.rs"]
mod tests;
