//! A large cluster on a real API server: its nodes, its pods, and what kubelets, DaemonSets and agents would do, played.
//!
//! What is written follows from what the controller wrote before, as on a real one; it never does the controller's part.

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams, TypeMeta,
};
use kube::core::Request;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::large;
use millrace_rig::wait::until;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What a loaded machine may need for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// Requests that are under way at once.
const AT_ONCE: usize = 16;
/// How often a busy server is asked.
const ATTEMPTS: usize = 30;
/// Where our objects live.
const HOME: &str = "millrace-system";
/// The namespaces of pods.
pub(crate) const SPACES: usize = 100;

/// The cluster.
pub(crate) struct Cluster {
    runtime: Runtime,
    client: Client,
}

/// One request of many.
enum Write {
    Create(&'static str, String, Value),
    Status(&'static str, String, String, Value),
    Delete(&'static str, String, String),
}

impl Cluster {
    /// One with our definitions and namespaces.
    pub(crate) fn new(api: &Apiserver, program: &str) -> Cluster {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let client = runtime.block_on(client(api));
        let printed = std::process::Command::new(program).args(["print", "crd"]).output();
        let crd = String::from_utf8(printed.expect("millrace runs").stdout).expect("a definition is text");
        // kubectl knows no more than a server of 1.20 tells it, which drops rules in CEL.
        api.done(&["apply", "--validate=false", "-f", "-"], &crd);
        api.done(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "");
        let cluster = Cluster { runtime, client };
        let spaces = (0..SPACES).map(space).chain([HOME.to_owned()]);
        let space = |name| Write::Create("Namespace", String::new(), json!({ "metadata": { "name": name } }));
        cluster.write(spaces.map(space));
        cluster
    }

    /// So many nodes are there, and Ready.
    pub(crate) fn nodes(&self, count: usize) {
        self.write((0..count).map(|at| Write::Create("Node", String::new(), large::node(&node(at)))));
    }

    /// So many pods are there, on so many nodes: a third outside the mesh, the others each with an init container.
    pub(crate) fn pods(&self, count: usize, nodes: usize) {
        self.write((0..count).map(|at| {
            let mut pod = large::injected_pod(&pod(at));
            pod["spec"]["nodeName"] = node(at % nodes).into();
            if is_meshed(at) {
                let status = r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"#;
                pod["metadata"]["annotations"]["sidecar.istio.io/status"] = status.into();
                pod["spec"]["initContainers"][0]["name"] = "istio-init".into();
            } else if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
                annotations.remove("sidecar.istio.io/status");
            }
            Write::Create("Pod", space(at % SPACES), pod)
        }));
    }

    /// Reads all pods, page by page, and keeps none.
    pub(crate) fn read_pods(&self) {
        let mut params = ListParams::default().limit(250);
        loop {
            let request = Request::new("/api/v1/pods").list(&params).expect("these parameters are valid");
            let page = self.runtime.block_on(self.client.request::<Value>(request));
            let page = page.expect("an administrator may read");
            match page["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => params = params.continue_token(token),
                _ => return,
            }
        }
    }

    /// Something of a pod changes that nobody counts.
    pub(crate) fn touch(&self, pods: impl Iterator<Item = usize>) {
        self.write(pods.map(|at| {
            let status = json!({ "status": { "podIP": format!("198.51.100.{}", at % 250), "message": format!("{at}") } });
            Write::Status("Pod", space(at % SPACES), pod(at), status)
        }));
    }

    /// Pods go.
    pub(crate) fn remove(&self, pods: impl Iterator<Item = usize>) {
        self.write(pods.map(|at| Write::Delete("Pod", space(at % SPACES), pod(at))));
    }

    /// A node's kubelet says whether it is Ready.
    pub(crate) fn ready(&self, at: usize, ready: bool) {
        let mut conditions = large::node("")["status"]["conditions"].clone();
        conditions[3]["status"] = if ready { "True" } else { "False" }.into();
        let kept = self.get("Node", "", &node(at)).expect("the node is there");
        let ours = kept["status"]["conditions"].as_array().into_iter().flatten();
        let ours: Vec<Value> = ours.filter(|one| one["type"] == "millrace.dev/Serving").cloned().collect();
        conditions.as_array_mut().expect("they are a list").extend(ours);
        self.write([Write::Status(
            "Node",
            String::new(),
            node(at),
            json!({ "status": { "conditions": conditions } }),
        )]);
    }

    /// The DaemonSet's pods are there as it wants them, one on each node, and Ready; those that were are gone.
    pub(crate) fn run_agents(&self, nodes: std::ops::Range<usize>, generation: usize, before: Option<usize>) {
        let set = self.get("DaemonSet", HOME, "millrace-agent-kubeadm").expect("it was applied");
        let mut template = set["spec"]["template"].clone();
        template["spec"] = json!({ "containers": [{ "name": "agent", "image": "none" }] });
        if let Some(before) = before {
            self.write(nodes.clone().map(|at| Write::Delete("Pod", HOME.to_owned(), agent(at, before))));
        }
        self.write(nodes.clone().map(|at| {
            let mut pod = template.clone();
            pod["metadata"]["name"] = agent(at, generation).into();
            pod["spec"]["nodeName"] = node(at).into();
            Write::Create("Pod", HOME.to_owned(), pod)
        }));
        self.write(nodes.map(|at| {
            let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now() });
            let status = json!({ "status": { "phase": "Running", "conditions": [ready] } });
            Write::Status("Pod", HOME.to_owned(), agent(at, generation), status)
        }));
    }

