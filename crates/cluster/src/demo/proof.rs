//! The walk through bookinfo, and what each pod's rules, proxy and program say of it.
//!
//! Requests begin outside the mesh; nothing is taken from what admission made of a pod but its settings.

use crate::demo::app;
use crate::demo::chain;
use crate::demo::injector;
use crate::demo::pods::Part;
use crate::demo::process::Privileges;
use crate::demo::report;
use crate::demo::traffic::{self, Ledger};
use crate::demo::verdict::{self, By, Evidence, Witnesses};
use crate::demo::witness::Found;
use crate::demo::world::{Live, World};
use millrace_core::dialect::listing;
use millrace_core::policy::Verdict;
use millrace_core::rules::{Family, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What was found of all pods.
#[derive(Debug)]
pub(crate) struct Proof {
    /// How many connections the walk made.
    pub(crate) connections: usize,
    /// How many pods are verified.
    pub(crate) verified: usize,
    /// Each pod's paragraph.
    pub(crate) paragraphs: Vec<String>,
    /// What is wrong, each with its pod.
    pub(crate) faults: Vec<String>,
}

/// Sends the requests, and holds what everybody says of them against each other. Pods of the mesh should be redirected by
/// `mesh`.
pub(crate) fn prove(world: &mut World, mesh: By) -> anyhow::Result<Proof> {
    // The order of the manifest's names, whoever was first.
    world.pods.sort_by_key(|live| (live.member.part, live.member.key.clone()));
    world.note()?;
    let mut hops = Vec::new();
    for path in traffic::itinerary(world.pods.iter().map(|live| &live.member)) {
        for answer in world.ask(&path)? {
            hops.extend(app::hops("the node", &answer)?);
        }
    }
    let ledgers: BTreeMap<String, Ledger> = traffic::ledgers(&hops);
    let mut proof =
        Proof { connections: hops.len(), verified: 0, paragraphs: Vec::new(), faults: Vec::new() };
    for (at, live) in world.pods.iter().enumerate() {
        let found = Found::read(&live.netns)?;
        let ledger = ledgers.get(&live.member.key).cloned().unwrap_or_default();
        let evidence = evidence(world, at, mesh, &found, &ledger)?;
        let faults = verdict::faults(&evidence);
        proof.verified += usize::from(faults.is_empty());
        let about = report::About {
            member: &live.member,
            addresses: &live.seen.addresses,
            took: live.added.as_ref().map_or(&[], |added| &added.took),
            rung: live.said.as_ref().map_or("nobody knows what", |said| &said.rung),
            backend: found.held().map(|(backend, _)| backend.name()),
            earlier: live.earlier.0,
        };
        proof.paragraphs.push(report::pod(&about, &evidence, &faults));
        proof.faults.extend(faults.iter().map(|fault| format!("{}: {fault}", live.member.key)));
    }
    Ok(proof)
}

/// A pod's rules, in the vendor page's form.
pub(crate) fn listed(live: &Live) -> anyhow::Result<String> {
    let netns = live.sandbox.netns.display();
    let table = match Found::read(&live.netns)?.held() {
        Some((_, observed)) => listing::list(observed, Family::V4, Table::Nat),
        None => "none\n".to_owned(),
    };
    Ok(format!(
        "The productpage's rules, in the vendor page's form (the same is printed by\n\
         nsenter --net={netns} iptables -t nat -L -n -v --line-numbers -x):\n\n{table}"
    ))
}

/// All that can be seen of a pod after the walk.
fn evidence(world: &World, at: usize, mesh: By, found: &Found, ledger: &Ledger) -> anyhow::Result<Evidence> {
    let live = &world.pods[at];
    let part = live.member.part;
    let planned = world.planned(&live.member);
    let (rules, accepted) = world.counts(at)?;
    let (rules_before, accepted_before) = live.earlier;
    let witnesses =
        Witnesses { rules: rules - rules_before, proxy: accepted - accepted_before, programs: ledger.counts };
    let wanted = match part {
        Part::Mesh => mesh,
        Part::Excluded => By::Itself,
        Part::Outside => By::Nobody,
    };
    let (decided, done) = words(live, wanted);
    Ok(Evidence {
        part,
        wanted,
        by: live.by,
        injected: world.cluster.injected(&live.object),
        admitted: injector::privileges(&live.object),
        decided,
        done,
        v6: world.v6,
        planned: planned.len(),
        live: found.number(),
        drift: found.drift(&planned),
        witnesses,
        peers: ledger.peers.clone(),
        neighbours: neighbours(world, at),
        processes: live.running.iter().map(Privileges::of).collect::<anyhow::Result<_>>()?,
    })
}

/// What should have been done and what the plugin says it did. From annotations alone it cannot know why a pod that bears
/// no stamp is outside, only that it is.
fn words(live: &Live, wanted: By) -> (String, String) {
    if !live.chain.redirects() {
        return ("nothing".to_owned(), "nothing".to_owned());
    }
    let decided = match (live.member.decision.verdict, live.member.part) {
        // Whatever became of it at admission.
        (_, Part::Mesh) if wanted == By::Chain => "redirected".to_owned(),
        (Verdict::Redirect, _) => "redirected".to_owned(),
        (Verdict::Skip(_), Part::Outside) => "passed".to_owned(),
        (Verdict::Skip(reason), _) => format!("passed, {reason}"),
    };
    let done = match &live.said {
        None => "nothing it told of".to_owned(),
        Some(said) if said.outcome == "passed" && live.member.part != Part::Outside => {
            format!("passed, {}", said.reason)
        }
        Some(said) => said.outcome.clone(),
    };
    (decided, done)
}

/// The addresses by which a pod may be called directly: the other pods' and the node's, which is the first of each range.
fn neighbours(world: &World, at: usize) -> BTreeSet<IpAddr> {
    let others = world.pods.iter().enumerate().filter(|(other, _)| *other != at);
    let mut addresses: BTreeSet<IpAddr> = others.flat_map(|(_, live)| live.seen.addresses.clone()).collect();
    addresses.extend(chain::GATEWAYS);
    addresses
}
