//! Which revision a rollback goes back to, and what it wants then; or why there is none. PURE.

use crate::api::mesh::MeshCNISpec;
use crate::cli::revisions::Revision;
use crate::codes::Code;
use std::fmt;

/// Where a rollback goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target<'a> {
    /// The revision.
    pub(super) revision: &'a Revision,
    /// What is wanted then. It names the agents' image where the controller's own is another today.
    pub(super) spec: MeshCNISpec,
    /// Whether it is the last that was reached.
    pub(super) is_good: bool,
}

/// Why there is nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No revision is kept.
    NoneKept,
    /// No generation was ever reached.
    NoneReached,
    /// The revision of the last one is kept no more.
    GoodGone(i64),
    /// No revision of that generation is kept; those of these are.
    NoSuch(i64, Vec<i64>),
    /// What is wanted is that already.
    Already(i64),
}

/// Chooses: the revision of generation `to`, else the one that was reached last (`good`).
pub(super) fn choose<'a>(
    live: &MeshCNISpec,
    good: Option<i64>,
    kept: &'a [Revision],
    to: Option<i64>,
) -> Result<Target<'a>, Refusal> {
    let present = kept.last().ok_or(Refusal::NoneKept)?;
    let revision = match to {
        Some(generation) => {
            let of = |revision: &&Revision| revision.generation == Some(generation);
            kept.iter().rev().find(of).ok_or_else(|| Refusal::NoSuch(generation, generations(kept)))?
        }
        None => {
            let good = good.ok_or(Refusal::NoneReached)?;
            kept.iter().find(|revision| revision.number == good).ok_or(Refusal::GoodGone(good))?
        }
    };
    let mut spec = revision.release.spec.clone();
    // A controller's own image may have changed with the controller, and going back to its revision does not bring it back.
    if spec.install.image.is_none() && revision.release.image != present.release.image {
        spec.install.image = Some(revision.release.image.clone());
    }
    if spec == *live {
        return Err(Refusal::Already(revision.number));
    }
    Ok(Target { revision, spec, is_good: good == Some(revision.number) })
}

fn generations(kept: &[Revision]) -> Vec<i64> {
    let mut known: Vec<i64> = kept.iter().filter_map(|revision| revision.generation).collect();
    known.dedup();
    known
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = Code::NothingToRollBackTo;
        match self {
            Refusal::NoneKept => {
                write!(
                    f,
                    "cannot roll back: no revision is kept, as no controller has looked at a MeshCNI yet"
                )
            }
            Refusal::NoneReached => write!(
                f,
                "cannot roll back: no generation was reached yet; name one of `millrace rollback --list` with --to"
            ),
            Refusal::GoodGone(revision) => write!(
                f,
                "cannot roll back: revision {revision}, which was reached last, is kept no more; name another of \
                 `millrace rollback --list` with --to"
            ),
            Refusal::NoSuch(generation, known) => {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "cannot roll back: no revision of generation {generation} is kept; kept are those of {}",
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                )
            }
            Refusal::Already(revision) => write!(
                f,
                "nothing to roll back: what is wanted is revision {revision} already; name another of \
                 `millrace rollback --list` with --to"
            ),
        }?;
        write!(f, " ({code})")
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ours::Release;
    use serde_json::{Value, json};

    fn spec(value: Value) -> MeshCNISpec {
        serde_json::from_value(value).unwrap()
    }

    fn revision(number: i64, generation: i64, wanted: Value, image: &str) -> Revision {
        let release = Release { spec: spec(wanted), image: image.to_owned() };
        Revision { number, generation: Some(generation), at: None, release }
    }

    /// The number that is chosen, or the beginning of why there is none.
    fn check(
        live: Value,
        good: Option<i64>,
        kept: &[Revision],
        to: Option<i64>,
        expected: Result<i64, &str>,
    ) {
        let chosen = choose(&spec(live), good, kept, to);
        match (&chosen, expected) {
            (Ok(target), Ok(number)) => assert_eq!(target.revision.number, number),
            (Err(refusal), Err(words)) => assert!(refusal.to_string().contains(words), "{refusal}"),
            _ => panic!("{chosen:?} is not {expected:?}"),
        }
    }

    #[test]
    fn the_last_good_one_or_the_one_that_is_named() {
        let (a, b) = (json!({}), json!({ "failurePolicy": "Open" }));
        let kept = [revision(1, 1, a.clone(), "i:1"), revision(2, 3, b.clone(), "i:1")];
        check(b.clone(), Some(1), &kept, None, Ok(1));
        check(a.clone(), Some(1), &kept, None, Err("is revision 1 already"));
        check(a.clone(), Some(1), &kept, Some(3), Ok(2));
        check(a.clone(), Some(1), &kept, Some(2), Err("kept are those of 1, 3"));
        check(a.clone(), Some(9), &kept, None, Err("revision 9, which was reached last, is kept no more"));
        check(a.clone(), None, &kept, None, Err("no generation was reached yet"));
        check(a, None, &[], None, Err("no revision is kept"));
    }

    #[test]
    fn the_controllers_own_image_of_then_is_named() {
        let kept = [revision(1, 1, json!({}), "i:1"), revision(2, 1, json!({}), "i:2")];
        let live = spec(json!({}));
        let target = choose(&live, Some(1), &kept, None).unwrap();
        assert_eq!((target.spec.install.image.as_deref(), target.is_good), (Some("i:1"), true));
        let named = spec(json!({ "install": { "image": "i:1" } }));
        assert_eq!(choose(&named, Some(1), &kept, None), Err(Refusal::Already(1)));
    }
}
