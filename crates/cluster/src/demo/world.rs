//! One machine's node and pods, built, walked through and taken down again.
//!
//! Dropping a world takes it down: after the end, an error, a panic or a signal alike. What a killed demo cannot take
//! down, the next one sweeps.

mod start;

use crate::demo::app;
use crate::demo::chain::{Added, Chain, Sandbox};
use crate::demo::cluster::Cluster;
use crate::demo::counts::Counts;
use crate::demo::envoy;
use crate::demo::hosted::Hosted;
use crate::demo::http;
use crate::demo::node;
use crate::demo::pods::{self, Member, Part};
use crate::demo::process::{self, Program, Running};
use crate::demo::root::{DATA, RUN, Root};
use crate::demo::state::State;
use crate::demo::status::Seen;
use crate::demo::stop::Stop;
use crate::demo::tools::Tools;
use crate::demo::verdict::By;
use crate::demo::witness::Found;
use anyhow::Context;
use millrace_core::rules::RuleSet;
use millrace_core::rules::plan;
use millrace_core::settings::Families;
use millrace_host::netns::NetNs;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use start::Protection;

/// The namespace that is the node.
pub(crate) const NODE: &str = "node";
/// How long one request of the walk may take.
const WALKING: Duration = Duration::from_secs(15);
/// How long one look at whether a program listens may take.
const GLANCE: Duration = Duration::from_secs(1);

/// How long what the plugin told may take until it is recorded; milliseconds when nothing else runs.
const TELLING: Duration = Duration::from_secs(10);

/// The node, its chain and its pods.
#[derive(Debug)]
pub(crate) struct World {
    state: State,
    stop: Stop,
    tools: Tools,
    /// Who is asked for pods, and told of them.
    pub(crate) cluster: Cluster,
    own: Program,
    cni: Program,
    /// The node's files.
    pub(crate) root: Root,
    /// The chain, as the runtime read it last.
    pub(crate) chain: Chain,
    node: Option<NetNs>,
    /// The pods with a network of their own that are there.
    pub(crate) pods: Vec<Live>,
    /// The pods on the node's network that are there.
    pub(crate) hosted: Vec<Hosted>,
    /// Whether IPv6 is spoken here.
    pub(crate) v6: bool,
}

/// A pod that is there.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) member: Member,
    /// It as the API server held it when it came.
    pub(crate) object: Value,
    /// How far it is.
    pub(crate) seen: Seen,
    pub(crate) netns: NetNs,
    pub(crate) sandbox: Sandbox,
    /// The chain that it was attached by.
    pub(crate) chain: Chain,
    /// What the chain gave; nothing until it did.
    pub(crate) added: Option<Added>,
    /// Who had put the rules there, when its first process was to start.
    pub(crate) by: By,
    /// What the plugin told the agent, where the chain has one.
    pub(crate) said: Option<Said>,
    /// Since when its programs answer.
    pub(crate) answered: Option<Instant>,
    pub(crate) running: Vec<Running>,
    /// When its start is tried again, and how often it was tried.
    pub(crate) again: Option<(Instant, u32)>,
    /// How many requests have to be answered before it is stopped, if it is to be.
    pub(crate) leaving: Option<u64>,
    /// What its rules and its proxy had counted before the walk.
    pub(crate) earlier: (Counts, Counts),
}

/// What the plugin told the agent of an ADD, as `millrace why` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) rung: String,
}

impl World {
    /// An empty node, and a cluster that has it not yet.
    pub(crate) fn build(state: State, stop: Stop, tools: Tools) -> anyhow::Result<World> {
        let v6 = node::has_ipv6();
        let root = Root::build(&state.path("node"), &tools.plugins, v6)?;
        let mut world = World {
            cluster: Cluster::start(&tools.own, &state, &stop)?,
            own: Program::open(&tools.own)?,
            cni: Program::open(&tools.cni)?,
            chain: root.chain()?,
            root,
            state,
            stop,
            tools,
            node: None,
            pods: Vec::new(),
            hosted: Vec::new(),
            v6,
        };
        world.node = Some(node::make(NODE)?);
        Ok(world)
    }

