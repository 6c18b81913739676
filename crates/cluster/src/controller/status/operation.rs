//! The change that is on its way: what it is, when it began, and when it is called stalled. PURE.
//!
//! What is written are times of the wall's clock, for people; what counts is how long nothing moved while somebody watched. A
//! clock that is set, forward or back, neither stalls a change nor puts its deadline off.

use super::{Facts, hash, is_at_rest, is_everywhere};
use crate::api::condition::ConditionStatus;
use crate::api::mesh::Mode;
use crate::api::status::{MeshCNIStatus, Operation, State};
use crate::controller::transition::Wanted;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

/// The reason of Stalled when nothing moved until the deadline.
pub(super) const NOT_MOVED: &str = "ProgressDeadlineExceeded";
/// By how much what is written may differ from what was watched before it is written anew: times are written in whole seconds,
/// and clocks that are well are put right a little at a time.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// How long one controller has watched a change in which nothing moves, by the clock that nobody sets. It begins with the
/// controller: what others have watched, by whatever clock, it does not know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watched(Option<(Timestamp, Instant)>);

impl Watched {
    /// For how long nothing moved, of what is written in this status.
    pub(crate) fn unmoved(&self, status: &MeshCNIStatus, now: Instant) -> Duration {
        let written = status.operation.as_ref().map(|operation| operation.progressed_at.0);
        let known = self.0.filter(|(stamp, _)| Some(*stamp) == written);
        known.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since))
    }

    /// This was decided at this moment of both clocks, and that is what is written since.
    pub(crate) fn written(
        &mut self,
        decided: &MeshCNIStatus,
        written: &MeshCNIStatus,
        (wall, now): (Timestamp, Instant),
    ) {
        let stamp =
            |status: &MeshCNIStatus| status.operation.as_ref().map(|operation| operation.progressed_at.0);
        let (decided, written) = (stamp(decided), stamp(written));
        if self.0.map(|(known, _)| known) == written {
            return;
        }
        // It is written in whole seconds. What another wrote meanwhile says nothing about what was watched here.
        let ours =
            written.filter(|stamp| decided.is_some_and(|decided| decided.as_second() == stamp.as_second()));
        self.0 = ours.map(|stamp| {
            let unmoved = Duration::try_from(wall.duration_since(stamp)).unwrap_or_default();
            (stamp, now.checked_sub(unmoved).unwrap_or(now))
        });
    }
}

/// A status as it would be written now, of whose change a controller has watched for so long that nothing moves. Where its times
/// do not say so, somebody set the clock, or another controller wrote them: then they are put right. Whoever takes over begins to
/// count anew, for it cannot tell a long wait from a clock that was wrong; what was called stalled stays it until it moves.
pub(crate) fn dated(status: &MeshCNIStatus, unmoved: Duration, now: Timestamp) -> MeshCNIStatus {
    let mut status = status.clone();
    let stalled = status.conditions.iter().any(|condition| {
        condition.kind == "Stalled"
            && condition.status == ConditionStatus::True
            && condition.reason == NOT_MOVED
            && condition.observed_generation == status.observed_generation
    });
    let Some(operation) = &mut status.operation else { return status };
    let limit = operation.deadline.0.duration_since(operation.progressed_at.0);
    let unmoved = SignedDuration::try_from(unmoved).unwrap_or(SignedDuration::MAX);
    let unmoved = if stalled { unmoved.max(limit) } else { unmoved };
    let moved = now.checked_sub(unmoved).unwrap_or(Timestamp::MIN);
    let written = operation.progressed_at.0;
    if moved.duration_since(written).abs() > SLACK && !(stalled && written < moved) {
        operation.progressed_at = Time(moved);
        operation.deadline = Time(moved.checked_add(limit).unwrap_or(moved));
        operation.started_at = Time(operation.started_at.0.min(moved));
    }
    status
}

