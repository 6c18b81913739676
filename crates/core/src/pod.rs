//! The facts about one pod that a decision may look at, in no particular API's shape.
//!
//! Facts only: nothing here reads a default into what is absent. Converting from an API object or a file is the edge's work.

use std::collections::BTreeMap;

/// What is known of a pod when its network is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace; empty when unknown.
    pub namespace: String,
    /// Its name; empty when unknown.
    pub name: String,
    /// Its UID as the API server gave it, when known.
    pub uid: Option<String>,
    /// Labels, when known.
    pub labels: BTreeMap<String, String>,
    /// Annotations, when known.
    pub annotations: BTreeMap<String, String>,
    /// Whether it shares the node's network; such a pod never reaches a CNI plugin.
    pub host_network: bool,
    /// Its containers in the order of the specification, init containers first.
    pub containers: Vec<Container>,
}

/// One container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// When it runs.
    pub role: Role,
    /// Its arguments as written.
    pub args: Vec<String>,
    /// The environment variables that have a literal value; references to other objects are unknown here.
    pub env: BTreeMap<String, String>,
    /// `securityContext.runAsUser` of the container, else of the pod.
    pub run_as_user: Option<u32>,
    /// `securityContext.runAsGroup` of the container, else of the pod.
    pub run_as_group: Option<u32>,
}

/// When a container runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// An ordinary init container: runs to its end before the next starts.
    Init,
    /// An init container with `restartPolicy: Always`: starts early, stays.
    NativeSidecar,
    /// An ordinary container.
    #[default]
    Regular,
}
