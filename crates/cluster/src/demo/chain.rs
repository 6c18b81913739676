//! The node's CNI chain, called as a container runtime calls it.
//!
//! Each plugin is a program found on `CNI_PATH`, executed inside the node's namespace with the environment and the
//! standard input of the specification (§4 and §5 of 1.0.0), as containerd does: loopback first, in a list of its own;
//! then whatever the node's list says, of which each that asks for the pod's annotations is given them. DEL goes backwards, by the
//! list as it was at ADD, and on after a failure.

use crate::demo::process::{self, Ended};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_core::cni::entry::{ANNOTATIONS, TYPE};
use millrace_host::netns::NetNs;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A runtime waits minutes for a plugin; here something is wrong much sooner.
const PATIENCE: Duration = Duration::from_secs(30);

/// A list of plugins and where to find them.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// Directories, in the order they are searched.
    pub(crate) path: Vec<PathBuf>,
    /// Where attachments are remembered, as libcni does it.
    pub(crate) results: PathBuf,
    /// The name of the list's file.
    pub(crate) file: String,
    /// The network configuration list.
    pub(crate) list: Value,
}

/// One pod's attachment to the network, as its runtime knows it.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    /// 64 hexadecimal digits.
    pub(crate) container: String,
    /// The path of its namespace.
    pub(crate) netns: PathBuf,
    /// The pod's namespace.
    pub(crate) namespace: String,
    /// The pod's name.
    pub(crate) name: String,
    /// The pod's UID.
    pub(crate) uid: String,
    /// The pod's annotations.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What ADD gave.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    /// The last plugin's result.
    pub(crate) result: Value,
    /// How long each plugin took, from its start to its end.
    pub(crate) took: Vec<(String, Duration)>,
}

impl Added {
    /// The pod's addresses.
    pub(crate) fn addresses(&self) -> anyhow::Result<Vec<IpAddr>> {
        let ips = self.result.get("ips").and_then(Value::as_array).context("a CNI result without ips")?;
        let one = |ip: &Value| {
            let address = ip.get("address").and_then(Value::as_str).context("an address that is no text")?;
            let address = address.split('/').next().unwrap_or(address);
            address.parse().with_context(|| format!("{address} in a CNI result is no address"))
        };
        ips.iter().map(one).collect()
    }
}

/// The ranges of the pods' addresses, private and in a namespace of their own.
pub(crate) const RANGES: [&str; 2] = ["10.88.7.0/24", "fd6d:696c:6c72::/64"];
/// The node's own addresses on the bridge, the first of each range, as `bridge` takes them.
pub(crate) const GATEWAYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 88, 7, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd6d, 0x696c, 0x6c72, 0, 0, 0, 0, 1)),
];

/// The list of a node with a bridge, both families if `v6`, before anybody joined it. host-local keeps its leases at `leases`.
pub(crate) fn list(leases: &Path, v6: bool) -> Value {
    let mut ranges = vec![json!([{ "subnet": RANGES[0] }])];
    let mut routes = vec![json!({ "dst": "0.0.0.0/0" })];
    if v6 {
        ranges.push(json!([{ "subnet": RANGES[1] }]));
        routes.push(json!({ "dst": "::/0" }));
    }
    let ipam = json!({ "type": "host-local", "dataDir": leases, "ranges": ranges, "routes": routes });
    json!({
        "cniVersion": "1.0.0",
        "name": "millrace-demo",
        "plugins": [{ "type": "bridge", "bridge": "millrace0", "isGateway": true, "ipam": ipam }],
    })
}

/// The list by which a runtime gives each pod its loopback.
fn loopback() -> Value {
    json!({ "cniVersion": "1.0.0", "name": "cni-loopback", "plugins": [{ "type": "loopback" }] })
}

