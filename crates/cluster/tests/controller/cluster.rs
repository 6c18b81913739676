//! A make-believe cluster on an API server: nodes, what agents would report, and people who change their minds.

use crate::program::{Said, command, run};
use millrace_rig::embedded::Api;
use millrace_rig::injector::told;
use millrace_rig::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a loaded machine may need for what takes a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cluster.
pub(crate) struct Cluster<'a> {
    api: &'a dyn Api,
}

/// A controller's process.
pub(crate) struct Controller {
    child: Child,
    log: PathBuf,
}

/// Somebody who keeps writing to what is not his.
pub(crate) struct Storm {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicUsize>,
    writer: JoinHandle<()>,
}

impl<'a> Cluster<'a> {
    /// One with our definitions and nothing else.
    pub(crate) fn new(api: &'a dyn Api) -> Cluster<'a> {
        let crd = run(&["print", "crd"]).out;
        // kubectl knows no more than a server of 1.20 tells it, which drops rules in CEL.
        api.done(&["apply", "--validate=false", "-f", "-"], &crd);
        api.done(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
        api.done(&["create", "namespace", "shop"], "");
        api.done(&["create", "namespace", "millrace-system"], "");
        Cluster { api }
    }

    /// One in which these manifests were applied, and nothing else.
    pub(crate) fn of(api: &'a dyn Api, manifests: &str) -> Cluster<'a> {
        api.done(&["apply", "--validate=false", "-f", "-"], manifests);
        api.done(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
        Cluster { api }
    }

    /// A node is there, and Ready or not.
    pub(crate) fn node(&self, name: &str, ready: bool) {
        let labels = json!({ "kubernetes.io/os": "linux" });
        let object =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
        self.api.done(&["apply", "-f", "-"], &object.to_string());
        let status = json!({ "status": {
            "conditions": [{
                "type": "Ready", "status": if ready { "True" } else { "False" }, "reason": "Test", "message": "played",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
            "nodeInfo": {
                "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "containerd://1.7.24",
                "kernelVersion": "6.1", "kubeProxyVersion": "v1", "kubeletVersion": "v1.31.4", "machineID": "m",
                "operatingSystem": "linux", "osImage": "Debian GNU/Linux 12", "systemUUID": "s",
            },
        } });
        self.status("node", name, &status);
    }

    /// A node's agent says whether it serves, with what its configuration says now.
    pub(crate) fn serves(&self, node: &str, serves: bool) {
        let object = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": node }, "spec": {},
        });
        self.api.done(&["apply", "-f", "-"], &object.to_string());
        let (status, since) = (if serves { "True" } else { "False" }, "2026-01-01T00:00:00Z");
        let report = json!({ "status": {
            "serving": serves,
            "reportedAt": "2099-01-01T00:00:00Z",
            "agentVersion": "0.1.0",
            "conditions": [{
                "type": "Ready", "status": status, "reason": "Played", "message": "the chain has no entry of ours",
                "lastTransitionTime": since,
            }],
        } });
        self.status("meshcninode", node, &report);
    }

    /// A pod, of which only the metadata counts.
    pub(crate) fn pod(&self, namespace: &str, name: &str, annotations: &[(&str, &str)]) {
        let annotations: serde_json::Map<String, Value> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "namespace": namespace, "name": name, "annotations": annotations },
            "spec": { "containers": [{ "name": "app", "image": "none" }] },
        });
        self.api.done(&["create", "-f", "-"], &pod.to_string());
    }

    /// A pod as an injector leaves it.
    pub(crate) fn meshed(&self, name: &str) {
        self.api.done(&["create", "-f", "-"], &meshed(name).to_string());
    }

    /// Why no such pod is made; empty if one is, which is as it was then.
    pub(crate) fn refused(&self, name: &str) -> String {
        let output = self.api.kubectl(&["create", "-f", "-"], &meshed(name).to_string());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.success() {
            true => self.api.done(&["delete", "pod", "-n", "shop", name, "--grace-period=0", "--force"], ""),
            false => return said,
        };
        String::new()
    }

    /// A pod of the mesh that another is made for, and that is this far on this node.
    pub(crate) fn owned(&self, name: &str, node: &str, phase: &str) {
        let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": true });
        let validation = json!({ "name": "istio-validation", "image": "proxy" });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "namespace": "shop", "name": name, "labels": { "app": "owned" }, "ownerReferences": [owner],
                "annotations": { "millrace.dev/redirect": r#"{"v":1,"redirect":{}}"# } },
            "spec": { "nodeName": node, "initContainers": [validation], "containers": [{ "name": "app", "image": "none" }] },
        });
        self.api.done(&["create", "-f", "-"], &pod.to_string());
        self.pod_status(name, &json!({ "phase": phase }));
    }