    fn node(&self) -> anyhow::Result<&NetNs> {
        self.node.as_ref().context("the node is gone")
    }

    /// An error if we were asked to stop.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.stop.check()
    }

    /// Whether we were.
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.stop.asked()
    }

    /// A file of the demo's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.state.path(name)
    }

    /// Writes the list of names by which programs find each other, as the API server's endpoints have it.
    /// Whether every pod is behind one.
    pub(crate) fn publish(&self) -> anyhow::Result<bool> {
        let staying = || self.pods.iter().filter(|live| live.leaving.is_none());
        let members: Vec<&Member> = staying().map(|live| &live.member).collect();
        let names = pods::names(&members, &self.cluster.list("Endpoints")?);
        let addresses = |key: &String| {
            let live = staying().find(|live| live.member.key == *key);
            live.map(|live| live.seen.addresses.clone()).unwrap_or_default()
        };
        let services: BTreeMap<String, Vec<IpAddr>> = names
            .iter()
            .map(|(name, keys)| (name.clone(), keys.iter().flat_map(addresses).collect()))
            .collect();
        self.state.write("hosts", &app::hosts(&services))?;
        let served = |member: &&Member| {
            names.iter().any(|(name, keys)| *name != member.key && keys.contains(&member.key))
        };
        Ok(members.iter().all(served))
    }

    /// The rules that a pod should have.
    pub(crate) fn planned(&self, member: &Member) -> RuleSet {
        let families = if self.v6 { Families::Both } else { Families::V4 };
        match member.part {
            Part::Mesh | Part::Excluded => plan::plan(&member.settings, families).rules,
            Part::Outside => RuleSet::default(),
        }
    }

    /// Whether a pod's proxy and program listen, and it is known what the plugin did; an error if one has ended.
    pub(crate) fn answers(&mut self, at: usize) -> anyhow::Result<bool> {
        let Live { member, netns, running, .. } = &mut self.pods[at];
        let proxied = member.part != Part::Outside;
        let loopback = SocketAddr::from(([127, 0, 0, 1], member.workload.port));
        running.iter_mut().try_for_each(Running::alive)?;
        let answers = netns
            .within(|| http::get(loopback, "/health", GLANCE).is_ok() && (!proxied || envoy::ready()))?;
        if !answers || self.pods[at].said.is_some() || !self.pods[at].chain.redirects() {
            return Ok(answers);
        }
        self.pods[at].said = self.why(at)?;
        let heard = *self.pods[at].answered.get_or_insert_with(Instant::now);
        // A plugin that tells nothing is no reason not to be ready; it is one not to be verified.
        Ok(self.pods[at].said.is_some() || heard.elapsed() >= TELLING)
    }

    /// What the plugin told the agent of the pod's ADD; nothing until it is recorded.
    fn why(&self, at: usize) -> anyhow::Result<Option<Said>> {
        let sandbox = &self.pods[at].sandbox;
        let pod = format!("{}/{}", sandbox.namespace, sandbox.name);
        let place = |path: &str| self.root.place(path).to_string_lossy().into_owned();
        let words = ["why", &pod, "--output=json", "--flight-dir", &place(DATA), "--state-dir", &place(RUN)];
        let ended = process::run(&mut process::beside(&self.tools.own, &words), None, WALKING)?;
        let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let mut calls = told["calls"].as_array().into_iter().flatten();
        let text = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
        let call =
            calls.find(|call| call["verb"] == "ADD" && call["container"] == sandbox.container.as_str());
        Ok(call.map(|call| Said {
            outcome: text(call, "outcome"),
            reason: text(call, "reason"),
            rung: text(call, "rung"),
        }))
    }

    /// Starts the console; gives the address that lets in whoever reads it.
    pub(crate) fn console(&mut self) -> anyhow::Result<String> {
        self.cluster.console(&self.state, &self.root.place(RUN), &self.stop)
    }

    /// An error if a role, or a program that should run, has ended by itself.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        self.cluster.alive()?;
        self.pods.iter_mut().flat_map(|live| &mut live.running).try_for_each(Running::alive)
    }

    /// Notes what the rules and the proxies have counted so far: none of it belongs to the walk.
    pub(crate) fn note(&mut self) -> anyhow::Result<()> {
        for at in 0..self.pods.len() {
            self.pods[at].earlier = self.counts(at)?;
        }
        Ok(())
    }

    /// What the rules and the proxy of a pod have counted so far.
    pub(crate) fn counts(&self, at: usize) -> anyhow::Result<(Counts, Counts)> {
        let Live { member, netns, .. } = &self.pods[at];
        if member.part == Part::Outside {
            return Ok((Counts::default(), Counts::default()));
        }
        let rules = Found::read(netns)?.redirected(&member.settings);
        let v6 = self.v6;
        let proxy = netns.within(|| envoy::accepted(v6))?.with_context(|| format!("pod {}", member.key))?;
        Ok((rules, proxy))
    }

    /// Where the visitor answers, in each family.
    pub(crate) fn door(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let live = self.pods.iter().find(|live| live.member.part == Part::Outside).context("no visitor")?;
        let port = live.member.workload.port;
        Ok(live.seen.addresses.iter().map(|address| SocketAddr::new(*address, port)).collect())
    }

    /// Asks the visitor from the node for `path`, by each family in turn.
    pub(crate) fn ask(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.stop.check()?;
        let mut answers = Vec::new();
        for server in self.door()? {
            let answer =
                self.node()?.within(|| http::get(server, path, WALKING))?.and_then(|answer| answer.json());
            answers.push(answer.with_context(|| format!("asking the visitor at {server} for {path}"))?);
        }
        Ok(answers)
    }

    /// The directory with everybody's logs.
    pub(crate) fn directory(&self) -> PathBuf {
        self.state.path("pods")
    }

    /// The plugin, which is also what init containers run.
    pub(crate) fn plugin(&self) -> &Path {
        &self.tools.cni
    }

    /// Stops a pod and takes it from its network; gives every complaint.
    pub(crate) fn detach(&mut self, at: usize) -> Vec<String> {
        let mut live = self.pods.remove(at);
        live.running.iter_mut().for_each(Running::ask_to_end);
        let ended = live.running.iter_mut().filter_map(|running| running.end().err());
        let mut complaints: Vec<String> = ended.map(|cause| format!("{cause:#}")).collect();
        let result = live.added.as_ref().map_or(&Value::Null, |added| &added.result);
        if let Some(node) = &self.node {
            let said = live.chain.delete(node, &live.sandbox, result).into_iter();
            complaints.extend(said.map(|said| format!("DEL of {}: {said}", live.member.key)));
        }
        complaints.extend(node::remove(&live.member.key).err().map(|cause| format!("{cause:#}")));
        complaints
    }

    /// Takes everything down, each step whatever became of the others, and gives every complaint. The second time
    /// there is nothing to do.
    pub(crate) fn take_down(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        // All at once: each may need a moment.
        self.pods.iter_mut().flat_map(|live| &mut live.running).for_each(Running::ask_to_end);
        while let Some(last) = self.pods.len().checked_sub(1) {
            complaints.extend(self.detach(last));
        }
        // The controller first, which would have others come in their place.
        complaints.extend(self.cluster.end());
        self.hosted.iter_mut().for_each(Hosted::ask_to_end);
        let ended = self.hosted.drain(..).filter_map(|mut hosted| hosted.end().err());
        complaints.extend(ended.map(|cause| format!("{cause:#}")));
        self.node = None;
        if !self.state.is_removed() {
            for name in node::names() {
                complaints.extend(node::remove(&name).err().map(|cause| format!("{cause:#}")));
            }
        }
        complaints.extend(self.state.remove().err().map(|cause| format!("{cause:#}")));
        complaints
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for complaint in self.take_down() {
            eprintln!("demo: taking down: {complaint}");
        }
    }
}
