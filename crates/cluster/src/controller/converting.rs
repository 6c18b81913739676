//! Which webhooks convert pods, and by which generation of the MeshCNI: a ConfigMap in which each replica keeps a line of its own.
//!
//! A replica has its line before it converts, and moves or strikes it once it goes by what is new. So whoever acts need not know
//! who is there: when no line is behind, nobody admits pods by what was wanted before. A line whose replica died is struck after
//! [`SILENT`], when a replica that lives has stopped by itself. It decides nothing about pods.

use super::apply::{Error, ask};
use super::children::MANAGER;
use super::metrics::Metrics;
use super::watches::changes;
use super::world::Shared;
use crate::api::convert::text_digest;
use crate::print::words::{COMPONENT, WEBHOOK};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who has heard nothing for so long converts no more.
pub(super) const DOUBT: Duration = Duration::from_secs(20);
/// Until a line that stays behind is struck: its replica is in doubt by then, also one that was asked at the last moment.
pub(super) const SILENT: Duration = Duration::from_secs(30);
/// The ConfigMap.
pub(crate) const NAME: &str = WEBHOOK;

/// The line of one replica.
pub(super) struct Line {
    map: Map,
    key: String,
    says: Says,
}

/// What stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Nobody knows: an earlier process of that name may have written it, and somebody may have struck it.
    Anything,
    Nothing,
    Generation(i64),
}

/// The ConfigMap.
#[derive(Clone)]
pub(super) struct Map {
    api: Api<ConfigMap>,
    metrics: Metrics,
}

impl Line {
    /// The line of that replica.
    pub(super) fn new(map: Map, identity: &str) -> Line {
        // Not every name is a key (validation of ConfigMaps), and of two that became one both would be one replica.
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        let key = match identity.len() <= 253 && identity.chars().all(fits) && !identity.starts_with('.') {
            true => identity.to_owned(),
            false => text_digest(identity),
        };
        Line { map, key, says: Says::Anything }
    }

    /// Whether it is known to be there.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.says, Says::Generation(_))
    }

    /// From now on it may have been struck.
    pub(super) fn doubt(&mut self) {
        self.says = Says::Anything;
    }

    /// Says by which generation this replica converts pods, or that it converts none.
    pub(super) async fn say(&mut self, generation: Option<i64>) -> Result<(), Error> {
        let says = generation.map_or(Says::Nothing, Says::Generation);
        if self.says == says {
            return Ok(());
        }
        match generation {
            Some(generation) => self.map.write(&self.key, generation).await?,
            None => self.map.strike(std::slice::from_ref(&self.key)).await?,
        }
        self.says = says;
        Ok(())
    }
}

impl Map {
    /// The one in that namespace.
    pub(super) fn new(client: Client, namespace: &str, metrics: Metrics) -> Map {
        Map { api: Api::namespaced(client, namespace), metrics }
    }

    /// The lines that are behind this generation; all, where none is to convert by it.
    pub(super) async fn behind(&self, generation: Option<i64>) -> Result<Vec<String>, Error> {
        let map = ask(&self.metrics, "get", what, self.api.get_opt(NAME)).await?;
        Ok(behind(map.and_then(|map| map.data).unwrap_or_default(), generation))
    }

    /// Strikes lines. Where none is there is nothing to do.
    pub(super) async fn strike(&self, keys: &[String]) -> Result<(), Error> {
        let lines: serde_json::Map<String, Value> =
            keys.iter().map(|key| (key.clone(), Value::Null)).collect();
        let (params, patch) = (params(MANAGER.to_owned()), Patch::Merge(json!({ "data": lines })));
        match ask(&self.metrics, "patch", what, self.api.patch(NAME, &params, &patch)).await {
            Err(Error::Refused { cause: kube::Error::Api(status), .. }) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    }

    /// By a field manager of its own, so that no replica takes away another's.
    async fn write(&self, key: &str, generation: i64) -> Result<(), Error> {
        let labels =
            json!({ "app.kubernetes.io/component": COMPONENT, "app.kubernetes.io/part-of": "millrace" });
        let mut tree = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": NAME, "labels": labels }, "data": {},
        });
        tree["data"][key] = generation.to_string().into();
        let params = params(format!("{NAME}-{}", text_digest(key))).force();
        let patch = Patch::Apply(&tree);
        ask(&self.metrics, "apply", what, self.api.patch(NAME, &params, &patch)).await.map(drop)
    }
}

/// Rings whenever a line is another, for ever.
pub(super) async fn listen(client: Client, namespace: String, shared: Shared) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let mut changed = changes(api, NAME);
    while changed.next().await.is_some() {
        shared.ring();
    }
}

fn behind(lines: BTreeMap<String, String>, generation: Option<i64>) -> Vec<String> {
    let is_behind = |text: &str| match (text.parse::<i64>(), generation) {
        (Ok(goes_by), Some(generation)) => goes_by < generation,
        _ => true,
    };
    lines.into_iter().filter(|(_, text)| is_behind(text)).map(|(key, _)| key).collect()
}

fn what() -> String {
    format!("ConfigMap {NAME}")
}

fn params(manager: String) -> PatchParams {
    PatchParams { field_manager: Some(manager), ..PatchParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&str, &str)], generation: Option<i64>, expected: &[&str]) {
        let lines = lines.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        assert_eq!(behind(lines, generation), expected);
    }

    #[test]
    fn a_line_is_behind_until_it_says_otherwise() {
        check(&[], Some(3), &[]);
        check(&[("a", "3"), ("b", "2"), ("c", "4"), ("d", "x")], Some(3), &["b", "d"]);
        check(&[("a", "3"), ("b", "4")], None, &["a", "b"]);
    }
}