/// The operation that `status` is about; nothing where all is as wanted. A node that fails later is none: nothing is on its
/// way there.
pub(super) fn operation(
    previous: &MeshCNIStatus,
    status: &MeshCNIStatus,
    facts: &Facts<'_>,
) -> Option<Operation> {
    let Facts { step, nodes, wanted, .. } = *facts;
    // A change that was taken back is on its way no more.
    let done = facts.back_to.is_some()
        || is_at_rest(wanted, step) && is_everywhere(step, &nodes.targets) && facts.registered && facts.heard;
    let kind = kind(previous, facts);
    let going = previous.operation.as_ref().filter(|operation| {
        operation.generation == facts.generation && operation.kind == kind && !is_new(previous, facts)
    });
    if done || (going.is_none() && !begins(previous, facts)) {
        return None;
    }
    let now = Time(facts.now);
    let moved = previous.state != status.state
        || previous.nodes != status.nodes
        || previous.workloads.cni != status.workloads.cni;
    // People restart pods at their own pace, and a change that somebody paused waits for whoever did.
    let patient =
        facts.release.spec.rollout.paused || (step.state == State::Draining && status.workloads.cni > 0);
    let progressed = match going {
        // What is told when nothing moves should hardly move either.
        Some(going) if !(moved || patient && is_old(&going.progressed_at, facts)) => {
            going.progressed_at.clone()
        }
        _ => now.clone(),
    };
    let seconds = i64::from(facts.release.spec.rollout.progress_deadline_seconds);
    let deadline = progressed.0.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(progressed.0);
    Some(Operation {
        kind: kind.to_owned(),
        generation: facts.generation,
        started_at: going.map_or(now.clone(), |going| going.started_at.clone()),
        progressed_at: progressed,
        deadline: Time(deadline),
    })
}

/// Whether half of the deadline has passed since.
fn is_old(then: &Time, facts: &Facts<'_>) -> bool {
    let half = i64::from(facts.release.spec.rollout.progress_deadline_seconds) / 2;
    facts.now.duration_since(then.0).as_secs() >= half
}

/// Whether a change begins here: of the specification, of the program, or by deletion.
fn begins(previous: &MeshCNIStatus, facts: &Facts<'_>) -> bool {
    let moving = !is_at_rest(facts.wanted, facts.step);
    moving || is_new(previous, facts) || previous.last_good_revision != Some(facts.revision)
}

fn is_new(previous: &MeshCNIStatus, facts: &Facts<'_>) -> bool {
    previous.history.first().is_none_or(|last| last.spec_hash != hash(&facts.release.spec))
}

fn kind(previous: &MeshCNIStatus, facts: &Facts<'_>) -> &'static str {
    let going = previous.operation.as_ref().filter(|operation| operation.generation == facts.generation);
    match (facts.wanted, facts.release.spec.mode) {
        (Wanted::Uninstall, _) => "Uninstall",
        (Wanted::Disabled | Wanted::InitContainer, _) => "Disable",
        (Wanted::Cni, Mode::Cni) if facts.step.state != State::Serving => "Enable",
        // What began as one thing stays it until it is over.
        _ if going.is_some_and(|going| going.kind == "Enable") => "Enable",
        _ if !is_new(previous, facts) && going.is_none_or(|going| going.kind == "Upgrade") => "Upgrade",
        _ => "UpdateSettings",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status of a change in which something moved last at that second.
    fn moved(second: i64) -> MeshCNIStatus {
        let at = |second| Time(Timestamp::from_second(second).expect("it is a moment"));
        let operation = Operation {
            kind: "Enable".to_owned(),
            generation: 1,
            started_at: at(second),
            progressed_at: at(second),
            deadline: at(second + 600),
        };
        MeshCNIStatus { operation: Some(operation), ..MeshCNIStatus::default() }
    }

    #[test]
    fn what_was_watched_counts_and_nothing_else() {
        let start = Instant::now();
        let clocks = |wall: i64, seconds| {
            (
                Timestamp::from_millisecond(wall * 1000 + 700).expect("it is a moment"),
                start + Duration::from_secs(seconds),
            )
        };
        let unmoved = |watched: &Watched, status: &MeshCNIStatus, seconds| {
            watched.unmoved(status, start + Duration::from_secs(seconds)).as_secs()
        };
        let mut watched = Watched::default();
        assert_eq!(unmoved(&watched, &moved(100), 50), 0, "whoever takes over has watched nothing");
        watched.written(&moved(100), &moved(100), clocks(100, 50));
        assert_eq!(unmoved(&watched, &moved(100), 80), 30);
        // The clock was set meanwhile: the same is written in other words.
        watched.written(&moved(5000), &moved(5000), clocks(5030, 80));
        assert_eq!(unmoved(&watched, &moved(5000), 90), 40);
        // Something moved.
        watched.written(&moved(5041), &moved(5041), clocks(5041, 91));
        assert_eq!(unmoved(&watched, &moved(5041), 95), 4);
        // It could not be written yet.
        watched.written(&moved(5050), &moved(5041), clocks(5050, 100));
        assert_eq!(unmoved(&watched, &moved(5041), 101), 10);
        // Another wrote.
        watched.written(&moved(5060), &moved(17), clocks(5060, 110));
        assert_eq!(unmoved(&watched, &moved(17), 120), 0);
    }
}
