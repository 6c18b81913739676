//! One node: its chain without us and as it is, who wrote it, versions, conditions, and how pods' starts went. PURE.

use super::frame::{Frame, Sign};
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::node::{Chain, MeshCNINode, MeshCNINodeStatus};
use crate::args::output::Mark;
use crate::cli::ago::ago;
use crate::cli::nodes;
use askama::Template;
use k8s_openapi::jiff::Timestamp;

/// One node.
#[derive(Template)]
#[template(path = "console/node.html")]
pub(crate) struct Node {
    frame: Frame,
    name: String,
    status: MeshCNINodeStatus,
    now: Timestamp,
}

/// An entry of a chain.
#[derive(Debug, PartialEq, Eq)]
struct Link<'a> {
    plugin: &'a str,
    is_ours: bool,
}

impl Node {
    /// Makes the page of a report.
    pub(crate) fn of(node: &MeshCNINode, now: Timestamp, frame: Frame) -> Node {
        let name = node.metadata.name.clone().unwrap_or_default();
        Node { frame, name, status: node.status.clone().unwrap_or_default(), now }
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
}
