//! Which nodes should serve, and how each of them stands. PURE.
//!
//! It knows nothing of transitions: what follows from a node that does not serve is decided in `transition`, `taint` and
//! `status`.

use super::observed::{Agent, Node, Observed, Report};
use super::platforms::{self, Kind};
use super::preconditions;
use crate::api::mesh::MeshCNISpec;
use crate::api::platform::Platform;
use crate::codes::Code;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// Nodes that get the same objects at the same time: of one platform, and canaries or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// The platform.
    pub(crate) platform: Platform,
    /// Whether these get a change first.
    pub(crate) canary: bool,
}

/// By what it is known that an agent has what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    /// Of its configuration, which it reads again and again.
    pub(crate) config: String,
    /// Of what it reads only when it is started.
    pub(crate) start: String,
}

/// A node that should serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// What it is counted among.
    pub(crate) group: Group,
    /// Whether its kubelet says that it is Ready.
    pub(crate) ready: bool,
    /// Whether pods that start on it are redirected.
    pub(crate) serving: bool,
    /// Whether its agent has what is wanted now.
    pub(crate) updated: bool,
    /// What keeps it from serving with what is wanted now.
    pub(crate) trouble: Option<Trouble>,
}

/// What keeps a node from where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// As `millrace explain` knows it.
    pub(crate) code: Code,
    /// As a sentence.
    pub(crate) reason: String,
    /// Since when, if that is known.
    pub(crate) since: Option<Timestamp>,
    /// Whether somebody said so, rather than nobody saying anything.
    pub(crate) told: bool,
}

/// All nodes, by what is wanted of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nodes {
    /// Those that should serve, by name.
    pub(crate) targets: Vec<Target>,
    /// Those that run no DaemonSets: their pods keep istio-init.
    pub(crate) unserved: Vec<String>,
}

/// Three reports at least are missing then: one is due every five minutes.
const SILENCE: SignedDuration = SignedDuration::from_mins(16);

/// The nodes that should serve, and how they stand; `digests` are those of what is wanted now.
pub(crate) fn targets(
    spec: &MeshCNISpec,
    observed: &Observed,
    digests: &BTreeMap<Group, Digests>,
    now: Timestamp,
) -> Nodes {
    let mut agents: BTreeMap<&str, Vec<&Agent>> = BTreeMap::new();
    for agent in observed.agents.values() {
        agents.entry(&agent.node).or_default().push(agent);
    }
    let mut nodes = Nodes::default();
    for (name, node) in &observed.nodes {
        match platforms::kind(spec, node) {
            Kind::Unserved => nodes.unserved.push(name.clone()),
            Kind::Left => {}
            Kind::Target(platform) => {
                let group = Group { platform, canary: is_canary(spec, node) };
                let agents = agents.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
                let report = observed.reports.get(name);
                let seen = Seen { node, agents, report, wanted: digests.get(&group), now };
                nodes.targets.push(seen.target(name, group));
            }
        }
    }
    nodes
}

/// The groups that there are nodes of.
pub(crate) fn groups(spec: &MeshCNISpec, observed: &Observed) -> Vec<Group> {
    let mut found: Vec<Group> = Vec::new();
    for node in observed.nodes.values() {
        let Kind::Target(platform) = platforms::kind(spec, node) else { continue };
        let group = Group { platform, canary: is_canary(spec, node) };
        if !found.contains(&group) {
            found.push(group);
        }
    }
    found.sort_unstable();
    found
}

fn is_canary(spec: &MeshCNISpec, node: &Node) -> bool {
    let selector = &spec.rollout.canary_node_selector;
    !selector.is_empty() && node.has_labels(selector)
}

/// Everything that is known of one node.
struct Seen<'a> {
    node: &'a Node,
    agents: &'a [&'a Agent],
    report: Option<&'a Report>,
    wanted: Option<&'a Digests>,
    now: Timestamp,
}

