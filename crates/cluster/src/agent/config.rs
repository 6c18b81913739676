//! The agent's configuration file: read whole, or refused whole with every complaint; a bad one never replaces a good one.
//!
//! | key | value | default |
//! |---|---|---|
//! | `excludeNamespaces` | namespaces whose pods redirect themselves by `istio-init` | none |
//! | `failurePolicy` | `Closed`: a mesh pod whose decision cannot be had does not start; `Open`: it starts unprotected | `Closed` |
//! | `backend` | `auto`, `iptables`, `nftables`, `iptables-text` | `auto` |
//! | `agentTimeout` | how long an ADD goes on trying to reach the agent: `10s`, `500ms` | `10s` |
//! | `statusGating` | whether STATUS fails while the agent is away | `false` |
//! | `install.platform` | `kubeadm`, `gke`, `eks`, …: where directories are if the runtime's configuration does not say | found out |
//! | `install.way` | `in-place`, `own-list`, `auxiliary` | by who owns the list |
//! | `install.confDir`, `install.binDir` | the runtime's directories | found out |
//! | `install.list` | the name of the list to join | the one the runtime uses |
//! | `selection.proxyContainer` | the name of the container that is the sidecar | `istio-proxy` |
//! | `selection.minContainers` | the fewest containers a pod of the mesh has, ordinary init containers not counted: 1 or 2 | 2 |
//! | `defaults` | settings of pods that state none: text by key, as docs/settings.md has them | none |
//! | `audit.policy` | `Off`, `Report`, `Repair`, `Delete`, `Label` | `Off` |
//! | `audit.findings` | which findings are acted upon: `Bypass`, `Drift` | both |
//! | `audit.period` | the time between two looks at all pods: `5m`, `90s`; 30 s to 24 h | `5m` |
//! | `audit.label` | `key=value` that `Label` puts on a pod | `millrace.dev/unredirected=true` |
//!
//! It touches no other file.

use super::install::Way;
use crate::api::names::{is_dns_label, label};
use anyhow::Context;
use millrace_core::cni::Entry;
use millrace_core::knobs::Defaults;
use millrace_core::policy::Mesh;
use millrace_core::repair::{Act, Finding};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an operator says to the agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// What the plugin is told, by our entry in the list.
    pub(crate) entry: Entry,
    /// Where and how to install.
    pub(crate) install: Install,
    /// What to do about pods that are not redirected as they should be.
    pub(crate) audit: Audit,
    /// How a pod of the mesh is known.
    pub(crate) selection: Selection,
    /// The settings of pods that state none.
    pub(crate) defaults: Defaults,
}

/// How a pod of the mesh is known; what is absent is as `core` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) proxy_container: Option<String>,
    pub(crate) min_containers: Option<usize>,
}

/// Where and how to install; what is absent is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Install {
    pub(crate) platform: Option<String>,
    pub(crate) way: Option<Way>,
    pub(crate) conf_dir: Option<PathBuf>,
    pub(crate) bin_dir: Option<PathBuf>,
    pub(crate) list: Option<String>,
}

/// The audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) act: Act,
    pub(crate) findings: Vec<Finding>,
    pub(crate) period: Duration,
    pub(crate) label: (String, String),
}

/// Everything that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error(Vec<String>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Error {}

