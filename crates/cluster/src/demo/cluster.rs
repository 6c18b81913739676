//! The control plane of the demo: the API server in memory, the injector and the controller, each a process of this very program by
//! its ordinary flags, and the one client by which the demo asks them.
//!
//! They are the unchanged roles, which speak to each other over HTTP on this machine's loopback. Every question has a
//! deadline.

use crate::demo::bookinfo;
use crate::demo::injector;
use crate::demo::process::{self, Running};
use crate::demo::state::State;
use crate::demo::stop::Stop;
use crate::demo::watch::{Change, Watch, resource, value};
use crate::print::{crd, words};
use anyhow::Context;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long a role may take to listen; milliseconds when nothing else runs.
const STARTING: Duration = Duration::from_secs(60);
/// How long one question may take.
const ASKING: Duration = Duration::from_secs(30);
/// How long a command may take that waits for nobody.
const COMMAND: Duration = Duration::from_secs(60);
/// By whom objects are applied.
const MANAGER: &str = "millrace-demo";
/// The verb that is the injector.
const INJECTOR: &str = "demo-injector";
/// The node's own address: what listens on the node does so here, on loopback, and nobody else on this machine is in its way.
pub(crate) const HOST: &str = "127.88.7.1";
/// Where our own objects live.
pub(crate) const HOME: &str = words::NAMESPACE;
/// How long after the last conversion agents stay. The webhook asks every 5 s what is wanted, and a request lasts 5 s at most.
const SETTLE: &str = "10";

/// The roles, and a client.
pub(crate) struct Cluster {
    runtime: Runtime,
    client: Client,
    own: PathBuf,
    kubeconfig: PathBuf,
    roles: Vec<Running>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cluster of {}", self.kubeconfig.display())
    }
}

impl Cluster {
    /// Starts the API server, of `own`, gives it our definitions, and starts the injector and the controller.
    pub(crate) fn start(own: &Path, state: &State, stop: &Stop) -> anyhow::Result<Cluster> {
        let kubeconfig = state.path("kubeconfig");
        let text = kubeconfig.to_string_lossy().into_owned();
        let mut server = role(own, state, "apiserver", &["--kubeconfig", &text])?;
        stop.until("the API server listens", STARTING, || {
            server.alive()?;
            Ok(kubeconfig.exists())
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start a client's runtime")?;
        let client = runtime.block_on(connect(&kubeconfig))?;
        let own = own.to_owned();
        let mut cluster = Cluster { runtime, client, own, kubeconfig, roles: vec![server] };
        let home = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": HOME } });
        for object in crd::definitions().iter().chain([&home]).chain(&bookinfo::namespaces()) {
            cluster.apply(object)?;
        }
        cluster.inject(state, stop)?;
        let (address, url) = (format!("{HOST}:9443"), format!("https://{HOST}:9443/inject"));
        let flags = [
            ["--kubeconfig", &text],
            ["--identity", "demo"],
            ["--namespace", HOME],
            ["--settle-seconds", SETTLE],
            ["--linger-seconds", "0"],
            ["--metrics-address", "none"],
            ["--webhook-address", &address],
            ["--webhook-url", &url],
        ];
        cluster.roles.push(role(&cluster.own, state, "controller", flags.as_flattened())?);
        Ok(cluster)
    }

    /// Starts the injector, and tells the API server of it.
    fn inject(&mut self, state: &State, stop: &Stop) -> anyhow::Result<()> {
        let address = SocketAddr::new(HOST.parse().context("an address of loopback")?, 9444);
        let file = state.path("injector.ca");
        let flags = ["--listen", &address.to_string(), "--authority", &file.to_string_lossy()];
        self.roles.push(role(&self.own, state, INJECTOR, &flags)?);
        stop.until("the injector listens", STARTING, || {
            self.alive()?;
            Ok(file.exists())
        })?;
        let authority = std::fs::read_to_string(&file);
        let authority = authority.with_context(|| format!("cannot read {}", file.display()))?;
        self.apply(&injector::configuration(address, &authority)).map(drop)
    }

    /// What the injector says it gave to a pod.
    pub(crate) fn injected(&self, pod: &Value) -> Option<String> {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let injector = self.roles.iter().find(|role| role.name() == INJECTOR)?;
        injector::given(&injector.said(), text("namespace"), text("name"))
    }

    /// By which kubectl finds the API server.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// An error if one of the roles has ended.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        self.roles.iter_mut().try_for_each(Running::alive)
    }

    /// Starts the console of the node whose records are there; gives the address that lets in whoever reads it.
    pub(crate) fn console(&mut self, state: &State, records: &Path, stop: &Stop) -> anyhow::Result<String> {
        const NAME: &str = "console";
        let log = state.write(&format!("{NAME}.log"), "")?;
        // It holds the address, which is nobody else's on this machine.
        std::fs::set_permissions(&log, Permissions::from_mode(0o600))
            .context("cannot close the console's log")?;
        let kubeconfig = self.kubeconfig.to_string_lossy().into_owned();
        let records = records.to_string_lossy();
        let words = [NAME, "--namespace", HOME, "--kubeconfig", &kubeconfig, "--state-dir", &records];
        let mut role = Running::start(NAME, &mut process::beside(&self.own, &words), &log)?;
        let address = |role: &Running| {
            let said = role.said();
            said.lines().find(|line| line.starts_with("http://") && said.ends_with('\n')).map(str::to_owned)
        };
        stop.until("the console listens", STARTING, || {
            role.alive()?;
            Ok(address(&role).is_some())
        })?;
        let found = address(&role).context("the console said where it listens")?;
        self.roles.push(role);
        Ok(found)
    }

    /// Ends the roles; gives every complaint.
    pub(crate) fn end(&mut self) -> Vec<String> {
        self.roles.iter_mut().for_each(Running::ask_to_end);
        let ended = self.roles.drain(..).map(|mut role| role.end());
        ended.filter_map(|ended| ended.err().map(|cause| format!("{cause:#}"))).collect()
    }

    /// Runs a command of ours for people, as an operator does; gives what it prints.
    pub(crate) fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let words = [words, &["--kubeconfig", &kubeconfig]].concat();
        let ended = process::run(&mut process::beside(&self.own, &words), None, COMMAND)?;
        anyhow::ensure!(ended.status.success(), "millrace {}: {}", words.join(" "), ended.said());
        Ok(ended.stdout)
    }

