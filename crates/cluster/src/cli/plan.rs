//! `millrace plan`: which pods would be redirected by somebody else, once they are restarted, if the MeshCNI were as proposed.
//!
//! Reads pods and the MeshCNI; writes nothing. What becomes of a pod is asked of the webhook's own code.

mod compare;
mod view;

pub(crate) use compare::{Change, Next, Plan, next, workload};
pub(crate) use view::summary;

use super::connect::{Connection, Error, block_on};
use super::{Outcome, change, form, source};
use crate::api::mesh::MeshCNISpec;
use crate::args::cluster::Scope;
use crate::args::look::Plan as Args;
use crate::webhook::wishes::Wishes;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use std::io::Write;

/// The most pods that are looked at (M10); Kubernetes is made for 150 000.
const MOST_PODS: usize = 400_000;

/// Plans.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    let (live, plan, proposed) = block_on(async {
        let live = change::read(&connection).await.or_else(absent)?;
        let proposed = proposed(args, &live["spec"])?;
        let plan = plan(&connection, args.namespace.as_deref(), &proposed).await?;
        Ok::<_, anyhow::Error>((live, plan, proposed))
    })?;
    if !form::data(style.form, &view::value(&plan, &live["spec"], &proposed), "changes", out)? {
        view::write(&plan, &live["spec"], &proposed, style, out)?;
    }
    Ok(Outcome::when(plan.changes.is_empty()))
}

/// A cluster that does not know the kind yet can be planned for all the same.
pub(crate) fn absent(error: Error) -> Result<Value, Error> {
    if matches!(error, Error::NotInstalled { .. }) { Ok(Value::Null) } else { Err(error) }
}

/// What becomes of the pods under `proposed`.
pub(crate) async fn plan(connection: &Connection, namespace: Option<&str>, proposed: &Value) -> Result<Plan> {
    let wishes = wishes(proposed)?;
    let scope = Scope { namespace: namespace.map(str::to_owned), all_namespaces: namespace.is_none() };
    let mut plan = Plan::default();
    pods(connection, &scope, &mut |pod| plan.look(pod, &wishes)).await?;
    plan.sort();
    Ok(plan)
}

/// Looks at every pod, page by page: what is kept of one is what `look` keeps.
pub(crate) async fn pods(
    connection: &Connection,
    scope: &Scope,
    look: &mut (dyn FnMut(&Value) + Send),
) -> Result<(), Error> {
    let kind = ApiResource::erase::<Pod>(&());
    let api: Api<DynamicObject> = match &scope.namespace {
        Some(namespace) => Api::namespaced_with(connection.client.clone(), namespace, &kind),
        None => Api::all_with(connection.client.clone(), &kind),
    };
    connection.each("list pods", &api, ListParams::default(), MOST_PODS, look).await
}

/// The specification that is planned for: what the flags say on top of what is there; without any, what is there, or mesh CNI
/// switched on as by default.
fn proposed(args: &Args, live: &Value) -> Result<Value> {
    let mut spec = if live.is_null() { json!({ "mode": "CNI" }) } else { live.clone() };
    if let Some(file) = &args.file {
        let documents = source::documents(file)?;
        let mut meshes = documents.into_iter().filter(|one| one["kind"] == "MeshCNI");
        let Some(mesh) = meshes.next() else { bail!("{} has no MeshCNI", file.display()) };
        spec = mesh["spec"].clone();
        if spec.is_null() {
            spec = json!({});
        }
    }
    if let Some(mode) = args.mode {
        spec["mode"] = json!(mode.name());
    }
    if let Some(excluded) = &args.exclude {
        spec["excludeNamespaces"] = json!(excluded);
    }
    // Every field gets its default here, as the API server would give it.
    let typed: MeshCNISpec = serde_json::from_value(spec).context("read what is proposed (MR1101)")?;
    Ok(serde_json::to_value(typed)?)
}

/// What the webhook is told of a specification. It is taken to convert, as it does once all nodes serve.
pub(crate) fn wishes(spec: &Value) -> Result<Wishes> {
    let spec: MeshCNISpec =
        serde_json::from_value(spec.clone()).context("read the MeshCNI's specification (MR1101)")?;
    let (wishes, complaints) = Wishes::of(&spec);
    if !complaints.is_empty() {
        let told: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        bail!("the MeshCNI's defaults cannot be used (MR1101): {}", told.join("; "));
    }
    Ok(wishes)
}
