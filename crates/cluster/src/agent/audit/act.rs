//! One act upon one pod: done, looked at afterwards, told as an event, counted, and logged.
//!
//! That nobody could be told never stops an act, and an act that failed is told as one.

use super::api::{self, Requests, Target};
use super::look::{self, blocking};
use super::place::Job;
use super::{Known, Options};
use crate::agent::events::Note;
use crate::agent::metrics::Metrics;
use millrace_core::repair::{Finding, Left, Remedy, State};
use millrace_core::rules::Plan;
use std::collections::BTreeSet;

/// A pod with a finding.
#[derive(Clone, Copy)]
pub(super) struct Subjected<'a> {
    pub(super) known: &'a Known,
    pub(super) finding: Finding,
    /// What was found, in words.
    pub(super) words: &'a str,
    /// Whether it was well, or unknown, before.
    pub(super) is_new: bool,
}

/// Whoever acts, and what he remembers of it.
pub(crate) struct Acting<R> {
    requests: Option<R>,
    metrics: Metrics,
    /// Pods without a record into which rules were put from here.
    mended: BTreeSet<String>,
}

impl<R: Requests> Acting<R> {
    pub(super) fn new(requests: Option<R>, metrics: Metrics) -> Acting<R> {
        Acting { requests, metrics, mended: BTreeSet::new() }
    }

    /// Asks others from now on.
    pub(super) fn with(self, requests: Option<R>) -> Acting<R> {
        Acting { requests, ..self }
    }

    /// The pods that have rules from here.
    pub(super) fn mended(&self) -> &BTreeSet<String> {
        &self.mended
    }

    /// Forgets the pods that are not among the living.
    pub(super) fn keep(&mut self, is_living: impl Fn(&str) -> bool) {
        self.mended.retain(|uid| is_living(uid));
    }

    /// Tells of a finding about which nothing is done now.
    pub(super) async fn left(&self, pod: &Subjected<'_>, left: &Left) {
        if !pod.is_new {
            return;
        }
        self.metrics.found(pod.finding.name());
        let text = format!("{}; left as it is: {left}", pod.words);
        tracing::warn!(pod = pod.known.name(), finding = pod.finding.name(), "{text}");
        self.tell(pod, "None", true, text).await;
    }

    /// Does it. Whether it was done.
    pub(super) async fn act(
        &mut self,
        pod: &Subjected<'_>,
        remedy: &Remedy,
        job: Job,
        plan: Plan,
        options: &Options,
    ) -> bool {
        if pod.is_new {
            self.metrics.found(pod.finding.name());
        }
        let done = match remedy {
            Remedy::Leave(_) => return false,
            Remedy::Reapply => self.reapply(job, plan, options).await,
            Remedy::Delete => self.ask(async |requests| requests.evict(&pod.known.target()).await).await,
            Remedy::Label => self.ask(async |requests| requests.label(&pod.known.target()).await).await,
        };
        self.metrics.acted(remedy.name(), done.is_ok());
        let (action, ok) = (action(remedy), done.is_ok());
        let text = match done {
            Ok(outcome) => format!("{}; {outcome}", pod.words),
            Err(cause) => format!("{}; {action} failed: {cause}", pod.words),
        };
        let name = pod.known.name();
        match ok {
            true => tracing::warn!(pod = name, finding = pod.finding.name(), act = remedy.name(), "{text}"),
            false => tracing::error!(pod = name, finding = pod.finding.name(), act = remedy.name(), "{text}"),
        }
        self.tell(pod, action, !ok || *remedy != Remedy::Reapply, text).await;
        ok
    }

    /// Puts the rules right and looks whether they are.
    async fn reapply(&mut self, job: Job, plan: Plan, options: &Options) -> Result<String, String> {
        let (choice, memory, records) = (options.backend, options.memory.clone(), options.records.clone());
        let Job { known, settings, mut place } = job;
        let (notes, seen) = blocking(move || {
            let notes = look::mend(&place, &plan, choice, memory.as_deref(), &records);
            place.mended = notes.is_ok();
            let seen = look::look(&place, &settings).map(|seen| seen.state);
            (notes, seen)
        })
        .await;
        let notes = notes.map_err(|error| error.to_string())?;
        self.mended.insert(known.uid);
        match seen {
            Ok(State::AsPlanned) => {}
            Ok(state) => {
                return Err(format!(
                    "the rules were taken, and yet it is not redirected as planned: {state:?}"
                ));
            }
            Err(error) => return Err(format!("the rules were taken, but cannot be looked at: {error}")),
        }
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        Ok(format!(
            "put right in place. Connections that were open before keep their path until they end{notes}"
        ))
    }

    async fn ask(&self, request: impl AsyncFnOnce(&R) -> Result<(), api::Error>) -> Result<String, String> {
        let Some(requests) = &self.requests else {
            return Err("no API server is known; use policy Repair, or run the agent with one".to_owned());
        };
        match request(requests).await {
            Ok(()) => Ok("the API server has taken it".to_owned()),
            Err(api::Error::Gone) => Ok("it is gone already".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn tell(&self, pod: &Subjected<'_>, action: &'static str, warning: bool, text: String) {
        let Some(requests) = &self.requests else { return };
        let reason = match pod.finding {
            Finding::Bypass => "MeshBypassed",
            Finding::Drift => "RedirectionDrifted",
        };
        let note = Note { warning, reason, action, text };
        match requests.tell(&pod.known.target(), &note).await {
            Ok(()) | Err(api::Error::Gone) => {}
            Err(error) => tracing::warn!(pod = pod.known.name(), "no event was written: {error}"),
        }
    }
}

impl Known {
    fn target(&self) -> Target {
        let (namespace, name) = (self.pod.namespace.clone(), self.pod.name.clone());
        Target { namespace, name, uid: self.uid.clone() }
    }
}

/// An event's word for it.
fn action(remedy: &Remedy) -> &'static str {
    match remedy {
        Remedy::Leave(_) => "None",
        Remedy::Reapply => "Repair",
        Remedy::Delete => "Evict",
        Remedy::Label => "Label",
    }
}
