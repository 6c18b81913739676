//! `millrace rollback`: the MeshCNI as it was in a revision that the controller keeps. The difference is shown before it is
//! written, and it is written as any other change: what somebody else applied stays theirs.

mod choose;

use super::change::{self, diff};
use super::connect::{Connection, block_on};
use super::revisions::{self, Revision};
use super::table::Table;
use super::{Outcome, ago, form, switch};
use crate::api::mesh::MeshCNISpec;
use crate::api::status::{Change, MeshCNIStatus};
use crate::args::lifecycle::Rollback;
use crate::args::output::{Form, Lang, Style};
use crate::codes::Code;
use anyhow::{Context, Result};
use choose::{Target, choose};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::io::Write;

/// Takes it back.
pub(crate) fn run(args: &Rollback, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.change.cluster.output.style();
    let connection = Connection::open(&args.change.cluster.server)?;
    block_on(async {
        let live = change::present(&connection, "roll back", Some(Code::NothingToRollBackTo)).await?;
        let kept = revisions::read(&connection).await?;
        if args.list {
            let (spec, status) = typed(&live)?;
            return list(&kept, &spec, &status, style, out);
        }
        let Back { target, before, after } = back(&live, &kept, args.to)?;
        if matches!(style.form, Form::Table | Form::Wide) {
            announce(&target, style, out)?;
            if args.change.writing.diff {
                write!(out, "{}", diff::unified(&before, &after))?;
            } else {
                diff::lines(&before, &after).iter().try_for_each(|line| writeln!(out, "  {line}"))?;
            }
            out.flush()?;
        }
        let wanted = change::between(&before, &after);
        let changed = change::change(&connection, &live, &wanted, args.change.writing).await?;
        let report = |out: &mut dyn Write| switch::title(&changed, style, out).map(drop);
        switch::finish(&connection, &changed, &args.change, &report, "millrace status --watch", out).await
    })
}

/// Where a rollback goes.
pub(crate) struct Back<'a> {
    target: Target<'a>,
    /// The specification as it is.
    pub(crate) before: Value,
    /// The specification as it is to be.
    pub(crate) after: Value,
}

/// Where a rollback of `live` goes: to the revision of generation `to`, else to the last that was reached.
pub(crate) fn back<'a>(live: &Value, kept: &'a [Revision], to: Option<i64>) -> Result<Back<'a>> {
    let (spec, status) = typed(live)?;
    let target = choose(&spec, status.last_good_revision, kept, to)?;
    let tree = |spec: &MeshCNISpec| serde_json::to_value(spec).expect("a specification has a tree");
    Ok(Back { before: tree(&spec), after: tree(&target.spec), target })
}

fn typed(live: &Value) -> Result<(MeshCNISpec, MeshCNIStatus)> {
    let spec = serde_json::from_value(live["spec"].clone()).context("read the MeshCNI")?;
    Ok((spec, serde_json::from_value(live["status"].clone()).unwrap_or_default()))
}

fn announce(target: &Target<'_>, style: Style, out: &mut dyn Write) -> Result<()> {
    let Revision { number, generation, .. } = target.revision;
    let generation = generation.map_or("?".to_owned(), |generation| generation.to_string());
    let good = match (target.is_good, style.lang) {
        (false, _) => "",
        (true, Lang::En) => ", which was reached last",
        (true, Lang::Zh) => ",即最近一次到达的修订",
    };
    match style.lang {
        Lang::En => writeln!(out, "back to revision {number} of generation {generation}{good}")?,
        Lang::Zh => writeln!(out, "回到修订 {number}(世代 {generation}){good}")?,
    }
    Ok(())
}

/// What there is to go back to, the latest first.
fn list(
    kept: &[Revision],
    live: &MeshCNISpec,
    status: &MeshCNIStatus,
    style: Style,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let now = kept.iter().rev().find(|revision| revision.release.spec == *live).map(|one| one.number);
    let rows: Vec<Row<'_>> = kept
        .iter()
        .rev()
        .map(|revision| Row {
            revision,
            change: status.history.iter().find(|change| revision.generation == Some(change.generation)),
            is_now: now == Some(revision.number),
            is_good: status.last_good_revision == Some(revision.number),
        })
        .collect();
    if form::data(style.form, &value(&rows), "revisions", out)? {
        return Ok(Outcome::Well);
    }
    match rows.is_empty() {
        true => writeln!(out, "{}", style.say("no revision is kept", "没有保留任何修订"))?,
        false => table(&rows, Timestamp::now(), style).write(out, "")?,
    }
    Ok(Outcome::Well)
}

struct Row<'a> {
    revision: &'a Revision,
    change: Option<&'a Change>,
    is_now: bool,
    is_good: bool,
}

fn value(rows: &[Row<'_>]) -> Value {
    let row = |row: &Row<'_>| {
        let Revision { number, generation, at, release } = row.revision;
        json!({
            "revision": number, "generation": generation, "at": at, "image": release.agents(),
            "summary": row.change.map(|change| &change.summary), "by": row.change.map(|change| &change.by),
            "present": row.is_now, "lastGood": row.is_good, "spec": release.spec,
        })
    };
    json!({ "revisions": rows.iter().map(row).collect::<Vec<_>>() })
}

fn table(rows: &[Row<'_>], now: Timestamp, style: Style) -> Table {
    let head = [
        style.say("REVISION", "修订"),
        style.say("GENERATION", "世代"),
        style.say("AGE", "时长"),
        style.say("BY", "操作者"),
        style.say("IMAGE", "镜像"),
        style.say("CHANGED", "变更"),
        style.say("IS", "状态"),
    ];
    let row = |row: &Row<'_>| {
        let words =
            [(row.is_now, style.say("now", "当前")), (row.is_good, style.say("last good", "最近成功"))];
        let is: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let by =
            |get: fn(&Change) -> &String| row.change.map_or("-".to_owned(), |change| get(change).clone());
        vec![
            row.revision.number.to_string(),
            row.revision.generation.map_or("-".to_owned(), |generation| generation.to_string()),
            row.revision.at.map_or("-".to_owned(), |at| ago::ago(at, now)),
            by(|change| &change.by),
            row.revision.release.agents().to_owned(),
            by(|change| &change.summary),
            is.join(", "),
        ]
    };
    Table { head: head.map(str::to_owned).to_vec(), rows: rows.iter().map(row).collect() }
}
