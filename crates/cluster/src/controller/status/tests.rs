//! Statuses, from a cluster's beginning through its troubles.

use super::*;
use crate::api::condition::ConditionStatus;
use crate::api::platform::Platform;
use crate::api::status::Workloads;
use crate::codes::Code;
use crate::controller::targets::{Group, Trouble};
use crate::controller::transition::Agents;
use serde_json::json;
use std::time::Duration;

/// A cluster at one moment, of which a status is made.
struct Scene {
    spec: Value,
    wanted: Wanted,
    state: State,
    waits: Vec<Wait>,
    /// By node: Ready, serving, updated.
    nodes: Vec<(bool, bool, bool)>,
    revision: i64,
    back_to: Option<i64>,
    registered: bool,
    heard: bool,
    refused: Option<&'static str>,
    second: i64,
}

impl Scene {
    fn new(state: State, nodes: &[(bool, bool, bool)], second: i64) -> Scene {
        let (spec, wanted, waits) = (json!({}), Wanted::Cni, Vec::new());
        let (nodes, registered, heard) = (nodes.to_vec(), true, true);
        Scene {
            spec,
            wanted,
            state,
            waits,
            nodes,
            revision: 1,
            back_to: None,
            registered,
            heard,
            refused: None,
            second,
        }
    }