impl Chain {
    /// Attaches a sandbox: every plugin in turn, each given the result of the one before it.
    pub(crate) fn add(&self, node: &NetNs, sandbox: &Sandbox) -> anyhow::Result<Added> {
        let mut took = Vec::new();
        self.each(node, sandbox, "lo", &loopback(), &mut took)?;
        let result = self.each(node, sandbox, "eth0", &self.list, &mut took)?;
        let cached = json!({
            "kind": "cniCacheV1", "containerId": sandbox.container, "ifName": "eth0", "networkName": self.list["name"],
            "config": STANDARD.encode(self.list.to_string()), "result": result,
        });
        let file = self.remembered(sandbox);
        fs::write(&file, cached.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Added { result, took })
    }

    /// Whether Millrace is in it.
    pub(crate) fn redirects(&self) -> bool {
        self.kinds().contains(&TYPE)
    }

    /// The types of its plugins.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        let plugins = self.list["plugins"].as_array().into_iter().flatten();
        plugins.filter_map(|plugin| plugin["type"].as_str()).collect()
    }

    /// Where libcni remembers an attachment.
    fn remembered(&self, sandbox: &Sandbox) -> PathBuf {
        let network = self.list["name"].as_str().unwrap_or_default();
        self.results.join(format!("{network}-{}-eth0", sandbox.container))
    }

    fn each(
        &self,
        node: &NetNs,
        sandbox: &Sandbox,
        interface: &str,
        list: &Value,
        took: &mut Vec<(String, Duration)>,
    ) -> anyhow::Result<Value> {
        let mut result = Value::Null;
        for plugin in plugins(list)? {
            let (kind, ended) =
                self.call(node, "ADD", sandbox, interface, &input(list, plugin, sandbox, &result))?;
            if !ended.status.success() {
                bail!("the CNI plugin {kind} refuses ADD for pod {}: {}", sandbox.name, refusal(&ended));
            }
            result = serde_json::from_str(&ended.stdout)
                .with_context(|| format!("the CNI plugin {kind} gave no result: {}", ended.said()))?;
            took.push((kind, ended.took));
        }
        Ok(result)
    }

    /// Detaches a sandbox: every plugin in reverse, whatever the others say. Gives every complaint.
    pub(crate) fn delete(&self, node: &NetNs, sandbox: &Sandbox, result: &Value) -> Vec<String> {
        let mut complaints = Vec::new();
        for (interface, list, result) in [("eth0", &self.list, result), ("lo", &loopback(), &Value::Null)] {
            for plugin in plugins(list).into_iter().flatten().rev() {
                match self.call(node, "DEL", sandbox, interface, &input(list, plugin, sandbox, result)) {
                    Ok((_, ended)) if ended.status.success() => {}
                    Ok((kind, ended)) => complaints.push(format!("{kind}: {}", refusal(&ended))),
                    Err(cause) => complaints.push(format!("{cause:#}")),
                }
            }
        }
        match fs::remove_file(self.remembered(sandbox)) {
            // Its ADD failed.
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            other => complaints.extend(other.err().map(|cause| format!("forgetting an attachment: {cause}"))),
        }
        complaints
    }

    fn call(
        &self,
        node: &NetNs,
        verb: &str,
        sandbox: &Sandbox,
        interface: &str,
        input: &Value,
    ) -> anyhow::Result<(String, Ended)> {
        let kind = input.get("type").and_then(Value::as_str).context("a plugin without a type")?;
        let mut programs = self.path.iter().map(|directory| directory.join(kind));
        let program = programs
            .find(|program| program.is_file())
            .with_context(|| format!("no CNI plugin {kind} on CNI_PATH {}", self.search_path()))?;
        let mut command = Command::new(program);
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", &sandbox.container);
        command.env("CNI_NETNS", &sandbox.netns).env("CNI_IFNAME", interface);
        command.env("CNI_PATH", self.search_path()).env("CNI_ARGS", arguments(sandbox));
        let ended = node.within(|| process::run(&mut command, Some(&input.to_string()), PATIENCE))??;
        Ok((kind.to_owned(), ended))
    }

    fn search_path(&self) -> String {
        let directories: Vec<_> = self.path.iter().map(|directory| directory.display().to_string()).collect();
        directories.join(":")
    }
}

