//! The node as a kubelet: it registers itself, starts the pods that are bound to it, says how they fare, and stops those that
//! are to go.
//!
//! It asks the API server and decides about no pod; what a pod is made of is `world`'s and `hosted`'s to start. What it sees on
//! the way it tells.

use crate::demo::chain;
use crate::demo::hosted::is_hosted;
use crate::demo::phase::Phase;
use crate::demo::pods;
use crate::demo::requests::Requests;
use crate::demo::status::{self, Seen};
use crate::demo::tale::Tale;
use crate::demo::tally::Tally;
use crate::demo::watch::{Change, Watch};
use crate::demo::world::World;
use anyhow::bail;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The name of the only node.
pub(crate) const NODE: &str = "demo";
/// How long is waited for a change before the pods that start are looked at again: what listens sends no event.
const GLANCE: Duration = Duration::from_millis(10);
/// Between two attempts to start a pod, and how many there are.
const AGAIN: Duration = Duration::from_secs(1);
const MOST: u32 = 30;

/// Who follows the node's pods.
pub(crate) struct Kubelet<'a> {
    /// What there is.
    pub(crate) world: World,
    /// Who is told.
    pub(crate) tale: Tale<'a>,
    /// How far the cluster is.
    pub(crate) phase: Phase,
    /// What is counted over all.
    pub(crate) tally: Tally,
    /// Requests that go on meanwhile, if they do.
    pub(crate) requests: Option<Requests>,
    watch: Watch,
    published: bool,
    /// Whether what ends by itself is started again. On the walk it is a fault, and the end.
    restarts: bool,
}