    fn after(&self, previous: &MeshCNIStatus) -> MeshCNIStatus {
        let target = |(at, (ready, serving, updated)): (usize, &(bool, bool, bool))| Target {
            name: format!("n{at}"),
            group: Group { platform: Platform::Kubeadm, canary: false },
            ready: *ready,
            serving: *serving,
            updated: *updated,
            trouble: (!ready || !serving).then(|| Trouble {
                code: if *ready { Code::AgentNotReady } else { Code::NodeNotReady },
                reason: "it says so".to_owned(),
                since: None,
                told: true,
            }),
        };
        let nodes =
            Nodes { targets: self.nodes.iter().enumerate().map(target).collect(), unserved: Vec::new() };
        let spec = serde_json::from_value(self.spec.clone()).expect("it is a specification");
        let step = Step { state: self.state, agents: Agents::Apply, waits: self.waits.clone() };
        let author = Author { manager: "kubectl".to_owned(), at: at(0) };
        status(
            previous,
            &Facts {
                generation: 1,
                release: &Release { spec, image: "i".to_owned() },
                wanted: self.wanted,
                revision: self.revision,
                back_to: self.back_to,
                author: Some(&author),
                before: None,
                nodes: &nodes,
                step: &step,
                registered: self.registered,
                heard: self.heard,
                refused: self.refused,
                observed: &Observed::default(),
                found: &Found::default(),
                broken: &[],
                now: at(self.second),
            },
        )
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("it is a moment")
}

/// Phase, nodes, and the conditions of kstatus that hold.
#[track_caller]
fn check(status: &MeshCNIStatus, phase: Phase, nodes: &str, holds: &[&str]) {
    let kstatus = ["Ready", "Reconciling", "Stalled"];
    let held = status.conditions.iter().filter(|one| one.status == ConditionStatus::True);
    let held: Vec<&str> = held.map(|one| one.kind.as_str()).filter(|kind| kstatus.contains(kind)).collect();
    assert_eq!((status.phase, status.nodes.summary.as_str()), (Some(phase), nodes), "{status:#?}");
    assert_eq!(held, holds, "{status:#?}");
    assert_eq!(status.conditions.len(), 8);
}

const WELL: (bool, bool, bool) = (true, true, true);
const SILENT: (bool, bool, bool) = (true, false, false);
const DEAD: (bool, bool, bool) = (false, false, false);

#[test]
fn a_cluster_gets_there() {
    let mut scene = Scene::new(State::Installing, &[WELL, SILENT], 10);
    scene.waits = vec![Wait::Node("n1".to_owned())];
    let installing = scene.after(&MeshCNIStatus::default());
    check(&installing, Phase::Updating, "1/2", &["Reconciling"]);
    assert_eq!(installing.operation.as_ref().expect("it began").kind, "Enable");
    assert_eq!(installing.failing_nodes[0].name, "n1");
    assert_eq!(installing.history[0].by, "kubectl");
    assert_eq!(installing.last_good_revision, None);
    let mut scene = Scene::new(State::Serving, &[WELL, WELL], 15);
    scene.registered = false;
    let serving = scene.after(&installing);
    check(&serving, Phase::Updating, "2/2", &["Reconciling"]);
    let running = Scene::new(State::Serving, &[WELL, WELL], 20).after(&serving);
    check(&running, Phase::Running, "2/2", &["Ready"]);
    assert_eq!((&running.operation, running.last_good_revision), (&None, Some(1)));
    let later = Scene::new(State::Serving, &[WELL, WELL], 3000).after(&running);
    assert_eq!(later, running, "a cluster at rest has a status at rest");
}

#[test]
fn a_node_that_fails_later_is_told_and_stalls_nothing() {
    let running = Scene::new(State::Serving, &[WELL, WELL], 20).after(&MeshCNIStatus::default());
    let broken = Scene::new(State::Serving, &[WELL, SILENT], 30).after(&running);
    check(&broken, Phase::Degraded, "1/2", &[]);
    assert_eq!(broken.failing_nodes[0].code, "MR2003");
    let dead = Scene::new(State::Serving, &[WELL, DEAD], 30).after(&running);
    check(&dead, Phase::Running, "1/2", &["Ready"]);
    assert_eq!(dead.failing_nodes[0].code, "MR2001");
}

#[test]
fn a_change_that_does_not_move_is_stalled_by_name() {
    let scene = |second| Scene {
        waits: vec![Wait::Node("n1".to_owned())],
        ..Scene::new(State::Installing, &[WELL, SILENT], second)
    };
    let first = scene(10).after(&MeshCNIStatus::default());
    let second = scene(600).after(&first);
    check(&second, Phase::Updating, "1/2", &["Reconciling"]);
    let stalled = scene(610).after(&second);
    check(&stalled, Phase::Degraded, "1/2", &["Stalled"]);
    let why = stalled.conditions.iter().find(|one| one.kind == "Stalled").expect("it is there");
    assert_eq!(why.message, "nothing has moved for 600 s: node n1: it says so (MR2003)");
    assert_eq!(stalled.failing_nodes[0].since, Some(Time(at(10))));
    let goes_on = Scene::new(State::Serving, &[WELL, WELL], 700).after(&stalled);
    check(&goes_on, Phase::Running, "2/2", &["Ready"]);
    // A node that is not Ready is not waited for, and is named all the same.
    let dead = Scene::new(State::Serving, &[WELL, DEAD], 20).after(&first);
    check(&dead, Phase::Updating, "1/2", &["Reconciling"]);
    let dead = Scene::new(State::Serving, &[WELL, DEAD], 620).after(&dead);
    check(&dead, Phase::Degraded, "1/2", &["Stalled"]);
    assert_eq!(dead.failing_nodes[0].name, "n1");
}

#[test]
fn what_is_taken_back_says_so() {
    let good = Scene::new(State::Serving, &[WELL], 10).after(&MeshCNIStatus::default());
    let spec = json!({ "failurePolicy": "Open", "rollout": { "autoRollback": true } });
    let change = |second, back_to| Scene {
        spec: spec.clone(),
        revision: 2,
        back_to,
        ..Scene::new(State::Serving, &[(true, true, false)], second)
    };
    let stalled = change(1000, None).after(&change(20, None).after(&good));
    check(&stalled, Phase::Degraded, "1/1", &["Stalled"]);
    let back = change(1001, Some(1)).after(&stalled);
    check(&back, Phase::Degraded, "1/1", &["Stalled"]);
    assert_eq!(back.last_good_revision, Some(1));
    assert!(back.conditions.iter().any(|one| one.reason == ROLLED_BACK));
    assert_eq!(back.history.len(), 2);
}

#[test]
fn who_waits_for_people_is_not_stalled() {
    let scene = |second| Scene {
        wanted: Wanted::Disabled,
        spec: json!({ "mode": "Disabled" }),
        waits: vec![Wait::Settling],
        ..Scene::new(State::Draining, &[WELL], second)
    };
    let draining = scene(10).after(&MeshCNIStatus::default());
    check(&draining, Phase::Updating, "1/1", &["Reconciling"]);
    assert_eq!(draining.operation.as_ref().expect("it began").kind, "Disable");
    let absent = Scene { state: State::Absent, waits: Vec::new(), ..scene(90) }.after(&draining);
    check(&absent, Phase::Disabled, "0/0", &["Ready"]);
}

#[test]
fn who_changed_it_is_the_last_that_is_not_us() {
    let entry = |manager: &str, second, subresource: &str| ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        time: Some(Time(at(second))),
        subresource: Some(subresource.to_owned()),
        ..ManagedFieldsEntry::default()
    };
    let entries =
        [entry("kubectl", 1, ""), entry("console", 3, ""), entry("us", 9, ""), entry("x", 7, "status")];
    assert_eq!(author(&entries, "us"), Some(Author { manager: "console".to_owned(), at: at(3) }));
    let spec = |text: Value| serde_json::from_value(text).expect("it is a specification");
    let before = spec(json!({}));
    let now = spec(json!({ "excludeNamespaces": ["a"], "mode": "Disabled" }));
    assert_eq!(summary(Some(&before), &now), "excludeNamespaces, mode");
    assert_eq!(summary(None, &now), "created");
}

