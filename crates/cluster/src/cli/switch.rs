//! `millrace enable`, `disable`, `exclude`: three ways to write the MeshCNI, as an edit of its YAML would.
//!
//! They write what is wanted and nothing else; who brings the cluster there is the controller.

use super::change::{self, Changed, diff};
use super::connect::{Connection, block_on};
use super::{Outcome, form, wait};
use crate::args::cluster::{Change as Args, Writing};
use crate::args::output::{Form, Style};
use crate::args::switch::{Disable, Enable, Exclude, ExcludeHow, Namespaces};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::io::Write;

/// Switches mesh CNI on.
pub(crate) fn enable(args: &Enable, out: &mut dyn Write) -> Result<Outcome> {
    let wanted = |_: &Value| {
        let mut wanted = Map::from_iter([("mode".to_owned(), json!("CNI"))]);
        if let Some(excluded) = &args.exclude {
            wanted.insert("excludeNamespaces".to_owned(), json!(set(excluded.clone())));
        }
        wanted
    };
    let hint = "millrace status --watch";
    switch(&args.change, wanted, hint, out)
}

/// Switches it off.
pub(crate) fn disable(args: &Disable, out: &mut dyn Write) -> Result<Outcome> {
    let mode = if args.keep_agents { "InitContainer" } else { "Disabled" };
    let wanted = |_: &Value| Map::from_iter([("mode".to_owned(), json!(mode))]);
    switch(&args.change, wanted, "millrace status; millrace migrate", out)
}

/// Changes which namespaces are excluded.
pub(crate) fn exclude(args: &Exclude, out: &mut dyn Write) -> Result<Outcome> {
    let (ExcludeHow::Add(more) | ExcludeHow::Rm(more) | ExcludeHow::Set(more)) = &args.how;
    let Namespaces { namespaces, change } = more;
    let wanted = |live: &Value| {
        let now = live["spec"]["excludeNamespaces"].as_array().into_iter().flatten();
        let mut names: Vec<String> = now.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        match &args.how {
            ExcludeHow::Add(_) => names.extend(namespaces.iter().cloned()),
            ExcludeHow::Rm(_) => names.retain(|name| !namespaces.contains(name)),
            ExcludeHow::Set(_) => names.clone_from(namespaces),
        }
        Map::from_iter([("excludeNamespaces".to_owned(), json!(set(names)))])
    };
    switch(change, wanted, "millrace plan; millrace migrate", out)
}

/// Writes what is wanted of the object as it is, says what changed, and waits if told to.
fn switch(
    args: &Args,
    wanted: impl Fn(&Value) -> Map<String, Value>,
    hint: &str,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    block_on(async {
        let live = change::read(&connection).await?;
        let changed = change::change(&connection, &live, &wanted(&live), args.writing).await?;
        finish(&connection, &changed, args, &|out| report(&changed, args.writing, style, out), hint, out)
            .await
    })
}

/// Has it said what changed, and waits until it is so, if told to.
pub(super) async fn finish(
    connection: &Connection,
    changed: &Changed,
    args: &Args,
    report: &dyn Fn(&mut dyn Write) -> Result<()>,
    hint: &str,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let (style, waiting) = (args.cluster.output.style(), args.waiting);
    let mut interrupt = waiting.wait.then(wait::interrupts).transpose()?;
    report(out)?;
    if changed.tried {
        return Ok(Outcome::Well);
    }
    if let Some(interrupt) = &mut interrupt {
        out.flush()?;
        return wait::wait(connection, changed.generation(), waiting.timeout, interrupt, style, out).await;
    }
    if style.form == Form::Table && changed.is_any() {
        writeln!(out, "{}: {hint}", style.say("next", "下一步"))?;
    }
    Ok(Outcome::Well)
}

/// Says whether anything changed; in a form for programs, the object. Whether more is to be said.
pub(super) fn title(changed: &Changed, style: Style, out: &mut dyn Write) -> Result<bool> {
    if form::data(style.form, &changed.after, "", out)? {
        return Ok(false);
    }
    let did = match (changed.is_any(), changed.before.is_null()) {
        (false, _) => style.say("unchanged", "未变化"),
        (true, true) => style.say("created", "已创建"),
        (true, false) => style.say("changed", "已修改"),
    };
    let tried = if changed.tried { style.say(" (server dry run)", "(服务器试运行)") } else { "" };
    writeln!(out, "meshcni.millrace.dev/default {did}{tried}")?;
    Ok(true)
}

/// Says what changed.
pub(super) fn report(changed: &Changed, writing: Writing, style: Style, out: &mut dyn Write) -> Result<()> {
    let after = &changed.after["spec"];
    if !title(changed, style, out)? {
        return Ok(());
    }
    if writing.diff {
        write!(out, "{}", diff::unified(&changed.before, after))?;
    } else if !changed.before.is_null() {
        for line in diff::lines(&changed.before, after) {
            writeln!(out, "  {line}")?;
        }
    } else {
        let shown = |field: &str| after.get(field).context("the API server returned no such field");
        writeln!(out, "  mode: {}", shown("mode")?.as_str().unwrap_or_default())?;
        let excluded = diff::lines(
            &json!({ "excludeNamespaces": [] }),
            &json!({ "excludeNamespaces": shown("excludeNamespaces")? }),
        );
        excluded.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    Ok(())
}

/// Each once, in their order.
fn set(mut names: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}
