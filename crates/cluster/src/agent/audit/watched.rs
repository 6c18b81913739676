//! This node's pods as the watch keeps them, in the shape that the audit judges. It keeps nothing of its own.

use super::{Known, Node};
use crate::agent::pods::{self, Pods};
use millrace_core::policy::Mesh;
use millrace_core::repair::Life;
use tokio::sync::watch;

/// The watched pods of a node.
pub(crate) struct Watched<S> {
    pods: Pods,
    mesh: watch::Receiver<Mesh>,
    label: (String, String),
    serving: S,
}

impl<S: Fn() -> bool> Watched<S> {
    /// `mesh` is what the operator says, `label` is what marks a pod, `serving` tells whether a pod that starts now
    /// would be redirected.
    pub(crate) fn new(
        pods: Pods,
        mesh: watch::Receiver<Mesh>,
        label: (String, String),
        serving: S,
    ) -> Watched<S> {
        Watched { pods, mesh, label, serving }
    }
}

impl<S: Fn() -> bool> Node for Watched<S> {
    fn uids(&self) -> Vec<String> {
        self.pods.list().iter().filter_map(|known| known.pod.uid.clone()).collect()
    }

    fn known(&self, uid: &str) -> Option<Known> {
        let all = self.pods.list();
        let known = all.iter().find(|known| known.pod.uid.as_deref() == Some(uid))?;
        Some(judged(known, &self.label))
    }

    fn mesh(&self) -> Mesh {
        self.mesh.borrow().clone()
    }

    fn is_serving(&self) -> bool {
        (self.serving)()
    }
}

fn judged(known: &pods::Known, (key, value): &(String, String)) -> Known {
    let uid = known.pod.uid.clone().unwrap_or_default();
    Known {
        node_uid: known.static_uid.clone().unwrap_or_else(|| uid.clone()),
        life: match known {
            known if known.ending => Life::Ending,
            known if known.started => Life::Started,
            _ => Life::Waiting,
        },
        addresses: known.addresses.clone(),
        controlled: known.controlled,
        mirror: known.static_uid.is_some(),
        labelled: known.pod.labels.get(key) == Some(value),
        pod: known.pod.clone(),
        uid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::pod::Pod;

    #[test]
    fn a_static_pod_is_sought_by_the_uid_that_its_node_gave_it() {
        let label = ("millrace.dev/unprotected".to_owned(), "true".to_owned());
        let pod = Pod { uid: Some("mirror".to_owned()), ..Pod::default() };
        let mut known = pods::Known { pod, static_uid: Some("hash".to_owned()), ..pods::Known::default() };
        let seen = judged(&known, &label);
        assert_eq!((seen.uid.as_str(), seen.node_uid.as_str()), ("mirror", "hash"));
        assert!(seen.mirror && !seen.labelled && seen.life == Life::Waiting);
        known.static_uid = None;
        known.started = true;
        known.pod.labels.insert(label.0.clone(), label.1.clone());
        let seen = judged(&known, &label);
        assert!(seen.node_uid == "mirror" && !seen.mirror && seen.labelled && seen.life == Life::Started);
        known.ending = true;
        assert_eq!(judged(&known, &label).life, Life::Ending);
    }
}
