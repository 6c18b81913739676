//! The commands for people, one file each. They print through a writer that is handed in and return what came out.

mod afar;
pub(crate) mod ago;
pub(crate) mod change;
pub(crate) mod check;
mod codes;
pub(crate) mod connect;
pub(crate) mod drift;
pub(crate) mod expected;
pub(crate) mod explain;
pub(crate) mod findings;
mod form;
#[cfg(test)]
mod golden;
pub(crate) mod happened;
pub(crate) mod inject;
pub(crate) mod leader;
mod live;
pub(crate) mod manual;
pub(crate) mod migrate;
pub(crate) mod nodes;
pub(crate) mod plan;
pub(crate) mod pods;
mod reader;
mod reasons;
pub(crate) mod report;
pub(crate) mod revisions;
pub(crate) mod rights;
pub(crate) mod rollback;
pub(crate) mod rules;
mod source;
mod stated;
pub(crate) mod status;
pub(crate) mod switch;
mod table;
pub(crate) mod trace;
pub(crate) mod uninstall;
pub(crate) mod upgrade;
pub(crate) mod verify;
pub(crate) mod wait;
pub(crate) mod why;
mod workload;

use crate::args::output::Lang;

/// An error with its causes, in a language as far as there are words for it.
pub(crate) fn told(error: &anyhow::Error, lang: Lang) -> String {
    let cause = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<connect::Error>() {
        Some(known) => known.say(lang),
        None => cause.to_string(),
    };
    error.chain().map(cause).collect::<Vec<_>>().join(": ")
}

/// What came out of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Well,
    /// Something is wrong with what was looked at.
    Wrong,
    /// An interrupt ended the waiting for it.
    Interrupted,
}

impl Outcome {
    /// Well if `well`, else wrong.
    pub(crate) fn when(well: bool) -> Outcome {
        if well { Outcome::Well } else { Outcome::Wrong }
    }
}
