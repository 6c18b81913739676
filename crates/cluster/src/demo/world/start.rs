//! A pod's start: its network by the node's chain, its init containers, and, once it was looked whether it is redirected, its proxy and
//! its program.
//!
//! What fails is said and tried again, as a kubelet does; nothing is started behind an init container that failed.

use super::{Live, World};
use crate::demo::chain::Sandbox;
use crate::demo::counts::Counts;
use crate::demo::envoy;
use crate::demo::hosted::{Hosted, Image};
use crate::demo::node;
use crate::demo::pods::{Member, Part};
use crate::demo::process::{self, Identity, Running};
use crate::demo::status::Seen;
use crate::demo::verdict::By;
use crate::demo::witness::Found;
use anyhow::Context;
use millrace_core::settings::PROXY_ID;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// How long an init container may take; a second when nothing else runs.
const STARTING: Duration = Duration::from_secs(60);

/// What was found of a pod right before its first process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protection {
    /// Who had put its rules there.
    pub(crate) by: By,
    /// How many rules there were.
    pub(crate) rules: usize,
    /// How they differ from those planned, if they do.
    pub(crate) drift: Option<String>,
}

impl World {
    /// Takes in a pod that was bound to the node: a namespace, empty as yet.
    pub(crate) fn take_in(&mut self, member: &Member, object: &Value) -> anyhow::Result<()> {
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
        self.pods.push(Live {
            member: member.clone(),
            object: object.clone(),
            seen: Seen::default(),
            netns,
            sandbox,
            chain: self.chain.clone(),
            added: None,
            by: By::Nobody,
            said: None,
            answered: None,
            running: Vec::new(),
            again: None,
            leaving: None,
            earlier: (Counts::default(), Counts::default()),
        });
        Ok(())
    }

    /// Starts what a pod consists of: its network, its init containers, then its proxy and its program. Does not wait for these.
    pub(crate) fn start(&mut self, at: usize) -> anyhow::Result<Protection> {
        self.stop.check()?;
        if self.pods[at].added.is_none() {
            self.attach(at)?;
        }
        let first = Found::read(&self.pods[at].netns)?.number();
        self.pods[at].seen.ended.clear();
        let init = self.pods[at].object["spec"]["initContainers"].clone();
        for container in init.as_array().into_iter().flatten() {
            self.run_init(at, container)?;
        }
        let found = Found::read(&self.pods[at].netns)?;
        let rules = found.number();
        let by = match (first, rules) {
            (0, 0) => By::Nobody,
            (0, _) => By::Itself,
            _ => By::Chain,
        };
        let drift = found.drift(&self.planned(&self.pods[at].member));
        self.pods[at].by = by;
        if self.pods[at].member.part != Part::Outside {
            self.start_proxy(at)?;
        }
        self.start_program(at)?;
        self.pods[at].seen.runs = true;
        Ok(Protection { by, rules, drift })
    }

    /// Gives a pod its network by the node's chain, as a runtime does before it starts a container.
    fn attach(&mut self, at: usize) -> anyhow::Result<()> {
        let (chain, node) = (self.chain.clone(), self.node()?);
        let added = chain.add(node, &self.pods[at].sandbox);
        if added.is_err() {
            // As the specification wants of a runtime; what is said of it is less than why ADD failed.
            drop(chain.delete(node, &self.pods[at].sandbox, &Value::Null));
        }
        let live = &mut self.pods[at];
        live.chain = chain;
        let added = added?;
        live.seen.addresses = added.addresses()?;
        live.added = Some(added);
        Ok(())
    }

    /// Starts a pod on the node's own network.
    pub(crate) fn host(&mut self, pod: &Value) -> anyhow::Result<()> {
        self.stop.check()?;
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let log = self.state.write(&format!("pods/{name}.log"), "")?;
        let (own, cni) = (&self.tools.own, &self.tools.cni);
        let image = Image { own, cni, kubeconfig: self.cluster.kubeconfig() };
        let configs = |name: &str| self.cluster.get("ConfigMap", namespace, name);
        let hosted = Hosted::start(pod, &self.root, image, &log, configs)?;
        self.hosted.push(hosted);
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
        let Live { sandbox, seen, .. } = &mut self.pods[at];
        let words = container["args"].as_array().into_iter().flatten();
        let words: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
        let mut command = self.cni.inside(&sandbox.netns, Identity::of(container)?, &words)?;
        let ended = process::run(&mut command, None, STARTING)?;
        let code = process::code(ended.status);
        seen.ended.push(code);
        let name = container["name"].as_str().unwrap_or_default();
        anyhow::ensure!(code == 0, "{name} failed (exit {code}): {}", ended.said());
        Ok(())
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
