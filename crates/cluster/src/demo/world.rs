//! One machine's node and pods, built, walked through and taken down again.
//!
//! Dropping a world takes it down: after the end, an error, a panic or a signal alike. What a killed demo cannot take
//! down, the next one sweeps.

use crate::demo::app;
use crate::demo::chain::{self, Added, Chain, Sandbox};
use crate::demo::counts::Counts;
use crate::demo::envoy;
use crate::demo::events::Events;
use crate::demo::http;
use crate::demo::node;
use crate::demo::pods::{EXCLUDED, INIT, Member, Part};
use crate::demo::process::{self, Identity, Program, Running};
use crate::demo::state::State;
use crate::demo::stop::Stop;
use crate::demo::tools::Tools;
use crate::demo::witness::Found;
use anyhow::{Context, bail};
use millrace_core::ask::Event;
use millrace_core::cni::Entry;
use millrace_core::settings::PROXY_ID;
use millrace_host::netns::NetNs;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
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
    own: Program,
    cni: Program,
    events: Events,
    chain: Chain,
    node: Option<NetNs>,
    /// The pods, in the order they were attached.
    pub(crate) pods: Vec<Live>,
    /// Whether IPv6 is spoken here.
    pub(crate) v6: bool,
}

/// A pod that is there.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) member: Member,
    pub(crate) netns: NetNs,
    pub(crate) sandbox: Sandbox,
    /// What the chain gave; nothing until it did.
    pub(crate) added: Option<Added>,
    pub(crate) addresses: Vec<IpAddr>,
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

    /// Gives a pod its network: a namespace and the node's chain, as a runtime does before it starts a container.
    pub(crate) fn attach(&mut self, member: &Member) -> anyhow::Result<()> {
        self.stop.check()?;
        let netns = node::make(&member.key)?;
        let sandbox = Sandbox {
            container: container_id()?,
            netns: node::path(&member.key),
            namespace: member.facts.namespace.clone(),
            name: member.facts.name.clone(),
            uid: uid()?,
            annotations: member.facts.annotations.clone(),
        };
        // Before ADD, so that a failed one is followed by DEL.
        self.pods.push(Live {
            member: member.clone(),
            netns,
            sandbox: sandbox.clone(),
            added: None,
            addresses: Vec::new(),
            event: None,
            running: Vec::new(),
            probed: Counts::default(),
            accepted: Counts::default(),
        });
        let added = self.chain.add(self.node()?, &sandbox)?;
        let event = self.events.about(&sandbox.container)?;
        let live = self.pods.last_mut().context("the pod just pushed")?;
        live.addresses = added.addresses()?;
        live.added = Some(added);
        live.event = event;
        Ok(())
    }

    /// Writes the list of names by which programs find each other.
    pub(crate) fn publish(&self, names: &BTreeMap<String, Vec<String>>) -> anyhow::Result<()> {
        let addresses = |key: &String| {
            let live = self.pods.iter().find(|live| live.member.key == *key);
            live.map(|live| live.addresses.clone()).unwrap_or_default()
        };
        let services: BTreeMap<String, Vec<IpAddr>> = names
            .iter()
            .map(|(name, keys)| (name.clone(), keys.iter().flat_map(addresses).collect()))
            .collect();
        self.state.write("hosts", &app::hosts(&services))?;
        Ok(())
    }

    /// Starts what a pod consists of: its init container, then its proxy and its program. Does not wait for them.
    pub(crate) fn start(&mut self, at: usize) -> anyhow::Result<()> {
        self.stop.check()?;
        match self.pods[at].member.part {
            Part::Mesh => self.to_its_end(at, Identity::unprivileged(PROXY_ID), "validate")?,
            Part::Excluded => self.to_its_end(at, Identity::INIT, &format!("init {INIT}"))?,
            Part::Outside => return self.start_program(at),
        }
        self.start_proxy(at)?;
        self.start_program(at)
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
            ("--version", workload.version()),
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

    /// Runs `millrace-cni` in a pod as its init container does.
    fn to_its_end(&self, at: usize, identity: Identity, arguments: &str) -> anyhow::Result<()> {
        let Live { member, sandbox, .. } = &self.pods[at];
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let mut command = self.cni.inside(&sandbox.netns, identity, &words)?;
        let ended = process::run(&mut command, None, STARTING)?;
        if !ended.status.success() {
            let (status, said) = (ended.status, ended.said());
            bail!("millrace-cni {arguments} in pod {} failed ({status}): {said}", member.key);
        }
        Ok(())
    }

    /// Waits until a pod's proxy and program listen.
    pub(crate) fn ready(&mut self, at: usize) -> anyhow::Result<()> {
        let Live { member, netns, running, .. } = &mut self.pods[at];
        let proxied = member.part != Part::Outside;
        let loopback = SocketAddr::from(([127, 0, 0, 1], member.workload.port));
        self.stop.until(&format!("pod {} listens", member.key), STARTING, || {
            running.iter_mut().try_for_each(Running::alive)?;
            Ok(netns
                .within(|| http::get(loopback, "/health", GLANCE).is_ok() && (!proxied || envoy::ready()))?)
        })
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

    /// Asks a pod's program from the node for `path`, by each family in turn.
    pub(crate) fn ask(&self, key: &str, path: &str) -> anyhow::Result<Vec<Value>> {
        self.stop.check()?;
        let live = self.pods.iter().find(|live| live.member.key == key).context("no such pod")?;
        let mut answers = Vec::new();
        for address in &live.addresses {
            let server = SocketAddr::new(*address, live.member.workload.port);
            let answer =
                self.node()?.within(|| http::get(server, path, WALKING))?.and_then(|answer| answer.json());
            answers.push(answer.with_context(|| format!("asking {key} at {address} for {path}"))?);
        }
        Ok(answers)
    }

    /// The directory with everybody's logs.
    pub(crate) fn directory(&self) -> PathBuf {
        self.state.path("pods")
    }

    /// Waits until we are asked to stop, or until a program ends by itself.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let pods = &mut self.pods;
        self.stop.wait(|| pods.iter_mut().flat_map(|live| &mut live.running).try_for_each(Running::alive))
    }

    /// Takes everything down, each step whatever became of the others, and gives every complaint. The second time
    /// there is nothing to do.
    pub(crate) fn take_down(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        for running in self.pods.iter().flat_map(|live| &live.running) {
            running.ask_to_end();
        }
        for running in self.pods.iter_mut().flat_map(|live| &mut live.running) {
            complaints.extend(running.end().err().map(|cause| format!("{cause:#}")));
        }
        if let Some(node) = &self.node {
            for live in self.pods.iter().rev() {
                let result = live.added.as_ref().map_or(&Value::Null, |added| &added.result);
                let said = self.chain.delete(node, &live.sandbox, result);
                complaints.extend(said.into_iter().map(|said| format!("DEL of {}: {said}", live.member.key)));
            }
        }
        self.pods.clear();
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

/// A UID as the API server makes it.
fn uid() -> anyhow::Result<String> {
    let uid =
        fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot have a UUID of the kernel")?;
    Ok(uid.trim().to_owned())
}
