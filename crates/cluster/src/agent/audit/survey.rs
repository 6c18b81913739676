//! One round of looking: which pods are judged at all, where each one's namespace is, how it stands, and what follows.

use super::act::Subjected;
use super::api::Requests;
use super::look::{self, Seen, blocking};
use super::place::{Job, Placed, place};
use super::{Audit, Known, Node, Report};
use futures::{StreamExt, stream};
use millrace_core::repair::{Finding, Left, Remedy, State, Subject, may_judge, remedy};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How many pods' namespaces are held open together: a process may have some hundreds of files.
const CHUNK: usize = 64;
/// When a pod that could not be looked at now is looked at again: while one starts anew, its namespace is nobody's.
const UNSEEN_AGAIN: Duration = Duration::from_secs(30);

impl<N: Node, R: Requests> Audit<N, R> {
    /// Looks at these pods and does what follows.
    pub(super) async fn look_at(&mut self, uids: Vec<String>, stop: &CancellationToken) -> Report {
        let deadline = Instant::now() + self.options.longest;
        let mut report = Report::default();
        let mut chunks = uids.chunks(CHUNK);
        for chunk in chunks.by_ref() {
            if stop.is_cancelled() || Instant::now() >= deadline {
                report.put_off += chunk.len();
                self.put_off(chunk);
                continue;
            }
            self.look_at_some(chunk, deadline, &mut report).await;
        }
        self.drifts.tell();
        if report.put_off > 0 {
            tracing::warn!(
                put_off = report.put_off,
                "the audit ran out of time; the others are looked at next"
            );
        }
        report
    }

    async fn look_at_some(&mut self, uids: &[String], deadline: Instant, report: &mut Report) {
        let mut knowns = Vec::new();
        for uid in uids {
            self.again.remove(uid);
            let Some(known) = self.node.known(uid) else {
                self.drifts.well(uid);
                continue;
            };
            match may_judge(&known.subject()) {
                Ok(()) => knowns.push(known),
                // Its next change says when it has started.
                Err(Left::Waiting) => {}
                Err(_) => drop(self.settled.insert(known.uid)),
            }
        }
        if knowns.is_empty() {
            return;
        }
        let (proc, records, mesh) =
            (self.options.proc.clone(), self.options.records.clone(), self.node.mesh());
        let mended = self.acting.mended().clone();
        let placed =
            blocking(move || place(knowns, &proc, &records, &mesh, |uid| mended.contains(uid))).await;
        let mut jobs = Vec::new();
        for placed in placed {
            match placed {
                Placed::Left(uid, left) => self.leave(&uid, &left),
                Placed::Unseen(known, why) => self.unseen(&known, &why, report),
                Placed::Found(job) => jobs.push(job),
            }
        }
        let looks = jobs.into_iter().map(|job| async move {
            if Instant::now() >= deadline {
                return (job, None);
            }
            blocking(move || {
                let seen = look::look(&job.place, &job.settings);
                (job, Some(seen))
            })
            .await
        });
        let mut looks = std::pin::pin!(stream::iter(looks).buffer_unordered(self.options.at_once.max(1)));
        while let Some((job, seen)) = looks.next().await {
            match seen {
                None => {
                    report.put_off += 1;
                    self.put_off(&[job.known.uid]);
                }
                Some(Err(error)) => self.unseen(&job.known, &error.to_string(), report),
                Some(Ok(seen)) => {
                    report.looked += 1;
                    self.settle(*job, seen, report).await;
                }
            }
        }
    }

    /// Does what follows from what was seen of one pod.
    async fn settle(&mut self, job: Job, seen: Seen, report: &mut Report) {
        let uid = job.known.uid.clone();
        self.drifts.well(&uid);
        let (finding, words) = match seen.state {
            State::Bypass => (Finding::Bypass, "nothing redirects its traffic to the sidecar".to_owned()),
            State::Drift(ref words) => (Finding::Drift, words.clone()),
            State::AsPlanned => return self.leave(&uid, &Left::AsPlanned),
            State::Others => return self.leave(&uid, &Left::Others),
            State::OtherRelease => return self.leave(&uid, &Left::OtherRelease),
        };
        // It may have begun to end meanwhile, and then it is nobody's concern any more.
        let Some(known) = self.node.known(&uid).filter(|known| may_judge(&known.subject()).is_ok()) else {
            return;
        };
        report.found += 1;
        self.drifts.found(&uid, known.name(), finding.name(), &words);
        let now = self.now();
        let is_new = self.history.found(&uid, finding, now);
        let serving = self.node.is_serving();
        let remedy = remedy(&known.subject(), finding, &self.options.policy, serving, &self.history, now);
        let subjected = Subjected { known: &known, finding, words: &words, is_new };
        if let Remedy::Leave(left) = &remedy {
            self.acting.left(&subjected, left).await;
            if let Some(wait) = self.wait_for(left) {
                self.again.insert(uid, Instant::now() + wait);
            }
            return;
        }
        report.acted += 1;
        self.history.tried(&uid, &remedy, now);
        let done = self.acting.act(&subjected, &remedy, job, seen.plan, &self.options).await;
        if remedy == Remedy::Reapply && done {
            // It was looked at: whatever is found next is another finding.
            let now = self.now();
            self.history.well(&uid, &self.options.policy.limits, now);
            self.drifts.well(&uid);
            self.settled.insert(uid);
        } else {
            let wait = self.history.wait(&uid, &self.options.policy.limits, self.now());
            self.again.insert(uid, Instant::now() + wait);
        }
    }

    fn leave(&mut self, uid: &str, left: &Left) {
        tracing::trace!(uid, "left alone: {left}");
        if *left == Left::AsPlanned {
            let now = self.now();
            self.history.well(uid, &self.options.policy.limits, now);
        }
        self.settled.insert(uid.to_owned());
    }

    fn unseen(&mut self, known: &Known, why: &str, report: &mut Report) {
        report.unseen += 1;
        tracing::debug!(pod = known.name(), "not audited: {why}");
        self.again.insert(known.uid.clone(), Instant::now() + UNSEEN_AGAIN);
    }

    fn put_off(&mut self, uids: &[String]) {
        let soon = Instant::now() + self.options.settle;
        self.again.extend(uids.iter().map(|uid| (uid.clone(), soon)));
    }

    /// When a pod that was left with a finding is worth another look before everything is looked at.
    fn wait_for(&self, left: &Left) -> Option<Duration> {
        match left {
            Left::BackingOff(wait) => Some(*wait),
            Left::Unconfirmed => Some(self.options.policy.limits.confirmed_after),
            Left::Capped | Left::NotServing => Some(Duration::from_secs(60)),
            _ => None,
        }
    }
}

impl Known {
    /// What a remedy depends on.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            pod: &self.pod,
            uid: &self.uid,
            life: self.life,
            controlled: self.controlled,
            mirror: self.mirror,
            labelled: self.labelled,
        }
    }

    /// `namespace/name`
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.pod.namespace, self.pod.name)
    }
}
