//! The vendor page's whole walk on one machine: bookinfo applied to an API server, admitted by the webhook, started by a node
//! as real network namespaces behind a real CNI chain, each pod with a real Envoy, redirected from outside; then real
//! requests, and a proof for each pod.
//!
//! The machine's own namespace is never touched, and nothing is left behind.

pub(crate) mod app;
mod bookinfo;
mod chain;
mod cluster;
mod counts;
mod envoy;
mod events;
mod http;
mod kubelet;
mod node;
mod pods;
mod process;
mod report;
mod state;
mod status;
mod stop;
mod tools;
mod traffic;
mod verdict;
mod witness;
mod world;

use crate::args::Demo;
use crate::cli::Outcome;
use anyhow::Context;
use kubelet::Kubelet;
use millrace_core::dialect::listing;
use millrace_core::policy::Verdict;
use millrace_core::rules::{Family, RuleSet, Table, plan};
use millrace_core::settings::Families;
use pods::Part;
use process::Privileges;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use stop::Stop;
use tools::{Tools, Wishes};
use traffic::Ledger;
use verdict::{Evidence, Witnesses};
use witness::Found;
use world::{Live, World};

/// How long all pods may take until they are ready; seconds when nothing else runs.
const STARTING: Duration = Duration::from_secs(120);

/// Builds, walks, proves and takes down; says whether every pod was verified.
pub(crate) fn run(args: &Demo, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let wishes = Wishes {
        envoy: args.envoy.clone().or_else(|| variable("MILLRACE_ENVOY")),
        cni: args.cni_bin.clone().or_else(|| variable("MILLRACE_CNI")),
    };
    let tools = Tools::find(&wishes)?;
    let cni = tools.cni.clone();
    // The pods' users must be able to read their files, whoever starts the demo.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let state = State::take(Path::new(state::DIRECTORY))?;
    let stop = Stop::on_signals()?;
    if let Some(left) = state.sweep()? {
        step(out, "swept", &format!("what an earlier demo left: {left}"))?;
    }
    let from = Instant::now();
    let mut world = World::build(state, stop, tools)?;
    step(out, "cluster", &format!("an API server in memory and the webhook listen after {}", seconds(from)))?;
    let mut kubelet = Kubelet::register(&world)?;
    let ledgers = walk(&mut world, &mut kubelet, out)?;
    let verified = prove(&world, &ledgers, out)?;
    let all = world.pods.len();
    if args.keep {
        let netns = |app| find(&world, app).map(|live| live.sandbox.netns.clone());
        let (productpage, visitor) = (netns("productpage")?, netns(pods::VISITOR)?);
        writeln!(out, "{verified} of {all} pods are verified.")?;
        let kubeconfig = world.cluster.kubeconfig();
        writeln!(out, "{}", report::look(&productpage, &world.directory(), &cni, &visitor, kubeconfig))?;
        out.flush()?;
        kubelet.keep(&mut world)?;
    }
    let complaints = world.take_down();
    for complaint in &complaints {
        writeln!(out, "taking down: {complaint}")?;
    }
    if verified == all && complaints.is_empty() {
        writeln!(out, "demo: VERIFIED {verified}/{all} pods")?;
        return Ok(Outcome::Well);
    }
    let also = if complaints.is_empty() { "" } else { ", and not everything could be taken down" };
    writeln!(out, "demo: FAILED {}/{all} pods{also}", all - verified)?;
    Ok(Outcome::Wrong)
}

/// Applies everything, waits for it and sends the requests; gives what the programs say of them.
fn walk(
    world: &mut World,
    kubelet: &mut Kubelet,
    out: &mut impl Write,
) -> anyhow::Result<BTreeMap<String, Ledger>> {
    let ranges =
        if world.v6 { chain::RANGES.join(" and ") } else { format!("{} (no IPv6 here)", chain::RANGES[0]) };
    step(out, "node", &format!("a network namespace of its own, bridge millrace0, {ranges}"))?;
    step(out, "chain", "loopback; then bridge with host-local, millrace-cni")?;
    let from = Instant::now();
    let objects = bookinfo::objects()?;
    for object in &objects {
        world.check()?;
        world.cluster.apply(object)?;
    }
    step(out, "apply", &format!("bookinfo, {} objects in {}", objects.len(), seconds(from)))?;
    let wanted = objects.iter().filter(|object| object["kind"] == "Deployment").count();
    kubelet.until(world, "every pod has its network", STARTING, |world| Ok(world.pods.len() == wanted))?;
    step(out, "network", &format!("{wanted} pods admitted, bound and attached after {}", seconds(from)))?;
    kubelet.until(world, "every pod is ready", STARTING, |world| {
        Ok(world.pods.iter().all(|live| live.seen.ready))
    })?;
    // The order of the manifest's names, whoever was first.
    world.pods.sort_by_key(|live| (live.member.part, live.member.key.clone()));
    step(out, "pods", &format!("validated; their proxies and programs listen after {}", seconds(from)))?;
    kubelet.until(world, "every service has its pods", STARTING, World::publish)?;
    let from = Instant::now();
    let mut hops = Vec::new();
    for path in traffic::itinerary(world.pods.iter().map(|live| &live.member)) {
        for answer in world.ask(&path)? {
            hops.extend(app::hops("the node", &answer)?);
        }
    }
    step(out, "walk", &format!("{} connections, every request answered in {}\n", hops.len(), seconds(from)))?;
    Ok(traffic::ledgers(&hops))
}

