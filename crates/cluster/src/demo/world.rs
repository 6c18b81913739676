//! One machine's node and pods, built, walked through and taken down again.
//!
//! Dropping a world takes it down: after the end, an error, a panic or a signal alike. What a killed demo cannot take
//! down, the next one sweeps.

use crate::demo::app;
use crate::demo::bookinfo::EXCLUDED;
use crate::demo::chain::{self, Added, Chain, Sandbox};
use crate::demo::cluster::Cluster;
use crate::demo::counts::Counts;
use crate::demo::envoy;
use crate::demo::events::Events;
use crate::demo::http;
use crate::demo::node;
use crate::demo::pods::{self, Member, Part};
use crate::demo::process::{self, Identity, Program, Running};
use crate::demo::state::State;
use crate::demo::status::Seen;
use crate::demo::stop::Stop;
use crate::demo::tools::Tools;
use crate::demo::witness::Found;
use anyhow::Context;
use millrace_core::ask::Event;
use millrace_core::cni::Entry;
use millrace_core::settings::PROXY_ID;
use millrace_host::netns::NetNs;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

/// The namespace that is the node.
const NODE: &str = "node";
/// How long a proxy or a program may take to listen; a second when nothing else runs.
const STARTING: Duration = Duration::from_secs(60);
/// How long one request of the walk may take.
const WALKING: Duration = Duration::from_secs(15);
/// How long one look at whether a program listens may take.
const GLANCE: Duration = Duration::from_secs(1);

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
    events: Events,
    chain: Chain,
    node: Option<NetNs>,
    /// The pods that are there.
    pub(crate) pods: Vec<Live>,
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
    /// What the chain gave; nothing until it did.
    pub(crate) added: Option<Added>,
    /// What the plugin said it did.
    pub(crate) event: Option<Event>,
    pub(crate) running: Vec<Running>,
    /// What the rules had counted before the walk: probes.
    pub(crate) probed: Counts,
    /// What the proxy had accepted before the walk.
    pub(crate) accepted: Counts,
}