    /// The validation of such a pod has ended so, and is about to run again.
    pub(crate) fn validated(&self, name: &str, code: i32) {
        let ended = json!({ "terminated": { "exitCode": code } });
        self.pod_status(
            name,
            &json!({ "initContainerStatuses": [{
            "name": "istio-validation", "image": "proxy", "imageID": "", "ready": false, "restartCount": 1,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": ended,
        }] }),
        );
    }

    /// A budget that spares none of these pods.
    pub(crate) fn budget(&self) {
        let versions = self.api.done(&["api-versions"], "");
        let version =
            if versions.lines().any(|line| line == "policy/v1") { "policy/v1" } else { "policy/v1beta1" };
        let budget = json!({
            "apiVersion": version, "kind": "PodDisruptionBudget", "metadata": { "namespace": "shop", "name": "owned" },
            "spec": { "maxUnavailable": 0, "selector": { "matchLabels": { "app": "owned" } } },
        });
        self.api.done(&["create", "-f", "-"], &budget.to_string());
    }

    /// What the API server says to somebody who evicts a pod.
    pub(crate) fn evict(&self, name: &str) -> String {
        let eviction = json!({
            "apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": { "namespace": "shop", "name": name },
        });
        let path = format!("/api/v1/namespaces/shop/pods/{name}/eviction");
        let output = self.api.kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn pod_status(&self, name: &str, status: &Value) {
        let patch = json!({ "status": status }).to_string();
        let args = ["patch", "pod", "-n", "shop", name, "--subresource=status", "--type=merge", "-p", &patch];
        self.api.done(&args, "");
    }

    /// What of Istio is looked at: a control plane, its injector's values, and its webhook, which has no pod to itself here.
    pub(crate) fn istio(&self) {
        let istiod = json!({ "app": "istiod" });
        let template = json!({
            "metadata": { "labels": istiod },
            "spec": { "containers": [{ "name": "discovery", "image": "docker.io/istio/pilot:1.24.2" }] },
        });
        let webhook = json!({
            "name": "object.sidecar-injector.istio.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "url": "https://127.0.0.1:1/inject" }, "failurePolicy": "Ignore",
            "objectSelector": { "matchLabels": { "sidecar": "none-has-this" } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }],
        });
        let items = json!([
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "istio-system" } },
            { "apiVersion": "apps/v1", "kind": "Deployment",
              "metadata": { "namespace": "istio-system", "name": "istiod", "labels": istiod },
              "spec": { "selector": { "matchLabels": istiod }, "template": template } },
            { "apiVersion": "v1", "kind": "ConfigMap",
              "metadata": { "namespace": "istio-system", "name": "istio-sidecar-injector" },
              "data": { "values": r#"{"pilot":{"cni":{"enabled":false}}}"# } },
            { "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
              "metadata": { "name": "istio-sidecar-injector" }, "webhooks": [webhook] },
        ]);
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        self.api.done(&["apply", "-f", "-"], &list.to_string());
    }

    /// Such a pod is deleted and made anew, as its workload would.
    pub(crate) fn restart(&self, name: &str) {
        let gone = ["--ignore-not-found", "--grace-period=0", "--force"];
        self.api.done(&[&["delete", "pod", "-n", "shop", name], &gone[..]].concat(), "");
        self.meshed(name);
    }

    /// Waits until pods are admitted by us: the API server hears of a webhook by a watch of its own.
    pub(crate) fn until_converted(&self, name: &str) {
        self.until_true(&format!("{name} is converted"), || {
            let converted = self.stamp(name).contains("redirect");
            if !converted {
                self.restart(name);
            }
            converted
        });
    }

    /// The stamp of a pod; empty if it has none.
    pub(crate) fn stamp(&self, name: &str) -> String {
        let pod = self.get_in("shop", &format!("pod/{name}"));
        pod["metadata"]["annotations"]["millrace.dev/redirect"].as_str().unwrap_or_default().to_owned()
    }

