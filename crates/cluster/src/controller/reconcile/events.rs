//! What the controller tells in events of the MeshCNI, for whoever reads `kubectl describe`.
//!
//! Nobody waits for one, and one that is not taken is only logged.

use super::Leader;
use crate::api::mesh::MeshCNI;
use crate::api::status::{MeshCNIStatus, Phase, State};
use crate::controller::apply::ask;
use crate::controller::children::MANAGER;
use crate::controller::decision::Decision;
use crate::controller::transition::Wanted;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, PostParams};

const NORMAL: &str = "Normal";
const WARNING: &str = "Warning";
/// Where events about what has no namespace are (core/v1 validation).
const NAMESPACE: &str = "default";
/// The longest text of an event that an API server takes (core/v1 validation, `NoteLengthLimit`).
const LONGEST: usize = 1024;

impl Leader {
    /// Events of the MeshCNI: what changed, and who is left behind.
    pub(super) async fn tell(&self, mesh: &MeshCNI, before: &MeshCNIStatus, decision: &Decision) {
        let now = &decision.status;
        let ready = now.conditions.iter().find(|condition| condition.kind == "Ready");
        let why = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        if let Some(state) = now.state.filter(|state| Some(*state) != before.state) {
            tracing::info!(?state, "{why}");
            self.event(mesh, NORMAL, &format!("{state:?}"), why.clone()).await;
        }
        if now.phase != before.phase {
            match now.phase {
                Some(Phase::Degraded) => self.event(mesh, WARNING, "Degraded", why).await,
                Some(Phase::Running) => self.event(mesh, NORMAL, "Running", why).await,
                Some(Phase::Disabled | Phase::Updating) | None => {}
            }
        }
        if decision.wanted == Wanted::Uninstall
            && now.state == Some(State::Absent)
            && !decision.left.is_empty()
        {
            let nodes = decision.left.join(", ");
            let note =
                format!("not cleared, as they are not Ready: {nodes}; run millrace agent uninstall there");
            self.event(mesh, WARNING, "NodesLeft", note).await;
        }
    }

    async fn event(&self, mesh: &MeshCNI, kind: &str, reason: &str, note: String) {
        let event = event(mesh, kind, reason, &note, &self.orders.identity, Timestamp::now());
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let (what, params) = (|| "an event of the MeshCNI".to_owned(), PostParams::default());
        if let Err(error) = ask(&self.metrics, "create", what, events.create(&params, &event)).await {
            tracing::warn!("{error}");
        }
    }
}

/// As the kubelet's, without an eventTime: with one, Kubernetes 1.20 wants events about cluster-wide objects elsewhere.
fn event(mesh: &MeshCNI, kind: &str, reason: &str, note: &str, who: &str, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", mesh.name_any(), now.as_nanosecond())),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("millrace.dev/v1alpha1".to_owned()),
            kind: Some("MeshCNI".to_owned()),
            name: Some(mesh.name_any()),
            uid: mesh.uid(),
            ..ObjectReference::default()
        },
        action: Some("Reconcile".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(note[..note.floor_char_boundary(LONGEST)].to_owned()),
        type_: Some(kind.to_owned()),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        reporting_component: Some(MANAGER.to_owned()),
        reporting_instance: Some(who.to_owned()),
        source: Some(EventSource { component: Some(MANAGER.to_owned()), host: None }),
        ..Event::default()
    }
}
