//! Nodes on one machine, each with a root of its own: the kubelets, and of the controllers of workloads those for DaemonSets and
//! Jobs, as far as agents see of them.
//!
//! It plays what Kubernetes does with the controller's manifests, and adds nothing of ours: the agents' image, arguments,
//! environment, mounts, account and probes are what the manifests say. Everything is gone when it is dropped.

mod container;

use container::{Container, Start};
use futures::stream::{StreamExt, select_all};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Node as ApiNode, Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, watcher};
use kube::{Client, Resource};
use millrace_rig::apiserver::Apiserver;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a loaded machine may need for what takes a second.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a kubelet asks its probes.
const PERIOD: Duration = Duration::from_millis(500);
/// Where agents are.
const HOME: &str = "millrace-system";
/// Images that are not to be had begin so: their containers wait for ever.
pub(crate) const ABSENT: &str = "absent/";
/// What a pod was made of.
const MADE_OF: &str = "controller-revision-hash";

/// Every file: its mode, its owner, its bytes.
pub(crate) type Files = BTreeMap<String, (u32, u32, Vec<u8>)>;

/// The nodes.
pub(crate) struct Kubelets {
    folder: PathBuf,
    stop: CancellationToken,
    life: Option<JoinHandle<()>>,
}

/// What goes on on them.
struct Life {
    client: Client,
    server: SocketAddr,
    authority: PathBuf,
    folder: PathBuf,
    running: BTreeMap<String, Running>,
    last: u32,
}

struct Running {
    node: String,
    container: Container,
}

/// What there is, each as its tree.
struct Seen {
    nodes: Vec<Value>,
    sets: Vec<Value>,
    jobs: Vec<Value>,
    pods: Vec<Value>,
}

impl Kubelets {
    /// Whether this machine can play nodes; it says that `test` is not run where it cannot.
    pub(crate) fn can(test: &str) -> bool {
        let mounts = Command::new("unshare").args(["--mount", "true"]).status();
        let can = mounts.is_ok_and(|status| status.success());
        if !can {
            millrace_rig::absent::not_run(test, "mount namespaces", "running as root, with util-linux");
        }
        can
    }

    /// Nodes of these names begin to do what the API server says.
    pub(crate) fn start(api: &Apiserver, names: &[&str]) -> Kubelets {
        let folder = api.folder().join("nodes");
        names.iter().for_each(|name| furnish(&folder.join(name).join("host")));
        let stop = CancellationToken::new();
        let (kubeconfig, told) = (api.kubeconfig(), stop.clone());
        let (server, authority, place) = (api.address(), api.authority(), folder.clone());
        let life = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = client(&kubeconfig).await;
                let life =
                    Life { client, server, authority, folder: place, running: BTreeMap::new(), last: 0 };
                told.run_until_cancelled(life.live()).await;
            });
        });
        Kubelets { folder, stop, life: Some(life) }
    }

    /// What a node's runtime reads: its lists, its plugins, its configuration.
    pub(crate) fn files(&self, node: &str) -> Files {
        let host = self.folder.join(node).join("host");
        let mut files = Files::new();
        for part in ["etc", "opt"] {
            visit(&host.join(part), &mut |path| {
                let found = std::fs::metadata(path).expect("nobody else is here");
                let name = path.strip_prefix(&host).expect("below").to_string_lossy().into_owned();
                let bytes = std::fs::read(path).expect("it is a file");
                files.insert(name, (found.permissions().mode(), found.uid(), bytes));
            });
        }
        files
    }

    /// The text of one file of a node.
    pub(crate) fn text(&self, node: &str, path: &str) -> String {
        std::fs::read_to_string(self.folder.join(node).join("host").join(path)).unwrap_or_default()
    }

    /// What the agents have said last.
    pub(crate) fn logs(&self) -> String {
        let mut all = String::new();
        visit(&self.folder, &mut |path| {
            if path.extension().is_some_and(|kind| kind == "log") {
                let log = std::fs::read_to_string(path).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                all.push_str(&format!("--- {}\n{}\n", path.display(), tail.join("\n")));
            }
        });
        all
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(life) = self.life.take() {
            let _ = life.join();
        }
    }
}

