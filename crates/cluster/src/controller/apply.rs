//! Our objects on the API server: applied where they differ from what was applied last, deleted where they are too many.
//!
//! It decides nothing about what is wanted. An object that somebody else owns is never taken over (M11).

use super::children::{Key, MANAGED_BY, MANAGER, key};
use super::metrics::Metrics;
use super::world::Child;
use crate::api::convert::text_digest;
use crate::api::kinds::resource;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// For one request.
const REPLY: Duration = Duration::from_secs(10);

/// Why an object is not as it should be.
#[derive(Debug)]
pub(crate) enum Error {
    /// The API server refused.
    Refused { act: &'static str, what: String, cause: kube::Error },
    /// It did not answer within that.
    Silent { act: &'static str, what: String, patience: Duration },
    /// An object of that name is somebody else's.
    Foreign { what: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused { act, what, cause } => write!(f, "{act} {what}: {cause}"),
            Error::Silent { act, what, patience } => {
                write!(f, "{act} {what}: the API server did not answer within {} s", patience.as_secs())
            }
            Error::Foreign { what } => {
                write!(
                    f,
                    "apply {what}: it is there and not ours; remove it, or give it the label {MANAGED_BY}={MANAGER}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether the object was changed by somebody else since it was looked at: the next look sees it.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Error::Refused { cause: kube::Error::Api(status), .. } if status.code == 409)
    }
}

/// What was applied, so that nothing is applied twice.
pub(crate) struct Hand {
    client: Client,
    metrics: Metrics,
    applied: BTreeMap<Key, Applied>,
}

struct Applied {
    digest: String,
    version: String,
}

impl Hand {
    /// One that has applied nothing yet.
    pub(crate) fn new(client: Client, metrics: Metrics) -> Hand {
        Hand { client, metrics, applied: BTreeMap::new() }
    }

    /// Makes `tree` so, if it is not; `found` are our objects as they are. Returns whether a request was needed.
    pub(crate) async fn apply(&mut self, tree: &Value, found: &BTreeMap<Key, Child>) -> Result<bool, Error> {
        let key = key(tree);
        let digest = text_digest(&tree.to_string());
        let there = found.get(&key);
        let same = |applied: &Applied| {
            applied.digest == digest && there.is_some_and(|there| there.version == applied.version)
        };
        if self.applied.get(&key).is_some_and(same) {
            return Ok(false);
        }
        if there.is_none() {
            self.is_free(&key).await?;
        }
        let params = PatchParams::apply(MANAGER).force();
        let api = self.api(&key);
        let patch = Patch::Apply(tree);
        let applied = self.ask("apply", &key, api.patch(&key.name, &params, &patch)).await?;
        let generation = applied.metadata.generation.map(|generation| generation.to_string());
        let version = generation.or_else(|| applied.resource_version()).unwrap_or_default();
        self.applied.insert(key, Applied { digest, version });
        Ok(true)
    }

    /// Deletes an object, if it is there; those that it owns go with it.
    pub(crate) async fn delete(&mut self, key: &Key) -> Result<(), Error> {
        self.applied.remove(key);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let api = self.api(key);
        match self.ask("delete", key, api.delete(&key.name, &params)).await {
            Err(Error::Refused { cause: kube::Error::Api(status), .. }) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }

    /// Makes an object that is nobody's, if it is not there.
    pub(crate) async fn create(&mut self, tree: &Value) -> Result<(), Error> {
        let key = key(tree);
        let api = self.api(&key);
        if self.ask("get", &key, api.get_opt(&key.name)).await?.is_some() {
            return Ok(());
        }
        let object: DynamicObject = serde_json::from_value(tree.clone()).expect("what we made is an object");
        match self.ask("create", &key, api.create(&PostParams::default(), &object)).await {
            Err(Error::Refused { cause: kube::Error::Api(status), .. }) if status.code == 409 => Ok(()),
            other => other.map(drop),
        }
    }

    /// An object that the watch of ours does not show may be there without our label.
    async fn is_free(&self, key: &Key) -> Result<(), Error> {
        let api = self.api(key);
        let there: Option<DynamicObject> = self.ask("get", key, api.get_opt(&key.name)).await?;
        let foreign = there.is_some_and(|there| !is_ours(&there));
        if foreign { Err(Error::Foreign { what: named(key) }) } else { Ok(()) }
    }

    fn api(&self, key: &Key) -> Api<DynamicObject> {
        api(&self.client, key)
    }

    async fn ask<T>(
        &self,
        act: &'static str,
        key: &Key,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        ask(&self.metrics, act, || named(key), request).await
    }
}

/// Whoever has requests made: hears how each went, and says how long one may take.
pub(crate) trait Asker {
    /// How one went.
    fn heard(&self, act: &'static str, failed: Option<&Error>);
    /// How long one may take.
    fn patience(&self) -> Duration {
        REPLY
    }
}

impl Asker for Metrics {
    fn heard(&self, act: &'static str, failed: Option<&Error>) {
        self.requested(act, failed.is_none());
    }
}

/// One request, within its deadline, heard of.
pub(crate) async fn ask<T>(
    asker: &impl Asker,
    act: &'static str,
    what: impl Fn() -> String,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    let patience = asker.patience();
    let answer = match timeout(patience, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(cause)) => Err(Error::Refused { act, what: what(), cause }),
        Err(_) => Err(Error::Silent { act, what: what(), patience }),
    };
    asker.heard(act, answer.as_ref().err());
    answer
}

/// Where an object is asked for.
pub(crate) fn api(client: &Client, key: &Key) -> Api<DynamicObject> {
    let resource = resource(&key.kind);
    match key.namespace.as_str() {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

/// Whether it carries our label.
pub(crate) fn is_ours(object: &DynamicObject) -> bool {
    object.labels().get(MANAGED_BY).is_some_and(|by| by == MANAGER)
}

/// An object, for people.
pub(crate) fn named(key: &Key) -> String {
    match key.namespace.as_str() {
        "" => format!("{} {}", key.kind, key.name),
        namespace => format!("{} {namespace}/{}", key.kind, key.name),
    }
}
