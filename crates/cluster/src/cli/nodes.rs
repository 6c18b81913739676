//! `millrace nodes`: what each node's agent reports. Reads, and writes nothing.

mod view;

pub(crate) use view::{mark, marked, serves};

use super::connect::{Connection, Error, MOST_NODES, block_on};
use super::{Outcome, form};
use crate::api::node::MeshCNINode;
use crate::args::look::Nodes;
use anyhow::{Context, Result, bail};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use std::io::Write;

/// Lists them, or tells of one.
pub(crate) fn run(args: &Nodes, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    let found = block_on(async {
        match &args.node {
            Some(name) => one(&connection, name).await.map(|found| vec![found]),
            None => Ok(all(&connection).await?),
        }
    })?;
    let typed: Vec<MeshCNINode> = found
        .iter()
        .map(|value| serde_json::from_value(value.clone()))
        .collect::<Result<_, _>>()
        .context("read MeshCNINodes: their definition is another than this program's; see `millrace explain MR5017`")?;
    if !form::data(style.form, &whole(&found, args.node.is_some()), "items", out)? {
        match &typed[..] {
            [node] if args.node.is_some() => view::one(node, Timestamp::now(), style, out)?,
            [] => writeln!(out, "{}", style.say("no agent has reported yet", "尚无 Agent 上报"))?,
            nodes => view::table(nodes, Timestamp::now(), style, out)?,
        }
    }
    Ok(Outcome::when(typed.iter().all(serves)))
}

/// The report of one node.
pub(crate) async fn one(connection: &Connection, name: &str) -> Result<Value> {
    let act = format!("read MeshCNINode {name}");
    let found = connection.ask(&act, connection.all::<MeshCNINode>().get_opt(name)).await?;
    let Some(found) = found else {
        bail!("no agent has reported from a node {name}; `millrace nodes` lists those that have (MR2002)");
    };
    Ok(tree(found))
}

/// All reports, sorted by their nodes' names, as they are on the wire.
pub(crate) async fn all(connection: &Connection) -> Result<Vec<Value>, Error> {
    let api = connection.all::<MeshCNINode>();
    let mut found = Vec::new();
    let mut keep = |node: &Value| found.push(node.clone());
    connection.each("list MeshCNINodes", &api, ListParams::default(), MOST_NODES, &mut keep).await?;
    found.sort_by_key(|node| node["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    Ok(found)
}

/// As in a list, without who wrote which field.
fn tree(mut object: DynamicObject) -> Value {
    object.metadata.managed_fields = None;
    serde_json::to_value(object).expect("an object that was read can be written")
}

fn whole(found: &[Value], single: bool) -> Value {
    match found {
        [one] if single => one.clone(),
        all => json!({ "apiVersion": "v1", "kind": "List", "items": all }),
    }
}