/// A node of kubeadm as its first day left it.
fn furnish(host: &Path) {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent_install/kubeadm");
    visit(&sample.join("node"), &mut |path| {
        let target = host.join(path.strip_prefix(sample.join("node")).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("the folder is ours");
        std::fs::copy(path, target).expect("the folder is ours");
    });
    // Where a runtime remembers attachments once it has made one.
    for folder in ["opt/cni/bin", "var/lib/cni/results"] {
        std::fs::create_dir_all(host.join(folder)).expect("the folder is ours");
    }
    for name in ["flannel", "portmap", "bridge"] {
        std::fs::write(host.join("opt/cni/bin").join(name), "").expect("the folder is ours");
    }
}

fn visit(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => visit(&entry.path(), found),
            Ok(kind) if kind.is_file() => found(&entry.path()),
            _ => {}
        }
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("the rig wrote it");
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("it is whole")).expect("a client")
}

impl Life {
    /// Looks whenever something changes, and as often as probes are due.
    async fn live(mut self) {
        let changes = [
            rings(Api::<ApiNode>::all(self.client.clone())),
            rings(Api::<DaemonSet>::namespaced(self.client.clone(), HOME)),
            rings(Api::<Job>::namespaced(self.client.clone(), HOME)),
            rings(Api::<Pod>::namespaced(self.client.clone(), HOME)),
        ];
        let mut changes = select_all(changes);
        loop {
            // A server that is away is asked again.
            let _ = self.look().await;
            let _ = tokio::time::timeout(PERIOD, changes.next()).await;
        }
    }

    async fn look(&mut self) -> kube::Result<()> {
        let seen = Seen {
            nodes: self.list::<ApiNode>().await?,
            sets: self.list::<DaemonSet>().await?,
            jobs: self.list::<Job>().await?,
            pods: self.list::<Pod>().await?,
        };
        self.collect(&seen).await?;
        self.spread(&seen).await?;
        self.begin(&seen).await?;
        self.run(&seen).await
    }

    /// All of a kind that are in our namespace, or in none.
    async fn list<K: Resource<DynamicType = ()>>(&self) -> kube::Result<Vec<Value>> {
        let api: Api<DynamicObject> = self.api::<K>();
        let all = api.list(&kube::api::ListParams::default()).await?;
        Ok(all.items.iter().map(|item| serde_json::to_value(item).expect("it has a tree")).collect())
    }

