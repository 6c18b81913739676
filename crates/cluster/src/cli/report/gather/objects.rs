//! Everything that is Millrace's in a cluster, as it is, but for Secrets; and its pods.

use super::{Gatherer, meta, place};
use crate::api::kinds::{KINDS, Kind};
use crate::cli::connect::{Error, MOST_NODES};
use crate::cli::report::redact;
use crate::cli::uninstall::whose::{DEFINITIONS, LABELS, NAMED};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

/// The label of all pods of ours, the value of which no chart changes.
const OURS: &str = "app.kubernetes.io/name=millrace";

impl Gatherer<'_> {
    /// The objects of each kind, one file each.
    pub(super) async fn objects(&mut self) {
        self.our_pods().await;
        for kind in KINDS.into_iter().filter(|kind| kind.name != "Secret") {
            for (label, value) in LABELS {
                let ours = format!("{label}={value}");
                self.keep_all(&kind.resource(), &format!("list {}", kind.plural), &ours).await;
            }
            for (_, name) in NAMED.iter().filter(|(named, _)| *named == kind.name) {
                self.named(kind, name).await;
            }
        }
        for name in DEFINITIONS {
            let api = self.connection.all::<CustomResourceDefinition>();
            let act = format!("read CustomResourceDefinition {name}");
            let read = self.connection.ask(&act, api.get_opt(name)).await;
            if let Some(Some(found)) = self.noted(read) {
                let found = serde_json::to_value(&found).expect("an object that was read can be written");
                self.bundle
                    .object(&format!("objects/CustomResourceDefinition/{name}.yaml"), &definition(&found));
            }
        }
    }

    /// The pods of controller and agents, wherever they were put.
    async fn our_pods(&mut self) {
        let kind = ApiResource::erase::<Pod>(&());
        self.ours = self.keep_all(&kind, "list pods of Millrace", OURS).await;
    }

    /// Keeps the kind's objects with that label, and returns them.
    async fn keep_all(&mut self, kind: &ApiResource, act: &str, label: &str) -> Vec<Value> {
        let found = self.labelled(kind, act, label).await;
        for object in &found {
            self.keep(object);
        }
        found
    }

    fn keep(&mut self, object: &Value) {
        let kind = object["kind"].as_str().unwrap_or_default();
        let place = if meta(object, "namespace").is_empty() {
            meta(object, "name").to_owned()
        } else {
            place(object)
        };
        self.bundle.object(&format!("objects/{kind}/{place}.yaml"), &redact::object(object));
    }

    /// Who may not look everywhere may look where the controller is.
    async fn labelled(&mut self, kind: &ApiResource, act: &str, label: &str) -> Vec<Value> {
        let client = self.connection.client.clone();
        let all: Api<DynamicObject> = Api::all_with(client.clone(), kind);
        match self.list(kind, act, &all, label).await {
            Err(error @ Error::Forbidden { .. }) => {
                self.told.note(error.say(self.style.lang));
                if KINDS.iter().any(|known| known.name == kind.kind && known.is_of_cluster) {
                    return Vec::new();
                }
                let home = Api::namespaced_with(client, &self.told.home, kind);
                let found = self.list(kind, &format!("{act} in {}", self.told.home), &home, label).await;
                self.noted(found).unwrap_or_default()
            }
            // A server that does not know the kind has none of it.
            Err(Error::NotInstalled { .. }) => Vec::new(),
            found => self.noted(found).unwrap_or_default(),
        }
    }

    async fn list(
        &self,
        kind: &ApiResource,
        act: &str,
        api: &Api<DynamicObject>,
        label: &str,
    ) -> Result<Vec<Value>, Error> {
        let mut found = Vec::new();
        let mut keep = |object: &Value| found.push(of_kind(object, kind));
        self.connection.each(act, api, ListParams::default().labels(label), MOST_NODES, &mut keep).await?;
        Ok(found)
    }

    async fn named(&mut self, kind: Kind, name: &str) {
        let known = kind.resource();
        let home: Api<DynamicObject> =
            Api::namespaced_with(self.connection.client.clone(), &self.told.home, &known);
        let act = format!("read {} {}/{name}", kind.name, self.told.home);
        let read = self.connection.ask(&act, home.get_opt(name)).await;
        if let Some(Some(object)) = self.noted(read) {
            let object = serde_json::to_value(&object).expect("an object that was read can be written");
            self.keep(&of_kind(&object, &known));
        }
    }
}

/// Items of a list do not say what they are.
fn of_kind(object: &Value, kind: &ApiResource) -> Value {
    let mut known = json!({ "apiVersion": kind.api_version, "kind": kind.kind });
    for (field, value) in object.as_object().into_iter().flatten().filter(|(field, _)| *field != "types") {
        known[field] = value.clone();
    }
    known
}

/// A definition without its schema, which `check` has compared.
fn definition(found: &Value) -> Value {
    let versions = found["spec"]["versions"].as_array().into_iter().flatten();
    let versions: Vec<Value> = versions
        .map(|one| json!({ "name": one["name"], "served": one["served"], "storage": one["storage"] }))
        .collect();
    let mut kept = redact::object(&json!({ "metadata": found["metadata"], "status": found["status"] }));
    kept["spec"] = json!({ "conversion": found["spec"]["conversion"]["strategy"], "versions": versions });
    kept
}
