//! The node as a kubelet: it registers itself, starts the pods that are bound to it, says how they fare, and stops those that
//! are to go.
//!
//! It asks the API server and decides about no pod; what a pod is made of is `world`'s to start.

use crate::demo::chain;
use crate::demo::cluster::{Change, Watch};
use crate::demo::pods;
use crate::demo::status;
use crate::demo::world::World;
use anyhow::{Context, bail};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The name of the only node.
pub(crate) const NODE: &str = "demo";
/// How long is waited for a change before the pods that start are looked at again: what listens sends no event.
const GLANCE: Duration = Duration::from_millis(10);

/// Who follows the node's pods.
pub(crate) struct Kubelet(Watch);

impl Kubelet {
    /// Registers the node, ready for pods.
    pub(crate) fn register(world: &World) -> anyhow::Result<Kubelet> {
        let labels = json!({ "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux" });
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE, "labels": labels } });
        world.cluster.apply(&node)?;
        world.cluster.report("Node", "", NODE, &status::node(chain::GATEWAYS[0], &now()))?;
        Ok(Kubelet(world.cluster.watch(NODE)))
    }

    /// Goes on until we are asked to stop.
    pub(crate) fn keep(&mut self, world: &mut World) -> anyhow::Result<()> {
        let mut published = true;
        while !world.is_over()? {
            published &= !self.step(world, 10 * GLANCE)?;
            // Endpoints follow the pods a moment later.
            if !published {
                published = world.publish()?;
            }
        }
        Ok(())
    }

    /// Does what the API server asks for, until `enough` says so.
    pub(crate) fn until(
        &mut self,
        world: &mut World,
        what: &str,
        patience: Duration,
        mut enough: impl FnMut(&World) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !enough(world)? {
            world.check()?;
            if Instant::now() >= deadline {
                bail!("{what}: not within {patience:?}");
            }
            self.step(world, GLANCE)?;
        }
        Ok(())
    }

    /// Takes one change, or looks at the pods that start. Whether anything changed.
    fn step(&mut self, world: &mut World, patience: Duration) -> anyhow::Result<bool> {
        match world.cluster.next(&mut self.0, patience)? {
            Some(Change::Present(pod)) => present(world, &pod).map(|()| true),
            Some(Change::Gone(pod)) => gone(world, &pod).map(|()| true),
            None => look(world),
        }
    }
}

/// The time in the words of the API.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

fn place(world: &World, pod: &Value) -> Option<usize> {
    world.pods.iter().position(|live| live.sandbox.uid == uid(pod))
}

/// A pod that is there is started, or, when it is to go, stopped.
fn present(world: &mut World, pod: &Value) -> anyhow::Result<()> {
    let leaves = !pod["metadata"]["deletionTimestamp"].is_null();
    match place(world, pod) {
        Some(_) if leaves => {
            gone(world, pod)?;
            let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
            world.cluster.let_go(text("namespace"), text("name"))
        }
        None if !leaves => {
            let member = pods::member(pod)?;
            world.attach(&member, pod)?;
            let at = place(world, pod).context("the pod just attached")?;
            let started = world.start(at);
            // What became of it is said before the demo gives up on it.
            say(world, at)?;
            started
        }
        _ => Ok(()),
    }
}

fn gone(world: &mut World, pod: &Value) -> anyhow::Result<()> {
    let Some(at) = place(world, pod) else { return Ok(()) };
    let complaints = world.detach(at);
    anyhow::ensure!(complaints.is_empty(), "stopping a pod: {}", complaints.join("; "));
    Ok(())
}

/// Looks at the pods that start, and says which are ready. Whether one became so.
fn look(world: &mut World) -> anyhow::Result<bool> {
    let mut changed = false;
    for at in 0..world.pods.len() {
        if !world.pods[at].seen.ready && world.answers(at)? {
            world.note(at)?;
            world.pods[at].seen.ready = true;
            say(world, at)?;
            changed = true;
        }
    }
    world.alive()?;
    Ok(changed)
}

fn say(world: &World, at: usize) -> anyhow::Result<()> {
    let live = &world.pods[at];
    let status = status::pod(&live.object, &live.seen, &now());
    let facts = &live.member.facts;
    match world.cluster.report("Pod", &facts.namespace, &facts.name, &status) {
        // It may be gone meanwhile, which the watch tells.
        Err(cause) if is_gone(&cause) => Ok(()),
        other => other.map(drop),
    }
}

fn is_gone(cause: &anyhow::Error) -> bool {
    matches!(cause.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}