/// The longest file that is read (M10): the longest list of namespaces fits.
pub(crate) const LARGEST: u64 = 1 << 20;
/// A sweep looks into every pod's network namespace; more often would be felt.
const SHORTEST_PERIOD: Duration = Duration::from_secs(30);
/// As values of the file are written, like every other of its words.
const FINDINGS: [(&str, Finding); 2] = [("Bypass", Finding::Bypass), ("Drift", Finding::Drift)];
const LONGEST_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// Reads the file at `path`.
    pub(crate) fn from_file(path: &Path) -> anyhow::Result<Config> {
        let read = || {
            let mut text = String::new();
            let read = File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
            anyhow::ensure!(read as u64 <= LARGEST, "it has more than {LARGEST} bytes");
            Ok(text)
        };
        let text = read().with_context(|| format!("cannot read the configuration {}", path.display()))?;
        Config::read(&text).with_context(|| format!("cannot use the configuration {}", path.display()))
    }

    /// Reads a file's text: YAML, and so JSON too. An empty one says that all is as by default.
    pub(crate) fn read(text: &str) -> Result<Config, Error> {
        if text.trim().is_empty() {
            return Ok(Config::default());
        }
        let file: Text = serde_saphyr::from_str(text)
            .map_err(|error| Error(vec![format!("it cannot be read: {}", error.to_string().trim())]))?;
        let mut complaints = Vec::new();
        let (entry, unusable) = Entry::of(&file.entry());
        // The plugin would take the default and go on; whoever writes the file is here to hear of it.
        let said = unusable.iter().map(|complaint| complaint.split(" in the ").next().unwrap_or_default());
        complaints.extend(said.zip(&unusable).map(|(key, complaint)| {
            let wanted = complaint.split(" is not ").nth(1).and_then(|rest| rest.split(';').next());
            format!("{key} is not {}", wanted.unwrap_or("what it should be"))
        }));
        let install = file.install.unwrap_or_default().check(&mut complaints);
        let audit = file.audit.unwrap_or_default().check(&mut complaints);
        let selection = file.selection.unwrap_or_default().check(&mut complaints);
        let defaults = defaults(file.defaults.unwrap_or_default(), &mut complaints);
        match complaints.is_empty() {
            true => Ok(Config { entry, install, audit, selection, defaults }),
            false => Err(Error(complaints)),
        }
    }

    /// What decisions about pods are made by.
    pub(crate) fn mesh(&self) -> Mesh {
        let Mesh { proxy_container, min_containers, .. } = Mesh::default();
        Mesh {
            excluded_namespaces: self.entry.exclude_namespaces.clone(),
            enrolled_namespaces: None,
            proxy_container: self.selection.proxy_container.clone().unwrap_or(proxy_container),
            min_containers: self.selection.min_containers.unwrap_or(min_containers),
            defaults: self.defaults.clone(),
        }
    }
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            act: Act::Off,
            findings: Finding::ALL.to_vec(),
            period: Duration::from_secs(300),
            label: ("millrace.dev/unredirected".to_owned(), "true".to_owned()),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text {
    exclude_namespaces: Option<Value>,
    failure_policy: Option<Value>,
    backend: Option<Value>,
    agent_timeout: Option<Value>,
    status_gating: Option<Value>,
    install: Option<InstallText>,
    audit: Option<AuditText>,
    selection: Option<SelectionText>,
    defaults: Option<BTreeMap<String, String>>,
}