#[test]
fn whoever_switches_off_waits_for_the_webhooks() {
    let scene = |second, waits: &[Wait], heard| Scene {
        wanted: Wanted::InitContainer,
        spec: json!({ "mode": "InitContainer" }),
        waits: waits.to_vec(),
        heard,
        ..Scene::new(State::Draining, &[WELL], second)
    };
    let first = Scene::new(State::Serving, &[WELL], 10).after(&MeshCNIStatus::default());
    assert_eq!(first.admitted_generation, Some(1));
    let before = MeshCNIStatus { admitted_generation: Some(0), ..first };
    let told = scene(20, &[Wait::Webhooks, Wait::Pods(3)], false).after(&before);
    check(&told, Phase::Updating, "1/1", &["Reconciling"]);
    assert_eq!(told.admitted_generation, Some(0));
    let heard = scene(21, &[Wait::Pods(3)], true).after(&told);
    check(&heard, Phase::Running, "1/1", &["Ready"]);
    assert_eq!(heard.admitted_generation, Some(1));
    assert!(is_turn(&told, &heard));
}

#[test]
fn what_cannot_be_accepted_is_said_and_changes_nothing_else() {
    let running = Scene::new(State::Serving, &[WELL], 10).after(&MeshCNIStatus::default());
    let mut scene = Scene::new(State::Serving, &[WELL], 20);
    scene.refused = Some("no good (MR1101)");
    let refused = scene.after(&running);
    check(&refused, Phase::Degraded, "1/1", &["Stalled"]);
    let why = refused.conditions.iter().find(|one| one.kind == "Stalled").expect("it is there");
    assert_eq!(
        (why.reason.as_str(), why.message.as_str()),
        ("SpecRefused", "no good (MR1101); what was wanted before goes on")
    );
    assert_eq!((refused.state, &refused.history), (running.state, &running.history));
    check(&Scene::new(State::Serving, &[WELL], 30).after(&refused), Phase::Running, "1/1", &["Ready"]);
    let declined = declined(&running, 7, "no good (MR1101)", at(40));
    check(&declined, Phase::Degraded, "1/1", &["Stalled"]);
    assert_eq!((declined.state, declined.observed_generation), (running.state, Some(7)));
}