    /// Agents say that they serve, with the configuration that is there now. `first` makes their reports.
    pub(crate) fn report(&self, nodes: std::ops::Range<usize>, first: bool) {
        let map = self.get("ConfigMap", HOME, "millrace-agent-kubeadm").expect("it was applied");
        let digest = digest(map["data"]["agent.yaml"].as_str().expect("it has the file"));
        if first {
            self.write(nodes.clone().map(|at| {
                let object = json!({ "metadata": { "name": node(at) }, "spec": {} });
                Write::Create("MeshCNINode", String::new(), object)
            }));
        }
        self.write(nodes.map(|at| Write::Status("MeshCNINode", String::new(), node(at), report(&digest))));
    }

    /// What agents and kubelets say every five minutes though nothing is new: that they are there, and how much they did.
    pub(crate) fn beat(&self, nodes: std::ops::Range<usize>, time: usize) {
        self.write(nodes.clone().map(|at| {
            let outcomes = json!({ "redirected": 20 + time });
            let status = json!({ "status": { "reportedAt": Timestamp::now(), "outcomes": outcomes } });
            Write::Status("MeshCNINode", String::new(), node(at), status)
        }));
        self.write(nodes.map(|at| {
            let capacity = json!({ "ephemeral-storage": format!("{}Gi", 90 + time) });
            Write::Status("Node", String::new(), node(at), json!({ "status": { "allocatable": capacity } }))
        }));
    }

