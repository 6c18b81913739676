//! What preconditions are judged by, read from the API server: the mesh's control plane, its injector, the settings of the
//! cluster's network. The controller reads it every few minutes, `millrace check` once.
//!
//! It judges nothing. What may not be read, or is not there, is absent; whoever asks hears of what was refused.

use super::apply::{Asker, ask};
use super::preconditions::{Facts, Set};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The most objects of a kind that are looked at: a cluster has few of those that count, and each list is by label if it can
/// be.
const MOST: u32 = 500;

/// Reads them.
pub(crate) async fn read(client: &Client, asker: &impl Asker) -> Facts {
    let what = || "the API server's version".to_owned();
    let version = ask(asker, "get", what, client.apiserver_version()).await.ok();
    let webhooks: Option<Vec<MutatingWebhookConfiguration>> = list(client, asker, "").await;
    let injects =
        webhooks.map(|all| all.iter().any(|webhook| webhook.name_any().contains("sidecar-injector")));
    let planes: Vec<Deployment> = list(client, asker, "app=istiod").await.unwrap_or_default();
    let images = planes.iter().filter_map(|plane| plane.spec.as_ref()?.template.spec.as_ref());
    let images = images.flat_map(|pod| &pod.containers).filter_map(|container| container.image.clone());
    let mut injectors = Vec::new();
    for plane in &planes {
        injectors.extend(values(client, asker, plane).await);
    }
    Facts {
        server: version.map(|version| (version.major, version.minor)),
        injectors,
        control_planes: images.collect(),
        cilium: config(client, asker, "kube-system", "cilium-config").await,
        calico: calico(client, asker).await,
        daemon_sets: daemon_sets(client, asker).await,
        confined: confined(client, asker).await,
        injects,
    }
}

async fn list<K>(client: &Client, asker: &impl Asker, labels: &str) -> Option<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let params = ListParams::default().labels(labels).limit(MOST);
    let what = || K::plural(&()).into_owned();
    ask(asker, "list", what, api.list(&params)).await.ok().map(|list| list.items)
}

/// The values of one control plane's injector, which is named by its revision: nothing else there is any business of ours.
async fn values(client: &Client, asker: &impl Asker, plane: &Deployment) -> Option<String> {
    let revision = plane.labels().get("istio.io/rev").filter(|revision| *revision != "default");
    let revision = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
    let name = format!("istio-sidecar-injector{revision}");
    config(client, asker, &plane.namespace()?, &name).await?.remove("values")
}

async fn config(
    client: &Client,
    asker: &impl Asker,
    namespace: &str,
    name: &str,
) -> Option<std::collections::BTreeMap<String, String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    ask(asker, "get", || format!("ConfigMap {name}"), api.get_opt(name)).await.ok()??.data
}

/// Which connections Calico's eBPF dataplane translates as they are made.
async fn calico(client: &Client, asker: &impl Asker) -> Option<String> {
    let kind = GroupVersionKind::gvk("crd.projectcalico.org", "v1", "FelixConfiguration");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    let what = || "FelixConfiguration default".to_owned();
    let felix = ask(asker, "get", what, api.get_opt("default")).await.ok()??;
    let spec = felix.data.get("spec")?;
    // Without eBPF nobody translates there.
    let on = spec.get("bpfEnabled")?.as_bool()?;
    let mode = spec.get("bpfConnectTimeLoadBalancing").and_then(|mode| mode.as_str()).unwrap_or("TCP");
    on.then(|| mode.to_owned())
}

async fn daemon_sets(client: &Client, asker: &impl Asker) -> Vec<Set> {
    let all: Vec<DaemonSet> = list(client, asker, "").await.unwrap_or_default();
    let image = |set: &DaemonSet| {
        let pod = set.spec.as_ref()?.template.spec.as_ref()?;
        pod.containers.first()?.image.clone()
    };
    let set = |set: &DaemonSet| Set {
        namespace: set.namespace().unwrap_or_default(),
        name: set.name_any(),
        image: image(set).unwrap_or_default(),
    };
    all.iter().map(set).collect()
}

/// Namespaces with injection whose level does not let istio-init in.
async fn confined(client: &Client, asker: &impl Asker) -> Vec<(String, String)> {
    let all: Vec<PartialObjectMeta<Namespace>> = list(client, asker, "").await.unwrap_or_default();
    let confined = all.iter().filter_map(|space| {
        let level = space.labels().get("pod-security.kubernetes.io/enforce")?;
        let injected = space.labels().get("istio-injection").is_some_and(|value| value == "enabled")
            || space.labels().contains_key("istio.io/rev");
        (injected && matches!(level.as_str(), "baseline" | "restricted"))
            .then(|| (space.name_any(), level.clone()))
    });
    confined.collect()
}