    /// Starts one that takes its time, and needs the node meanwhile.
    pub(crate) fn begin(&self, name: &str, words: &[&str], log: &Path) -> anyhow::Result<Running> {
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let words = [words, &["--kubeconfig", &kubeconfig]].concat();
        Running::start(name, &mut process::beside(&self.own, &words), log)
    }

    /// Applies an object, as `kubectl apply --server-side` does; gives it as it is then.
    pub(crate) fn apply(&self, object: &Value) -> anyhow::Result<Value> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let api = self.api(text("/apiVersion"), kind, text("/metadata/namespace"));
        let how = PatchParams::apply(MANAGER).force();
        self.ask(&format!("applying {kind} {name}"), api.patch(name, &how, &Patch::Apply(object)))
    }

    /// Changes the status of an object.
    pub(crate) fn report(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        status: &Value,
    ) -> anyhow::Result<Value> {
        let change = Patch::Merge(json!({ "status": status }));
        let api = self.api("v1", kind, namespace);
        let how = PatchParams::default();
        self.ask(&format!("the status of {kind} {name}"), api.patch_status(name, &how, &change))
    }

    /// A core object.
    pub(crate) fn get(&self, kind: &str, namespace: &str, name: &str) -> anyhow::Result<Value> {
        self.ask(&format!("reading {kind} {name}"), self.api("v1", kind, namespace).get(name))
    }

    /// All core objects of a kind.
    pub(crate) fn list(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("v1", kind));
        let wanted = kube::api::ListParams::default();
        let listed = self.runtime.block_on(async { timeout(ASKING, api.list(&wanted)).await });
        let listed = listed.with_context(|| format!("listing {kind}: no answer within {ASKING:?}"))?;
        Ok(listed.with_context(|| format!("listing {kind}"))?.items.iter().map(value).collect())
    }

    /// A pod of the mesh as it would be if it came now: asked by a dry run, which keeps nothing.
    pub(crate) fn tried(&self) -> anyhow::Result<Value> {
        let pod: DynamicObject = serde_json::from_value(bookinfo::trial()?).context("a pod is an object")?;
        let how = PostParams { dry_run: true, field_manager: Some(MANAGER.to_owned()) };
        let api = self.api("v1", "Pod", bookinfo::MESH);
        self.ask("trying a pod by a dry run", api.create(&how, &pod))
    }

    /// Lets a pod go that its node has stopped.
    pub(crate) fn let_go(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api = self.api("v1", "Pod", namespace);
        let how = DeleteParams::default().grace_period(0);
        let deleted = self.runtime.block_on(async { timeout(ASKING, api.delete(name, &how)).await });
        match deleted.with_context(|| format!("letting pod {name} go: no answer within {ASKING:?}"))? {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop).with_context(|| format!("letting pod {name} go")),
        }
    }

    /// Follows what concerns `node`.
    pub(crate) fn watch(&self, node: &str) -> Watch {
        Watch::new(&self.client, node, HOME)
    }

    /// The next change, if one comes in time.
    pub(crate) fn next(&self, watch: &mut Watch, patience: Duration) -> anyhow::Result<Option<Change>> {
        let next = self.runtime.block_on(async { timeout(patience, watch.next()).await });
        next.ok().transpose()
    }

    fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (client, resource) = (self.client.clone(), resource(version, kind));
        match namespace {
            "" => Api::all_with(client, &resource),
            namespace => Api::namespaced_with(client, namespace, &resource),
        }
    }

    fn ask(
        &self,
        what: &str,
        question: impl Future<Output = kube::Result<DynamicObject>>,
    ) -> anyhow::Result<Value> {
        let answer = self.runtime.block_on(async { timeout(ASKING, question).await });
        let answer = answer.with_context(|| format!("{what}: no answer within {ASKING:?}"))?;
        Ok(value(&answer.with_context(|| what.to_owned())?))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for complaint in self.end() {
            eprintln!("demo: taking down: {complaint}");
        }
    }
}

/// Starts a role of this program, in the machine's own namespace.
fn role(own: &Path, state: &State, name: &str, flags: &[&str]) -> anyhow::Result<Running> {
    let log = state.write(&format!("{name}.log"), "")?;
    Running::start(name, &mut process::beside(own, &[&[name], flags].concat()), &log)
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig).context("cannot read our own kubeconfig")?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.context("cannot use our own kubeconfig")?;
    // The way to this machine's loopback leads through nobody's proxy.
    config.proxy_url = None;
    Client::try_from(config).context("cannot make a client of the API server")
}
