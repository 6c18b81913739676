//! What a running pod's namespace holds against what was planned for it, and putting it right.
//!
//! It blocks, each time for as long as the kernel takes to answer and no longer. Mending is what an ADD does: in one
//! transaction, rules of others left as they are (M11). Connections that are established keep their path: the kernel
//! asks about a connection once, when it begins.

use millrace_core::dialect::Choice;
use millrace_core::record::Record;
use millrace_core::repair::{Origin, State, judge};
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Observed, Plan};
use millrace_core::settings::{Families, Settings};
use millrace_host::backend::{self, How};
use millrace_host::families;
use millrace_host::netns::NetNs;
use millrace_host::records::Records;
use std::fmt;
use std::path::Path;

/// Which release plans here.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// A pod's namespace and what is known of it.
#[derive(Debug)]
pub(crate) struct Place {
    /// Where.
    pub(crate) netns: NetNs,
    /// The record of its ADD, if there is one.
    pub(crate) record: Option<Record>,
    /// Whether this agent itself put rules there earlier.
    pub(crate) mended: bool,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How it stands.
    pub(crate) state: State,
    /// What it was measured by.
    pub(crate) plan: Plan,
}

/// Why nothing can be said.
#[derive(Debug)]
pub(crate) enum Error {
    /// The namespace cannot be entered, or its rules cannot be read.
    Backend(backend::Error),
    /// Nothing was seen, but not all could be seen.
    HalfBlind(backend::Error),
    /// Its addresses cannot be read.
    Families(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Backend(error) => write!(f, "{error}"),
            Error::HalfBlind(error) => {
                write!(f, "no redirection was seen, but not all rules could be read: {error}")
            }
            Error::Families(error) => write!(f, "cannot tell the pod's addresses: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<backend::Error> for Error {
    fn from(error: backend::Error) -> Self {
        Error::Backend(error)
    }
}

/// Looks at a namespace that should be redirected as `settings` say.
pub(crate) fn look(place: &Place, settings: &Settings) -> Result<Seen, Error> {
    let netns = &place.netns;
    let families = families_of(place)?;
    let plan = plan(settings, families);
    let missing = backend::missing_routes(netns, &plan)?;
    // Whoever wrote them mostly finds them again, and one backend is looked through faster than all.
    if let Some(record) = &place.record
        && let Ok(seen) = backend::inspect_by(netns, record.backend)
        && judge(&plan, &[&seen], &missing, Origin::Ours) == State::AsPlanned
    {
        return Ok(Seen { state: State::AsPlanned, plan });
    }
    let mut survey = backend::survey(netns)?;
    let found: Vec<&Observed> = survey.found.iter().map(|(_, seen)| seen).collect();
    let state = judge(&plan, &found, &missing, origin(place));
    match (&state, survey.unread.pop()) {
        (State::Bypass, Some(error)) => Err(Error::HalfBlind(error)),
        _ => Ok(Seen { state, plan }),
    }
}

/// Puts `plan` into effect in a running pod.
pub(crate) fn mend(
    place: &Place,
    plan: &Plan,
    choice: Choice,
    memory: Option<&Path>,
    records: &Records,
) -> Result<Vec<String>, Error> {
    let netns = &place.netns;
    let how = How { choice, memory, earlier: Some(plan), ..How::default() };
    let applied = netns.within(|| backend::apply_here(netns, plan, &how)).map_err(backend::Error::from)??;
    let mut notes: Vec<String> =
        applied.left.iter().map(|error| format!("earlier rules may be left: {error}")).collect();
    if let Some(record) = &place.record {
        let kept = Record { backend: applied.backend, release: Some(RELEASE.to_owned()), ..record.clone() };
        // A DEL may have dropped it meanwhile, and then it stays dropped.
        let is_there = matches!(records.find(&record.key), Ok(Some(known)) if known == *record);
        if kept != *record
            && is_there
            && let Err(error) = records.keep(&kept)
        {
            notes.push(format!("its record still says what was: {error}"));
        }
    }
    Ok(notes)
}

/// Runs on a thread where waiting harms nobody. A panic there goes on here.
pub(super) async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn origin(place: &Place) -> Origin {
    match &place.record {
        _ if place.mended => Origin::Ours,
        None => Origin::Unknown,
        Some(record) if record.release.as_deref().is_none_or(|release| release == RELEASE) => Origin::Ours,
        Some(_) => Origin::OtherRelease,
    }
}

/// As its ADD saw them. Where there was none, the namespace itself is asked.
fn families_of(place: &Place) -> Result<Families, Error> {
    match &place.record {
        Some(record) => Ok(record.families),
        None => place.netns.within(families::own).map_err(backend::Error::from)?.map_err(Error::Families),
    }
}