impl World {
    /// An empty node.
    pub(crate) fn build(state: State, stop: Stop, tools: Tools) -> anyhow::Result<World> {
        let v6 = node::has_ipv6();
        let text = |name: &str| state.path(name).to_string_lossy().into_owned();
        let entry = Entry {
            agent_socket: text("agent.sock"),
            event_socket: text("event.sock"),
            state_dir: text("records"),
            exclude_namespaces: vec![EXCLUDED.to_owned()],
            ..Entry::default()
        };
        let list = chain::list(&state.path("leases"), &entry, v6);
        state.write("millrace-demo.conflist", &format!("{list:#}\n"))?;
        let beside = tools.cni.parent().context("a program lies in a directory")?.to_owned();
        let mut world = World {
            cluster: Cluster::start(&tools.own, &state, &stop)?,
            events: Events::listen(&state.path("event.sock"))?,
            own: Program::open(&tools.own)?,
            cni: Program::open(&tools.cni)?,
            chain: Chain { path: vec![tools.plugins.clone(), beside], list },
            state,
            stop,
            tools,
            node: None,
            pods: Vec::new(),
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

    /// Gives a pod its network: a namespace and the node's chain, as a runtime does before it starts a container.
    pub(crate) fn attach(&mut self, member: &Member, object: &Value) -> anyhow::Result<()> {
        self.stop.check()?;
        let netns = node::make(&member.key)?;
        let uid = object["metadata"]["uid"].as_str().context("a pod has a UID")?;
        let sandbox = Sandbox {
            container: container_id()?,
            netns: node::path(&member.key),
            namespace: member.facts.namespace.clone(),
            name: member.facts.name.clone(),
            uid: uid.to_owned(),
            annotations: member.facts.annotations.clone(),
        };
        // Before ADD, so that a failed one is followed by DEL.
        self.pods.push(Live {
            member: member.clone(),
            object: object.clone(),
            seen: Seen::default(),
            netns,
            sandbox: sandbox.clone(),
            added: None,
            event: None,
            running: Vec::new(),
            probed: Counts::default(),
            accepted: Counts::default(),
        });
        let added = self.chain.add(self.node()?, &sandbox)?;
        let event = self.events.about(&sandbox.container)?;
        let live = self.pods.last_mut().context("the pod just pushed")?;
        live.seen.addresses = added.addresses()?;
        live.added = Some(added);
        live.event = event;
        Ok(())
    }

    /// Writes the list of names by which programs find each other, as the API server's endpoints have it.
    /// Whether every pod is behind one.
    pub(crate) fn publish(&self) -> anyhow::Result<bool> {
        let members: Vec<&Member> = self.pods.iter().map(|live| &live.member).collect();
        let names = pods::names(&members, &self.cluster.list("Endpoints")?);
        let addresses = |key: &String| {
            let live = self.pods.iter().find(|live| live.member.key == *key);
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

    /// Starts what a pod consists of: its init containers, then its proxy and its program. Does not wait for them.
    pub(crate) fn start(&mut self, at: usize) -> anyhow::Result<()> {
        self.stop.check()?;
        let init = self.pods[at].object["spec"]["initContainers"].clone();
        for container in init.as_array().into_iter().flatten() {
            self.run_init(at, container)?;
        }
        if self.pods[at].member.part != Part::Outside {
            self.start_proxy(at)?;
        }
        self.start_program(at)?;
        self.pods[at].seen.runs = true;
        Ok(())
    }

    fn start_proxy(&mut self, at: usize) -> anyhow::Result<()> {
        let Live { member, sandbox, running, .. } = &mut self.pods[at];
        let config = envoy::config(member.settings.inbound_port, member.settings.outbound_port, self.v6);
        let config = self.state.write(&file(&member.key, "envoy.json"), &format!("{config:#}\n"))?;
        let identity = Identity::unprivileged(PROXY_ID);
        let arguments = envoy::arguments(&config);
        let mut command = process::inside(&sandbox.netns, identity, &self.tools.envoy, &arguments);
        let log = self.state.path(&file(&member.key, "envoy.log"));
        running.push(Running::start("envoy", &mut command, &log)?);
        Ok(())
    }

    fn start_program(&mut self, at: usize) -> anyhow::Result<()> {
        let Live { member, sandbox, running, .. } = &mut self.pods[at];
        let Member { key, workload, .. } = member;
        let mut arguments = vec!["demo-app".to_owned(), workload.app.clone()];
        let hosts = self.state.path("hosts").to_string_lossy().into_owned();
        for (flag, value) in [
            ("--version", workload.version.as_str()),
            ("--pod", key),
            ("--port", &workload.port.to_string()),
            ("--hosts", &hosts),
        ] {
            arguments.extend([flag.to_owned(), value.to_owned()]);
        }
        let mut command =
            self.own.inside(&sandbox.netns, Identity::unprivileged(workload.user), &arguments)?;
        let log = self.state.write(&file(key, "app.log"), "")?;
        running.push(Running::start(&workload.app, &mut command, &log)?);
        Ok(())
    }

    /// Runs an init container to its end: whatever its image, it is `millrace-cni` here, which takes the arguments of
    /// Istio's own.
    fn run_init(&mut self, at: usize, container: &Value) -> anyhow::Result<()> {
        let Live { member, sandbox, seen, .. } = &mut self.pods[at];
        let words = container["args"].as_array().into_iter().flatten();
        let words: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
        let mut command = self.cni.inside(&sandbox.netns, Identity::of(container)?, &words)?;
        let ended = process::run(&mut command, None, STARTING)?;
        // Who was killed by a signal has no code; runtimes say 128 and the signal's number.
        let code = ended.status.code().unwrap_or(128 + ended.status.signal().unwrap_or_default());
        seen.ended.push(code);
        let name = container["name"].as_str().unwrap_or_default();
        anyhow::ensure!(code == 0, "{name} of pod {} failed (exit {code}): {}", member.key, ended.said());
        Ok(())
    }

    /// Whether a pod's proxy and program listen; an error if one has ended.
    pub(crate) fn answers(&mut self, at: usize) -> anyhow::Result<bool> {
        let Live { member, netns, running, .. } = &mut self.pods[at];
        let proxied = member.part != Part::Outside;
        let loopback = SocketAddr::from(([127, 0, 0, 1], member.workload.port));
        running.iter_mut().try_for_each(Running::alive)?;
        Ok(netns.within(|| http::get(loopback, "/health", GLANCE).is_ok() && (!proxied || envoy::ready()))?)
    }

    /// An error if a role has ended by itself.
    pub(crate) fn alive(&mut self) -> anyhow::Result<()> {
        self.cluster.alive()
    }

    /// Notes what the rules and the proxy of a pod have counted so far: none of it belongs to the walk.
    pub(crate) fn note(&mut self, at: usize) -> anyhow::Result<()> {
        let (probed, accepted) = self.counts(at)?;
        let live = &mut self.pods[at];
        (live.probed, live.accepted) = (probed, accepted);
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

    /// Asks the visitor from the node for `path`, by each family in turn.
    pub(crate) fn ask(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.stop.check()?;
        let live = self.pods.iter().find(|live| live.member.part == Part::Outside).context("no visitor")?;
        let mut answers = Vec::new();
        for address in &live.seen.addresses {
            let server = SocketAddr::new(*address, live.member.workload.port);
            let answer =
                self.node()?.within(|| http::get(server, path, WALKING))?.and_then(|answer| answer.json());
            answers.push(answer.with_context(|| format!("asking the visitor at {address} for {path}"))?);
        }
        Ok(answers)
    }

    /// The directory with everybody's logs.
    pub(crate) fn directory(&self) -> PathBuf {
        self.state.path("pods")
    }

    /// Whether we were asked to stop; an error if a program has ended by itself.
    pub(crate) fn is_over(&mut self) -> anyhow::Result<bool> {
        self.cluster.alive()?;
        self.pods.iter_mut().flat_map(|live| &mut live.running).try_for_each(Running::alive)?;
        Ok(self.stop.asked())
    }

    /// Stops a pod and takes it from its network; gives every complaint.
    pub(crate) fn detach(&mut self, at: usize) -> Vec<String> {
        let mut live = self.pods.remove(at);
        live.running.iter().for_each(Running::ask_to_end);
        let ended = live.running.iter_mut().filter_map(|running| running.end().err());
        let mut complaints: Vec<String> = ended.map(|cause| format!("{cause:#}")).collect();
        let result = live.added.as_ref().map_or(&Value::Null, |added| &added.result);
        if let Some(node) = &self.node {
            let said = self.chain.delete(node, &live.sandbox, result).into_iter();
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
        self.pods.iter().flat_map(|live| &live.running).for_each(Running::ask_to_end);
        while let Some(last) = self.pods.len().checked_sub(1) {
            complaints.extend(self.detach(last));
        }
        complaints.extend(self.cluster.end());
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

/// The name of a pod's file in the demo's directory.
fn file(key: &str, name: &str) -> String {
    format!("pods/{key}/{name}")
}

/// 64 hexadecimal digits, as runtimes make them.
fn container_id() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    let mut random = fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    std::io::Read::read_exact(&mut random, &mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
