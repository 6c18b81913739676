//! The control plane of the demo: the API server in memory and the webhook, each a process of this very program, and the one
//! client by which the demo asks them.
//!
//! They are the unchanged roles, which speak to each other over HTTP on this machine's loopback. Every question has a
//! deadline.

use crate::demo::bookinfo::EXCLUDED;
use crate::demo::process::{self, Running};
use crate::demo::state::State;
use crate::demo::stop::Stop;
use anyhow::{Context, bail};
use futures::stream::{BoxStream, StreamExt};
use k8s_openapi::ByteString;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::watcher;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long a role may take to listen; milliseconds when nothing else runs.
const STARTING: Duration = Duration::from_secs(60);
/// How long one question may take.
const ASKING: Duration = Duration::from_secs(30);
/// By whom objects are applied.
const MANAGER: &str = "millrace-demo";

/// The API server, the webhook, and a client.
pub(crate) struct Cluster {
    runtime: Runtime,
    client: Client,
    kubeconfig: PathBuf,
    roles: Vec<Running>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cluster of {}", self.kubeconfig.display())
    }
}

/// What happened to a pod, as it is now, or was last.
#[derive(Debug)]
pub(crate) enum Change {
    /// It is there, or is different.
    Present(Value),
    /// It is gone.
    Gone(Value),
}

/// The pods of a node, as they change.
pub(crate) struct Watch(BoxStream<'static, watcher::Result<watcher::Event<DynamicObject>>>);

impl Cluster {
    /// Starts the API server, `own`'s, and the webhook, and registers this at that.
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
        let mut cluster = Cluster { runtime, client, kubeconfig, roles: vec![server] };
        cluster.admit(own, state, stop)?;
        Ok(cluster)
    }

    /// Lets the webhook admit pods.
    fn admit(&mut self, own: &Path, state: &State, stop: &Stop) -> anyhow::Result<()> {
        let wishes = state.write("webhook/wishes.yaml", &format!("excludeNamespaces: [{EXCLUDED}]\n"))?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let folder = state.path("webhook");
        let flags = ["--listen", "127.0.0.1:0", "--wishes", &text(&wishes), "--certs", &text(&folder)];
        let mut webhook = role(own, state, "webhook", &flags)?;
        let mut url = None;
        // It says its address, and has its authority's certificate by then.
        stop.until("the webhook listens", STARTING, || {
            webhook.alive()?;
            url = address(&std::fs::read_to_string(state.path("webhook.log")).unwrap_or_default());
            Ok(url.is_some())
        })?;
        let url = url.context("the webhook has an address")?;
        self.roles.push(webhook);
        let authority =
            std::fs::read(folder.join("ca.crt")).context("cannot read the webhook's authority")?;
        self.apply(&configuration(&url, authority)?)?;
        Ok(())
    }

    /// By which kubectl finds the API server.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// An error if one of the roles has ended.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        self.roles.iter_mut().try_for_each(Running::alive)
    }

    /// Ends the roles; gives every complaint.
    pub(crate) fn end(&mut self) -> Vec<String> {
        self.roles.iter().for_each(Running::ask_to_end);
        let ended = self.roles.drain(..).map(|mut role| role.end());
        ended.filter_map(|ended| ended.err().map(|cause| format!("{cause:#}"))).collect()
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

    /// All core objects of a kind.
    pub(crate) fn list(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("v1", kind));
        let wanted = ListParams::default();
        let listed = self.runtime.block_on(async { timeout(ASKING, api.list(&wanted)).await });
        let listed = listed.with_context(|| format!("listing {kind}: no answer within {ASKING:?}"))?;
        let listed = listed.with_context(|| format!("listing {kind}"))?.items.into_iter();
        listed.map(|object| serde_json::to_value(object).context("an object is JSON")).collect()
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

    /// Follows the pods that are bound to `node`.
    pub(crate) fn watch(&self, node: &str) -> Watch {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("v1", "Pod"));
        Watch(watcher(api, watcher::Config::default().fields(&format!("spec.nodeName={node}"))).boxed())
    }

    /// The next change, if one comes in time.
    pub(crate) fn next(&self, watch: &mut Watch, patience: Duration) -> anyhow::Result<Option<Change>> {
        let next = self.runtime.block_on(async { timeout(patience, watch.0.next()).await });
        let Ok(next) = next else { return Ok(None) };
        let value = |object: DynamicObject| serde_json::to_value(object).context("a pod is JSON");
        match next.context("the watch of pods ended")?.context("cannot watch pods")? {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                Ok(Some(Change::Present(value(pod)?)))
            }
            watcher::Event::Delete(pod) => Ok(Some(Change::Gone(value(pod)?))),
            watcher::Event::Init | watcher::Event::InitDone => Ok(None),
        }
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
        serde_json::to_value(answer.with_context(|| what.to_owned())?).context("an object is JSON")
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
    Running::start(name, &mut process::beside(own, name, flags), &log)
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let file = Kubeconfig::read_from(kubeconfig).context("cannot read our own kubeconfig")?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.context("cannot use our own kubeconfig")?;
    // The way to this machine's loopback leads through nobody's proxy.
    config.proxy_url = None;
    Client::try_from(config).context("cannot make a client of the API server")
}

fn resource(version: &str, kind: &str) -> ApiResource {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "Endpoints" {
        // The only kind here whose plural is no plural of its name.
        resource.plural = "endpoints".to_owned();
    }
    resource
}

/// Where the webhook says it serves.
fn address(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("serving https://")?;
    let (address, _) = rest.split_once(';')?;
    Some(format!("https://{address}"))
}

/// The webhook as an API server is told of it: last, asked again when others changed a pod after it, and never passed over.
fn configuration(url: &str, authority: Vec<u8>) -> anyhow::Result<Value> {
    if authority.is_empty() {
        bail!("the webhook has no authority");
    }
    let rules = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                         "operations": ["CREATE", "UPDATE"], "scope": "Namespaced" }]);
    let bundle = serde_json::to_value(ByteString(authority)).context("bytes are JSON")?;
    let webhook = json!({
        "name": "pods.millrace.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": { "url": url, "caBundle": bundle }, "rules": rules,
        "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded", "timeoutSeconds": 10,
    });
    Ok(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "zz-millrace" }, "webhooks": [webhook],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(log: &str, expected: Option<&str>) {
        assert_eq!(address(log).as_deref(), expected, "{log}");
    }

    #[test]
    fn the_webhook_is_where_it_says() {
        check("", None);
        check("INFO serving https://127.0.0.1:4", None);
        let log = "INFO new\nINFO serving https://127.0.0.1:41/inject; its authority is /run/x/ca.crt\n";
        check(log, Some("https://127.0.0.1:41/inject"));
    }

    #[test]
    fn kinds_are_found_where_an_api_server_has_them() {
        assert_eq!(resource("v1", "Endpoints").plural, "endpoints");
        let deployments = resource("apps/v1", "Deployment");
        assert_eq!((deployments.group.as_str(), deployments.plural.as_str()), ("apps", "deployments"));
    }
}
