//! What a page is made of, as plain data: what was read of a cluster, and what whoever looks may do. It decides nothing.

use super::proposal::{Base, Proposal, Refusal};
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::node::MeshCNINode;
use crate::cli::connect::Error;
use crate::cli::findings::Category;
use crate::cli::happened::Happened;
use crate::cli::leader::Lease;
use crate::cli::plan::Plan;
use crate::cli::revisions::Revision;
use crate::mechanism::Mechanism;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// What was read of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The API server's address, for people.
    pub(crate) server: String,
    /// The controller's namespace.
    pub(crate) home: String,
    /// Whether the MeshCNI was looked for yet.
    pub(crate) looked: bool,
    /// The MeshCNI as it is on the wire; null if there is none.
    pub(crate) live: Value,
    /// The same, typed; nothing if there is none, or another program's.
    pub(crate) mesh: Option<MeshCNI>,
    /// Why the watch of it is cut, and whether it ever stood.
    pub(crate) cut: Option<String>,
    /// Namespaces by name.
    pub(crate) namespaces: Arc<[Namespace]>,
    /// Pods of the mesh by namespace and name.
    pub(crate) pods: Arc<[PodRow]>,
    /// How a change gets on.
    pub(crate) progress: Progress,
    /// What could not be read, each with its reason.
    pub(crate) unread: Vec<String>,
    /// What is in the way of switching on; only where it is off.
    pub(crate) preflight: Vec<Category>,
    /// Fields that somebody else applied, each with its holder.
    pub(crate) held: Vec<(String, String)>,
    /// What whoever looks may do.
    pub(crate) rights: Rights,
    /// The moment.
    pub(crate) now: Timestamp,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// Its name.
    pub(crate) name: String,
    /// What its labels say of injection, as they say it.
    pub(crate) injection: String,
}

/// What was listed for all who look, and why it was not.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T> {
    /// The rows.
    pub(crate) rows: Arc<[T]>,
    /// Why there are none.
    pub(crate) unread: Option<Error>,
}

impl<T> Default for Listed<T> {
    fn default() -> Listed<T> {
        Listed { rows: Arc::from([]), unread: None }
    }
}

/// How a change gets on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// What nodes report, by name.
    pub(crate) nodes: Listed<NodeRow>,
    /// What happened to the MeshCNI, to nodes and to their pods: the last few, the latest first.
    pub(crate) events: Listed<Happened>,
    /// Who leads the controllers; nothing where it could not be read.
    pub(crate) lease: Option<Lease>,
}

/// A node that reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeRow {
    /// Its name.
    pub(crate) name: Box<str>,
    /// Whether it serves.
    pub(crate) serves: bool,
    /// When it said so.
    pub(crate) reported: Option<Timestamp>,
    /// Whether somebody keeps undoing its chain.
    pub(crate) contested: bool,
    /// Its pods that are redirected otherwise than planned.
    pub(crate) drifted: u32,
}

/// A pod of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodRow {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Where it runs.
    pub(crate) node: String,
    /// Who would start it again: kind and name.
    pub(crate) workload: Option<(String, String)>,
    /// Who redirects it now.
    pub(crate) before: Mechanism,
    /// Whether it gets another redirection when it is restarted.
    pub(crate) owes: bool,
}

/// What whoever looks may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Change the MeshCNI.
    Change,
    /// It could not be asked, so nothing is offered.
    #[default]
    Unknown,
    /// Look only, by RBAC.
    Look,
    /// Look only, by the flag.
    Flag,
}

/// How far a proposal is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Draft {
    /// There is none.
    #[default]
    Clean,
    /// It was made, and nothing was asked about it.
    Dirty(Proposal),
    /// It was tried: what becomes of the pods, or why it cannot be done.
    Planned(Proposal, Result<Plan, Refusal>),
    /// Somebody else was faster.
    Conflict(Proposal),
}

/// All nodes' reports, and the revisions: for their own pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    /// By name.
    pub(crate) nodes: Vec<MeshCNINode>,
    /// Why there are none.
    pub(crate) unread: Option<String>,
}

/// What was wanted once, the first first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// The revisions.
    pub(crate) kept: Vec<Revision>,
    /// Why there are none.
    pub(crate) unread: Option<String>,
}

impl Facts {
    /// What a form shows of the MeshCNI: without one, what the kind's defaults are, switched off.
    pub(crate) fn base(&self) -> Base {
        match &self.mesh {
            Some(mesh) => Base {
                generation: mesh.metadata.generation.unwrap_or_default(),
                mode: mesh.spec.mode,
                excluded: mesh.spec.exclude_namespaces.clone(),
            },
            None => {
                let excluded = ["kube-system", "istio-system"].map(str::to_owned).to_vec();
                Base { generation: 0, mode: Mode::Disabled, excluded }
            }
        }
    }
}