fn plugins(list: &Value) -> anyhow::Result<&Vec<Value>> {
    list.get("plugins").and_then(Value::as_array).context("a configuration list without plugins")
}

/// What a plugin is given on its standard input: its own entry, the list's name and version, what it declared it can
/// use of what the runtime knows, and the result so far.
fn input(list: &Value, plugin: &Value, sandbox: &Sandbox, previous: &Value) -> Value {
    let mut input = plugin.clone();
    for key in ["cniVersion", "name"] {
        input[key] = list[key].clone();
    }
    if plugin.pointer("/capabilities").and_then(|all| all.get(ANNOTATIONS)) == Some(&Value::Bool(true)) {
        input["runtimeConfig"] = json!({ ANNOTATIONS: sandbox.annotations });
    }
    if !previous.is_null() {
        input["prevResult"] = previous.clone();
    }
    input
}

fn arguments(sandbox: &Sandbox) -> String {
    format!(
        "K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={};IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={}",
        sandbox.container, sandbox.uid, sandbox.namespace, sandbox.name
    )
}

/// The words of a plugin's error object, or whatever else it said.
fn refusal(ended: &Ended) -> String {
    let object: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    let Some(message) = object.get("msg").and_then(Value::as_str) else { return ended.said() };
    let details = object.get("details").and_then(Value::as_str).filter(|details| !details.is_empty());
    let details = details.map(|details| format!("; {details}")).unwrap_or_default();
    format!("{message}{details} (code {})", object.get("code").unwrap_or(&Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::cni::Entry;

    fn sandbox() -> Sandbox {
        Sandbox {
            container: "ab".repeat(32),
            netns: PathBuf::from("/var/run/netns/millrace-demo-x"),
            namespace: "default".to_owned(),
            name: "x".to_owned(),
            uid: "u".to_owned(),
            annotations: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
        }
    }

    /// The node's list, as an agent leaves it.
    fn node_list(v6: bool) -> Value {
        let ours = Entry { exclude_namespaces: vec!["legacy".to_owned()], ..Entry::default() };
        let mut list = list(Path::new("/run/x"), v6);
        list["plugins"].as_array_mut().unwrap().push(ours.write().into());
        list
    }

    #[test]
    fn only_who_asks_for_annotations_gets_them() {
        let list = node_list(true);
        let inputs: Vec<Value> = plugins(&list)
            .unwrap()
            .iter()
            .map(|plugin| input(&list, plugin, &sandbox(), &Value::Null))
            .collect();
        assert_eq!(inputs[0].get("runtimeConfig"), None);
        assert_eq!(inputs[1]["runtimeConfig"][ANNOTATIONS], json!({ "a": "1" }));
        assert_eq!(inputs[1]["excludeNamespaces"], json!(["legacy"]));
        assert!(
            inputs.iter().all(|input| input["name"] == "millrace-demo" && input["cniVersion"] == "1.0.0")
        );
        assert!(inputs.iter().all(|input| input.get("prevResult").is_none()));
    }

    #[test]
    fn the_result_so_far_is_handed_on() {
        let list = node_list(false);
        let previous = json!({ "ips": [{ "address": "10.88.7.2/24" }] });
        let input = input(&list, &plugins(&list).unwrap()[1], &sandbox(), &previous);
        assert_eq!(input["prevResult"], previous);
        assert!(!list.to_string().contains("::/"), "without IPv6 nothing of it is configured");
    }

    fn check(result: Value, addresses: Option<&[&str]>) {
        let expected =
            addresses.map(|all| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<IpAddr>>());
        assert_eq!(Added { result, took: vec![] }.addresses().ok(), expected);
    }

    #[test]
    fn addresses_are_those_of_the_result() {
        check(
            json!({ "ips": [{ "address": "10.0.0.2/24" }, { "address": "fd00::2/64" }] }),
            Some(&["10.0.0.2", "fd00::2"]),
        );
        check(json!({ "ips": [{ "address": "nonsense" }] }), None);
        check(json!({}), None);
    }
}
