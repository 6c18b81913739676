//! What the controller writes on nodes, and the pods it evicts from them; a bounded number in each round.
//!
//! It decides neither: `taint` and `heal` do.

use super::{Leader, params};
use crate::controller::apply::{Error, ask};
use crate::controller::heal::Stuck;
use crate::controller::taint::{self, Mark};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, EvictParams, Patch, Preconditions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

/// How many nodes are written to in one round; the others follow in the next.
const MARKS: usize = 100;

impl Leader {
    /// Writes on nodes.
    pub(super) async fn mark(&mut self, marks: &[Mark], taint: &str) -> Result<(), Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        for mark in marks.iter().take(MARKS) {
            let what = || format!("Node {}", mark.name);
            if let Some(labels) = &mark.labels {
                let (params, patch) = (params(), Patch::Merge(labels));
                gone(ask(&self.metrics, "patch", what, nodes.patch(&mark.name, &params, &patch)).await)?;
            }
            if let Some(on) = mark.taint {
                let found = gone(ask(&self.metrics, "get", what, nodes.get(&mark.name)).await)?;
                let Some(patch) = found.map(|node| tainted(&node, taint, on)) else { continue };
                let (params, patch) = (params(), Patch::Merge(&patch));
                gone(ask(&self.metrics, "patch", what, nodes.patch(&mark.name, &params, &patch)).await)?;
            }
            if let Some(condition) = &mark.condition {
                let (params, patch) = (params(), Patch::Strategic(condition));
                gone(
                    ask(&self.metrics, "patch", what, nodes.patch_status(&mark.name, &params, &patch)).await,
                )?;
            }
        }
        if marks.len() > MARKS {
            self.shared.ring();
        }
        Ok(())
    }

    /// Evicts pods that can never start where they are. One that a disruption budget keeps is tried again later.
    pub(super) async fn heal(&mut self, serving: &[String]) -> Result<(), Error> {
        let serving: BTreeSet<&str> = serving.iter().map(String::as_str).collect();
        let stuck = self.shared.world().stuck.clone();
        for pod in self.healing.decide(&stuck, &serving, Instant::now()) {
            let evicted = self.evict(&pod).await;
            self.metrics.evicted(evicted.is_ok());
            let Stuck { namespace, name, node, .. } = &pod;
            match evicted {
                Ok(()) => tracing::info!(
                    namespace,
                    name,
                    node,
                    "evicted a pod whose network was made before the node served (MR2303)"
                ),
                Err(error) => tracing::warn!("{error}; tried again later"),
            }
        }
        Ok(())
    }

    async fn evict(&self, pod: &Stuck) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let preconditions = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let params = EvictParams { delete_options: Some(delete), ..EvictParams::default() };
        let what = || format!("Pod {}/{}", pod.namespace, pod.name);
        gone(ask(&self.metrics, "evict", what, pods.evict(&pod.name, &params)).await).map(drop)
    }
}

/// At the version that was looked at: somebody else's taint must not be lost.
fn tainted(node: &Node, key: &str, on: bool) -> Value {
    let found = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let found = serde_json::to_value(found).expect("taints have a tree");
    let taints = taint::taints(found.as_array().map(Vec::as_slice).unwrap_or_default(), key, on);
    json!({ "metadata": { "resourceVersion": node.resource_version() }, "spec": { "taints": taints } })
}

/// What is gone needs nothing any more.
fn gone<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::Refused { cause: kube::Error::Api(status), .. }) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
