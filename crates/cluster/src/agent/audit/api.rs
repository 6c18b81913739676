//! What the audit asks of the API server: an eviction, a label, an event about a pod.
//!
//! A pod is only ever ended by the Eviction API, so that disruption budgets hold, and every change names the UID of the pod
//! that is meant. Each request has a deadline, and none is sent twice by itself.

use crate::agent::events::{self, About, Note, Times};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// One pod, certainly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its UID, the API server's.
    pub(crate) uid: String,
}

/// What is asked.
pub(crate) trait Requests {
    /// Evicts a pod.
    fn evict(&self, pod: &Target) -> impl Future<Output = Result<(), Error>>;
    /// Puts the configured label on a pod.
    fn label(&self, pod: &Target) -> impl Future<Output = Result<(), Error>>;
    /// Writes an event about a pod.
    fn tell(&self, pod: &Target, note: &Note) -> impl Future<Output = Result<(), Error>>;
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub(crate) enum Error {
    /// The pod is gone, or another has its name: there is nothing left to do.
    Gone,
    /// A disruption budget holds, or the server wants to be asked less.
    Later(String),
    /// RBAC does not let us.
    Forbidden { verb: &'static str, resource: &'static str, message: String },
    /// Anything else that the server says, or that it says nothing.
    Failed { act: &'static str, cause: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Gone => f.write_str("the pod is gone"),
            Error::Later(message) => write!(f, "the API server says later: {message}"),
            Error::Forbidden { verb, resource, message } => write!(
                f,
                "the API server forbids it: {message}; let the agent's account {verb} {resource}, or choose another audit policy"
            ),
            Error::Failed { act, cause } => write!(f, "cannot {act}: {cause}"),
        }
    }
}

impl std::error::Error for Error {}

/// The API server, spoken to as the agent of one node.
pub(crate) struct Server {
    client: Box<dyn Fn() -> kube::Client + Send + Sync>,
    node: String,
    label: (String, String),
    patience: Duration,
}

impl Server {
    /// `client` gives the client of the moment, which must not retry by itself (`Config::default_retry`): a budget that
    /// holds is answered as "try again in some seconds". `label` is the key and the value that mark a pod; `patience` bounds
    /// each request.
    pub(crate) fn new(
        client: impl Fn() -> kube::Client + Send + Sync + 'static,
        node: String,
        label: (String, String),
        patience: Duration,
    ) -> Server {
        Server { client: Box::new(client), node, label, patience }
    }

    fn pods(&self, pod: &Target) -> Api<Pod> {
        Api::namespaced((self.client)(), &pod.namespace)
    }

    async fn within<T>(
        &self,
        act: &Asked,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.patience, request).await {
            Ok(answer) => answer.map_err(|error| refusal(act, error)),
            Err(_) => {
                let cause = format!("the API server has not answered for {} s", self.patience.as_secs());
                Err(Error::Failed { act: act.act, cause })
            }
        }
    }

    /// Asks for an eviction in the words of one version of the API.
    async fn evict_by(&self, version: &str, pod: &Target) -> Result<(), Error> {
        let eviction = json!({
            "apiVersion": version,
            "kind": "Eviction",
            "metadata": { "name": pod.name, "namespace": pod.namespace },
            "deleteOptions": { "preconditions": { "uid": pod.uid } },
        });
        let (pods, params) = (self.pods(pod), PostParams::default());
        let request = pods.create_subresource::<_, Value>("eviction", &pod.name, &params, &eviction);
        self.within(&EVICT, request).await.map(drop)
    }
}

impl Requests for Server {
    async fn evict(&self, pod: &Target) -> Result<(), Error> {
        match self.evict_by("policy/v1", pod).await {
            // Before Kubernetes 1.22 a server knows only the older words, and says so in several ways.
            Err(Error::Failed { cause, .. }) if is_of_unknown_version(&cause) => {
                self.evict_by("policy/v1beta1", pod).await
            }
            done => done,
        }
    }