    /// Somebody changes his mind.
    pub(crate) fn wants(&self, spec: Value) {
        let object = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default" }, "spec": spec,
        });
        self.api
            .done(&["apply", "--server-side", "--field-manager=operator", "-f", "-"], &object.to_string());
    }

    /// The Job that clears a node comes, and succeeds.
    pub(crate) fn clear(&self, node: &str) {
        let words = json!({ "v": 1, "node": node, "clean": true, "places": 7 });
        self.ends(node, true, &words.to_string());
    }

    /// The Job that clears a node comes, and its pod ends so, with these words.
    pub(crate) fn ends(&self, node: &str, well: bool, words: &str) {
        let name = format!("millrace-uninstall-{node}");
        self.until_there(&format!("job/{name}"));
        let uid = self.get(&format!("job/{name}"))["metadata"]["uid"].clone();
        let owner = json!({ "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid });
        let pod = format!("{name}-{}", if well { "well" } else { "failed" });
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "namespace": "millrace-system", "name": pod, "ownerReferences": [owner],
                "labels": { "app.kubernetes.io/component": "uninstall", "job-name": name } },
            "spec": { "nodeName": node, "containers": [{ "name": "agent", "image": "none" }] },
        });
        self.api.done(&["create", "-f", "-"], &object.to_string());
        let (phase, code) = if well { ("Succeeded", 0) } else { ("Failed", 1) };
        let end = json!({ "terminated": { "exitCode": code, "message": words } });
        let container = json!({
            "name": "agent", "image": "none", "imageID": "", "ready": false, "restartCount": 0, "state": end,
        });
        self.status("pod", &pod, &json!({ "status": { "phase": phase, "containerStatuses": [container] } }));
        let failed = json!([{ "type": "Failed", "status": "True" }]);
        let job = if well { json!({ "succeeded": 1 }) } else { json!({ "failed": 1, "conditions": failed }) };
        self.status("job", &name, &json!({ "status": job }));
    }

    /// The MeshCNI as it is.
    pub(crate) fn mesh(&self) -> Value {
        self.get("meshcni/default")
    }

    /// An object; null if it is not there.
    pub(crate) fn get(&self, name: &str) -> Value {
        self.get_in("millrace-system", name)
    }

    /// The same in a namespace.
    pub(crate) fn get_in(&self, namespace: &str, name: &str) -> Value {
        let output = self.api.kubectl(&["get", "-n", namespace, name, "-o", "json"], "");
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).expect("kubectl prints JSON");
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("NotFound"), "kubectl get {name}: {said}");
        Value::Null
    }

    /// Everything that carries our label.
    pub(crate) fn ours(&self) -> String {
        let kinds =
            "daemonsets,configmaps,serviceaccounts,clusterroles,clusterrolebindings,networkpolicies,jobs";
        let label = "app.kubernetes.io/managed-by=millrace-controller";
        self.api.done(&["get", "-A", kinds, "-l", label, "-o", "name"], "")
    }

    /// Whether a node's condition holds; empty if it has none.
    pub(crate) fn condition(&self, node: &str, kind: &str) -> String {
        let node = self.get(&format!("node/{node}"));
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == kind);
        found.and_then(|found| found["status"].as_str()).unwrap_or_default().to_owned()
    }

    /// Runs a command of ours as the administrator.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        command(args).env("KUBECONFIG", self.api.kubeconfig()).output().expect("millrace runs").into()
    }

    /// Runs kubectl in our namespace, which must succeed.
    pub(crate) fn done(&self, args: &[&str]) {
        self.api.done(&[&["-n", "millrace-system"], args].concat(), "");
    }

    /// Waits for the MeshCNI.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        until(what, PATIENCE, || {
            let mesh = self.mesh();
            if holds(&mesh) { Ok(()) } else { Err(self.stands()) }
        });
    }

    /// Waits for anything.
    pub(crate) fn until_true(&self, what: &str, mut holds: impl FnMut() -> bool) {
        until(what, PATIENCE, || if holds() { Ok(()) } else { Err(self.stands()) });
    }

    /// How things stand, for whoever reads of a failure.
    pub(crate) fn stands(&self) -> String {
        let files =
            ["one", "first", "second", "third"].map(|name| self.api.folder().join(format!("{name}.log")));
        let logs = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
        let last: Vec<String> =
            logs.map(|log| log.lines().rev().take(20).collect::<Vec<_>>().join("\n")).collect();
        format!("{:#}\n{}\n{}", self.mesh()["status"], self.ours(), last.join("\n"))
    }

    /// Waits until an object is there.
    pub(crate) fn until_there(&self, name: &str) {
        self.until_true(name, || !self.get(name).is_null());
    }

    /// Waits until an object is gone.
    pub(crate) fn until_gone(&self, name: &str) {
        self.until_true(&format!("{name} is gone"), || self.get(name).is_null());
    }

    /// Somebody begins to write to these objects again and again.
    pub(crate) fn storm(&self, names: &[&str]) -> Storm {
        let (stop, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let kubectl = self.api.program();
        let (kubeconfig, told, count) = (self.api.kubeconfig(), Arc::clone(&stop), Arc::clone(&writes));
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let writer = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let mut command = Command::new(&kubectl);
                command.arg("--kubeconfig").arg(&kubeconfig).args([
                    "-n",
                    "millrace-system",
                    "annotate",
                    "--overwrite",
                ]);
                let next = count.load(Ordering::Relaxed) + 1;
                command.args(&names).arg(format!("storm={next}")).stdout(Stdio::null());
                assert!(command.status().expect("kubectl runs").success());
                count.store(next, Ordering::Relaxed);
            }
        });
        Storm { stop, writes, writer }
    }

    fn status(&self, kind: &str, name: &str, patch: &Value) {
        let patch = patch.to_string();
        let args = [
            "patch",
            "-n",
            "millrace-system",
            kind,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        self.api.done(&args, "");
    }
}

