//! What happens at the API server that the node and the tale follow: pods of the node, endpoints, the agent's configuration, the
//! MeshCNI.
//!
//! It asks by watches alone, and changes nothing.

use anyhow::Context;
use futures::stream::{BoxStream, SelectAll, StreamExt, select_all};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::{self, watcher};
use serde_json::Value;

/// What happened.
#[derive(Debug)]
pub(crate) enum Change {
    /// A pod of the node is there, or is different.
    Pod(Value),
    /// A pod of the node is gone.
    Gone(Value),
    /// Somebody is behind a service who was not, or is no longer.
    Served,
    /// A ConfigMap is there, or is different.
    Config(Value),
    /// The MeshCNI is there, or is different.
    Mesh(Value),
}

/// All of it, as it happens.
pub(crate) struct Watch(SelectAll<BoxStream<'static, watcher::Result<Change>>>);

impl Watch {
    /// Follows the node `node`, and the ConfigMaps of `namespace`.
    pub(crate) fn new(client: &Client, node: &str, namespace: &str) -> Watch {
        let all = |version: &str, kind: &str| Api::all_with(client.clone(), &resource(version, kind));
        let pods = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let configs = Api::namespaced_with(client.clone(), namespace, &resource("v1", "ConfigMap"));
        let any = watcher::Config::default;
        Watch(select_all([
            follow(all("v1", "Pod"), pods, |pod, gone| {
                Some(if gone { Change::Gone(pod) } else { Change::Pod(pod) })
            }),
            follow(all("v1", "Endpoints"), any(), |_, _| Some(Change::Served)),
            follow(configs, any(), |config, gone| (!gone).then_some(Change::Config(config))),
            follow(all("millrace.dev/v1alpha1", "MeshCNI"), any(), |mesh, gone| {
                (!gone).then_some(Change::Mesh(mesh))
            }),
        ]))
    }

    /// The next.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Change> {
        self.0.next().await.context("the watches ended")?.context("cannot watch the API server")
    }
}

fn follow(
    api: Api<DynamicObject>,
    config: watcher::Config,
    change: impl Fn(Value, bool) -> Option<Change> + Send + 'static,
) -> BoxStream<'static, watcher::Result<Change>> {
    let changes = watcher(api, config).filter_map(move |event| {
        let change = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                change(value(&object), false).map(Ok)
            }
            Ok(watcher::Event::Delete(object)) => change(value(&object), true).map(Ok),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
            Err(cause) => Some(Err(cause)),
        };
        std::future::ready(change)
    });
    changes.boxed()
}

/// The tree of an object.
pub(crate) fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object that came as JSON is JSON")
}

/// Where an API server has a kind.
pub(crate) fn resource(version: &str, kind: &str) -> ApiResource {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "Endpoints" {
        // The only kind here whose plural is no plural of its name.
        resource.plural = "endpoints".to_owned();
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_where_an_api_server_has_them() {
        assert_eq!(resource("v1", "Endpoints").plural, "endpoints");
        let deployments = resource("apps/v1", "Deployment");
        assert_eq!((deployments.group.as_str(), deployments.plural.as_str()), ("apps", "deployments"));
        assert_eq!(resource("millrace.dev/v1alpha1", "MeshCNI").plural, "meshcnis");
    }
}
