//! The tale itself: switched on, bookinfo proved, switched off and on again, each by the commands that an operator uses, and proved
//! each time.
//!
//! While pods are restarted, requests go on, and each start is looked at. Nothing here changes a pod.

use crate::demo::bookinfo::{self, EXCLUDED};
use crate::demo::injector;
use crate::demo::kubelet::Kubelet;
use crate::demo::node;
use crate::demo::proof::{self, Proof};
use crate::demo::requests::Requests;
use crate::demo::verdict::By;
use crate::demo::world;
use crate::demo::{chain, find};
use anyhow::Context;
use millrace_core::stamp::STAMP_ANNOTATION;
use millrace_host::netns::NetNs;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long one step may take; seconds when nothing else runs.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two dry runs that ask whether the webhook has heard.
const ASK: Duration = Duration::from_millis(250);

/// All of it, or without `there_and_back` up to the first proof; gives how many pods are verified in the end, and were all along.
pub(crate) fn all(kubelet: &mut Kubelet<'_>, there_and_back: bool) -> anyhow::Result<usize> {
    let ranges = if kubelet.world.v6 {
        chain::RANGES.join(" and ")
    } else {
        format!("{} (no IPv6 here)", chain::RANGES[0])
    };
    let file = kubelet.world.chain.file.clone();
    kubelet
        .tale
        .line("node", &format!("a network namespace and a root of its own, {ranges}; {file}: bridge"))?;
    switch(kubelet, &["disable"], "Disabled", "Absent")?;
    injects(kubelet)?;
    on(kubelet, &["enable", "--exclude", EXCLUDED])?;
    apply(kubelet)?;
    let first = prove(kubelet, By::Chain)?;
    kubelet.tale.text("")?;
    for paragraph in &first.paragraphs {
        kubelet.tale.text(paragraph)?;
    }
    let table = proof::listed(find(&kubelet.world, "productpage")?)?;
    kubelet.tale.text(&table)?;
    match there_and_back && first.faults.is_empty() {
        true => off_and_on(kubelet, first.verified),
        false => Ok(first.verified),
    }
}

/// Off and on again, with every pod of the mesh restarted in between.
fn off_and_on(kubelet: &mut Kubelet<'_>, verified: usize) -> anyhow::Result<usize> {
    begin_requests(kubelet)?;
    command(kubelet, &["disable"])?;
    kubelet.until("init containers are back", PATIENCE, |kubelet| {
        Ok(kubelet.phase.is("Updating", "Draining"))
    })?;
    webhook(kubelet, false)?;
    migrate(kubelet)?;
    kubelet.until("agents have left", PATIENCE, |kubelet| Ok(kubelet.phase.is("Disabled", "Absent")))?;
    end_requests(kubelet)?;
    let second = prove(kubelet, By::Itself)?;

    begin_requests(kubelet)?;
    on(kubelet, &["enable"])?;
    migrate(kubelet)?;
    kubelet.until("nothing owes a restart", PATIENCE, |kubelet| Ok(kubelet.phase.debt == 0))?;
    end_requests(kubelet)?;
    let third = prove(kubelet, By::Chain)?;

    let tally = &kubelet.tally;
    let words = format!(
        "{} starts of pods of the mesh: {} behind rules of the chain, {} behind those of istio-init, {} unprotected",
        tally.all(),
        tally.chain,
        tally.itself,
        tally.unprotected
    );
    let unprotected = tally.unprotected;
    kubelet.tale.line("protected", &words)?;
    kubelet.tale.text("")?;
    let least = verified.min(second.verified).min(third.verified);
    Ok(least.saturating_sub(unprotected))
}

/// Runs a command and waits until the cluster is there.
fn switch(kubelet: &mut Kubelet<'_>, words: &[&str], phase: &str, state: &str) -> anyhow::Result<()> {
    command(kubelet, words)?;
    kubelet.until(&format!("the phase is {phase}"), PATIENCE, |kubelet| Ok(kubelet.phase.is(phase, state)))
}

/// Switches on and waits until pods are converted.
fn on(kubelet: &mut Kubelet<'_>, words: &[&str]) -> anyhow::Result<()> {
    switch(kubelet, words, "Running", "Serving")?;
    webhook(kubelet, true)
}

fn command(kubelet: &mut Kubelet<'_>, words: &[&str]) -> anyhow::Result<()> {
    let said = kubelet.world.cluster.command(words)?;
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("next")).map(str::trim).collect();
    kubelet.tale.line(words[0], &format!("millrace {}: {}", words.join(" "), lines.join("; ")))?;
    Ok(())
}

