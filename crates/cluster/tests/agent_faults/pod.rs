//! The pods of the matrix: as an injector leaves them in the API, and as a runtime tells of them.

use millrace_core::settings::Settings;
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use serde_json::{Map, Value, json};

const STATUS: &str = "sidecar.istio.io/status";
const INJECTED: &str = r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"]}"#;

/// The kinds of pods that the matrix asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In the mesh, and the webhook has stamped it.
    Stamped,
    /// In the mesh, and nobody has stamped it: the agent decides.
    Unstamped,
    /// As [`Kind::Unstamped`], by a runtime that hands over no annotations.
    UnstampedUnknown,
    /// Outside the mesh.
    Plain,
    /// As [`Kind::Plain`], by a runtime that hands over no annotations.
    PlainUnknown,
    /// With a sidecar, in a namespace where `istio-init` redirects.
    Excluded,
}

impl Kind {
    /// All, in the order of the table's columns.
    pub(crate) const ALL: [Kind; 6] = [
        Kind::Stamped,
        Kind::Unstamped,
        Kind::UnstampedUnknown,
        Kind::Plain,
        Kind::PlainUnknown,
        Kind::Excluded,
    ];

    /// The column's title.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Stamped => "mesh, stamped",
            Kind::Unstamped => "mesh",
            Kind::UnstampedUnknown => "mesh, no annotations",
            Kind::Plain => "plain",
            Kind::PlainUnknown => "plain, no annotations",
            Kind::Excluded => "excluded",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Kind::Stamped | Kind::Unstamped | Kind::UnstampedUnknown => "mesh",
            Kind::Plain | Kind::PlainUnknown => "plain",
            Kind::Excluded => "legacy",
        }
    }

    fn in_mesh(self) -> bool {
        !matches!(self, Kind::Plain | Kind::PlainUnknown)
    }
}

/// One pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) kind: Kind,
    name: String,
    /// The UID as the API server gave it, where that is known.
    pub(crate) uid: Option<String>,
    is_of_job: bool,
    /// What the runtime hands over.
    pub(crate) handed_over: Option<Map<String, Value>>,
}

impl Pod {
    pub(crate) fn new(kind: Kind, name: &str) -> Pod {
        let unknown = matches!(kind, Kind::UnstampedUnknown | Kind::PlainUnknown);
        let annotations = annotations(kind);
        let handed_over = (!unknown).then_some(annotations);
        Pod { kind, name: name.to_owned(), uid: None, is_of_job: false, handed_over }
    }

    /// The same, made by a Job.
    pub(crate) fn of_job(mut self) -> Pod {
        self.is_of_job = true;
        self
    }

    pub(crate) fn namespace(&self) -> &'static str {
        self.kind.namespace()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `CNI_ARGS`.
    pub(crate) fn arguments(&self) -> String {
        let uid = self.uid.as_ref().map(|uid| format!(";K8S_POD_UID={uid}")).unwrap_or_default();
        format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={}{uid}", self.namespace(), self.name)
    }

    /// As the scheduler has left it.
    pub(crate) fn object(&self, node: &str) -> Value {
        let mut containers = vec![json!({ "name": "app", "image": "app" })];
        let mut init = Vec::new();
        if self.kind.in_mesh() {
            containers.push(json!({ "name": "istio-proxy", "image": "proxy", "args": ["proxy", "sidecar"] }));
            init.push(json!({ "name": "istio-validation", "image": "proxy" }));
        }
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "0", "controller": true
        });
        let (owners, restart) = if self.is_of_job { (vec![job], "Never") } else { (Vec::new(), "Always") };
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace(),
                "annotations": annotations(self.kind),
                "ownerReferences": owners,
            },
            "spec": {
                "nodeName": node,
                "restartPolicy": restart,
                "automountServiceAccountToken": false,
                "containers": containers,
                "initContainers": init,
            }
        })
    }
}

fn annotations(kind: Kind) -> Map<String, Value> {
    let mut annotations = Map::new();
    if kind.in_mesh() {
        annotations.insert(STATUS.to_owned(), INJECTED.into());
    }
    if kind == Kind::Stamped {
        let stamp = stamp::write(&Stamp::Redirect(Box::<Settings>::default()));
        annotations.insert(STAMP_ANNOTATION.to_owned(), stamp.into());
    }
    annotations
}
