//! Two agents at once, in every order, in the midst of a storm of pods: whichever begins or ends, none is lost.

use crate::node::{Node, publish};
use crate::pod::{Kind, Pod};
use crate::storm::storm;
use crate::{Due, credentials, is, scene};
use rustix::process::Signal;

#[test]
fn agents_that_overlap_in_any_order_during_a_storm_of_adds_lose_none() {
    let Some(api) = scene("agents_that_overlap_in_any_order_during_a_storm_of_adds_lose_none") else {
        return;
    };
    let mut node = Node::new("overlap", &credentials(&api), "100s");
    let mut pods: Vec<Pod> =
        (0..24).map(|number| Pod::new(Kind::Unstamped, &format!("overlap-{number}"))).collect();
    publish(&api, &mut pods, "node1");
    node.start_agent();
    let runtime = node.runtime();
    let starts = storm(&runtime, &pods, |storm| {
        storm.round();
        // An upgrade: the new one waits for the old one's end, and takes over.
        node.start_agent();
        storm.round();
        node.end_agent(Signal::TERM);
        node.until_one_serves();
        storm.round();
        // An upgrade that is taken back: the one that serves goes on.
        node.start_agent();
        storm.round();
        node.end_newest_agent(Signal::TERM);
        node.until_one_serves();
        storm.round();
        // Without an overlap: the old one is gone before the new one is there.
        node.end_agent(Signal::TERM);
        node.start_agent();
        node.until_one_serves();
        storm.round();
    });
    let lost: Vec<_> =
        starts.iter().map(|start| &start.started).filter(|one| !is(one, Due::Redirected)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {:?}\n{}", lost.len(), starts.len(), lost[0], node.logs());
}