    fn api<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        match resource.kind.as_str() {
            "Node" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), HOME, &resource),
        }
    }

    /// Pods whose owner is gone go, and those that somebody deleted.
    async fn collect(&mut self, seen: &Seen) -> kube::Result<()> {
        for pod in &seen.pods {
            let owner = &pod["metadata"]["ownerReferences"][0]["uid"];
            let mut owners = seen.sets.iter().chain(&seen.jobs);
            let owned = owners.any(|object| object["metadata"]["uid"] == *owner);
            if !owned || pod["metadata"]["deletionTimestamp"].is_string() {
                self.end(name(pod), Signal::TERM).await?;
            }
        }
        Ok(())
    }

    async fn end(&mut self, pod: &str, signal: Signal) -> kube::Result<()> {
        if let Some(running) = self.running.remove(pod) {
            running.container.end(signal);
        }
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        match self.api::<Pod>().delete(pod, &at_once).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }

    /// One pod of each DaemonSet for each node that is Ready and meant; of those that are made of something older, one that is
    /// Ready is replaced when no node is without a Ready one.
    async fn spread(&mut self, seen: &Seen) -> kube::Result<()> {
        for set in &seen.sets {
            let pods = pods_of(seen, set);
            let template = &set["spec"]["template"];
            let made_of = digest(template);
            let meant = seen.nodes.iter().filter(|node| is_ready(node) && is_meant(node, template));
            let (with, without): (Vec<&Value>, Vec<&Value>) = meant
                .partition(|node| pods.iter().any(|pod| pod["spec"]["nodeName"] == node["metadata"]["name"]));
            for node in &without {
                self.create(set, "apps/v1", "DaemonSet", name(node), &made_of).await?;
            }
            let rolls = set["spec"]["updateStrategy"]["type"] == "RollingUpdate";
            let is_old = |pod: &&&Value| rolls && pod["metadata"]["labels"][MADE_OF] != *made_of;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            let spare = without.is_empty() && ready == with.len();
            let old = pods.iter().filter(is_old).find(|pod| spare || !is_ready(pod));
            if let Some(old) = old {
                self.end(name(old), Signal::TERM).await?;
            }
        }
        Ok(())
    }

    /// A pod for each Job; what it comes to is the Job's.
    async fn begin(&mut self, seen: &Seen) -> kube::Result<()> {
        for job in &seen.jobs {
            let pods = pods_of(seen, job);
            let node =
                job["spec"]["template"]["spec"]["nodeName"].as_str().expect("our Jobs name their node");
            match pods.first().map(|pod| pod["status"]["phase"].as_str().unwrap_or_default()) {
                None if job["status"]["succeeded"].is_null() => {
                    let made_of = digest(&job["spec"]["template"]);
                    self.create(job, "batch/v1", "Job", node, &made_of).await?;
                }
                Some("Succeeded") if job["status"]["succeeded"] != 1 => {
                    self.status::<Job>(name(job), json!({ "succeeded": 1 })).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn create(
        &mut self,
        owner: &Value,
        version: &str,
        kind: &str,
        node: &str,
        made_of: &str,
    ) -> kube::Result<()> {
        self.last += 1;
        let template = &owner["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
        });
        pod["metadata"]["name"] = format!("{}-{}", name(owner), self.last).into();
        pod["metadata"]["labels"][MADE_OF] = made_of.into();
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": version, "kind": kind, "name": name(owner), "uid": owner["metadata"]["uid"], "controller": true,
        }]);
        pod["spec"]["nodeName"] = node.into();
        let pod = serde_json::from_value(pod).expect("a template has a pod's form");
        self.api::<Pod>().create(&PostParams::default(), &pod).await.map(drop)
    }

    /// What kubelets do: start what is not there, start again what ended, ask probes, say how it is.
    async fn run(&mut self, seen: &Seen) -> kube::Result<()> {
        for pod in seen.pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
            let (name, node) = (name(pod), text(&pod["spec"]["nodeName"]));
            let alive = seen.nodes.iter().any(|other| other["metadata"]["name"] == *node && is_ready(other));
            if !alive {
                // Its machine is dark; after a while the cluster says of its pods that they are not Ready.
                if let Some(running) = self.running.remove(name) {
                    running.container.end(Signal::KILL);
                }
                self.tell(pod, "Running", false).await?;
                continue;
            }
            if matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed") {
                continue;
            }
            let ended = self.running.get_mut(name).map(|running| running.container.ended());
            let once = pod["spec"]["restartPolicy"] == "Never";
            match ended {
                Some(Some(well)) if once => {
                    self.running.remove(name);
                    self.tell(pod, if well { "Succeeded" } else { "Failed" }, false).await?;
                }
                None if text(&pod["spec"]["containers"][0]["image"]).starts_with(ABSENT) => {
                    self.tell(pod, "Pending", false).await?;
                }
                None | Some(Some(_)) => {
                    let container = self.container(pod).await?;
                    self.running.insert(name.to_owned(), Running { node: node.to_owned(), container });
                    self.tell(pod, "Running", false).await?;
                }
                Some(None) => {
                    let probe = &pod["spec"]["containers"][0]["readinessProbe"]["exec"]["command"];
                    let ready = probe.is_array() && self.running[name].container.probe(probe);
                    self.maps(node, pod).await?;
                    self.tell(pod, "Running", ready).await?;
                }
            }
        }
        let there = |name: &String| seen.pods.iter().any(|pod| pod["metadata"]["name"] == **name);
        self.running.retain(|name, running| {
            there(name) || seen.nodes.iter().all(|node| text(&node["metadata"]["name"]) != running.node)
        });
        Ok(())
    }

    async fn container(&self, pod: &Value) -> kube::Result<Container> {
        let (name, node) = (name(pod), text(&pod["spec"]["nodeName"]));
        let folder = self.folder.join(node);
        self.maps(node, pod).await?;
        let account = folder.join("accounts").join(name);
        if pod["spec"]["automountServiceAccountToken"] != false {
            self.token(pod, &account).await?;
        }
        std::fs::create_dir_all(&account).expect("the folder is ours");
        // The last number of a node's name is its own.
        let number: u8 =
            node.trim_start_matches(|sign: char| !sign.is_ascii_digit()).parse().expect("as in n1");
        let [high, low] = [std::process::id() >> 8, std::process::id()].map(|part| part & 0xff);
        Ok(Container::start(&Start {
            container: &pod["spec"]["containers"][0],
            volumes: &pod["spec"]["volumes"],
            fields: &[("metadata.name", name), ("spec.nodeName", node)],
            host: &folder.join("host"),
            maps: &folder.join("maps"),
            account: &account,
            root: &folder.join("roots").join(name),
            log: &folder.join(format!("{name}.log")),
            address: &format!("127.{high}.{low}.{number}"),
            server: self.server,
        }))
    }

    /// The account's token, as a kubelet asks for it.
    async fn token(&self, pod: &Value, folder: &Path) -> kube::Result<()> {
        std::fs::create_dir_all(folder).expect("the folder is ours");
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), HOME);
        let wanted: TokenRequest =
            serde_json::from_value(json!({ "spec": { "audiences": [], "expirationSeconds": 3600 } }))
                .expect("it is one");
        let account = text(&pod["spec"]["serviceAccountName"]);
        let given = accounts.create_token_request(account, &PostParams::default(), &wanted).await?;
        let token = given.status.expect("a token was made").token;
        std::fs::write(folder.join("token"), token).expect("the folder is ours");
        std::fs::write(folder.join("namespace"), HOME).expect("the folder is ours");
        std::fs::copy(&self.authority, folder.join("ca.crt")).expect("the folder is ours");
        Ok(())
    }

    /// The pod's configuration maps as files, all of one swapped at once by a link.
    async fn maps(&self, node: &str, pod: &Value) -> kube::Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), HOME);
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let Some(name) = volume["configMap"]["name"].as_str() else { continue };
            let found = maps.get(name).await?;
            let folder = self.folder.join(node).join("maps").join(name);
            let version = format!("..{}", found.metadata.resource_version.unwrap_or_default());
            if folder.join(&version).exists() {
                continue;
            }
            std::fs::create_dir_all(folder.join(&version)).expect("the folder is ours");
            for (file, text) in found.data.unwrap_or_default() {
                std::fs::write(folder.join(&version).join(&file), text).expect("the folder is ours");
                let _ = std::os::unix::fs::symlink(format!("..data/{file}"), folder.join(&file));
            }
            std::os::unix::fs::symlink(&version, folder.join("..new")).expect("the folder is ours");
            std::fs::rename(folder.join("..new"), folder.join("..data")).expect("the folder is ours");
        }
        Ok(())
    }

    /// Says how a pod is, if that is new.
    async fn tell(&self, pod: &Value, phase: &str, ready: bool) -> kube::Result<()> {
        if pod["status"]["phase"] == phase && is_ready(pod) == ready {
            return Ok(());
        }
        let ready = if ready { "True" } else { "False" };
        let condition = json!({ "type": "Ready", "status": ready, "lastTransitionTime": Timestamp::now() });
        self.status::<Pod>(name(pod), json!({ "phase": phase, "conditions": [condition] })).await
    }

    async fn status<K: Resource<DynamicType = ()>>(&self, name: &str, status: Value) -> kube::Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.map(drop)
    }
}