impl Text {
    /// The plugin's own keys, as its entry has them.
    fn entry(&self) -> Map<String, Value> {
        let keys = [
            ("excludeNamespaces", &self.exclude_namespaces),
            ("failurePolicy", &self.failure_policy),
            ("backend", &self.backend),
            ("agentTimeout", &self.agent_timeout),
            ("statusGating", &self.status_gating),
        ];
        keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InstallText {
    platform: Option<String>,
    way: Option<String>,
    conf_dir: Option<String>,
    bin_dir: Option<String>,
    list: Option<String>,
}

impl InstallText {
    fn check(self, complaints: &mut Vec<String>) -> Install {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let mut folder = |key: &str, text: Option<String>| {
            let path = said(text).map(PathBuf::from);
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                complaints.push(format!(
                    "install.{key} is {:?}; write an absolute path",
                    path.display().to_string()
                ));
            }
            path
        };
        let (conf_dir, bin_dir) = (folder("confDir", self.conf_dir), folder("binDir", self.bin_dir));
        let way = said(self.way).and_then(|name| {
            let way = Way::from_name(&name);
            if way.is_none() {
                let names = Way::ALL.map(Way::name).join(", ");
                complaints.push(format!("install.way is {name:?}; write one of {names}"));
            }
            way
        });
        let list = said(self.list);
        if let Some(name) = list.as_ref().filter(|name| name.contains('/')) {
            complaints.push(format!("install.list is {name:?}; write a file's name without its directory"));
        }
        Install { platform: said(self.platform), way, conf_dir, bin_dir, list }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SelectionText {
    proxy_container: Option<String>,
    min_containers: Option<usize>,
}

impl SelectionText {
    fn check(self, complaints: &mut Vec<String>) -> Selection {
        if let Some(name) = self.proxy_container.as_ref().filter(|name| !is_dns_label(name)) {
            complaints.push(format!("selection.proxyContainer is {name:?}; write a container's name"));
        }
        if let Some(count) = self.min_containers.filter(|count| !(1..=2).contains(count)) {
            complaints.push(format!("selection.minContainers is {count}; write 1 or 2"));
        }
        Selection { proxy_container: self.proxy_container, min_containers: self.min_containers }
    }
}

fn defaults(texts: BTreeMap<String, String>, complaints: &mut Vec<String>) -> Defaults {
    let items = texts.iter().map(|(key, text)| (key.as_str(), text.as_str()));
    Defaults::read(items).unwrap_or_else(|found| {
        complaints.extend(found.iter().map(|complaint| format!("defaults.{complaint}")));
        Defaults::default()
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuditText {
    policy: Option<String>,
    findings: Option<Vec<String>>,
    period: Option<String>,
    label: Option<String>,
}

impl AuditText {
    fn check(self, complaints: &mut Vec<String>) -> Audit {
        let mut audit = Audit::default();
        if let Some(name) = self.policy {
            match Act::from_name(&name) {
                Some(act) => audit.act = act,
                None => complaints
                    .push(format!("audit.policy is {name:?}; write Off, Report, Repair, Delete or Label")),
            }
        }
        if let Some(names) = self.findings {
            audit.findings.clear();
            for name in names {
                match FINDINGS.into_iter().find(|(known, _)| *known == name) {
                    Some((_, finding)) => audit.findings.push(finding),
                    None => complaints.push(format!("audit.findings has {name:?}; write Bypass or Drift")),
                }
            }
        }
        if let Some(text) = self.period {
            match period(&text) {
                Some(period) => audit.period = period,
                None => complaints
                    .push(format!("audit.period is {text:?}; write 30s to 24h, as in 90s, 5m or 1h")),
            }
        }
        if let Some(text) = self.label {
            match label(&text) {
                Some((key, value)) => audit.label = (key.to_owned(), value.to_owned()),
                None => complaints
                    .push(format!("audit.label is {text:?}; write key=value as a pod's labels allow")),
            }
        }
        audit
    }
}

fn period(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| number.parse().ok())??;
    let period = Duration::from_secs(number.checked_mul(seconds)?);
    (SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period).then_some(period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::cni::entry::FailurePolicy;

    #[track_caller]
    fn check(text: &str, complaint: &str) {
        let error = Config::read(text).expect_err(text).to_string();
        assert!(error.contains(complaint), "{text}: {error}");
    }

    #[test]
    fn nothing_said_is_the_default() {
        for text in ["", "\n", "{}", "install: {list: \"\", confDir: \"\"}", "audit: {}"] {
            assert_eq!(Config::read(text), Ok(Config::default()), "{text:?}");
        }
    }

    /// What is shipped says every key with its default.
    #[test]
    fn what_is_shipped_is_understood() {
        #[derive(Deserialize)]
        struct Shipped {
            kind: String,
            data: Option<BTreeMap<String, String>>,
        }
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/base");
        let files = std::fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path());
        let texts = files.filter_map(|path| std::fs::read_to_string(path).ok());
        let shipped: Vec<Shipped> =
            texts.flat_map(|text| serde_saphyr::from_multiple(&text).unwrap_or_default()).collect();
        let maps = shipped.into_iter().filter(|object| object.kind == "ConfigMap");
        let texts: Vec<String> = maps.filter_map(|map| map.data?.remove("agent.yaml")).collect();
        assert_eq!(texts.len(), 1, "deploy/base has one ConfigMap with agent.yaml");
        let config = Config::read(&texts[0]).unwrap();
        assert_eq!(config.audit, Audit::default());
        assert!(config.entry.exclude_namespaces.contains(&"kube-system".to_owned()));
    }

    #[test]
    fn everything_can_be_said() {
        let config = Config::read(
            "excludeNamespaces: [kube-system, legacy]\nfailurePolicy: Open\nbackend: nftables\nagentTimeout: 500ms\n\
             statusGating: true\ninstall: {platform: eks, way: own-list, confDir: /c, binDir: /b, list: 10-aws.conflist}\n\
             audit: {policy: Delete, findings: [Bypass], period: 1h, label: example.org/broken=yes}\n\
             selection: {proxyContainer: envoy, minContainers: 1}\ndefaults: {outboundPort: '15101'}\n",
        )
        .unwrap();
        assert_eq!(config.entry.exclude_namespaces, ["kube-system", "legacy"]);
        assert_eq!(config.entry.failure_policy, FailurePolicy::Open);
        assert_eq!(config.entry.agent_timeout, Duration::from_millis(500));
        assert!(config.entry.status_gating);
        assert_eq!(config.install.way, Some(Way::Own));
        assert_eq!(config.install.conf_dir, Some(PathBuf::from("/c")));
        assert_eq!(config.install.list.as_deref(), Some("10-aws.conflist"));
        assert_eq!((config.audit.act, &config.audit.findings[..]), (Act::Delete, &[Finding::Bypass][..]));
        assert_eq!(config.audit.period, Duration::from_secs(3600));
        assert_eq!(config.audit.label, ("example.org/broken".to_owned(), "yes".to_owned()));
        let mesh = config.mesh();
        assert_eq!((mesh.proxy_container.as_str(), mesh.min_containers), ("envoy", 1));
        assert_eq!(mesh.defaults.text("outboundPort"), Some("15101"));
        assert_eq!(Config::default().mesh(), Mesh::default());
    }

    #[test]
    fn every_complaint_names_its_key_and_what_to_write() {
        check("failurePolicy: open", "failurePolicy is not Closed or Open");
        check("agentTimeout: 3h", "agentTimeout is not 10s or 500ms");
        check("excludeNamespaces: kube-system", "excludeNamespaces is not a list of at most 4096 namespaces");
        check("excludeNamespace: [a]", "excludeNamespace");
        check("install: {way: best}", "install.way is \"best\"; write one of in-place, own-list, auxiliary");
        check("install: {confDir: etc/cni}", "install.confDir is \"etc/cni\"; write an absolute path");
        check("install: {list: a/b}", "install.list is \"a/b\"; write a file's name");
        check(
            "audit: {policy: repair}",
            "audit.policy is \"repair\"; write Off, Report, Repair, Delete or Label",
        );
        check("audit: {findings: [Bypass, All]}", "audit.findings has \"All\"");
        for period in ["29s", "25h", "5", "m", "-5m", "99999999999999999999h", "5 m"] {
            check(&format!("audit: {{period: '{period}'}}"), "audit.period is");
        }
        for label in ["key", "=value", "a/b/c=d", "-a=b", "a=b/c", "a..b/c=d"] {
            check(&format!("audit: {{label: '{label}'}}"), "audit.label is");
        }
        check(
            "selection: {proxyContainer: Envoy}",
            "selection.proxyContainer is \"Envoy\"; write a container's name",
        );
        check("selection: {minContainers: 0}", "selection.minContainers is 0; write 1 or 2");
        check(
            "defaults: {outboundPort: '0'}",
            "defaults.outboundPort: \"0\": is not a port; write one number",
        );
        check("defaults: {ports: '0'}", "defaults.ports: \"0\": is not a setting");
        check("failurePolicy: [\nbackend: x", "it cannot be read");
        check("failurePolicy: open\naudit: {policy: repair}", "; audit.policy is");
    }
}
