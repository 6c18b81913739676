//! The vendor page's Docker branch: a container's pid, and the rules of its namespace.
//!
//! Docker calls no CNI plugin; dockershim did, and cri-dockerd does, with the namespace of the sandbox's pid.

use super::chain;
use super::parts;
use super::rules::{assert_page_agrees, assert_redirected, stamped};
use millrace_rig::containerd::Containerd;
use millrace_rig::node::{Node, run};
use millrace_rig::parts::Parts;
use millrace_rig::wait::until;
use std::path::PathBuf;
use std::time::Duration;

/// As Debian runs it: beside the machine's containerd, which it uses.
#[test]
fn docker_on_the_machines_containerd() {
    let mut parts = parts::of("docker_on_the_machines_containerd");
    let containerd = parts.program("containerd", "--version");
    let docker = Docker::among(&mut parts);
    if parts.complete() {
        let node = Node::start();
        let _running = Containerd::start(&node, &containerd);
        docker.follows_the_page(&node);
    }
}

/// Without one it starts its own, which keeps its pids elsewhere.
#[test]
fn docker_on_its_own_containerd() {
    let mut parts = parts::of("docker_on_its_own_containerd");
    let docker = Docker::among(&mut parts);
    if parts.complete() {
        docker.follows_the_page(&Node::start());
    }
}

struct Docker {
    daemon: PathBuf,
    client: PathBuf,
    plugins: PathBuf,
}

impl Docker {
    fn among(parts: &mut Parts) -> Docker {
        parts.pause();
        let daemon = parts.program("dockerd", "--version");
        let client = parts.program("docker", "--version");
        let plugins = parts.plugins();
        Docker { daemon, client, plugins }
    }

    fn follows_the_page(&self, node: &Node) {
        chain::lay(node, "1.0.0", &self.plugins);
        let group = format!("--cgroup-parent={}", node.control_group());
        // No network of its own, and no rule in the node's namespace: a kubelet's sandbox has neither from Docker.
        let quiet = ["--bridge=none", "--iptables=false", "--ip6tables=false", &group];
        node.daemon("dockerd", &self.daemon, &quiet);
        let docker = |arguments: &[&str]| run(node.command(&self.client).args(arguments)).trim().to_owned();
        let up =
            || node.command(&self.client).arg("version").output().is_ok_and(|output| output.status.success());
        until("dockerd answers", Duration::from_secs(60), || {
            up().then_some(()).ok_or_else(|| node.said("dockerd"))
        });
        docker(&["load", "-q", "-i", &parts::kept().join("pause.tar").to_string_lossy()]);
        let container = docker(&["run", "-d", "--network=none", "localhost/pause:1"]);

        let pid = docker(&["inspect", "--format", "{{ .State.Pid }}", &container]);
        let netns = format!("/proc/{pid}/ns/net");
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=bookinfo;K8S_POD_NAME=productpage";
        let env = [("CNI_CONTAINERID", container.as_str()), ("CNI_NETNS", &netns), ("CNI_ARGS", args)];
        let (given, passed) = chain::add(node, &env, &stamped());
        chain::assert_same_result(&given, &passed);
        assert_redirected(node, &netns);
        assert_page_agrees(node, &container, &pid);
        docker(&["rm", "-f", &container]);
    }
}
