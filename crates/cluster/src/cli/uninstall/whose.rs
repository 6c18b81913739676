//! Whose an object of Millrace is, told from its kind, name and labels, and by which of these ours are found. PURE.

use crate::api::ours::{MANAGED_BY, MANAGER, PART_OF};
use crate::print::words::WEBHOOK;
use std::collections::BTreeMap;

/// The definitions, in the order in which they go: the switch last of all.
pub(in crate::cli) const DEFINITIONS: [&str; 2] = ["meshcninodes.millrace.dev", "meshcnis.millrace.dev"];

/// What has our labels: what the controller makes, and what is applied to install it or an agent.
pub(in crate::cli) const LABELS: [(&str, &str); 2] = [(MANAGED_BY, MANAGER), (PART_OF, "millrace")];

/// What a controller makes by itself, whatever was installed: by kind and name, in its namespace.
pub(in crate::cli) const NAMED: [(&str, &str); 3] =
    [("Secret", WEBHOOK), ("ConfigMap", WEBHOOK), ("Lease", MANAGER)];

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The controller's own, or what it left: it goes with it.
    Controllers,
    /// It runs agents, or clears a node: without it a node would stay as it is.
    Nodes,
    /// It was applied by hand, as `millrace print manifests` prints it.
    ByHand,
    /// A namespace, in which somebody else may live by now.
    Namespace,
}

/// Whose it is.
pub(super) fn whose(kind: &str, name: &str, labels: &BTreeMap<String, String>) -> Whose {
    let managed = labels.get(MANAGED_BY).is_some_and(|by| by == MANAGER);
    let component = labels.get("app.kubernetes.io/component").map(String::as_str);
    match kind {
        "Namespace" => Whose::Namespace,
        "DaemonSet" | "Job" => {
            if managed {
                Whose::Nodes
            } else {
                Whose::ByHand
            }
        }
        _ if managed || component == Some("controller") || NAMED.contains(&(kind, name)) => {
            Whose::Controllers
        }
        _ => Whose::ByHand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_told_by_kind_name_and_labels() {
        let check = |kind: &str, name: &str, labels: &[(&str, &str)], expected: Whose| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(whose(kind, name, &labels), expected, "{kind} {name}");
        };
        let [managed, ours] = LABELS;
        let controller = ("app.kubernetes.io/component", "controller");
        check("ConfigMap", "millrace-agent-k3s", &[managed, ours], Whose::Controllers);
        check("DaemonSet", "millrace-agent-k3s", &[managed, ours], Whose::Nodes);
        check("Job", "millrace-uninstall-n1", &[managed], Whose::Nodes);
        check("DaemonSet", "millrace-agent", &[ours], Whose::ByHand);
        check("ClusterRole", "millrace-agent", &[ours], Whose::ByHand);
        check("Deployment", "x-controller", &[ours, controller], Whose::Controllers);
        check("Lease", "millrace-controller", &[], Whose::Controllers);
        check("Namespace", "millrace-system", &[ours], Whose::Namespace);
    }
}
