//! By what our objects in a cluster are known, and what a revision holds. Plain data, for whoever makes, finds or removes them.

use super::mesh::MeshCNISpec;
use crate::print::words::CONTROLLER;
use serde::{Deserialize, Serialize};

/// What agents are made of: the settings, and the program.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Release {
    /// What the operator wants.
    pub(crate) spec: MeshCNISpec,
    /// The image of agents, where `spec` names none.
    pub(crate) image: String,
}

impl Release {
    /// The image of agents.
    pub(crate) fn agents(&self) -> &str {
        self.spec.install.image.as_deref().unwrap_or(&self.image)
    }
}

/// Who the controller is, to whoever asks for an object's fields or its label; its Deployment and its Lease are called so too.
pub(crate) const MANAGER: &str = CONTROLLER;
/// The label that tells the controller's objects from others'.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label by which an object is known to be of Millrace.
pub(crate) const PART_OF: &str = "app.kubernetes.io/part-of";
/// The namespace whose pods our webhook never looks at, beside the controller's own.
pub(crate) const SYSTEM: &str = "kube-system";
/// Who says what agents write as events.
pub(crate) const AGENTS_EVENTS: &str = "millrace-agent";
/// The labels of the controller's Deployment and of its pods, as a selector.
pub(crate) const CONTROLLERS: &str =
    "app.kubernetes.io/part-of=millrace,app.kubernetes.io/component=controller";
/// The annotation with the revision that a DaemonSet was made of.
pub(crate) const REVISION: &str = "millrace.dev/revision";
/// The annotation of a revision with the generation of the MeshCNI that it was made of.
pub(crate) const GENERATION: &str = "millrace.dev/generation";
/// The label of a node that says which of our DaemonSets is for it.
pub(crate) const PLATFORM_LABEL: &str = "millrace.dev/platform";
/// Our condition of a node.
pub(crate) const CONDITION: &str = "millrace.dev/Serving";
/// What every label, annotation, taint and condition of ours begins with.
pub(crate) const DOMAIN: &str = "millrace.dev/";
/// The annotation of a MeshCNI that is uninstalled though pods depend on the agents: `true`, by `millrace uninstall --force`.
pub(crate) const UNPROTECTED: &str = "millrace.dev/uninstall-unprotected";