    async fn label(&self, pod: &Target) -> Result<(), Error> {
        let (key, value) = &self.label;
        // A patch that names the UID is refused for any other pod.
        let patch = json!({ "metadata": { "uid": pod.uid, "labels": BTreeMap::from([(key, value)]) } });
        let patch = Patch::Merge(&patch);
        let (pods, params) = (self.pods(pod), PatchParams::default());
        let request = pods.patch_metadata(&pod.name, &params, &patch);
        self.within(&LABEL, request).await.map(drop)
    }

    async fn tell(&self, pod: &Target, note: &Note) -> Result<(), Error> {
        let about = About::pod(&pod.namespace, &pod.name, &pod.uid);
        let times = Times::once(Timestamp::now());
        self.within(&TELL, events::write((self.client)(), &about, note, times, &self.node)).await
    }
}

/// What is asked, for messages.
struct Asked {
    act: &'static str,
    verb: &'static str,
    resource: &'static str,
}

const EVICT: Asked = Asked { act: "evict the pod", verb: "create", resource: "pods/eviction" };
const LABEL: Asked = Asked { act: "label the pod", verb: "patch", resource: "pods" };
const TELL: Asked = Asked { act: "write an event", verb: "create", resource: "events" };

fn refusal(asked: &Asked, error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => match status.code {
            // 409 is how a precondition on the UID fails, 422 how a patch that would change it does.
            404 | 409 if status.reason != "AlreadyExists" && !is_of_unknown_version(&status.message) => {
                Error::Gone
            }
            422 if status.message.contains("metadata.uid") => Error::Gone,
            429 => Error::Later(status.message.clone()),
            403 => Error::Forbidden {
                verb: asked.verb,
                resource: asked.resource,
                message: status.message.clone(),
            },
            code => Error::Failed { act: asked.act, cause: format!("{} ({code})", status.message) },
        },
        error => Error::Failed { act: asked.act, cause: error.to_string() },
    }
}

