//! One node: its chain without us and as it is, who writes it, versions as they are and as they are wanted, conditions, and how pods'
//! starts went. PURE.

use super::facts::{Facts, Past};
use super::frame::{Frame, Sign, path, query};
use super::live::{Said, said};
use super::{notices, state};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::node::{Chain, DriftedPod, MeshCNINode, MeshCNINodeStatus};
use crate::api::status::FailingNode;
use crate::args::output::Mark;
use crate::cli::ago::ago;
use crate::cli::nodes;
use crate::codes::Code;
use askama::Template;
use k8s_openapi::jiff::Timestamp;

/// One node.
#[derive(Template)]
#[template(path = "console/node.html")]
pub(crate) struct Node {
    frame: Frame,
    around: Around,
    heard: bool,
    status: MeshCNINodeStatus,
    now: Timestamp,
}

/// What others than its agent say of a node.
#[derive(Debug)]
pub(crate) struct Around {
    name: String,
    /// What keeps it from serving, as the controller says.
    failing: Option<FailingNode>,
    /// The image that agents are wanted to have.
    image: String,
}

/// An entry of a chain.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    plugin: &'a str,
    is_ours: bool,
}

impl Around {
    /// What is said of the node of that name.
    pub(crate) fn of(name: &str, facts: &Facts, past: &Past) -> Around {
        let failing = state::status(facts).failing_nodes.into_iter().find(|node| node.name == name);
        let image = past.kept.last().map(|last| last.release.agents().to_owned());
        Around { name: name.to_owned(), failing, image: image.unwrap_or_default() }
    }

    /// Whether anything is.
    pub(crate) fn is_known(&self) -> bool {
        self.failing.is_some()
    }

    /// The version that is wanted, where the image's tag is one.
    fn version(&self) -> Option<&str> {
        let (_, tag) = self.image.split('@').next()?.rsplit_once(':')?;
        let version = tag.strip_prefix('v').unwrap_or(tag);
        version.starts_with(|letter: char| letter.is_ascii_digit()).then_some(version)
    }
}

impl Node {
    /// Makes the page of a report; of none, where its agent never made one.
    pub(crate) fn of(node: Option<&MeshCNINode>, around: Around, now: Timestamp, frame: Frame) -> Node {
        let status = node.and_then(|node| node.status.clone());
        Node { frame, around, heard: status.is_some(), status: status.unwrap_or_default(), now }
    }

    fn name(&self) -> &str {
        &self.around.name
    }

    fn sign(&self) -> Sign {
        Sign(nodes::mark(&self.status, self.now))
    }

    fn reported(&self) -> String {
        self.status.reported_at.as_ref().map(|at| ago(at.0, self.now)).unwrap_or_default()
    }

    fn ago(&self, at: &Timestamp) -> String {
        ago(*at, self.now)
    }

    fn judged(&self, condition: &Condition) -> Sign {
        Sign(match condition.status {
            ConditionStatus::True => Mark::Good,
            ConditionStatus::Unknown => Mark::Odd,
            ConditionStatus::False => Mark::Bad,
        })
    }

