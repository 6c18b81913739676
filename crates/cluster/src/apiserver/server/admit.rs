//! What webhooks have to say about what is about to be written or deleted.

use super::Server;
use crate::apiserver::admission::{Configured, Operation};
use crate::apiserver::draft::{self, Asked, Draft};
use crate::apiserver::refusal::Refusal;
use crate::apiserver::store::{Stored, Wanted, key};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;

impl Server {
    /// Settles a draft with what webhooks make of it. Whether it changes anything. Nothing is judged before those that change
    /// it have seen it: one may add what is missing.
    pub(super) async fn admit(&self, asked: &Asked, draft: &mut Draft) -> Result<bool, Refusal> {
        draft::prepare(asked, draft)?;
        let hooks = self.hooks();
        if hooks.iter().all(Vec::is_empty) {
            return draft::judge(asked, draft);
        }
        let operation = if draft.old.is_some() { Operation::Update } else { Operation::Create };
        let resolve = |namespace: &str, name: &str, port: u16| self.resolved(namespace, name, port);
        let configured = self.configured(asked, &hooks, &resolve);
        if self.admission.mutate(&configured, asked, operation, draft).await? {
            draft::prepare(asked, draft)?;
        }
        let changes = draft::judge(asked, draft)?;
        let objects = (&draft.before, &draft.new);
        self.admission.validate(&configured, asked, operation, objects, &mut draft.warnings).await?;
        Ok(changes)
    }

    /// Webhook configurations: those that mutate, and those that validate.
    fn hooks(&self) -> [Vec<Arc<Stored>>; 2] {
        let group = "admissionregistration.k8s.io";
        ["mutating", "validating"]
            .map(|what| self.list(&format!("{what}webhookconfigurations.{group}"), &Wanted::default()))
    }

    fn configured<'a>(
        &self,
        asked: &Asked,
        hooks: &'a [Vec<Arc<Stored>>; 2],
        resolve: &'a (dyn Fn(&str, &str, u16) -> Option<SocketAddr> + Sync),
    ) -> Configured<'a> {
        let namespace = self.read(|store| store.get("namespaces", &asked.namespace));
        Configured {
            mutating: &hooks[0],
            validating: &hooks[1],
            namespace: namespace.map(|namespace| namespace.labels.clone()),
            resolve,
        }
    }

    /// The address of a service: the one that was given, or its first endpoint.
    fn resolved(&self, namespace: &str, name: &str, port: u16) -> Option<SocketAddr> {
        let key = key(namespace, name);
        if let Some(address) = self.resolve.get(&key) {
            return Some(*address);
        }
        let endpoints = self.read(|store| store.get("endpoints", &key))?.value();
        let service = self.read(|store| store.get("services", &key)).map(|service| service.value());
        let ports = service.as_ref().and_then(|service| service["spec"]["ports"].as_array());
        let named = ports.into_iter().flatten().find(|one| one["port"] == port).map(|port| &port["name"]);
        let subset = endpoints["subsets"].as_array()?.iter().find(|subset| subset["addresses"].is_array())?;
        let of_name = |one: &&Value| named.is_none_or(|name| name.is_null() || one["name"] == *name);
        let number = subset["ports"].as_array()?.iter().find(of_name)?["port"].as_u64()?;
        let ip = subset["addresses"][0]["ip"].as_str()?.parse().ok()?;
        Some(SocketAddr::new(ip, u16::try_from(number).ok()?))
    }

    /// Lets webhooks refuse a deletion; what they warn of.
    pub(super) async fn admit_end(&self, asked: &Asked) -> Result<Vec<String>, Refusal> {
        let mut warnings = Vec::new();
        let hooks = self.hooks();
        if !hooks[1].is_empty() {
            let before = self.get(&asked.served.kind, &asked.namespace, &asked.name)?.value();
            let resolve = |namespace: &str, name: &str, port: u16| self.resolved(namespace, name, port);
            let configured = self.configured(asked, &hooks, &resolve);
            let objects = (&before, &Value::Null);
            self.admission.validate(&configured, asked, Operation::Delete, objects, &mut warnings).await?;
        }
        Ok(warnings)
    }
}