/// `no kind "Eviction" is registered for version "policy/v1"`, or that the group serves no such thing.
fn is_of_unknown_version(message: &str) -> bool {
    message.contains("policy/v1") || message.contains("the server could not find the requested resource")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::config::{KubeConfigOptions, Kubeconfig};
    use millrace_rig::apiserver::Apiserver;
    use std::path::Path;

    async fn server(kubeconfig: &Path) -> Server {
        let read = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config =
            kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = false;
        let client = kube::Client::try_from(config).unwrap();
        let label = ("millrace.dev/unprotected".to_owned(), "true".to_owned());
        Server::new(move || client.clone(), "n1".to_owned(), label, Duration::from_secs(60))
    }

    fn made(api: &Apiserver, name: &str) -> Target {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
            "spec": { "nodeName": "n1", "containers": [{ "name": "app", "image": "none" }] },
        });
        api.done(&["create", "-f", "-"], &pod.to_string());
        let uid = api.done(&["get", "pod", name, "-o", "jsonpath={.metadata.uid}"], "");
        Target { namespace: "default".to_owned(), name: name.to_owned(), uid }
    }

    fn budget(api: &Apiserver, name: &str) {
        let budget = json!({
            "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": name } } },
        });
        api.done(&["create", "-f", "-"], &budget.to_string());
    }

    fn says(api: &Apiserver, what: &str, pod: &Target, path: &str) -> String {
        let field = format!("involvedObject.uid={}", pod.uid);
        let mut args = vec!["get", what];
        if what == "events" {
            args.extend(["--field-selector", &field])
        } else {
            args.push(&pod.name)
        }
        args.extend(["-o", path]);
        api.done(&args, "")
    }

    #[test]
    fn a_real_server_evicts_labels_and_keeps_events_of_the_very_pod_that_is_meant() {
        let name = "api::a_real_server_evicts_labels_and_keeps_events_of_the_very_pod_that_is_meant";
        let Some(api) = Apiserver::start(name) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = server(&api.kubeconfig()).await;
            let pod = made(&api, "web");
            let other = Target { uid: "0b6e4c7e-9d1c-4a47-8f0e-2f6f3b1f9a01".to_owned(), ..pod.clone() };
            let gone = Target { name: "nobody".to_owned(), ..pod.clone() };
            for wrong in [&other, &gone] {
                assert_eq!(server.label(wrong).await, Err(Error::Gone));
                assert_eq!(server.evict(wrong).await, Err(Error::Gone));
            }
            assert_eq!(server.label(&pod).await, Ok(()));
            assert_eq!(server.label(&pod).await, Ok(()), "twice changes nothing");
            let labels = says(&api, "pod", &pod, "jsonpath={.metadata.labels}");
            assert!(
                labels.contains(r#""millrace.dev/unprotected":"true""#) && labels.contains("app"),
                "{labels}"
            );

            let text = "ä".repeat(1024);
            let note = Note { warning: true, reason: "MeshBypassed", action: "Reapply", text };
            assert_eq!(server.tell(&pod, &note).await, Ok(()));
            let path = "jsonpath={.items[*].reason} {.items[*].type} {.items[*].reportingComponent}";
            assert_eq!(says(&api, "events", &pod, path), "MeshBypassed Warning millrace-agent");

            // A budget says nothing of a pod that has not started.
            let started = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
            let (pods, patch) = (server.pods(&pod), Patch::Merge(&started));
            pods.patch_status(&pod.name, &PatchParams::default(), &patch).await.unwrap();
            budget(&api, "web");
            let held = server.evict(&pod).await;
            assert!(matches!(&held, Err(Error::Later(message)) if message.contains("budget")), "{held:?}");
            api.done(&["delete", "poddisruptionbudget", "web"], "");
            assert_eq!(server.evict(&other).await, Err(Error::Gone), "started or not");
            assert_eq!(server.evict(&pod).await, Ok(()));
            let left =
                api.kubectl(&["get", "pod", "web", "-o", "jsonpath={.metadata.deletionTimestamp}"], "");
            assert!(!left.status.success() || !left.stdout.is_empty(), "it is being ended: {left:?}");

            let config = api.user("system:node-agent", &["nobody"]);
            let stranger = self::server(&config).await;
            let pod = made(&api, "app");
            for (refused, way) in [
                (stranger.evict(&pod).await, "create pods/eviction"),
                (stranger.label(&pod).await, "patch pods"),
                (stranger.tell(&pod, &note).await, "create events"),
            ] {
                let error = refused.expect_err("nobody allowed it");
                assert!(
                    matches!(error, Error::Forbidden { .. }) && error.to_string().contains(way),
                    "{error}"
                );
            }
            api.stop();
            assert!(matches!(server.evict(&pod).await, Err(Error::Failed { .. })), "nobody answers");
        });
    }

    fn check(code: u16, reason: &str, message: &str, expected: &str) {
        let status = kube::core::Status {
            code,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..kube::core::Status::default()
        };
        let error = refusal(&EVICT, kube::Error::Api(Box::new(status)));
        assert!(format!("{error:?}").starts_with(expected), "{code} {message}: {error:?}");
    }

    #[test]
    fn each_answer_has_its_meaning() {
        check(404, "NotFound", "pods \"web\" not found", "Gone");
        check(409, "Conflict", "Precondition failed: UID in precondition: a, UID in object meta: b", "Gone");
        check(422, "Invalid", "Pod is invalid: metadata.uid: Invalid value: field is immutable", "Gone");
        check(422, "Invalid", "metadata.labels: Invalid value", "Failed");
        check(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
            "Later",
        );
        check(403, "Forbidden", "pods is forbidden", "Forbidden");
        check(500, "InternalError", "this pod has more than one PodDisruptionBudget", "Failed");
        check(409, "AlreadyExists", "events \"web.1\" already exists", "Failed");
        check(404, "NotFound", "the server could not find the requested resource", "Failed");
        check(400, "BadRequest", "no kind \"Eviction\" is registered for version \"policy/v1\"", "Failed");
    }
}
