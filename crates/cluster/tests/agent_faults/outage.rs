//! The API server goes away in the midst of a storm of pods, once refusing connections and once hanging, and comes back.

use crate::node::{Node, PATIENCE, publish};
use crate::pod::{Kind, Pod};
use crate::storm::{Start, storm};
use crate::{Due, Fault, credentials, due, is, scene};
use millrace_rig::apiserver::Apiserver;

/// Pods of each kind that the agent has from its watch.
const KNOWN: usize = 4;

#[test]
fn an_outage_during_a_storm_of_adds_loses_none() {
    let test = "an_outage_during_a_storm_of_adds_loses_none";
    outage(test, "outage", Apiserver::stop, Apiserver::restart);
}

/// Worse than one that is gone: connections stand, and nobody answers.
#[test]
fn an_api_server_that_hangs_during_a_storm_of_adds_loses_none() {
    let test = "an_api_server_that_hangs_during_a_storm_of_adds_loses_none";
    outage(test, "hang", Apiserver::freeze, Apiserver::thaw);
}

fn outage(test: &str, name: &str, goes: fn(&Apiserver), comes_back: fn(&Apiserver)) {
    let Some(api) = scene(test) else { return };
    let mut node = Node::new(name, &credentials(&api), "60s");
    let mut pods = named("known", KNOWN);
    publish(&api, &mut pods, "node1");
    // The watch of this node's pods never tells of another's: each is as one that was made a moment ago.
    let mut strangers = named("stranger", 1);
    publish(&api, &mut strangers, "node2");
    pods.extend(strangers);
    // What becomes of a pod while the server answers, and while it does not.
    let wanted = |start: &Start, reachable: bool| {
        let (kind, is_stranger) = (pods[start.pod].kind, start.pod >= KNOWN * Kind::ALL.len());
        match kind {
            Kind::Unstamped | Kind::UnstampedUnknown if is_stranger && !reachable => Due::TryAgain,
            kind => due(Fault::ApiDown, kind),
        }
    };
    node.start_agent();
    let starts = storm(&node.runtime(), &pods, |storm| {
        storm.until("as it should be while all is well", |start| is(&start.started, wanted(start, true)));
        goes(&api);
        storm.until("as it should be in the outage", |start| is(&start.started, wanted(start, false)));
        comes_back(&api);
        storm.until("as it should be after the outage", |start| is(&start.started, wanted(start, true)));
    });
    // Within the agent's timeout, and as much again for a loaded machine.
    let is_right = |start: &&Start| {
        let is_due = [true, false].iter().any(|how| is(&start.started, wanted(start, *how)));
        is_due && start.started.took < PATIENCE
    };
    let wrong: Vec<_> = starts.iter().filter(|start| !is_right(start)).collect();
    let told: Vec<_> = wrong.iter().take(5).map(|start| (&pods[start.pod], &start.started)).collect();
    assert!(told.is_empty(), "{} of {} are wrong: {told:?}\n{}", wrong.len(), starts.len(), node.logs());
}

fn named(name: &str, of_each: usize) -> Vec<Pod> {
    let kinds = (0..of_each).flat_map(|_| Kind::ALL);
    kinds.enumerate().map(|(number, kind)| Pod::new(kind, &format!("{name}-{number}"))).collect()
}
