//! Reads what a check looks at from the API server. It judges nothing, and changes nothing: one pod is created as a dry run.
//!
//! What may not be read, or is not answered, is noted with its reason, and the rest is read all the same.

mod probe;
mod rights;
mod webhook;

use super::facts::{Controller, Definition, Facts, INSTALLING, RIGHTS};
use crate::api::mesh::MeshCNI;
use crate::api::node::MeshCNINode;
use crate::api::ours::CONTROLLERS;
use crate::cli::change;
use crate::cli::connect::{Connection, Error};
use crate::cli::leader::{self, Lease};
use crate::cli::reader::Reader;
use crate::cli::wait::Line;
use crate::controller::observed::{self, Observed};
use crate::controller::preconditions::tag;
use crate::controller::{survey, workloads, world};
use crate::print::crd;
use crate::print::words::{WEBHOOK, selector};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, ListParams};
use kube::{CustomResourceExt, ResourceExt};
use serde_json::Value;
use std::collections::BTreeSet;

/// The most agents and controllers.
const MOST_PODS: usize = 40_000;
/// The most fields of a definition that are named.
const MOST_FIELDS: usize = 5;

/// Reads it all; for `pre` what there is before an installation. Fails if nobody answers at all.
pub(super) async fn read(connection: &Connection, home: &str, pre: bool, line: Line) -> Result<Facts, Error> {
    let version = connection.client.apiserver_version();
    let version = connection.ask("read the API server's version", version).await?;
    let mut reader = Reader::new("check", connection, home, line);
    let mut facts = Facts {
        server: connection.server.clone(),
        version: version.git_version,
        home: home.to_owned(),
        now: Timestamp::now(),
        ..Facts::default()
    };
    reader.show("definitions");
    for (kind, crd) in [("MeshCNI", MeshCNI::crd()), ("MeshCNINode", MeshCNINode::crd())] {
        if let Some(found) = reader.definition(kind, &crd.name_any()).await {
            facts.definitions.push((kind, found));
        }
    }
    reader.show("the mesh and the network");
    facts.cluster = survey::read(&connection.client, &reader).await;
    reader.show("nodes");
    reader.nodes(&mut facts.observed).await;
    let installed = facts.definitions.iter().all(|(_, found)| *found != Definition::Absent);
    if installed {
        let mesh = reader.noted(change::read(connection).await).filter(|mesh| !mesh.is_null());
        facts.mesh = mesh.and_then(|mesh| reader.typed("MeshCNI default", mesh));
    }
    if !pre {
        if installed {
            for report in reader.reports().await {
                facts.observed.reports.extend([observed::report(&report)]);
                facts.reports.insert(report.name_any(), report.status.unwrap_or_default());
            }
        }
        reader.show("the control plane");
        facts.controllers = reader.pods(&mut facts.observed).await;
        facts.lease = reader.lease().await;
        reader.show("the webhook");
        facts.webhook = reader.webhook().await;
    }
    reader.show("rights");
    let wanted = if pre { &INSTALLING[..] } else { &RIGHTS[..] };
    facts.rights = reader.rights(wanted).await;
    facts.unread = reader.unread();
    Ok(facts)
}

impl Reader<'_> {
    async fn definition(&self, kind: &str, name: &str) -> Option<Definition> {
        let api: Api<CustomResourceDefinition> = Api::all(self.connection.client.clone());
        let found = self.connection.ask(&format!("read the definition of {kind}"), api.get_opt(name)).await;
        let Some(found) = self.noted(found)? else { return Some(Definition::Absent) };
        let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let served = conditions.clone().any(|one| one.type_ == "Established" && one.status == "True");
        if !served {
            return Some(Definition::Refused);
        }
        let found = serde_json::to_value(&found).expect("an object that was read can be written");
        let ours = crd::definitions().into_iter().find(|ours| ours["spec"]["names"]["kind"] == kind);
        let (ours, found) = (fields(&ours.expect("both kinds are printed")), fields(&found));
        let other: Vec<String> = ours.symmetric_difference(&found).take(MOST_FIELDS).cloned().collect();
        Some(if other.is_empty() { Definition::Same } else { Definition::Other(other) })
    }

    /// The agents, and the controller's pods.
    async fn pods(&self, observed: &mut Observed) -> Option<Vec<Controller>> {
        let client = self.connection.client.clone();
        let all = || ListParams::default();
        let api: Api<workloads::Pod> =
            Api::namespaced_with(client.clone(), self.home, &ApiResource::erase::<Pod>(&()));
        let chosen: Vec<String> = selector().iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut keep = |pod: workloads::Pod| drop(observed.agents.insert(pod.name_any(), world::agent(&pod)));
        let params = all().labels(&chosen.join(","));
        let read = self.connection.pages("list the agents' pods", &api, params, MOST_PODS, &mut keep).await;
        self.noted(read)?;
        let api: Api<Pod> = Api::namespaced(client, self.home);
        let mut controllers = Vec::new();
        let params = all().labels(CONTROLLERS);
        let mut keep = |pod: Pod| controllers.push(controller(&pod));
        let read =
            self.connection.pages("list the controller's pods", &api, params, MOST_PODS, &mut keep).await;
        self.noted(read)?;
        Some(controllers)
    }

    async fn lease(&self) -> Option<Lease> {
        Some(self.noted(leader::read(self.connection, self.home).await)?.unwrap_or_default())
    }

    fn service(&self) -> String {
        format!("{}/{WEBHOOK}", self.home)
    }
}

fn controller(pod: &Pod) -> Controller {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default();
    Controller {
        name: pod.name_any(),
        ready: conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"),
        version: tag(&image).unwrap_or_default().to_owned(),
    }
}

/// The paths of all fields that a definition has.
fn fields(definition: &Value) -> BTreeSet<String> {
    fn below(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            below(&path, field, found);
            found.insert(path);
        }
        if schema["items"].is_object() {
            below(path, &schema["items"], found);
        }
    }
    let mut found = BTreeSet::new();
    below("", &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    found
}