impl Controller {
    /// Starts one without a webhook.
    pub(crate) fn start(api: &dyn Api, identity: &str) -> Controller {
        Controller::with(api, identity, &["--webhook-address", "none"])
    }

    /// Starts one, with these arguments too.
    pub(crate) fn with(api: &dyn Api, identity: &str, more: &[&str]) -> Controller {
        let more: Vec<&str> = ["controller"].iter().chain(more).copied().collect();
        Controller::as_whom(api, identity, &api.kubeconfig(), &more)
    }

    /// Starts one with somebody's credential, and all its arguments but those that make a test fast.
    pub(crate) fn as_whom(api: &dyn Api, identity: &str, kubeconfig: &Path, args: &[&str]) -> Controller {
        let log = api.folder().join(format!("{identity}.log"));
        let file = std::fs::File::create(&log).expect("the folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(args).arg("--kubeconfig").arg(kubeconfig);
        let usual = [
            ["--identity", identity],
            ["--lease-seconds", "5"],
            ["--settle-seconds", "1"],
            ["--linger-seconds", "1"],
            ["--metrics-address", "none"],
            ["--log-level", "debug"],
        ];
        command.args(usual.iter().filter(|[flag, _]| !args.contains(flag)).flatten());
        Controller { child: command.stdin(Stdio::null()).stderr(file).spawn().expect("millrace runs"), log }
    }

    /// Whether it has said this.
    pub(crate) fn said(&self, words: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words))
    }

    /// Starts one with a webhook, which the API server reaches on loopback.
    pub(crate) fn admitting(api: &dyn Api, identity: &str) -> Controller {
        Controller::with(api, identity, &webhook().each_ref().map(String::as_str))
    }

    /// Sends it a signal, and waits for nothing.
    pub(crate) fn tell(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Ends it so; asked to, it ends well.
    pub(crate) fn end(mut self, signal: Signal) {
        self.tell(signal);
        let ended = until("the controller ends", PATIENCE, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        assert!(signal == Signal::KILL || ended.success(), "{ended}");
    }
}

impl Storm {
    /// How often each was written.
    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    /// It is over; what was written last.
    pub(crate) fn end(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().expect("every write was taken");
        self.writes.load(Ordering::Relaxed).to_string()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pod as an injector leaves it.
fn meshed(name: &str) -> Value {
    let init = json!({
        "name": "istio-init", "image": "proxy",
        "args": told(),
        "securityContext": { "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] }, "runAsUser": 0 },
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": "shop", "name": name, "annotations": {
            "sidecar.istio.io/status": r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"#,
        } },
        "spec": {
            "initContainers": [init],
            "containers": [
                { "name": "app", "image": "none" },
                { "name": "istio-proxy", "image": "proxy", "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } },
            ],
        },
    })
}

/// An address that nobody listens on.
pub(crate) fn address() -> String {
    let held = std::net::TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr());
    held.expect("loopback has a free port").to_string()
}

/// The arguments by which a webhook is where an API server of this machine reaches it.
pub(crate) fn webhook() -> [String; 4] {
    let address = address();
    let url = format!("https://{address}/inject");
    ["--webhook-address".to_owned(), address, "--webhook-url".to_owned(), url]
}