    /// Somebody wants this.
    pub(crate) fn wants(&self, spec: &Value) {
        let object = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default" }, "spec": spec,
        });
        let api = self.api("MeshCNI", "");
        let params = PatchParams::apply("operator");
        let applied = self.runtime.block_on(api.patch("default", &params, &Patch::Apply(&object)));
        applied.expect("it is taken");
    }

    /// The status of the MeshCNI.
    pub(crate) fn status(&self) -> Value {
        self.get("MeshCNI", "", "default").map_or(Value::Null, |mesh| mesh["status"].clone())
    }

    /// Waits for the status of the MeshCNI.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        until(what, PATIENCE, || {
            let status = self.status();
            if holds(&status) { Ok(()) } else { Err(format!("{status:#}")) }
        });
    }

    /// Waits until the MeshCNI's children are of a revision.
    pub(crate) fn until_revision(&self, revision: &str) {
        until(&format!("revision {revision} is applied"), PATIENCE, || {
            let set = self.get("DaemonSet", HOME, "millrace-agent-kubeadm").unwrap_or_default();
            let found = &set["metadata"]["annotations"]["millrace.dev/revision"];
            if *found == revision { Ok(()) } else { Err(format!("it is of {found}")) }
        });
    }

    fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Value> {
        let found =
            self.runtime.block_on(self.api(kind, namespace).get_opt(name)).expect("the server answers");
        found.map(|object| serde_json::to_value(object).expect("an object has a tree"))
    }

    fn write(&self, all: impl IntoIterator<Item = Write>) {
        let each = stream::iter(all).for_each_concurrent(AT_ONCE, |one| self.write_one(one));
        self.runtime.block_on(each);
    }

    /// Writes one; a server that is too busy is asked again. What was done though that was not said is done.
    async fn write_one(&self, write: Write) {
        for again in 0..ATTEMPTS {
            match self.attempt(&write).await {
                Ok(()) => return,
                Err(kube::Error::Api(status)) if again > 0 && matches!(status.code, 404 | 409) => return,
                Err(kube::Error::Api(status)) if status.code == 429 || status.code >= 500 => {}
                Err(error) => panic!("an administrator may write: {error}"),
            }
        }
        panic!("the API server is too busy, {ATTEMPTS} times");
    }

    async fn attempt(&self, write: &Write) -> kube::Result<()> {
        match write {
            Write::Create(kind, namespace, object) => {
                let object: DynamicObject = serde_json::from_value(object.clone()).expect("it is an object");
                let resource = resource(kind);
                let types = Some(TypeMeta { api_version: resource.api_version, kind: resource.kind });
                let object = DynamicObject { types, ..object };
                self.api(kind, namespace).create(&PostParams::default(), &object).await.map(drop)
            }
            Write::Status(kind, namespace, name, patch) => {
                let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
                self.api(kind, namespace).patch_status(name, &params, &patch).await.map(drop)
            }
            Write::Delete(kind, namespace, name) => {
                let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
                self.api(kind, namespace).delete(name, &params).await.map(drop)
            }
        }
    }

    fn api(&self, kind: &'static str, namespace: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource(kind)),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource(kind)),
        }
    }
}

/// How an API server is spoken to of a kind.
fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "MeshCNI" | "MeshCNINode" => ("millrace.dev", "v1alpha1"),
        "DaemonSet" => ("apps", "v1"),
        _ => ("", "v1"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Whether that pod is of the mesh.
pub(crate) fn is_meshed(at: usize) -> bool {
    !at.is_multiple_of(3)
}

async fn client(api: &Apiserver) -> Client {
    let file = kube::config::Kubeconfig::read_from(api.kubeconfig()).expect("the rig writes a kubeconfig");
    let config =
        kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await;
    Client::try_from(config.expect("it can be used")).expect("it makes a client")
}

fn space(at: usize) -> String {
    format!("team-{at:03}")
}

fn node(at: usize) -> String {
    format!("node-{at:04}")
}

fn pod(at: usize) -> String {
    format!("reviews-v1-5b9c4f7d8-{at:05}")
}

fn agent(at: usize, generation: usize) -> String {
    format!("millrace-agent-kubeadm-{generation}-{at:04}")
}

/// As an agent digests its file.
fn digest(text: &str) -> String {
    let all = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    all.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn report(digest: &str) -> Value {
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Played", "message": "as an agent says it",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    json!({ "status": {
        "serving": true,
        "reportedAt": Timestamp::now(),
        "agentVersion": "0.1.0",
        "pluginVersion": "0.1.0",
        "configDigest": digest,
        "backend": "netlink",
        "drifted": 0,
        "chain": {
            "file": "/etc/cni/net.d/10-bench.conflist", "way": "InPlace", "digest": "0123456789abcdef", "position": 2,
            "plugins": ["bridge", "portmap", "millrace-cni"],
        },
        "outcomes": { "redirected": 20, "skipped": 10, "failed": 0, "lastFailures": [] },
        "conditions": [condition("Ready"), condition("ChainConfigured"), condition("NoChainConflict"), condition("Audited")],
    } })
}
