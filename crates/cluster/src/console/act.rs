//! What is done when somebody presses a button: the very changes of `enable`, `disable`, `exclude` and `rollback`, attributed as theirs,
//! made on top of what the page showed, or not at all.

use super::facts::{Draft, Rights};
use super::proposal::{Form, Proposal, Refusal, field, mode_name};
use super::read::{Reader, generation};
use super::words::Words;
use crate::api::mesh::MeshCNISpec;
use crate::args::cluster::{DryRun, Writing};
use crate::args::output::Lang;
use crate::cli::change::{self, Changed};
use crate::cli::connect::Error;
use crate::cli::{plan, revisions, rollback, told};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// How often a change is tried again because the controller wrote a status in between.
const TRIES: usize = 5;

/// Tries a proposal: what the API server says to it, and what it does to pods.
pub(crate) async fn try_out(reader: &Reader, proposal: Proposal, lang: Lang) -> Draft {
    match tried(reader, &proposal, lang).await {
        Ok(Some(plan)) => Draft::Planned(proposal, Ok(plan)),
        Ok(None) => Draft::Conflict(proposal),
        Err(error) => Draft::Planned(proposal, Err(refusal(&error, lang))),
    }
}

fn refusal(error: &anyhow::Error, lang: Lang) -> Refusal {
    let is_held = matches!(error.downcast_ref::<Error>(), Some(Error::Conflict { .. }));
    Refusal { text: told(error, lang), is_held }
}

async fn tried(reader: &Reader, proposal: &Proposal, lang: Lang) -> Result<Option<plan::Plan>> {
    may(reader, lang).await?;
    let Some(changed) = write(reader, proposal, Some(DryRun::Server)).await? else { return Ok(None) };
    // Every field gets its default here, as the API server would give it.
    let spec: MeshCNISpec =
        serde_json::from_value(changed.after["spec"].clone()).context("read what was tried")?;
    plan::plan(&reader.connection, None, &serde_json::to_value(spec)?).await.map(Some)
}

/// Writes a proposal; the draft that it stays if it cannot be.
pub(crate) async fn update(reader: &Reader, proposal: Proposal, lang: Lang) -> Result<(), Draft> {
    let written = match may(reader, lang).await {
        Ok(()) => write(reader, &proposal, None).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(Some(changed)) => {
            tell("update", &changed);
            reader.sees(|generation| generation >= changed.generation()).await;
            Ok(())
        }
        Ok(None) => Err(Draft::Conflict(proposal)),
        Err(error) => Err(Draft::Planned(proposal, Err(refusal(&error, lang)))),
    }
}

/// Makes a proposal's change on top of what its form showed; nothing if somebody was faster.
async fn write(reader: &Reader, proposal: &Proposal, dry_run: Option<DryRun>) -> Result<Option<Changed>> {
    for _ in 0..TRIES {
        let live = change::read(&reader.connection).await?;
        if generation(&live) != proposal.base.generation {
            reader.sees(|seen| seen == generation(&live)).await;
            return Ok(None);
        }
        let writing = Writing { dry_run, diff: false, force_conflicts: proposal.takes_over };
        match change::change_as_read(&reader.connection, &live, &wanted(&live, proposal), writing).await {
            // What the controller says of it is no change of what is wanted.
            Err(Error::Outdated { .. }) => {}
            other => return Ok(Some(other?)),
        }
    }
    bail!("the MeshCNI changes too fast; try again")
}

/// The fields that a proposal changes.
fn wanted(live: &Value, proposal: &Proposal) -> Map<String, Value> {
    let all = [("mode", json!(mode_name(proposal.mode))), ("excludeNamespaces", json!(proposal.excluded))];
    let differ = all.into_iter().filter(|(field, value)| live["spec"][*field] != *value);
    differ.map(|(field, value)| (field.to_owned(), value)).collect()
}

/// Does what a button says: pause, resume or rollback, to a generation perhaps.
pub(crate) async fn press(reader: &Reader, form: &Form, lang: Lang) -> Result<()> {
    may(reader, lang).await?;
    let act = field(form, "act").unwrap_or_default();
    for _ in 0..TRIES {
        let live = change::read(&reader.connection).await?;
        ensure!(!live.is_null(), "there is no MeshCNI");
        let wanted = match act {
            "pause" | "resume" => {
                Map::from_iter([("rollout".to_owned(), json!({ "paused": act == "pause" }))])
            }
            "rollback" => {
                let to = field(form, "to").map(str::parse).transpose().context("a generation is a number")?;
                let kept = revisions::read(&reader.connection).await?;
                let back = rollback::back(&live, &kept, to)?;
                change::between(&back.before, &back.after)
            }
            other => bail!("{other:?}: there is no such button"),
        };
        let writing = Writing { dry_run: None, diff: false, force_conflicts: false };
        match change::change_as_read(&reader.connection, &live, &wanted, writing).await {
            Err(Error::Outdated { .. }) => {}
            other => {
                let changed = other?;
                tell(act, &changed);
                reader.sees(|generation| generation >= changed.generation()).await;
                return Ok(());
            }
        }
    }
    bail!("the MeshCNI changes too fast; try again")
}

/// One line for each change: who, what, and what came of it.
fn tell(act: &str, changed: &Changed) {
    tracing::info!(by = changed.by, act, generation = changed.generation(), "the MeshCNI was changed");
}

/// An error for who may only look.
async fn may(reader: &Reader, lang: Lang) -> Result<()> {
    let words = Words::of(lang);
    match reader.rights().await? {
        Rights::Change => Ok(()),
        Rights::Look | Rights::Unknown => bail!("{} (MR1105)", words.m_read_only),
        Rights::Flag => bail!("{}", words.m_read_only_flag),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::mesh::Mode;

    #[test]
    fn only_what_differs_is_written() {
        let proposal = Proposal { mode: Mode::Cni, excluded: vec!["a".to_owned()], ..Proposal::default() };
        let check = |live: Value, expected: Value| {
            assert_eq!(Value::Object(wanted(&json!({ "spec": live }), &proposal)), expected);
        };
        check(json!({ "mode": "CNI", "excludeNamespaces": ["a"] }), json!({}));
        check(json!({ "mode": "Disabled", "excludeNamespaces": ["a"] }), json!({ "mode": "CNI" }));
        check(Value::Null, json!({ "mode": "CNI", "excludeNamespaces": ["a"] }));
    }
}