    fn chain<'a>(&self, chain: &'a Chain) -> Vec<Link<'a>> {
        links(chain)
    }

    /// The way into the list, in words.
    fn way<'a>(&self, chain: &'a Chain) -> &'a str {
        let words = self.frame.words();
        match chain.way.as_str() {
            "InPlace" => words.way_in_place,
            "OwnList" => words.way_own,
            "Auxiliary" => words.way_auxiliary,
            other => other,
        }
    }

    /// Whether the agent is of another version than is wanted.
    fn is_outdated(&self) -> bool {
        self.heard && self.around.version().is_some_and(|wanted| wanted != self.status.agent_version)
    }

    /// Who keeps undoing our entry, and what to do about it.
    fn culprit(&self) -> Option<Said> {
        let undone = |one: &&Condition| one.kind == "NoChainConflict" && one.status == ConditionStatus::False;
        let condition = self.status.conditions.iter().find(undone)?;
        let code = notices::coded(&condition.message).unwrap_or(Code::ChainOverwritten);
        Some(self.said(code, condition.message.clone()))
    }

    /// What keeps it from serving.
    fn problem(&self) -> Option<Said> {
        let failing = self.around.failing.as_ref()?;
        let code = Code::from_id(&failing.code);
        Some(said(Mark::Bad, &failing.reason, "", Vec::new(), code, self.frame.lang))
    }

    fn said(&self, code: Code, line: String) -> Said {
        said(Mark::Bad, &line, "", Vec::new(), Some(code), self.frame.lang)
    }

    fn pods(&self) -> String {
        format!("/workloads{}", query(&[("node", self.name())]))
    }

    /// Where the page of a pod is, which an agent names as namespace/name.
    fn pod(&self, named: &str) -> String {
        let (namespace, name) = named.split_once('/').unwrap_or(("", named));
        path(&["pods", namespace, name])
    }

    fn drift(&self, pod: &DriftedPod) -> Code {
        if pod.finding == "bypass" { Code::Unredirected } else { Code::RulesDrifted }
    }

    fn commands(&self) -> String {
        let nodes = format!("millrace nodes {}", self.name());
        let drift = (!self.status.drifted_pods.is_empty()).then(|| "millrace drift".to_owned());
        [Some(nodes), drift].into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    /// What is copied into a ticket: in English where it is ours, as the agent says it else.
    fn report(&self) -> String {
        let status = &self.status;
        let mut lines = vec![
            format!("node {}: {}", self.name(), if status.serving { "serves" } else { "does not serve" }),
            format!("server: {}", self.frame.server),
            format!("at: {}", self.now),
        ];
        let mut line = |key: &str, value: String| {
            if !value.is_empty() {
                lines.push(format!("{key}: {value}"));
            }
        };
        for said in self.problem().into_iter().chain(self.culprit()) {
            let code = said.code.map(|code| format!("{code} {}: ", code.name())).unwrap_or_default();
            line("wrong", format!("{code}{}", said.title));
            line("next", said.next);
        }
        line("reported", status.reported_at.as_ref().map(|at| at.0.to_string()).unwrap_or_default());
        line("agent", status.agent_version.clone());
        line("plugin", status.plugin_version.clone().unwrap_or_default());
        line("wanted", self.around.image.clone());
        if let Some(chain) = &status.chain {
            line(
                "list",
                format!("{} ({}, {}): {}", chain.file, chain.way, chain.digest, chain.plugins.join(" → ")),
            );
        }
        for one in &status.conditions {
            line(&one.kind, format!("{:?} {}: {}", one.status, one.reason, one.message));
        }
        for one in &status.outcomes.last_failures {
            line("failed", format!("{} {}: {}", one.at.0, one.pod, one.message));
        }
        for one in &status.drifted_pods {
            line("drifted", format!("{} {} ({}): {}", self.drift(one), one.pod, one.finding, one.message));
        }
        lines.join("\n")
    }
}

fn links(chain: &Chain) -> Vec<Link<'_>> {
    let ours = |index: usize| chain.position.is_some_and(|at| at as usize == index);
    chain.plugins.iter().enumerate().map(|(index, plugin)| Link { plugin, is_ours: ours(index) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_entry_is_known_by_its_place() {
        let plugins = ["bridge", "millrace-cni"].map(str::to_owned).to_vec();
        let chain = Chain { position: Some(1), plugins, ..Chain::default() };
        let found: Vec<(&str, bool)> = links(&chain).iter().map(|link| (link.plugin, link.is_ours)).collect();
        assert_eq!(found, [("bridge", false), ("millrace-cni", true)]);
        assert!(links(&Chain { position: None, ..chain }).iter().all(|link| !link.is_ours));
    }

    #[test]
    fn a_version_is_wanted_where_a_tag_is_one() {
        let check = |image: &str, expected: Option<&str>| {
            let around = Around { name: String::new(), failing: None, image: image.to_owned() };
            assert_eq!(around.version(), expected, "{image}");
        };
        check("r.example/millrace:v0.2.1", Some("0.2.1"));
        check("r.example:5000/millrace:0.2.1@sha256:00", Some("0.2.1"));
        check("r.example/millrace:latest", None);
        check("r.example/millrace@sha256:00", None);
        check("", None);
    }
}