impl<'a> Kubelet<'a> {
    /// Registers the node, ready for pods.
    pub(crate) fn register(world: World, tale: Tale<'a>) -> anyhow::Result<Kubelet<'a>> {
        let labels = json!({ "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux" });
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE, "labels": labels } });
        world.cluster.apply(&node)?;
        world.cluster.report("Node", "", NODE, &status::node(chain::GATEWAYS[0], &now()))?;
        let watch = world.cluster.watch(NODE);
        let (phase, tally) = (Phase::default(), Tally::default());
        Ok(Kubelet { world, tale, phase, tally, requests: None, watch, published: true, restarts: false })
    }

    /// Goes on until we are asked to stop.
    pub(crate) fn keep(&mut self) -> anyhow::Result<()> {
        self.restarts = true;
        while !self.world.is_asked_to_stop() {
            self.world.alive()?;
            self.step(10 * GLANCE)?;
        }
        Ok(())
    }

    /// Does what the API server asks for, until `enough` says so.
    pub(crate) fn until(
        &mut self,
        what: &str,
        patience: Duration,
        mut enough: impl FnMut(&mut Kubelet<'a>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !enough(self)? {
            self.world.check()?;
            self.world.alive()?;
            if Instant::now() >= deadline {
                bail!("{what}: not within {patience:?}; {}", self.phase.told().unwrap_or_default());
            }
            self.step(GLANCE)?;
        }
        Ok(())
    }

    /// Takes one change, or looks at what has no event.
    fn step(&mut self, patience: Duration) -> anyhow::Result<()> {
        match self.world.cluster.next(&mut self.watch, patience)? {
            Some(Change::Pod(pod)) => self.present(&pod)?,
            Some(Change::Gone(pod)) => self.gone(&pod)?,
            Some(Change::Served) => self.published = false,
            Some(Change::Mesh(mesh)) => {
                let phase = Phase::of(&mesh);
                if let Some(words) = phase.told().filter(|words| Some(words) != self.phase.told().as_ref()) {
                    self.tale.line("phase", &words)?;
                }
                if let Some(words) = phase.injector.as_ref().filter(|_| phase.injector != self.phase.injector)
                {
                    self.tale.line("injector", words)?;
                }
                self.phase = phase;
            }
            Some(Change::Config(config)) => {
                self.world
                    .hosted
                    .iter()
                    .try_for_each(|hosted| hosted.configure(&self.world.root, &config))?;
            }
            None => self.look()?,
        }
        if !self.published {
            self.published = self.world.publish()?;
        }
        Ok(())
    }

    /// A pod that is there is taken in, or, when it is to go, let go.
    fn present(&mut self, pod: &Value) -> anyhow::Result<()> {
        let leaves = !pod["metadata"]["deletionTimestamp"].is_null();
        if is_hosted(pod) {
            return self.present_hosted(pod, leaves);
        }
        match self.place(pod) {
            Some(at) if leaves && self.world.pods[at].leaving.is_none() => {
                // Whoever read the old list of names is answered first: one request may be on its way, one may be about to.
                let done = self.requests.as_ref().map_or(0, Requests::done);
                self.world.pods[at].leaving = Some(if self.requests.is_some() { done + 2 } else { 0 });
                self.published = self.world.publish()?;
            }
            None if !leaves => {
                let member = pods::member(pod)?;
                self.world.take_in(&member, pod)?;
                let at = self.world.pods.len() - 1;
                self.start(at)?;
                self.published = false;
            }
            _ => {}
        }
        Ok(())
    }

    fn present_hosted(&mut self, pod: &Value, leaves: bool) -> anyhow::Result<()> {
        let uid = uid(pod);
        match self.world.hosted.iter_mut().find(|hosted| self::uid(&hosted.object) == uid) {
            Some(hosted) if leaves && !hosted.leaving => hosted.ask_to_end(),
            None if !leaves && pod["status"]["phase"] == "Pending" => {
                self.world.host(pod)?;
                let name = name(pod);
                let hosted =
                    self.world.hosted.last().map(|hosted| (hosted.object.clone(), hosted.seen.clone()));
                self.tale.line("node", &format!("{name} started, on the node's own network"))?;
                hosted.iter().try_for_each(|(object, seen)| self.say(object, seen))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Tries to start a pod. What it was protected by is told; what failed as well, and tried again.
    fn start(&mut self, at: usize) -> anyhow::Result<()> {
        let tried = self.world.start(at);
        let live = &mut self.world.pods[at];
        let pod = format!("{}/{}", live.member.facts.namespace, live.member.facts.name);
        match tried {
            Ok(protection) => {
                live.again = None;
                let words = self.tally.started(live.member.part, &protection);
                self.tale.line("pod", &format!("{pod}: {words}"))?;
            }
            Err(cause) => {
                self.world.check()?;
                let live = &mut self.world.pods[at];
                let tries = live.again.map_or(1, |(_, tries)| tries + 1);
                if tries >= MOST {
                    return Err(cause.context(format!("pod {pod} does not start")));
                }
                live.again = Some((Instant::now() + AGAIN, tries));
                self.tale.line("pod", &format!("{pod}: {cause:#}; it is tried again"))?;
            }
        }
        let live = &self.world.pods[at];
        self.say(&live.object, &live.seen)
    }

    /// A pod that nobody has any more, whoever took it away.
    fn gone(&mut self, pod: &Value) -> anyhow::Result<()> {
        self.published = false;
        if let Some(at) = self.world.hosted.iter().position(|hosted| uid(&hosted.object) == uid(pod)) {
            let mut hosted = self.world.hosted.remove(at);
            hosted.ask_to_end();
            return hosted.end();
        }
        let Some(at) = self.place(pod) else { return Ok(()) };
        self.stop(at)
    }

    fn stop(&mut self, at: usize) -> anyhow::Result<()> {
        let complaints = self.world.detach(at);
        anyhow::ensure!(complaints.is_empty(), "stopping a pod: {}", complaints.join("; "));
        Ok(())
    }

    /// Looks at what sends no event: pods that start, that are to go, processes, the node's lists.
    fn look(&mut self) -> anyhow::Result<()> {
        if self.world.root.has_changed() {
            self.world.chain = self.world.root.chain()?;
            let chain = &self.world.chain;
            self.tale.line("chain", &format!("{} is now: {}", chain.file, chain.kinds().join(", ")))?;
        }
        let done = self.requests.as_ref().map_or(u64::MAX, Requests::done);
        let mut at = 0;
        while at < self.world.pods.len() {
            let live = &self.world.pods[at];
            if live.leaving.is_some_and(|after| done >= after) {
                let facts = live.member.facts.clone();
                self.stop(at)?;
                self.world.cluster.let_go(&facts.namespace, &facts.name)?;
                continue;
            }
            if live.again.is_some_and(|(when, _)| Instant::now() >= when) {
                self.start(at)?;
            } else if live.seen.runs && !live.seen.ready && self.world.answers(at)? {
                self.world.pods[at].seen.ready = true;
                let live = &self.world.pods[at];
                self.say(&live.object, &live.seen)?;
            }
            at += 1;
        }
        self.look_at_hosted()
    }

    fn look_at_hosted(&mut self) -> anyhow::Result<()> {
        let mut at = 0;
        while at < self.world.hosted.len() {
            let hosted = &mut self.world.hosted[at];
            let changed = hosted.look()?;
            let ended = hosted.seen.over;
            let by_itself = ended
                .filter(|_| changed && !hosted.leaving && hosted.object["spec"]["restartPolicy"] == "Always");
            let again = match by_itself {
                Some(code) if !self.restarts => {
                    bail!("{} ended by itself (exit {code}): {}", name(&hosted.object), hosted.last_words())
                }
                by_itself => by_itself.map(|_| hosted.back_off()),
            };
            let (object, seen, leaving) = (hosted.object.clone(), hosted.seen.clone(), hosted.leaving);
            if changed {
                let words = match (ended, again) {
                    (Some(code), Some(wait)) => {
                        format!("ended by itself, exit {code}; it is started again in {} s", wait.as_secs())
                    }
                    (Some(0), None) => "ended, exit 0".to_owned(),
                    (Some(code), None) => format!("ended, exit {code}: {}", hosted.last_words()),
                    (None, _) if seen.ready => "is ready".to_owned(),
                    (None, _) => "is not ready any more".to_owned(),
                };
                self.tale.line("node", &format!("{} {words}", name(&object)))?;
                self.say(&object, &seen)?;
            }
            if leaving && seen.over.is_some() {
                self.world.hosted.remove(at);
                let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
                self.world.cluster.let_go(namespace, name(&object))?;
                continue;
            }
            at += 1;
        }
        Ok(())
    }

    fn say(&self, object: &Value, seen: &Seen) -> anyhow::Result<()> {
        let status = status::pod(object, seen, &now());
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        match self.world.cluster.report("Pod", namespace, name(object), &status) {
            // It may be gone meanwhile, which the watch tells.
            Err(cause) if is_gone(&cause) => Ok(()),
            other => other.map(drop),
        }
    }

    fn place(&self, pod: &Value) -> Option<usize> {
        self.world.pods.iter().position(|live| live.sandbox.uid == uid(pod))
    }
}

/// The time in the words of the API.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn is_gone(cause: &anyhow::Error) -> bool {
    matches!(cause.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}
