//! What a check looks at, as plain data: whatever could not be read is absent, and why is in `unread`.

use crate::api::mesh::MeshCNI;
use crate::api::node::MeshCNINodeStatus;
use crate::cli::leader::Lease;
use crate::controller::observed::Observed;
use crate::controller::preconditions;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// What a check looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Where the API server is.
    pub(super) server: String,
    /// Its version, as it calls itself.
    pub(super) version: String,
    /// Our definitions, by kind.
    pub(super) definitions: Vec<(&'static str, Definition)>,
    /// The cluster beside us.
    pub(super) cluster: preconditions::Facts,
    /// The switch, if it is there.
    pub(super) mesh: Option<MeshCNI>,
    /// Nodes, agents and their reports.
    pub(super) observed: Observed,
    /// What agents say, by node.
    pub(super) reports: BTreeMap<String, MeshCNINodeStatus>,
    /// Where the controller is.
    pub(super) home: String,
    /// The controller's pods; nothing where nobody could look.
    pub(super) controllers: Option<Vec<Controller>>,
    /// Who holds the Lease; nothing where nobody could look.
    pub(super) lease: Option<Lease>,
    /// What has pods admitted by us.
    pub(super) webhook: Webhook,
    /// What this user may do.
    pub(super) rights: Vec<(Right, bool)>,
    /// What could not be read, each with its reason.
    pub(super) unread: Vec<String>,
    /// The moment.
    pub(super) now: Timestamp,
}

/// How a definition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    /// It is not there.
    Absent,
    /// It is there, and not served.
    Refused,
    /// It lacks fields that this program knows, or has others: a few of them.
    Other(Vec<String>),
    /// It is this program's.
    Same,
}

/// A pod of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    /// Its name.
    pub(super) name: String,
    /// Whether it is Ready.
    pub(super) ready: bool,
    /// The tag of its image.
    pub(super) version: String,
}

/// What has pods admitted by us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Webhook {
    /// Whether it was looked for.
    pub(super) looked: bool,
    /// Its configuration, if it is there.
    pub(super) registered: Option<Registered>,
    /// Injectors' configurations that come behind ours.
    pub(super) behind: Vec<String>,
    /// The certificates that the replicas share.
    pub(super) certs: Option<Certificates>,
    /// How many addresses its Service leads to.
    pub(super) endpoints: Option<usize>,
    /// What became of a pod that was created as a dry run.
    pub(super) probe: Probe,
}

/// A webhook's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registered {
    /// Whom the API server trusts, as PEM.
    pub(super) bundle: String,
    /// Whether pods are refused while it does not answer.
    pub(super) fails: bool,
    /// Whether it is behind our Service.
    pub(super) service: bool,
}

/// The certificates that the replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificates {
    /// Whom to trust, as PEM.
    pub(super) bundle: String,
    /// Until when the serving certificate is good, in seconds since 1970.
    pub(super) until: u64,
    /// Since when.
    pub(super) from: u64,
}

/// What became of a pod with a stamp that nobody but our webhook takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Probe {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// The webhook was at it.
    Answered,
    /// The pod came through as it was.
    Passed,
    /// The API server could not call the webhook, and says why.
    Failed(String),
    /// The pod was refused before, or by somebody else.
    Unknown(String),
}

/// A right, and who needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Right {
    /// The commands that need it.
    pub(super) needed_by: &'static str,
    /// As RBAC has it.
    pub(super) verb: &'static str,
    /// See `verb`.
    pub(super) group: &'static str,
    /// See `verb`; with its subresource behind a slash.
    pub(super) resource: &'static str,
    /// Whether the controller's namespace is enough.
    pub(super) at_home: bool,
}

const fn right(
    needed_by: &'static str,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    at_home: bool,
) -> Right {
    Right { needed_by, verb, group, resource, at_home }
}

/// What the commands need.
pub(super) const RIGHTS: [Right; 10] = [
    right("status", "get", "millrace.dev", "meshcnis", false),
    right("status --watch", "watch", "millrace.dev", "meshcnis", false),
    right("enable, disable, exclude", "create", "millrace.dev", "meshcnis", false),
    right("enable, disable, exclude", "patch", "millrace.dev", "meshcnis", false),
    right("nodes", "list", "millrace.dev", "meshcninodes", false),
    right("plan, migrate", "list", "", "pods", false),
    right("migrate", "patch", "apps", "deployments", false),
    right("migrate", "patch", "apps", "statefulsets", false),
    right("migrate", "patch", "apps", "daemonsets", false),
    right("check", "list", "", "nodes", false),
];

/// What installing needs.
pub(super) const INSTALLING: [Right; 8] = [
    right("print crd | kubectl apply", "create", "apiextensions.k8s.io", "customresourcedefinitions", false),
    right("print | kubectl apply", "create", "", "namespaces", false),
    right("print | kubectl apply", "create", "rbac.authorization.k8s.io", "clusterroles", false),
    right("print | kubectl apply", "create", "rbac.authorization.k8s.io", "clusterrolebindings", false),
    right("print | kubectl apply", "create", "", "serviceaccounts", true),
    right("print | kubectl apply", "create", "", "configmaps", true),
    right("print | kubectl apply", "create", "apps", "daemonsets", true),
    right("enable", "create", "millrace.dev", "meshcnis", false),
];