/// The pod of the mesh's namespace that runs `app`.
fn find<'a>(world: &'a World, app: &str) -> anyhow::Result<&'a Live> {
    let is_it = |live: &&Live| live.member.workload.app == app && live.member.part != Part::Excluded;
    world.pods.iter().find(is_it).with_context(|| format!("there is no pod with {app}"))
}

/// One line of what is going on, seen at once.
fn step(out: &mut impl Write, name: &str, what: &str) -> std::io::Result<()> {
    writeln!(out, "{name:<10} {what}")?;
    out.flush()
}

fn seconds(from: Instant) -> String {
    format!("{:.2} s", from.elapsed().as_secs_f64())
}

/// Prints each pod's proofs, and the productpage's rules as the vendor page shows them; gives how many are verified.
fn prove(world: &World, ledgers: &BTreeMap<String, Ledger>, out: &mut impl Write) -> anyhow::Result<usize> {
    let mut verified = 0;
    for (at, live) in world.pods.iter().enumerate() {
        let found = Found::read(&live.netns)?;
        let ledger = ledgers.get(&live.member.key).cloned().unwrap_or_default();
        let evidence = evidence(world, at, &found, &ledger)?;
        let faults = verdict::faults(&evidence);
        verified += usize::from(faults.is_empty());
        let about = report::About {
            member: &live.member,
            addresses: &live.seen.addresses,
            took: live.added.as_ref().map_or(&[], |added| &added.took),
            rung: live.event.as_ref().map_or("nobody knows what", |event| &event.rung),
            backend: found.held().map(|(backend, _)| backend.name()),
            probed: live.probed,
        };
        writeln!(out, "{}", report::pod(&about, &evidence, &faults))?;
    }
    let productpage = find(world, "productpage")?;
    let netns = productpage.sandbox.netns.display();
    writeln!(out, "The productpage's rules, in the vendor page's form (the same is printed by")?;
    writeln!(out, "nsenter --net={netns} iptables -t nat -L -n -v --line-numbers -x):\n")?;
    if let Some((_, observed)) = Found::read(&productpage.netns)?.held() {
        writeln!(out, "{}", listing::list(observed, Family::V4, Table::Nat))?;
    }
    Ok(verified)
}

/// All that can be seen of a pod after the walk.
fn evidence(world: &World, at: usize, found: &Found, ledger: &Ledger) -> anyhow::Result<Evidence> {
    let live = &world.pods[at];
    let part = live.member.part;
    let families = if world.v6 { Families::Both } else { Families::V4 };
    let planned = match part {
        Part::Mesh | Part::Excluded => plan::plan(&live.member.settings, families).rules,
        Part::Outside => RuleSet::default(),
    };
    let (rules, accepted) = world.counts(at)?;
    let witnesses =
        Witnesses { rules: rules - live.probed, proxy: accepted - live.accepted, programs: ledger.counts };
    let (decided, done) = words(live);
    Ok(Evidence {
        part,
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
fn words(live: &Live) -> (String, String) {
    let decided = match (live.member.decision.verdict, live.member.part) {
        // Whatever became of it at admission.
        (Verdict::Redirect, _) | (_, Part::Mesh) => "redirected".to_owned(),
        (Verdict::Skip(_), Part::Outside) => "passed".to_owned(),
        (Verdict::Skip(reason), _) => format!("passed, {reason}"),
    };
    let done = match &live.event {
        None => "nothing it told of".to_owned(),
        Some(event) if event.outcome == "passed" && live.member.part != Part::Outside => {
            format!("passed, {}", event.reason)
        }
        Some(event) => event.outcome.clone(),
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