/// One word for each change.
fn rings<K>(api: Api<K>) -> futures::stream::BoxStream<'static, ()>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let events = watcher(api, Config::default()).default_backoff();
    events.map(|_: Result<watcher::Event<K>, watcher::Error>| ()).boxed()
}

fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn pods_of<'a>(seen: &'a Seen, owner: &Value) -> Vec<&'a Value> {
    let owned = |pod: &&Value| pod["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"];
    seen.pods.iter().filter(owned).collect()
}

fn digest(template: &Value) -> String {
    let mut hash = DefaultHasher::new();
    template.to_string().hash(&mut hash);
    format!("{:x}", hash.finish())
}

fn is_ready(object: &Value) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether a template is for a node: by its selector, and by one of its terms.
fn is_meant(node: &Value, template: &Value) -> bool {
    let label = |key: &str| node["metadata"]["labels"][key].as_str();
    let selected = template["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let terms =
        &template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let fits = |rule: &Value| {
        let is = label(text(&rule["key"]));
        let among =
            rule["values"].as_array().is_some_and(|values| values.iter().any(|value| value.as_str() == is));
        match text(&rule["operator"]) {
            "In" => among,
            "NotIn" => !among,
            other => panic!("nobody plays the operator {other}"),
        }
    };
    let mut terms = terms["nodeSelectorTerms"].as_array().into_iter().flatten();
    let all = |term: &Value| term["matchExpressions"].as_array().is_some_and(|rules| rules.iter().all(fits));
    selected.into_iter().all(|(key, value)| label(key) == value.as_str()) && terms.any(all)
}
