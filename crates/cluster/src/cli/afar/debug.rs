//! Debug containers: one in the pod itself, or a pod of its own on the pod's node, each running one command to its end.
//!
//! A pod that was made is deleted, also when the command failed, was interrupted or took too long. Rights are asked for first.

use super::super::connect::{Connection, Error};
use super::rights::{Right, need};
use super::{Ran, node};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::{DeleteParams, LogParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// The program in an image of Millrace.
pub(super) const PROGRAM: &str = "/millrace";
/// Until the command has ended; an image may have to be pulled.
const PATIENCE: Duration = Duration::from_secs(120);
/// The most bytes of an answer (M10).
const MOST: i64 = 8 << 20;
/// Of a pod on the node, whose one container it is.
const CONTAINER: &str = "look";

/// Runs a command in an ephemeral container of the pod: its name, and what came of it.
pub(super) async fn in_pod(
    connection: &Connection,
    pod: &Value,
    image: &str,
    words: &[String],
) -> Result<(String, Ran), Error> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let act = format!("put a debug container into pod {namespace}/{name}");
    let right = |verb, part| Right { verb, part, namespace };
    need(connection, &act, &[right("patch", "ephemeralcontainers"), right("get", ""), right("get", "log")])
        .await?;
    let earlier = pod["spec"]["ephemeralContainers"].as_array().map_or(0, Vec::len);
    let container = format!("millrace-look-{}", earlier + 1);
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let patch = json!({ "spec": { "ephemeralContainers": [ephemeral(&container, image, words)] } });
    let patch = Patch::Strategic(&patch);
    let params = PatchParams::default();
    let patched = pods.patch_ephemeral_containers(name, &params, &patch);
    connection.ask(&act, patched).await.map_err(|error| match error {
        Error::NotInstalled { act } | Error::Absent { act } => {
            let why = "this server has no ephemeral containers (Kubernetes 1.23 and newer do); --debug-node needs none";
            Error::Other { act, why: why.to_owned() }
        }
        error => error,
    })?;
    let status = |pod: &Pod| {
        let all = pod.status.as_ref()?.ephemeral_container_statuses.as_ref()?;
        all.iter().find(|status| status.name == container).cloned()
    };
    let ran = ended(connection, &pods, name, &container, &act, status).await?;
    Ok((container, ran))
}

/// Runs a command in a pod of its own on the pod's node: its name, and what came of it.
pub(super) async fn on_node(
    connection: &Connection,
    pod: &Value,
    image: &str,
    words: &[String],
) -> Result<(String, Ran), Error> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let act = format!("make a pod on node {}", node(pod));
    let right = |verb, part| Right { verb, part, namespace };
    need(
        connection,
        &act,
        &[right("create", ""), right("delete", ""), right("get", ""), right("get", "log")],
    )
    .await?;
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let wanted: Pod = serde_json::from_value(looker(node(pod), image, words)).expect("it is a pod");
    let made = connection.ask(&act, pods.create(&PostParams::default(), &wanted)).await?;
    let name = made.metadata.name.unwrap_or_default();
    let status = |pod: &Pod| pod.status.as_ref()?.container_statuses.as_ref()?.first().cloned();
    let ran = tokio::select! {
        ran = ended(connection, &pods, &name, CONTAINER, &act, status) => ran,
        _ = tokio::signal::ctrl_c() => Err(Error::Other { act, why: "it was interrupted".to_owned() }),
    };
    let now = DeleteParams::default().grace_period(0);
    let gone = connection.ask(&format!("delete pod {namespace}/{name}"), pods.delete(&name, &now)).await;
    match (ran, gone) {
        (Err(error), _) => Err(error),
        (Ok(_), Err(error)) if !matches!(error, Error::Absent { .. }) => Err(error),
        (Ok(ran), _) => Ok((format!("{namespace}/{name}"), ran)),
    }
}

/// Waits until the command has ended, and reads what it said.
async fn ended(
    connection: &Connection,
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    act: &str,
    status: impl Fn(&Pod) -> Option<ContainerStatus>,
) -> Result<Ran, Error> {
    let other = |why: String| Error::Other { act: act.to_owned(), why };
    let over = |pod: Option<&Pod>| pod.is_none_or(|pod| status(pod).is_some_and(|status| is_over(&status)));
    let waited = timeout(PATIENCE, await_condition(pods.clone(), pod, over)).await;
    let found = match waited {
        Ok(Ok(found)) => found.ok_or_else(|| other("the pod is gone".to_owned()))?,
        Ok(Err(error)) => return Err(other(error.to_string())),
        Err(_) => return Err(other(format!("{container} has not ended for {} s", PATIENCE.as_secs()))),
    };
    let state = status(&found).and_then(|status| status.state).unwrap_or_default();
    let Some(terminated) = state.terminated else {
        let waiting = state.waiting.unwrap_or_default();
        let words = [waiting.reason, waiting.message].into_iter().flatten().collect::<Vec<_>>().join(": ");
        return Err(other(format!("{container} does not start: {words}")));
    };
    let params =
        LogParams { container: Some(container.to_owned()), limit_bytes: Some(MOST), ..LogParams::default() };
    let out = connection.ask(&format!("read the log of {pod}"), pods.logs(pod, &params)).await?;
    let status = terminated.exit_code;
    // A log does not tell the two streams apart; a failure is said on the other one.
    let (out, err) = if status > 1 { (String::new(), out) } else { (out, String::new()) };
    Ok(Ran { status, out, err })
}

/// Whether it has ended, or will not begin.
fn is_over(status: &ContainerStatus) -> bool {
    const HOPELESS: [&str; 6] = [
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    ];
    let Some(state) = &status.state else { return false };
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    state.terminated.is_some() || waiting.is_some_and(|reason| HOPELESS.contains(&reason))
}

/// What reading rules and sending probes as somebody takes; it is in the pod's namespace by itself.
fn ephemeral(name: &str, image: &str, words: &[String]) -> Value {
    json!({ "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": words,
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsGroup": 0, "runAsNonRoot": false,
            "runAsUser": 0, "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN", "SETGID", "SETUID"] } } })
}

/// A pod of the node's own namespaces, which no injector touches and which ends by itself if nobody deletes it.
fn looker(node: &str, image: &str, words: &[String]) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "generateName": "millrace-look-", "labels": {
            "app.kubernetes.io/name": "millrace", "app.kubernetes.io/component": "look", "sidecar.istio.io/inject": "false" } },
        "spec": {
            "activeDeadlineSeconds": PATIENCE.as_secs(), "automountServiceAccountToken": false, "enableServiceLinks": false,
            "hostNetwork": true, "hostPID": true, "nodeName": node, "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0, "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": CONTAINER, "image": image, "imagePullPolicy": "IfNotPresent", "command": words,
                "securityContext": { "privileged": true, "runAsUser": 0 },
                "volumeMounts": [{ "name": "run", "mountPath": "/run", "readOnly": true, "mountPropagation": "HostToContainer" }] }],
            "volumes": [{ "name": "run", "hostPath": { "path": "/run", "type": "Directory" } }] } })
}