/// Tells what the injector does where nobody of ours does anything.
fn injects(kubelet: &mut Kubelet<'_>) -> anyhow::Result<()> {
    let [label, enabled] = injector::ENABLED;
    let gets = injector::privileges(&kubelet.world.cluster.tried()?);
    let words = format!(
        "webhook {}, for namespaces with {label}={enabled}: a pod gets {gets}, says a dry run",
        injector::NAME
    );
    Ok(kubelet.tale.line("injector", &words)?)
}

/// Waits until the webhook does what the state says: it asks for the MeshCNI now and then.
fn webhook(kubelet: &mut Kubelet<'_>, converts: bool) -> anyhow::Result<()> {
    let (mut asked, mut tried) = (None::<Instant>, Value::Null);
    kubelet.until("the webhook has heard", PATIENCE, |kubelet| {
        if asked.is_some_and(|last| last.elapsed() < ASK) {
            return Ok(false);
        }
        asked = Some(Instant::now());
        tried = kubelet.world.cluster.tried()?;
        Ok(tried["metadata"]["annotations"][STAMP_ANNOTATION].is_string() == converts)
    })?;
    let does = if converts { "turns istio-init into validation" } else { "leaves istio-init where it is" };
    let words = format!("{does}: a pod gets {}, says a dry run", injector::privileges(&tried));
    kubelet.tale.line("webhook", &words)?;
    Ok(())
}

/// Applies bookinfo and waits until every pod is ready.
fn apply(kubelet: &mut Kubelet<'_>) -> anyhow::Result<()> {
    let objects = bookinfo::objects()?;
    for object in &objects {
        kubelet.world.check()?;
        kubelet.world.cluster.apply(object)?;
    }
    kubelet.tale.line("apply", &format!("bookinfo, {} objects", objects.len()))?;
    let wanted = objects.iter().filter(|object| object["kind"] == "Deployment").count();
    kubelet.until("every pod is ready", PATIENCE, |kubelet| {
        let pods = &kubelet.world.pods;
        Ok(pods.len() == wanted && pods.iter().all(|live| live.seen.ready))
    })?;
    kubelet.until("every service has its pods", PATIENCE, |kubelet| kubelet.world.publish())?;
    kubelet.tale.line("ready", &format!("{wanted} pods; their proxies and programs listen"))?;
    Ok(())
}

/// Restarts what owes a restart, while the node goes on.
fn migrate(kubelet: &mut Kubelet<'_>) -> anyhow::Result<()> {
    let log = kubelet.world.path("migrate.log");
    let mut running = kubelet.world.cluster.begin("migrate", &["migrate"], &log)?;
    let (mut told, mut code) = (0, None);
    kubelet.until("pods are restarted", PATIENCE, |kubelet| {
        code = running.over()?;
        let said = running.said();
        let whole = said.rfind('\n').map_or(0, |end| end + 1);
        for line in said[told..whole].lines() {
            kubelet.tale.line("migrate", line)?;
        }
        told = whole;
        Ok(code.is_some())
    })?;
    anyhow::ensure!(code == Some(0), "millrace migrate: {}", running.last_words());
    kubelet.until("the last pods are gone", PATIENCE, |kubelet| {
        let pods = &kubelet.world.pods;
        Ok(pods.iter().all(|live| live.leaving.is_none() && live.seen.ready))
    })
}

fn begin_requests(kubelet: &mut Kubelet<'_>) -> anyhow::Result<()> {
    let netns = NetNs::open(&node::path(world::NODE)).context("cannot enter the node")?;
    let from = kubelet.tale.began();
    kubelet.requests = Some(Requests::start(netns, kubelet.world.door()?, from)?);
    Ok(())
}

fn end_requests(kubelet: &mut Kubelet<'_>) -> anyhow::Result<()> {
    let requests = kubelet.requests.take().context("requests are under way")?;
    let answered = requests.end()?;
    kubelet.tale.line("requests", &format!("{answered} on the way, every one answered"))?;
    Ok(())
}

fn prove(kubelet: &mut Kubelet<'_>, mesh: By) -> anyhow::Result<Proof> {
    let proof = proof::prove(&mut kubelet.world, mesh)?;
    for fault in &proof.faults {
        kubelet.tale.line("fault", fault)?;
    }
    let (verified, all) = (proof.verified, kubelet.world.pods.len());
    let words = format!(
        "{} connections, every request answered; {verified}/{all} pods are as they should be, the mesh's by {mesh}",
        proof.connections
    );
    kubelet.tale.line("walk", &words)?;
    Ok(proof)
}