#[test]
fn how_far_things_are_is_no_turn() {
    let scene = |state, nodes: &[(bool, bool, bool)], second| Scene::new(state, nodes, second);
    let few = scene(State::Installing, &[SILENT, SILENT, WELL], 0).after(&MeshCNIStatus::default());
    let more = scene(State::Installing, &[SILENT, WELL, WELL], 10).after(&few);
    assert_ne!(few, more);
    assert!(!is_turn(&few, &more), "{few:#?} {more:#?}");
    let there = scene(State::Serving, &[WELL, WELL, WELL], 20).after(&more);
    assert!(is_turn(&more, &there));
    let counted = MeshCNIStatus { workloads: Workloads { cni: 7, ..Workloads::default() }, ..there.clone() };
    assert!(!is_turn(&there, &counted));
    let dies = scene(State::Serving, &[WELL, WELL, DEAD], 30).after(&there);
    assert!(is_turn(&there, &dies));
    let mut again = scene(State::Serving, &[WELL, WELL, WELL], 40);
    again.spec = json!({ "excludeNamespaces": ["legacy"] });
    assert!(is_turn(&there, &again.after(&there)));
}

/// The controller's clock is set, forward and back, in the midst of a change in which nothing moves.
#[test]
fn a_clock_that_jumps_neither_stalls_a_change_nor_puts_its_deadline_off() {
    let look = |previous: &MeshCNIStatus, second: i64, unmoved: u64| {
        let mut scene = Scene::new(State::Installing, &[WELL, SILENT], second);
        scene.waits = vec![Wait::Node("n1".to_owned())];
        scene.after(&dated(previous, Duration::from_secs(unmoved), at(second)))
    };
    let left = |status: &MeshCNIStatus, second: i64| {
        status.operation.as_ref().expect("it is on its way").deadline.0.as_second() - second
    };
    let first = look(&MeshCNIStatus::default(), 1_000, 0);
    let ahead = look(&first, 1_000_000, 30);
    check(&ahead, Phase::Updating, "1/2", &["Reconciling"]);
    assert_eq!(left(&ahead, 1_000_000), 570, "thirty seconds passed, whatever the clock says");
    let back = look(&ahead, 50, 40);
    check(&back, Phase::Updating, "1/2", &["Reconciling"]);
    assert_eq!(left(&back, 50), 560);
    assert!(back.operation.as_ref().expect("it is on its way").started_at.0 <= at(50));
    let on = look(&back, 604, 594);
    assert_eq!(on.operation, back.operation, "what is told when nothing moves does not move either");
    check(&look(&on, 60, 599), Phase::Updating, "1/2", &["Reconciling"]);
    let stalled = look(&on, 60, 600);
    check(&stalled, Phase::Degraded, "1/2", &["Stalled"]);
    check(&look(&stalled, 20, 610), Phase::Degraded, "1/2", &["Stalled"]);
    let running = Scene::new(State::Serving, &[WELL, WELL], 40).after(&stalled);
    check(&running, Phase::Running, "2/2", &["Ready"]);
}

/// Another controller takes over: it has watched nothing yet, and its clock may be another.
#[test]
fn whoever_takes_over_counts_anew_and_keeps_what_was_said() {
    let look = |previous: &MeshCNIStatus, second: i64, unmoved: u64| {
        let mut scene = Scene::new(State::Installing, &[WELL, SILENT], second);
        scene.waits = vec![Wait::Node("n1".to_owned())];
        scene.after(&dated(previous, Duration::from_secs(unmoved), at(second)))
    };
    let first = look(&MeshCNIStatus::default(), 1_000, 0);
    let taken = look(&first, 9_000, 0);
    check(&taken, Phase::Updating, "1/2", &["Reconciling"]);
    let operation = taken.operation.as_ref().expect("it is on its way");
    assert_eq!((operation.started_at.0, operation.deadline.0), (at(1_000), at(9_600)));
    let stalled = look(&taken, 9_600, 600);
    check(&stalled, Phase::Degraded, "1/2", &["Stalled"]);
    for second in [9_601, 50, 1_000_000] {
        check(&look(&stalled, second, 0), Phase::Degraded, "1/2", &["Stalled"]);
    }
}
