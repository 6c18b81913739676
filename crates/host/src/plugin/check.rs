//! CHECK: are the rules that ADD made still there, whole and in order, and the routes they need?
//!
//! Rules of others are none of its business (M11), and no record means nothing to check: CRI-O calls it after every ADD,
//! also for pods that were left alone.

use super::{RELEASE, key, records};
use crate::backend;
use crate::netns::NetNs;
use crate::outcome::Outcome;
use millrace_core::cni::{Code, Error, Request};
use millrace_core::dialect::Backend;
use millrace_core::rules::compare::{Drift, Weight, compare};
use millrace_core::rules::plan::plan;
use millrace_core::rules::removal::removal;
use millrace_core::rules::{Observed, Route};
use millrace_core::stamp::{self, Stamp};
use std::path::Path;

pub(super) fn check(request: &Request) -> Result<Outcome, Error> {
    let mut notes = request.complaints.clone();
    let record = match records(request).find(&key(request)) {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(Outcome { notes, ..Outcome::default() }),
        Err(error) => {
            // A record we cannot read says nothing against the pod.
            notes.push(format!("nothing was checked: {error}"));
            return Ok(Outcome { notes, ..Outcome::default() });
        }
    };
    let settings = match stamp::read(&record.stamp) {
        Ok(Stamp::Redirect(settings)) => settings,
        Ok(Stamp::Skip(_)) => return Ok(Outcome { notes, ..Outcome::default() }),
        Err(error) => {
            notes.push(format!("nothing was checked: {error}"));
            return Ok(Outcome { notes, ..Outcome::default() });
        }
    };
    let path = Path::new(&request.environment.netns);
    let failed = |cause: String| Error::new(Code::Io, format!("cannot check {}: {cause}", path.display()));
    let netns = NetNs::open(path).map_err(|error| failed(error.to_string()))?;
    let plan = plan(&settings, record.families);
    let missing = backend::missing_routes(&netns, &plan).map_err(|error| failed(error.to_string()))?;
    let planned = &plan.rules;
    // Whoever wrote them mostly finds them again, without asking the programs.
    let written = backend::inspect_by(&netns, record.backend);
    if missing.is_empty() && written.as_ref().is_ok_and(|seen| compare(planned, seen).is_intact()) {
        return Ok(Outcome { notes, ..Outcome::default() });
    }
    // The text backend's rules may be found by netlink, so it matters that they are there, not by whom they are seen.
    let survey = backend::survey(&netns).map_err(|error| failed(error.to_string()))?;
    let is_intact = |(_, seen): &(Backend, Observed)| compare(planned, seen).is_intact();
    if missing.is_empty() && survey.found.iter().any(is_intact) {
        notes.extend(survey.unread.iter().map(ToString::to_string));
        return Ok(Outcome { notes, ..Outcome::default() });
    }
    // Today's plan is no measure of another release's rules: a pod is not to fail because its node was brought up to date.
    if let Some(release) = record.release.as_deref().filter(|release| *release != RELEASE)
        && survey.found.iter().any(|(_, seen)| !removal(seen, planned).is_empty())
    {
        notes.push(format!("there are rules of ours, but release {release} planned them; not compared"));
        return Ok(Outcome { notes, ..Outcome::default() });
    }
    let drift = compare(planned, &written.map_err(|error| failed(error.to_string()))?);
    let pod = if record.name.is_empty() {
        String::new()
    } else {
        format!(" of {}/{}", record.namespace, record.name)
    };
    let message = format!("the redirection{pod} in {} is not what ADD made", path.display());
    Err(Error::new(Code::Drift, message).because(broken(&drift, &missing)))
}

/// What is broken, the first few in words.
fn broken(drift: &Drift, missing: &[Route]) -> String {
    const SHOWN: usize = 5;
    let broken = drift.findings.iter().filter(|finding| finding.weight() == Weight::Broken);
    let routes = missing.iter().map(|route| format!("missing: {route}"));
    let all: Vec<String> = broken.map(ToString::to_string).chain(routes).collect();
    let more = all.len().saturating_sub(SHOWN);
    let mut text = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text.push_str("; restart the pod to have it redirected anew");
    text
}
