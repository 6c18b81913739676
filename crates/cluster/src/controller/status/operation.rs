//! The change that is on its way: what it is, when it began, and when it is called stalled. PURE.

use super::{Facts, hash, is_at_rest, is_everywhere};
use crate::api::mesh::Mode;
use crate::api::status::{MeshCNIStatus, Operation, State};
use crate::controller::transition::Wanted;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

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
        || is_at_rest(wanted, step) && is_everywhere(step, &nodes.targets) && facts.registered;
    let kind = kind(previous, facts);
    let going = previous.operation.as_ref().filter(|operation| {
        operation.generation == facts.generation && operation.kind == kind && !is_new(previous, facts)
    });
    if done || (going.is_none() && !begins(previous, facts)) {
        return None;
    }
    let now = Time(facts.now);
    // What is of a time to come was written by a clock that was set back since, and would put the deadline off for as long.
    let past = |time: &Time| if time.0 > facts.now { now.clone() } else { time.clone() };
    let moved = previous.state != status.state
        || previous.nodes != status.nodes
        || previous.workloads.cni != status.workloads.cni;
    // People restart pods at their own pace, and a change that somebody paused waits for whoever did.
    let patient =
        facts.release.spec.rollout.paused || (step.state == State::Draining && status.workloads.cni > 0);
    let progressed = match going {
        // What is told when nothing moves should hardly move either.
        Some(going) if !(moved || patient && is_old(&going.progressed_at, facts)) => {
            past(&going.progressed_at)
        }
        _ => now.clone(),
    };
    let seconds = i64::from(facts.release.spec.rollout.progress_deadline_seconds);
    let deadline = progressed.0.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(progressed.0);
    Some(Operation {
        kind: kind.to_owned(),
        generation: facts.generation,
        started_at: going.map_or(now.clone(), |going| past(&going.started_at)),
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
