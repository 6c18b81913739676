//! A real containerd on a node, and its CRI.

use crate::node::{Node, outcome, run, source, text};
use crate::wait::until;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOCKET: &str = "/run/containerd/containerd.sock";

/// A running containerd with the pause image in it.
pub struct Containerd<'a> {
    node: &'a Node,
    /// Where `containerd`, `ctr` and the shim are.
    folder: PathBuf,
}

impl<'a> Containerd<'a> {
    /// Starts the one at `binary`; the node's plugin list is there already.
    pub fn start(node: &'a Node, binary: &Path) -> Containerd<'a> {
        Containerd::start_with(node, binary, "")
    }

    /// Starts it likewise, and its log tells all it does.
    pub fn start_talkative(node: &'a Node, binary: &Path) -> Containerd<'a> {
        Containerd::start_with(node, binary, "[debug]\n  level = \"debug\"\n")
    }

    fn start_with(node: &'a Node, binary: &Path, more: &str) -> Containerd<'a> {
        let folder = binary.parent().expect("a path of a file").to_owned();
        let version = run(node.command(binary).arg("--version"));
        let second = version.split_whitespace().any(|word| word.trim_start_matches('v').starts_with("2."));
        let config = if second { CONFIG_2 } else { CONFIG_1 };
        node.write("/etc/containerd/config.toml", format!("{config}{more}"));
        let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", folder.display());
        node.daemon("containerd", "env", &[&path, &binary.to_string_lossy()]);
        let containerd = Containerd { node, folder };
        // It answers on its socket before all of its parts have started.
        until("containerd answers", Duration::from_secs(60), || {
            let answer = containerd.call("Version", &json!({}));
            answer.map_err(|error| format!("{error}\n{}", node.said("containerd")))
        });
        containerd
    }

    /// Takes in the image of the tests, which the installer made in `kept`.
    pub fn import(&self, kept: &Path) {
        let image = kept.join("pause.tar");
        run(self.node.command(self.folder.join("ctr")).args(["-n", "k8s.io", "images", "import"]).arg(image));
    }

    /// One call of the CRI; the error is the text a kubelet would report.
    pub fn call(&self, method: &str, request: &Value) -> Result<Value, String> {
        let output = outcome(self.node.command(source("cri")).args([SOCKET, method, &request.to_string()]));
        if !output.status.success() {
            return Err(text(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout).expect("the client answers in JSON"))
    }

    /// Runs a pod's sandbox; its id.
    pub fn run_pod(&self, pod: &Value) -> Result<String, String> {
        let answer = self.call("RunPodSandbox", &json!({"config": pod}))?;
        Ok(answer["pod_sandbox_id"].as_str().expect("a sandbox has an id").to_owned())
    }

    /// Starts a container in a sandbox; its id.
    pub fn run_container(&self, sandbox: &str, pod: &Value, name: &str) -> String {
        let container = json!({"metadata": {"name": name}, "image": {"image": "localhost/pause:1"}});
        let request = json!({"pod_sandbox_id": sandbox, "config": container, "sandbox_config": pod});
        let answer = self.call("CreateContainer", &request).expect("the container can be made");
        let id = answer["container_id"].as_str().expect("a container has an id").to_owned();
        self.call("StartContainer", &json!({"container_id": id})).expect("the container starts");
        id
    }

    /// What `crictl inspect ID | jq .info.pid` prints.
    pub fn pid(&self, container: &str) -> u64 {
        let request = json!({"container_id": container, "verbose": true});
        let answer = self.call("ContainerStatus", &request).expect("the container has a status");
        let info = answer["info"]["info"].as_str().expect("a verbose status has its info");
        let info: Value = serde_json::from_str(info).expect("the info is JSON");
        info["pid"].as_u64().expect("a running container has a pid")
    }

    /// The pod a kubelet would ask for.
    pub fn pod(&self, namespace: &str, name: &str, annotations: &Map<String, Value>) -> Value {
        json!({
            "metadata": {"name": name, "uid": format!("uid-of-{name}"), "namespace": namespace},
            "annotations": annotations,
            "linux": {"cgroup_parent": self.node.control_group()},
        })
    }

    /// The same with `hostUsers: false`: root in it is nobody outside.
    pub fn pod_with_own_users(&self, namespace: &str, name: &str, annotations: &Map<String, Value>) -> Value {
        let mut pod = self.pod(namespace, name, annotations);
        let ids = json!([{"host_id": 1_048_576, "container_id": 0, "length": 65_536}]);
        let users = json!({"mode": 0, "uids": ids, "gids": ids});
        pod["linux"]["security_context"] = json!({"namespace_options": {"userns_options": users}});
        pod
    }
}

// Everything has its usual path: the node has its own /etc, /opt, /run and /var. A sandbox's score of -998 may only be set
// with CAP_SYS_RESOURCE, which a machine for tests may lack; "restrict" makes it the lowest that is allowed.
const CONFIG_1: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#;
const CONFIG_2: &str = r#"
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#;
