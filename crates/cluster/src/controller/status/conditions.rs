//! The conditions of a status, in the words that `kubectl wait` and kstatus know. PURE.

use super::operation::NOT_MOVED;
use super::{Facts, ROLLED_BACK, is_stalled};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::status::{MeshCNIStatus, Phase, State};
use crate::codes::Code;
use crate::controller::preconditions::{Injector, list};
use crate::controller::transition::{Wait, Wanted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// What of a cluster contests nodes' chains.
const CHAIN: [Code; 2] = [Code::CiliumExclusive, Code::OtherMeshInChain];

/// The reason of Stalled while the specification that is written is not acted upon.
const SPEC_REFUSED: &str = "SpecRefused";

/// What is said of one condition.
struct Said {
    kind: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

/// The conditions of `status`; a transition time is kept where the status of a condition is.
pub(super) fn conditions(
    previous: &MeshCNIStatus,
    status: &MeshCNIStatus,
    facts: &Facts<'_>,
) -> Vec<Condition> {
    let all = [
        ready(status, facts),
        reconciling(status, facts),
        stalled(status, facts),
        nodes_configured(status),
        injector_synced(status, facts),
        workloads_converged(status),
        drift_free(status, facts),
        no_chain_conflict(facts),
    ];
    dated(previous, all, facts.generation, facts.now)
}

/// The conditions of a cluster of which nothing is known but that its specification is declined; the others stay as they are.
pub(super) fn declined(
    previous: &MeshCNIStatus,
    generation: i64,
    why: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let nothing = "nothing is done about a specification that cannot be accepted";
    let all = [
        said("Ready", false, "Degraded", why),
        said("Reconciling", false, "Stalled", nothing),
        said("Stalled", true, SPEC_REFUSED, why),
    ];
    let mut conditions = dated(previous, all, generation, now);
    let new = |kind: &str| conditions.iter().any(|condition| condition.kind == kind);
    let rest: Vec<Condition> = previous.conditions.iter().filter(|one| !new(&one.kind)).cloned().collect();
    conditions.extend(rest);
    conditions
}

fn dated(
    previous: &MeshCNIStatus,
    all: impl IntoIterator<Item = Said>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let dated = all.into_iter().map(|said| {
        let was = previous.conditions.iter().find(|was| was.kind == said.kind && was.status == said.status);
        Condition {
            kind: said.kind.to_owned(),
            status: said.status,
            reason: said.reason.to_owned(),
            message: said.message,
            last_transition_time: was.map_or(Time(now), |was| was.last_transition_time.clone()),
            observed_generation: Some(generation),
        }
    });
    dated.collect()
}

fn said(kind: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Said {
    let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
    Said { kind, status, reason, message: message.into() }
}

fn unknown(kind: &'static str, reason: &'static str, message: &str) -> Said {
    Said { kind, status: ConditionStatus::Unknown, reason, message: message.to_owned() }
}

fn ready(status: &MeshCNIStatus, facts: &Facts<'_>) -> Said {
    match status.phase {
        Some(Phase::Running) => said("Ready", true, "Running", running(status, facts)),
        Some(Phase::Disabled) => said("Ready", true, "Disabled", "no agent is wanted, and none is left"),
        Some(Phase::Degraded) => said("Ready", false, "Degraded", trouble(status, facts)),
        Some(Phase::Updating) | None => said("Ready", false, "Updating", waits(facts)),
    }
}

fn reconciling(status: &MeshCNIStatus, facts: &Facts<'_>) -> Said {
    match &status.operation {
        Some(operation) if !is_stalled(status, facts.now) => {
            let message = format!("{}: {}", operation.kind, waits(facts));
            said("Reconciling", true, "InProgress", message)
        }
        Some(_) => said("Reconciling", false, "Stalled", "nothing moves; see Stalled"),
        None => said("Reconciling", false, "AtRest", "nothing is on its way"),
    }
}

fn stalled(status: &MeshCNIStatus, facts: &Facts<'_>) -> Said {
    if let Some(why) = facts.refused {
        return said("Stalled", true, SPEC_REFUSED, format!("{why}; what was wanted before goes on"));
    }
    if let Some(revision) = facts.back_to {
        let message = format!(
            "the change stalled and was taken back to revision {revision}; correct the specification to try again"
        );
        return said("Stalled", true, ROLLED_BACK, message);
    }
    if let Some(broken) = facts.broken.first() {
        return said("Stalled", true, "ChildNotApplied", broken.clone());
    }
    if is_stalled(status, facts.now) {
        let seconds = facts.release.spec.rollout.progress_deadline_seconds;
        let message = format!("nothing has moved for {seconds} s: {}", trouble(status, facts));
        return said("Stalled", true, NOT_MOVED, message);
    }
    said("Stalled", false, "NotStalled", "nothing is in the way")
}

fn nodes_configured(status: &MeshCNIStatus) -> Said {
    let nodes = &status.nodes;
    let message = format!(
        "{} of {} nodes serve, {} with what is wanted now; {} do not though they are Ready, {} are not Ready",
        nodes.ready, nodes.desired, nodes.updated, nodes.failed, nodes.absent
    );
    let reason = match nodes {
        nodes if nodes.failed > 0 => "NodesFail",
        nodes if nodes.updated < nodes.desired - nodes.absent => "NodesOutdated",
        nodes if nodes.absent > 0 => "NodesNotReady",
        _ => "AllNodes",
    };
    said("NodesConfigured", matches!(reason, "AllNodes" | "NodesNotReady"), reason, message)
}

fn injector_synced(status: &MeshCNIStatus, facts: &Facts<'_>) -> Said {
    let converts = status.state == Some(State::Serving);
    match (facts.found.injector, converts, facts.wanted) {
        (None, ..) => unknown("InjectorSynced", "NotLookedAt", "the injector was not looked for yet"),
        (Some(Injector::None), ..) => {
            said("InjectorSynced", false, "NoInjector", "no sidecar injector was found; MR5011")
        }
        (Some(Injector::Init), true, _) => said(
            "InjectorSynced",
            true,
            "Converting",
            "the injector adds istio-init, and the webhook turns it into validation",
        ),
        (Some(Injector::Init), false, _) => {
            said("InjectorSynced", true, "InitContainers", "the injector adds istio-init, and pods keep it")
        }
        (Some(Injector::Validation), _, Wanted::Cni) => said(
            "InjectorSynced",
            true,
            "ValidationOnly",
            "the injector adds istio-validation: pods that no agent redirects do not start; MR5010",
        ),
        (Some(Injector::Validation), ..) => said(
            "InjectorSynced",
            false,
            "ValidationOnly",
            "the injector adds istio-validation, so that new pods start only where an agent redirects; MR5010",
        ),
    }
}

fn workloads_converged(status: &MeshCNIStatus) -> Said {
    match status.workloads.restart_debt {
        0 => said("WorkloadsConverged", true, "Converged", "every pod of the mesh has what is wanted"),
        debt => said(
            "WorkloadsConverged",
            false,
            "RestartDebt",
            pods(
                debt,
                "gets what is wanted when it is restarted; millrace migrate does that",
                "get what is wanted when they are restarted; millrace migrate does it in waves",
            ),
        ),
    }
}

fn drift_free(status: &MeshCNIStatus, facts: &Facts<'_>) -> Said {
    let audited = facts.observed.reports.values().any(|report| report.drifted.is_some());
    match (audited, status.workloads.drifted) {
        (false, _) => unknown("DriftFree", "NotAudited", "no agent looks into running pods; see spec.audit"),
        (true, 0) => said("DriftFree", true, "NoDrift", "rules of running pods are as planned"),
        (true, count) => {
            let (code, nodes) = (Code::RulesDrifted, drifted_nodes(facts));
            let message = format!("{count} running pods are not redirected as planned, on {nodes} ({code})");
            said("DriftFree", false, "Drifted", message)
        }
    }
}

/// The nodes of pods that drifted; few by name.
fn drifted_nodes(facts: &Facts<'_>) -> String {
    let drifted =
        facts.observed.reports.iter().filter(|(_, report)| report.drifted.is_some_and(|count| count > 0));
    list(drifted.map(|(node, _)| node.clone()))
}

fn no_chain_conflict(facts: &Facts<'_>) -> Said {
    let reports = facts.observed.reports.iter();
    let found: Vec<(&String, &String)> =
        reports.filter_map(|(node, report)| Some((node, report.contested.as_ref()?))).collect();
    let told = || facts.found.findings.iter().find(|finding| CHAIN.contains(&finding.code));
    match (found.first(), told()) {
        (Some((node, message)), _) => {
            let more = found.len() - 1;
            let others = if more == 0 { String::new() } else { format!(" (and {})", nodes_more(more)) };
            said("NoChainConflict", false, "ChainContested", format!("{node}: {message}{others}"))
        }
        (None, Some(finding)) => said("NoChainConflict", false, "ConflictingSetting", finding.to_string()),
        (None, None) if facts.observed.reports.is_empty() => {
            unknown("NoChainConflict", "NoReports", "no agent has said anything yet")
        }
        (None, None) => said("NoChainConflict", true, "NoConflict", "nobody contests a node's chain"),
    }
}

fn running(status: &MeshCNIStatus, facts: &Facts<'_>) -> String {
    let nodes = &status.nodes.summary;
    let wait = match facts.wanted {
        Wanted::Cni => format!("{nodes} nodes serve"),
        _ => format!("{nodes} nodes serve, pods redirect themselves"),
    };
    match status.workloads.restart_debt {
        0 => wait,
        debt => format!("{wait}; {}", pods(debt, "waits for a restart", "wait for a restart")),
    }
}

/// So many pods, and what is said of one of them or of many.
fn pods(count: u32, of_one: &str, of_many: &str) -> String {
    if count == 1 { format!("1 pod {of_one}") } else { format!("{count} pods {of_many}") }
}

fn nodes_more(count: usize) -> String {
    if count == 1 { "1 node more".to_owned() } else { format!("{count} nodes more") }
}

/// The worst thing that is known.
fn trouble(status: &MeshCNIStatus, facts: &Facts<'_>) -> String {
    if let Some(why) = facts.refused {
        return format!("{why}; what was wanted before goes on");
    }
    if let Some(broken) = facts.broken.first() {
        return broken.clone();
    }
    if let Some(revision) = facts.back_to {
        return format!("taken back to revision {revision}");
    }
    match status.failing_nodes.as_slice() {
        [] => waits(facts),
        [first, rest @ ..] => {
            let named = format!("node {}: {} ({})", first.name, first.reason, first.code);
            if rest.is_empty() { named } else { format!("{named}, and {}", nodes_more(rest.len())) }
        }
    }
}

/// What is waited for, as a sentence.
fn waits(facts: &Facts<'_>) -> String {
    const NAMED: usize = 3;
    let mut named: Vec<String> = Vec::new();
    let (mut nodes, mut clear) = (0, 0);
    for wait in &facts.step.waits {
        match wait {
            Wait::Node(name) => {
                nodes += 1;
                if nodes <= NAMED {
                    named.push(format!("node {name} has yet to serve"));
                }
            }
            Wait::Clear(name) => {
                clear += 1;
                if clear <= NAMED {
                    let yet = format!("node {name} has yet to be cleared");
                    named.push(match facts.observed.unclear(name) {
                        Some(why) => format!("{yet}: {why} ({})", Code::NodeNotCleared),
                        None => yet,
                    });
                }
            }
            Wait::AnyNode => named.push("no node is Ready".to_owned()),
            Wait::Unpause => named.push("spec.rollout.paused holds it".to_owned()),
            Wait::Pods(count) => {
                let one = "depends on the agents until it is restarted";
                named.push(pods(*count, one, "depend on the agents until they are restarted"))
            }
            Wait::Webhooks => named.push("webhooks have yet to hear of it".to_owned()),
            Wait::Settling => named.push("pods that were just admitted may be on their way".to_owned()),
            Wait::Spared => named.push("nodes were being cleared, which is called off".to_owned()),
            Wait::Agents => named.push("agents are leaving".to_owned()),
        }
    }
    let more = nodes.max(clear);
    if more > NAMED {
        named.push(format!("and {}", nodes_more(more - NAMED)));
    }
    if named.is_empty() {
        let outdated = facts.nodes.targets.iter().filter(|target| !target.updated).count();
        return match outdated {
            0 => match facts.step.state {
                State::Installing => "agents are being installed".to_owned(),
                State::Draining => "new pods redirect themselves again".to_owned(),
                State::Removing => "agents are leaving the nodes".to_owned(),
                State::Serving if !facts.heard => "webhooks have yet to hear of it".to_owned(),
                State::Serving => "the API server is being told of the webhook".to_owned(),
                State::Absent => "it goes on".to_owned(),
            },
            1 => "1 node has yet to get what is wanted".to_owned(),
            count => format!("{count} nodes have yet to get what is wanted"),
        };
    }
    named.join("; ")
}
