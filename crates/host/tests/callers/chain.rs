//! The node's plugin list with our plugin in it, and what was seen of its calls.
//!
//! bridge and host-local in front, as on a real node, and a witness on each side of `millrace-cni`: what the one before
//! was given and what the one behind was given must be the same (M7).

use super::parts;
use millrace_core::cni::Entry;
use millrace_core::cni::entry::ANNOTATIONS;
use millrace_rig::node::{Node, outcome, source, text};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The name of the node's network.
pub(crate) const NETWORK: &str = "mill";
/// How long an ADD waits for the agent that no node of these tests has.
const AGENT_TIMEOUT: Duration = Duration::from_millis(700);
/// The only namespace that the list says may hold pods of the mesh.
pub(crate) const ENROLLED: &str = "bookinfo";
/// Where runtimes look for plugins.
pub(crate) const BIN: &str = "/opt/cni/bin";
/// Where runtimes look for lists.
pub(crate) const LISTS: &str = "/etc/cni/net.d";

const LOG: &str = "/run/witness.log";

/// Puts the plugins and a list of that version onto the node; `reference` is where bridge and host-local are.
pub(crate) fn lay(node: &Node, version: &str, reference: &Path) {
    fs::create_dir_all(node.file(BIN)).expect("the node's folders are writable");
    for name in ["bridge", "host-local", "loopback"] {
        symlink(reference.join(name), node.file(&format!("{BIN}/{name}")))
            .expect("the node's folder is empty");
    }
    for (path, name) in [(source("witness"), "witness"), (parts::plugin(), "millrace-cni")] {
        let target = node.file(&format!("{BIN}/{name}"));
        fs::copy(&path, &target).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    }
    let witness = |place: &str| json!({"type": "witness", "capabilities": {ANNOTATIONS: true}, "log": LOG, "place": place});
    let list = json!({
        "cniVersion": version,
        "name": NETWORK,
        "plugins": [bridge(), witness("before"), entry(), witness("behind")],
    });
    node.write(&format!("{LISTS}/10-mill.conflist"), list.to_string());
}

/// The main plugin's configuration: an address of each family.
fn bridge() -> Value {
    json!({
        "type": "bridge",
        "bridge": "mill0",
        "isGateway": true,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.88.0.0/22"}], [{"subnet": "fd88::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    })
}

/// Our entry, as the installer writes it.
fn entry() -> Map<String, Value> {
    let enrolled = Some(vec![ENROLLED.to_owned()]);
    Entry { agent_timeout: AGENT_TIMEOUT, enrolled_namespaces: enrolled, ..Entry::default() }.write()
}

/// One call of a witness, and so of the plugin beside it.
pub(crate) struct Call {
    /// The value of `CNI_COMMAND`.
    pub(crate) verb: String,
    /// Which witness saw it: `before` our plugin or `behind` it, in the order of the list.
    pub(crate) place: String,
    /// The CNI variables.
    pub(crate) env: Map<String, Value>,
    /// The standard input.
    pub(crate) config: Value,
}

impl Call {
    /// A variable's value; empty when it was not set.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.env.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// All calls so far, those of one sandbox if its id is given.
pub(crate) fn calls(node: &Node, container: Option<&str>) -> Vec<Call> {
    let log = fs::read_to_string(node.file(LOG)).unwrap_or_default();
    let read = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("a witness writes JSON");
        Call {
            verb: line["verb"].as_str().unwrap_or_default().to_owned(),
            place: line["config"]["place"].as_str().unwrap_or_default().to_owned(),
            env: line["env"].as_object().cloned().unwrap_or_default(),
            config: line["config"].take(),
        }
    };
    let of = |call: &Call| container.is_none_or(|id| call.variable("CNI_CONTAINERID") == id);
    log.lines().map(read).filter(of).collect()
}

/// The network namespace an ADD of this sandbox was for. Our plugin must have handed on the result it was given.
pub(crate) fn added(node: &Node, container: &str) -> String {
    let adds: Vec<_> = calls(node, Some(container)).into_iter().filter(|call| call.verb == "ADD").collect();
    let [before, behind] = adds.as_slice() else {
        panic!("{} ADDs were seen of {container}, not one on each side", adds.len())
    };
    assert_eq!(before.config["prevResult"], behind.config["prevResult"], "the result was changed");
    assert!(
        before.config["prevResult"]["ips"][1].is_object(),
        "there is an address of each family: {}",
        before.config
    );
    before.variable("CNI_NETNS").to_owned()
}

/// Calls one plugin of the node as libcni does, without a runtime around it.
pub(crate) fn exec(
    node: &Node,
    plugin: &str,
    env: &[(&str, &str)],
    config: &Value,
) -> Result<String, String> {
    let mut command = node.command(format!("{BIN}/{plugin}"));
    command.env("CNI_PATH", BIN).envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("util-linux has nsenter");
    let mut input = child.stdin.take().expect("its input is a pipe");
    input.write_all(config.to_string().as_bytes()).expect("the plugin reads its input");
    drop(input);
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = text(&output.stdout);
    if output.status.success() { Ok(said) } else { Err(said + &text(&output.stderr)) }
}

/// ADD by bridge and by our plugin, as a runtime would that knows no lists; the result of both, as text.
pub(crate) fn add(node: &Node, env: &[(&str, &str)], annotations: &Map<String, Value>) -> (String, String) {
    let mut env = env.to_vec();
    env.extend([("CNI_COMMAND", "ADD"), ("CNI_IFNAME", "eth0")]);
    let mut config = bridge();
    config["cniVersion"] = "1.0.0".into();
    config["name"] = NETWORK.into();
    let first = exec(node, "bridge", &env, &config).expect("bridge adds an interface");

    let mut config = Value::Object(entry());
    config["cniVersion"] = "1.0.0".into();
    config["name"] = NETWORK.into();
    config["runtimeConfig"] = json!({ANNOTATIONS: annotations});
    config["prevResult"] = serde_json::from_str(&first).expect("bridge answers in JSON");
    let second = exec(node, "millrace-cni", &env, &config).expect("our plugin redirects the pod");
    (first, second)
}

/// The result was passed on as it came: the same keys in the same order, the same values.
pub(crate) fn assert_same_result(given: &str, passed: &str) {
    let read = |text: &str| serde_json::from_str::<Value>(text).map(|value| value.to_string());
    assert_eq!(read(given).expect("a result is JSON"), read(passed).expect("a result is JSON"));
}

/// Everything below our plugin's state folder that speaks of a container: its attachment records.
pub(crate) fn records(node: &Node, container: &str) -> Vec<String> {
    let output = outcome(node.command("grep").args(["-rlF", container, &Entry::default().state_dir]));
    let named = outcome(node.command("find").args([
        Entry::default().state_dir.as_str(),
        "-name",
        &format!("*{container}*"),
    ]));
    let mut found: Vec<_> =
        text(&output.stdout).lines().chain(text(&named.stdout).lines()).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}