impl Seen<'_> {
    fn target(&self, name: &str, group: Group) -> Target {
        let unserving = self.unserving();
        let serving = unserving.is_none();
        let outdated = self.outdated();
        let updated = serving && outdated.is_none();
        let away = (!self.node.ready).then(|| {
            let reason = "the node is not Ready".to_owned();
            Trouble { code: Code::NodeNotReady, reason, since: self.node.since, told: true }
        });
        let trouble = away.or_else(|| unserving.map(|why| self.named(why))).or(outdated);
        Target { name: name.to_owned(), group, ready: self.node.ready, serving, updated, trouble }
    }

    /// That a node does not serve is named by what it is, where that will not do.
    fn named(&self, why: Trouble) -> Trouble {
        match preconditions::unfit(self.node) {
            Some((code, what)) => {
                let reason = format!("{what} is not supported; {}", why.reason);
                Trouble { code, reason, ..why }
            }
            None => why,
        }
    }

    /// Why pods that start here are not redirected. What the agent says counts, while it says anything; without a report, its
    /// pod's readiness, which asks the same.
    fn unserving(&self) -> Option<Trouble> {
        let trouble = |code, reason: String, since, told| Some(Trouble { code, reason, since, told });
        let ready = self.agents.iter().any(|agent| agent.ready);
        let since = self.agents.iter().filter_map(|agent| agent.since).max();
        let Some(report) = self.report.filter(|report| report.at.is_some()) else {
            return match (self.agents.is_empty(), ready) {
                (_, true) => None,
                (true, _) => trouble(Code::AgentAbsent, "no agent is on the node".to_owned(), None, false),
                (false, _) => {
                    let reason = "the agent's pod is not Ready; see kubectl describe pod".to_owned();
                    trouble(Code::AgentNotReady, reason, since, true)
                }
            };
        };
        if !report.serving {
            let (reason, since) = spoken(report);
            return trouble(Code::AgentNotReady, reason, since.or(since), true);
        }
        if !self.agents.is_empty() && !ready {
            let reason = "the agent's pod is not Ready; see kubectl describe pod".to_owned();
            return trouble(Code::AgentNotReady, reason, since, true);
        }
        match report.at {
            Some(said) if self.agents.is_empty() && self.now.duration_since(said) > SILENCE => trouble(
                Code::ReportStale,
                format!("the agent has said nothing since {said}"),
                Some(said),
                false,
            ),
            _ => None,
        }
    }

    /// Why what the agent has is not what is wanted now.
    fn outdated(&self) -> Option<Trouble> {
        let wanted = self.wanted?;
        let told = self.report.and_then(|report| report.config.as_deref());
        let configured = told.is_none_or(|digest| digest == wanted.config);
        let mut started = self.agents.iter().filter(|agent| agent.ready);
        let started = self.agents.is_empty() || started.any(|agent| agent.digest == wanted.start);
        let reason = match (started, configured) {
            (true, true) => return None,
            (false, _) => "the agent has yet to be replaced",
            (true, false) => "the agent has yet to read its configuration",
        };
        Some(Trouble { code: Code::AgentOutdated, reason: reason.to_owned(), since: None, told: false })
    }
}

/// What an agent that does not serve says of it.
fn spoken(report: &Report) -> (String, Option<Timestamp>) {
    match &report.ready {
        Some((message, since)) if !message.is_empty() => (message.clone(), Some(*since)),
        _ => ("the agent says that it does not serve".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runtime: &str, kernel: &str, reported: Option<bool>, expected: Option<(Code, &str)>) {
        let node = Node { ready: true, runtime: runtime.into(), kernel: kernel.into(), ..Node::default() };
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let report = reported.map(|serving| Report { serving, at: Some(now), ..Report::default() });
        let agent = Agent { ready: true, ..Agent::default() };
        let agents: Vec<&Agent> = if report.is_some() { vec![&agent] } else { Vec::new() };
        let seen = Seen { node: &node, agents: &agents, report: report.as_ref(), wanted: None, now };
        let target = seen.target("n", Group { platform: Platform::Kubeadm, canary: false });
        let found = target.trouble.map(|trouble| (trouble.code, trouble.reason));
        let found = found.as_ref().map(|(code, reason)| (*code, reason.as_str()));
        assert_eq!(found, expected, "{runtime} {kernel} {reported:?}");
    }

    #[test]
    fn a_node_that_does_not_serve_is_named_by_what_it_is() {
        let good = "containerd://1.7.2";
        check(good, "6.1.0", None, Some((Code::AgentAbsent, "no agent is on the node")));
        check(
            good,
            "4.18.0-305.el8",
            None,
            Some((Code::KernelTooOld, "4.18.0-305.el8 is not supported; no agent is on the node")),
        );
        check(
            "docker://20.10.7",
            "6.1.0",
            Some(false),
            Some((
                Code::RuntimeTooOld,
                "docker://20.10.7 is not supported; the agent says that it does not serve",
            )),
        );
        // Whatever it is, it serves.
        check("docker://20.10.7", "6.1.0", Some(true), None);
    }
}
