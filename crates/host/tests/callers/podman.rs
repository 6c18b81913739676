//! podman with its CNI backend: a runtime that is not Kubernetes', whose containers pass through untouched.

use super::chain::{self, added, calls};
use super::parts;
use super::rules::assert_untouched;
use millrace_rig::node::{Node, run};

#[test]
fn podman_containers_pass_through() {
    let mut parts = parts::of("podman_containers_pass_through");
    let podman = parts.program("podman", "--version");
    parts.need(!parts.said("version 5"), "podman 4: version 5 has no CNI backend");
    let plugins = parts.plugins();
    parts.pause();
    if !parts.complete() {
        return;
    }
    let node = Node::start();
    chain::lay(&node, "1.0.0", &plugins);
    node.write("/etc/containers/containers.conf", CONFIG);
    node.write("/etc/containers/policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);

    let podman = |arguments: &[&str]| run(node.command(&podman).args(arguments)).trim().to_owned();
    podman(&["load", "-q", "-i", &parts::kept().join("pause.tar").to_string_lossy()]);
    let group = node.control_group();
    let run = ["run", "-d", "--cgroup-parent", &group, "--network", chain::NETWORK, "--name", "web"];
    let id = podman(&[&run[..], &["localhost/pause:1"]].concat());
    assert_eq!(podman(&["inspect", "--format", "{{.State.Running}}", "web"]), "true");
    assert_untouched(&node, &added(&node, &id));
    podman(&["rm", "-f", "-t", "1", "web"]);

    let verbs: Vec<_> =
        calls(&node, Some(&id)).into_iter().map(|call| format!("{} {}", call.verb, call.place)).collect();
    assert_eq!(verbs, ["ADD before", "ADD behind", "DEL behind", "DEL before"]);
    assert_eq!(chain::records(&node, &id), [""; 0]);
}

// The limits of open files and processes that podman asks for by default may be above what this machine lets root set.
const CONFIG: &str = r#"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;
