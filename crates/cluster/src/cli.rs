//! The commands for people, one file each. They print through a writer that is handed in and return what came out.

mod codes;
pub(crate) mod explain;
pub(crate) mod inject;
mod live;
mod reasons;
pub(crate) mod rules;
mod source;
pub(crate) mod trace;
pub(crate) mod verify;
pub(crate) mod why;

/// What came out of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Well,
    /// Something is wrong with what was looked at.
    Wrong,
}

impl Outcome {
    /// Well if `well`, else wrong.
    pub(crate) fn when(well: bool) -> Outcome {
        if well { Outcome::Well } else { Outcome::Wrong }
    }
}
