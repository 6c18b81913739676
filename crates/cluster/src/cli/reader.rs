//! Reads a cluster for the commands that judge it. What may not be read, or is not answered, is noted with its reason, and the
//! rest is read all the same.
//!
//! It judges nothing, and changes nothing.

use super::connect::{Connection, MOST_NODES};
use super::nodes;
use super::wait::Line;
use crate::api::node::MeshCNINode;
use crate::controller::apply::{self, Asker};
use crate::controller::observed::{self, Observed};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Whoever reads, and what could not be read.
pub(super) struct Reader<'a> {
    pub(super) connection: &'a Connection,
    /// Where the controller and its objects are.
    pub(super) home: &'a str,
    verb: &'static str,
    line: Line,
    unread: Mutex<Vec<String>>,
}

impl<'a> Reader<'a> {
    /// One that has read nothing yet, for the command of that name.
    pub(super) fn new(
        verb: &'static str,
        connection: &'a Connection,
        home: &'a str,
        line: Line,
    ) -> Reader<'a> {
        Reader { connection, home, verb, line, unread: Mutex::default() }
    }

    /// Says what is being read.
    pub(super) fn show(&mut self, what: &str) {
        self.line.show(&format!("{}: {what}", self.verb));
    }

    /// What was read, or nothing and a note of why.
    pub(super) fn noted<T>(&self, read: Result<T, impl Display>) -> Option<T> {
        read.map_err(|error| self.note(error.to_string())).ok()
    }

    fn note(&self, why: String) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).push(why);
    }

    /// An object as this program knows its kind.
    pub(super) fn typed<T: DeserializeOwned>(&self, what: &str, value: Value) -> Option<T> {
        let read = serde_json::from_value(value);
        self.noted(read.map_err(|error| format!("cannot read {what}: {error} (MR5017)")))
    }

    /// All nodes.
    pub(super) async fn nodes(&self, observed: &mut Observed) -> Option<()> {
        let api: Api<Node> = Api::all(self.connection.client.clone());
        let mut keep = |node: Node| observed.nodes.extend([observed::node(&node)]);
        let params = ListParams::default();
        let read = self.connection.pages("list nodes", &api, params, MOST_NODES, &mut keep).await;
        self.noted(read)
    }

    /// What agents say.
    pub(super) async fn reports(&self) -> Vec<MeshCNINode> {
        let all = self.noted(nodes::all(self.connection).await).into_iter().flatten();
        all.filter_map(|report| self.typed("a MeshCNINode", report)).collect()
    }

    /// What could not be read, each with its reason.
    pub(super) fn unread(mut self) -> Vec<String> {
        self.line.clear();
        self.unread.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For requests that are made by the controller's own functions. What is not there is no failure.
impl Asker for Reader<'_> {
    fn heard(&self, _: &'static str, failed: Option<&apply::Error>) {
        let absent = |error: &apply::Error| matches!(error, apply::Error::Refused { cause: kube::Error::Api(status), .. } if status.code == 404);
        if let Some(error) = failed.filter(|error| !absent(error)) {
            self.note(format!("cannot {error}"));
        }
    }

    fn patience(&self) -> Duration {
        self.connection.patience
    }
}
