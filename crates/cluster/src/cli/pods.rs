//! The pods that a command is asked about, read from the API server: one, those of a workload, of a namespace, or all.
//!
//! Reads and writes nothing. What belongs to a workload is told by who owns a pod, as in a plan.

use super::connect::{Connection, Error};
use super::plan;
use crate::args::cluster::Scope;
use crate::args::subject::{Kind, Subject};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use serde_json::{Value, json};

/// What is asked about, in which namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) subject: Option<&'a Subject>,
    pub(super) scope: &'a Scope,
}

impl Asked<'_> {
    /// The namespace of what states none: by the flag, else by the kubeconfig's context.
    fn namespace(&self, connection: &Connection) -> String {
        let flag = self.scope.namespace.clone();
        flag.unwrap_or_else(|| connection.client.default_namespace().to_owned())
    }

    /// The pods.
    pub(super) async fn pods(&self, connection: &Connection) -> Result<Vec<Value>, Error> {
        let named = self.namespace(connection);
        let (namespace, workload) = match self.subject {
            Some(Subject::Pod { namespace, name }) => {
                let namespace = namespace.clone().unwrap_or(named);
                return Ok(vec![one(connection, &ApiResource::erase::<Pod>(&()), &namespace, name).await?]);
            }
            Some(Subject::Namespace(name)) => (name.clone(), None),
            Some(Subject::Workload { kind, name }) => (named, Some((kind.name().to_owned(), name.clone()))),
            None => (named, None),
        };
        let scope = Scope {
            namespace: (!self.scope.all_namespaces).then_some(namespace),
            all_namespaces: self.scope.all_namespaces,
        };
        let mut found = Vec::new();
        let mut look = |pod: &Value| {
            if workload.is_none() || plan::workload(pod) == workload {
                found.push(of_kind(pod.clone(), "Pod"));
            }
        };
        plan::pods(connection, &scope, &mut look).await?;
        if found.is_empty() {
            return Err(Error::Absent { act: format!("find pods of {}", self.words(connection)) });
        }
        Ok(found)
    }

    /// The object whose template counts: the workload where one is named; else the pods.
    pub(super) async fn objects(&self, connection: &Connection) -> Result<Vec<Value>, Error> {
        match self.subject {
            Some(Subject::Workload { kind, name }) if !self.scope.all_namespaces => {
                let namespace = self.namespace(connection);
                let object = one(connection, &resource(*kind), &namespace, name).await?;
                Ok(vec![of_kind(object, kind.name())])
            }
            _ => self.pods(connection).await,
        }
    }

    /// As people name it.
    pub(super) fn words(&self, connection: &Connection) -> String {
        let named = if self.scope.all_namespaces {
            "all namespaces".to_owned()
        } else {
            format!("namespace {}", self.namespace(connection))
        };
        match self.subject {
            Some(Subject::Pod { name, .. }) => format!("pod {name} in {named}"),
            Some(Subject::Workload { kind, name }) => format!("{} {name} in {named}", kind.name()),
            Some(Subject::Namespace(name)) => format!("namespace {name}"),
            None => named,
        }
    }
}

/// One object of a kind in a namespace, as it is on the wire, its kind included.
pub(crate) async fn one(
    connection: &Connection,
    kind: &ApiResource,
    namespace: &str,
    name: &str,
) -> Result<Value, Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(connection.client.clone(), namespace, kind);
    let act = format!("read {} {namespace}/{name}", kind.kind);
    let found = connection.ask(&act, api.get(name)).await?;
    let object = serde_json::to_value(found).expect("an object that was read can be written");
    Ok(of_kind(object, &kind.kind))
}

/// Items of a list do not say what they are.
fn of_kind(mut object: Value, kind: &str) -> Value {
    object["kind"] = json!(kind);
    object
}

fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        Kind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        Kind::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
        Kind::Job => ApiResource::erase::<Job>(&()),
        Kind::CronJob => ApiResource::erase::<CronJob>(&()),
    }
}
