//! The vendor page's application: which pods to start, read from a manifest as `kubectl apply` would take it.

use anyhow::Context;
use serde_json::Value;
use std::collections::BTreeMap;

/// The manifest: ours, with the page's names, images, ports and users.
pub(crate) const MANIFEST: &str = include_str!("bookinfo.yaml");

/// One deployment of one replica: a pod to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Its name, `reviews-v2`.
    pub(crate) name: String,
    /// Its pods' labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Its container's name, which is its program's.
    pub(crate) app: String,
    /// Its container's image.
    pub(crate) image: String,
    /// The port it listens on.
    pub(crate) port: u16,
    /// The user it runs as.
    pub(crate) user: u32,
}

/// A name for the pods with these labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// The labels its pods have.
    pub(crate) selector: BTreeMap<String, String>,
}

impl Service {
    /// Whether pods of `workload` are behind it.
    pub(crate) fn selects(&self, workload: &Workload) -> bool {
        self.selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
    }
}

impl Workload {
    /// Its version, by its label.
    pub(crate) fn version(&self) -> &str {
        self.labels.get("version").map_or("v1", String::as_str)
    }
}

/// The workloads and services of a manifest, in its order.
pub(crate) fn read(manifest: &str) -> anyhow::Result<(Vec<Workload>, Vec<Service>)> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).context("the manifest is not YAML")?;
    let mut workloads = Vec::new();
    let mut services = Vec::new();
    for document in documents {
        let name = text(&document, "/metadata/name")?;
        match document.get("kind").and_then(Value::as_str) {
            Some("Deployment") => {
                workloads.push(workload(&document).with_context(|| format!("deployment {name}"))?);
            }
            Some("Service") => {
                let selector =
                    labels(&document, "/spec/selector").with_context(|| format!("service {name}"))?;
                services.push(Service { name, selector });
            }
            _ => {}
        }
    }
    Ok((workloads, services))
}

fn workload(document: &Value) -> anyhow::Result<Workload> {
    const CONTAINER: &str = "/spec/template/spec/containers/0";
    let text = |key: &str| text(document, &format!("{CONTAINER}/{key}"));
    let number = |key: &str| {
        let value = document.pointer(&format!("{CONTAINER}/{key}")).and_then(Value::as_u64);
        value.with_context(|| format!("{key} is missing or no number"))
    };
    Ok(Workload {
        name: self::text(document, "/metadata/name")?,
        labels: labels(document, "/spec/template/metadata/labels")?,
        app: text("name")?,
        image: text("image")?,
        port: u16::try_from(number("ports/0/containerPort")?).context("containerPort is no port")?,
        user: u32::try_from(number("securityContext/runAsUser")?).context("runAsUser is no user")?,
    })
}

fn text(document: &Value, pointer: &str) -> anyhow::Result<String> {
    let value = document.pointer(pointer).and_then(Value::as_str);
    Ok(value.with_context(|| format!("{pointer} is missing or no text"))?.to_owned())
}

fn labels(document: &Value, pointer: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let labels = document.pointer(pointer).and_then(Value::as_object);
    let labels = labels.with_context(|| format!("{pointer} is missing or no map"))?;
    labels.iter().map(|(key, _)| Ok((key.clone(), text(&labels[key], "")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_the_vendor_pages_pods() {
        let (workloads, services) = read(MANIFEST).unwrap();
        let names: Vec<&str> = workloads.iter().map(|workload| workload.name.as_str()).collect();
        let expected =
            ["details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3", "productpage-v1"];
        assert_eq!(names, expected);
        for workload in &workloads {
            let image = format!("docker.io/istio/examples-bookinfo-{}:1.16.2", workload.name);
            assert_eq!((workload.image.as_str(), workload.port, workload.user), (image.as_str(), 9080, 1000));
        }
        let reviews = services.iter().find(|service| service.name == "reviews").unwrap();
        assert_eq!(workloads.iter().filter(|workload| reviews.selects(workload)).count(), 3);
    }

    fn check(manifest: &str, complaint: &str) {
        let error = format!("{:#}", read(manifest).unwrap_err());
        assert!(error.contains(complaint), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        check("kind: [", "the manifest is not YAML");
        check("kind: Service\n", "/metadata/name is missing or no text");
        check("kind: Service\nmetadata: {name: x}\n", "service x: /spec/selector is missing or no map");
        check(
            "kind: Deployment\nmetadata: {name: x}\nspec: {template: {metadata: {labels: {a: b}}}}\n",
            "deployment x: /spec/template/spec/containers/0/name is missing or no text",
        );
    }
}
