//! `millrace status`: where a cluster is, on one screen, once or whenever it changes. Reads, and writes nothing.

mod view;

pub(crate) use view::{judged, write as screen};

use super::connect::{Connection, block_on};
use super::{Outcome, change, form};
use crate::api::mesh::MeshCNI;
use crate::args::look::Status;
use crate::args::output::{Form, Mark, Style};
use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use std::io::Write;

/// Shows it.
pub(crate) fn run(args: &Status, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    block_on(async {
        // What is wrong is said at once, before anything is watched.
        let found = change::read(&connection).await?;
        if !args.watch {
            return show(&found, style, out);
        }
        let api: Api<MeshCNI> = Api::all(connection.client.clone());
        let mut states = Box::pin(watcher::watch_object(api, change::NAME).default_backoff());
        let mut outcome = show(&found, style, out)?;
        let mut shown = found["metadata"]["resourceVersion"].clone();
        loop {
            out.flush()?;
            let next = tokio::select! {
                next = states.next() => next,
                interrupt = tokio::signal::ctrl_c() => {
                    interrupt?;
                    return Ok(outcome);
                }
            };
            // A watch that fails is begun again; what is on the screen says of itself when it was.
            let Some(Ok(mesh)) = next else { continue };
            let now = mesh.map_or(Ok(Value::Null), |mesh| serde_json::to_value(&mesh))?;
            if now["metadata"]["resourceVersion"] != shown {
                shown = now["metadata"]["resourceVersion"].clone();
                clear(style, out)?;
                outcome = show(&now, style, out)?;
            }
        }
    })
}

/// A screen is shown anew in place; what is piped gets one after the other.
fn clear(style: Style, out: &mut dyn Write) -> Result<()> {
    match style.form {
        Form::Jsonl => {}
        _ if style.color => write!(out, "\x1b[H\x1b[2J")?,
        _ => writeln!(out)?,
    }
    Ok(())
}

fn show(found: &Value, style: Style, out: &mut dyn Write) -> Result<Outcome> {
    let printed = form::data(style.form, found, "", out)?;
    if found.is_null() {
        if !printed {
            let words = style.say(
                "mesh CNI was never switched on here: there is no MeshCNI; next: millrace plan, millrace enable",
                "此集群从未启用网格 CNI:没有 MeshCNI;下一步:millrace plan,millrace enable",
            );
            writeln!(out, "{words}")?;
        }
        return Ok(Outcome::Well);
    }
    let mesh: MeshCNI = serde_json::from_value(found.clone()).context(
        "read the MeshCNI: its definition is another than this program's; see `millrace explain MR5017`",
    )?;
    if !printed {
        view::write(&mesh, Timestamp::now(), style, out)?;
    }
    Ok(Outcome::when(view::mark(&mesh) != Mark::Bad))
}
