//! `millrace why`: what happened to a pod on its node, from the agent's flight recorder; also after the pod is gone.
//!
//! It reads what was recorded and changes nothing. Only where nothing is recorded on this machine the pod's node is asked.

mod afar;
mod told;
mod when;

use super::{Outcome, form};
use crate::agent::flight::{self, Found, Wanted};
use crate::args::pod::Why;
use anyhow::{Context, Result, bail};
use millrace_core::reason::Reason;
use millrace_core::record::Record;
use millrace_host::records::Records;
use serde_json::{Value, json};
use std::io::Write;

/// Tells what is known of the pod.
pub(crate) fn run(args: &Why, out: &mut dyn Write) -> Result<Outcome> {
    let wanted = match (&args.pod, &args.uid) {
        (Some(pod), _) => named(pod, args.asking.reach.scope.namespace.as_deref())?,
        (None, Some(uid)) => Wanted::Uid(uid.clone()),
        (None, None) => bail!("say which pod, by NAMESPACE/POD or by --uid"),
    };
    let found = flight::find(&args.flight_dir, &wanted).context("read the flight recorder")?;
    let left = if found.entries.is_empty() { left(args, &wanted)? } else { Vec::new() };
    if found.entries.is_empty() && left.is_empty() {
        let nothing = nothing(args, &wanted, &found);
        return afar::run(args, &wanted, &nothing, out);
    }
    let calls: Vec<Value> = found.entries.iter().map(|entry| told::json(entry, args.rules)).collect();
    let records: Vec<Value> = left.iter().map(record_json).collect();
    let since = found.since.map(when::utc);
    let whole = json!({ "recordedSince": since, "calls": calls, "records": records });
    if !form::data(args.asking.output, &whole, "calls", out)? {
        writeln!(out, "{}", title(&wanted, &found))?;
        for entry in &found.entries {
            writeln!(out)?;
            told::write(out, entry, args.rules)?;
        }
        for record in &left {
            write_record(out, record, &reach(args, &found))?;
        }
    }
    Ok(Outcome::when(is_well(&found)))
}

/// `NAMESPACE/POD`, or a pod of the namespace that a flag names.
fn named(pod: &str, namespace: Option<&str>) -> Result<Wanted> {
    let (namespace, name) = match (pod.split_once('/'), namespace) {
        (Some(both), _) => both,
        (None, Some(namespace)) => (namespace, pod),
        (None, None) => ("", pod),
    };
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        bail!("write NAMESPACE/POD, as in default/reviews-v1, or POD with -n");
    }
    Ok(Wanted::Pod { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// It is not well with a pod whose last start failed, or which was started without anybody having said that it may.
fn is_well(found: &Found) -> bool {
    let last = found.entries.iter().rev().find(|entry| entry.event.verb == "ADD");
    last.is_none_or(|entry| {
        entry.event.outcome != "failed" && entry.event.reason != Reason::FailedOpen.name()
    })
}

fn title(wanted: &Wanted, found: &Found) -> String {
    match (wanted, found.entries.last()) {
        (Wanted::Pod { namespace, name }, _) => format!("{namespace}/{name}"),
        (Wanted::Uid(uid), Some(last)) => {
            format!("{}/{}, UID {uid}", last.event.namespace, last.event.name)
        }
        (Wanted::Uid(uid), None) => format!("UID {uid}"),
    }
}

/// What the plugin itself left: of a redirected pod that still runs, even where no agent heard of it.
fn left(args: &Why, wanted: &Wanted) -> Result<Vec<Record>> {
    let (mut records, _unreadable) = Records::below(&args.state_dir).all()?;
    records.retain(|record| match wanted {
        Wanted::Pod { namespace, name } => record.namespace == *namespace && record.name == *name,
        Wanted::Uid(uid) => record.uid.as_ref() == Some(uid),
    });
    Ok(records)
}

fn write_record(out: &mut dyn Write, record: &Record, reach: &str) -> Result<()> {
    let key = &record.key;
    writeln!(out, "\nno call of it is recorded: {reach}")?;
    writeln!(out, "the plugin's own record says: {} redirected by {}", key.interface, record.backend.name())?;
    writeln!(out, "  container   {} in network {}", key.container, key.network)?;
    writeln!(out, "  namespace   {}; millrace verify --netns {}", record.netns, record.netns)?;
    Ok(())
}

fn record_json(record: &Record) -> Value {
    json!({
        "network": record.key.network,
        "container": record.key.container,
        "interface": record.key.interface,
        "netns": record.netns,
        "namespace": record.namespace,
        "name": record.name,
        "uid": record.uid,
        "backend": record.backend.name(),
        "stamp": record.stamp,
    })
}

fn nothing(args: &Why, wanted: &Wanted, found: &Found) -> String {
    let who = title(wanted, found);
    format!(
        "nothing is known of {who} on this node: {}, and no record below {} names it",
        reach(args, found),
        args.state_dir.display()
    )
}

/// How far back what is recorded goes.
fn reach(args: &Why, found: &Found) -> String {
    let folder = args.flight_dir.display();
    match found.since {
        Some(since) => {
            let foreign = match found.foreign {
                0 => String::new(),
                count => format!(", of which {count} are of another release and cannot be read"),
            };
            format!("{folder} holds {} calls{foreign} and goes back to {}", found.all, when::utc(since))
        }
        None if found.foreign > 0 => {
            format!("{folder} holds {} calls, all of another release; use its millrace", found.foreign)
        }
        None => format!(
            "{folder} holds no calls; an agent of this node may keep them elsewhere, see --flight-dir"
        ),
    }
}
