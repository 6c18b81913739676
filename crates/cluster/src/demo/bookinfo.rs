//! The vendor page's application: what is applied to the API server, and what a pod of it runs. Pure.
//!
//! None of it bears a sidecar: what becomes of a pod is admission's to say, the injector's and then ours.

use crate::demo::injector::ENABLED;
use anyhow::Context;
use millrace_core::policy::PROXY;
use serde_json::{Value, json};

/// The namespace of the mesh, the one `kubectl apply` uses when none is said.
pub(crate) const MESH: &str = "default";
/// The namespace the operator excluded.
pub(crate) const EXCLUDED: &str = "legacy";
/// The manifest: ours, with the page's names, images, ports and users.
const MANIFEST: &str = include_str!("bookinfo.yaml");
/// Who visits it.
const VISITOR: &str = include_str!("visitor.yaml");

/// What one pod runs beside its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Its container's name, which is its program's.
    pub(crate) app: String,
    /// Its version, by its label.
    pub(crate) version: String,
    /// Its container's image.
    pub(crate) image: String,
    /// The port it listens on.
    pub(crate) port: u16,
    /// The user it runs as.
    pub(crate) user: u32,
}

/// The namespaces, in both of which pods are injected.
pub(crate) fn namespaces() -> [Value; 2] {
    let [label, enabled] = ENABLED;
    [MESH, EXCLUDED].map(|name| {
        let metadata = json!({ "name": name, "labels": { label: enabled } });
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
    })
}

/// Everything that is applied, in its order: bookinfo in a namespace of the mesh, its productpage again in one that is
/// excluded, and the visitor.
pub(crate) fn objects() -> anyhow::Result<Vec<Value>> {
    let mut objects = documents(MANIFEST, MESH)?;
    let productpage =
        |object: &Value| object["metadata"]["name"].as_str().is_some_and(|name| name.contains("productpage"));
    objects.extend(documents(MANIFEST, EXCLUDED)?.into_iter().filter(productpage));
    objects.extend(documents(VISITOR, MESH)?);
    Ok(objects)
}

/// A pod of the mesh as it comes to admission, for asking what would become of one.
pub(crate) fn trial() -> anyhow::Result<Value> {
    let objects = objects()?;
    let mut of_mesh = objects.iter().filter(|object| object["kind"] == "Deployment");
    let template = of_mesh.next().context("bookinfo has a Deployment")?["spec"]["template"].clone();
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"] });
    pod["metadata"]["name"] = json!("trial");
    pod["metadata"]["namespace"] = json!(MESH);
    Ok(pod)
}

fn documents(manifest: &str, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents: Vec<Value> =
        serde_saphyr::from_multiple(manifest).context("the manifest is not YAML")?;
    documents.retain(|document| !document.is_null());
    for document in &mut documents {
        anyhow::ensure!(document["metadata"].is_object(), "an object of the manifest has no metadata");
        document["metadata"]["namespace"] = json!(namespace);
    }
    Ok(documents)
}

/// What a pod runs beside its proxy.
pub(crate) fn workload(pod: &Value) -> anyhow::Result<Workload> {
    let containers = pod["spec"]["containers"].as_array().context("no containers")?;
    let app = containers.iter().find(|container| container["name"] != PROXY);
    let app = app.context("no container beside the proxy")?;
    let text = |key: &str| app[key].as_str().with_context(|| format!("{key} is missing or no text"));
    let number = |pointer: &str| {
        let value = app.pointer(pointer).and_then(Value::as_u64);
        value.with_context(|| format!("{pointer} is missing or no number"))
    };
    Ok(Workload {
        app: text("name")?.to_owned(),
        version: pod["metadata"]["labels"]["version"].as_str().unwrap_or("v1").to_owned(),
        image: text("image")?.to_owned(),
        port: u16::try_from(number("/ports/0/containerPort")?).context("containerPort is no port")?,
        user: u32::try_from(number("/securityContext/runAsUser")?).context("runAsUser is no user")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_has_the_vendor_pages_pods_and_two_more() {
        let objects = objects().unwrap();
        let deployments: Vec<&Value> =
            objects.iter().filter(|object| object["kind"] == "Deployment").collect();
        let names: Vec<String> = deployments
            .iter()
            .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        let expected =
            "details-v1 ratings-v1 reviews-v1 reviews-v2 reviews-v3 productpage-v1 productpage-v1 visitor";
        assert_eq!(names.join(" "), expected);
        for (name, deployment) in names.iter().zip(&deployments) {
            let template = &deployment["spec"]["template"];
            assert!(template["spec"]["initContainers"].is_null(), "{name} brings what an injector is to add");
            let workload = workload(template).unwrap();
            assert_eq!((workload.port, workload.user), (9080, 1000));
            let image = format!("docker.io/istio/examples-bookinfo-{name}:1.16.2");
            assert!(workload.image == image || name == "visitor", "{}", workload.image);
        }
    }

    fn check(pod: Value, complaint: &str) {
        let error = format!("{:#}", workload(&pod).unwrap_err());
        assert!(error.contains(complaint), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        check(json!({}), "no containers");
        check(json!({ "spec": { "containers": [{ "name": "istio-proxy" }] } }), "beside the proxy");
        let app = json!({ "name": "app", "image": "app" });
        check(json!({ "spec": { "containers": [app] } }), "/ports/0/containerPort is missing");
    }
}
