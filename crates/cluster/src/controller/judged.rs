//! Has the API server ask us about a MeshCNI: the configuration that was installed with the controller gets the authority that our
//! certificates are signed by, and keeps it.
//!
//! It goes with the installation, so it is not made again when somebody removed it; only where there is no Service, as for a
//! controller run by hand, is it made here. One of that name that is somebody else's is left alone (M11).

use super::apply::{Error, REPLY, ask};
use super::children::{Endpoint, MANAGED_BY, MANAGER, bundle};
use super::metrics::Metrics;
use crate::print::controller::webhook;
use crate::print::words::VALIDATING;
use crate::storm::Storm;
use crate::webhook::serve::CHECK;
use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration as Configuration;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// The label by which an object is known to be of Millrace.
const PART_OF: &str = "app.kubernetes.io/part-of";
/// Somebody who changes it as often as we do is answered no more often than this.
const PAUSE: Duration = Duration::from_secs(2);
/// One failure after another is one line in so long, and a number.
const SILENCE: Duration = Duration::from_secs(60);

/// Where reviews go, and whom to trust there.
pub(crate) type Way = (watch::Receiver<String>, Option<String>);

/// Keeps it so, for ever.
pub(crate) async fn keep(client: Client, metrics: Metrics, namespace: String, way: Way) {
    let (mut trusted, url) = way;
    let api: Api<Configuration> = Api::all(client);
    let mut events = pin!(watcher::watch_object(api.clone(), VALIDATING).default_backoff());
    let mut failures = Storm::new(SILENCE, 1);
    let mut seen: Option<Option<Configuration>> = None;
    // The version that is as it should be.
    let mut good: Option<String> = None;
    // What was there and is gone was taken away.
    let mut known = false;
    loop {
        if let Some(found) = &seen {
            known |= found.is_some();
            let there = found.as_ref().and_then(ResourceExt::resource_version);
            if good.is_none() || good != there {
                let endpoint = Endpoint { bundle: trusted.borrow_and_update().clone(), url: url.clone() };
                let wanted = wanted(&namespace, &endpoint);
                let makes = url.is_some() && !known;
                match put(&api, &metrics, found.as_ref(), &wanted, makes).await {
                    Ok(version) => {
                        known |= version.is_some();
                        good = version.or(there);
                    }
                    Err(error) => {
                        if let Some(withheld) = failures.happens(Instant::now()) {
                            tracing::warn!(withheld, "{error}; tried again");
                        }
                    }
                }
                sleep(PAUSE).await;
            }
        }
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(found)) => seen = Some(found),
                Some(Err(error)) => {
                    if let Some(withheld) = failures.happens(Instant::now()) {
                        tracing::warn!(withheld, "watch {VALIDATING}: {error}; tried again");
                    }
                }
                None => return,
            },
            changed = trusted.changed() => match changed {
                Ok(()) => good = None,
                Err(_) => return,
            },
            // What failed is tried again.
            () = sleep(REPLY), if seen.is_some() && good.is_none() => {}
        }
    }
}

/// As it should be.
fn wanted(namespace: &str, endpoint: &Endpoint) -> Value {
    let mut tree = webhook(namespace);
    let client = &mut tree["webhooks"][0]["clientConfig"];
    if let Some(url) = &endpoint.url {
        *client = json!({ "url": at(url) });
    }
    client["caBundle"] = bundle(endpoint);
    tree
}

/// The same server, asked about a MeshCNI.
fn at(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split('/').next().unwrap_or(rest);
    format!("{scheme}://{host}{CHECK}")
}

/// Installed with us, or handed over.
fn is_ours(there: &Configuration) -> bool {
    let says = |label: &str, value: &str| there.labels().get(label).is_some_and(|said| said == value);
    says(PART_OF, "millrace") || says(MANAGED_BY, MANAGER)
}

/// Makes what is there so, whole: where it is asked is one thing or the other, never both. Returns its version then; none
/// where there is nothing to be done. One that is not there is made if `makes`.
async fn put(
    api: &Api<Configuration>,
    metrics: &Metrics,
    there: Option<&Configuration>,
    wanted: &Value,
    makes: bool,
) -> Result<Option<String>, Error> {
    let what = || format!("ValidatingWebhookConfiguration {VALIDATING}");
    let done = match there {
        Some(there) if !is_ours(there) => return Err(Error::Foreign { what: what() }),
        Some(_) => {
            let patch = json!({ "webhooks": wanted["webhooks"] });
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            ask(metrics, "patch", what, api.patch(VALIDATING, &params, &Patch::Merge(&patch))).await?
        }
        None if makes => {
            let object = serde_json::from_value(wanted.clone()).expect("what we made is one");
            ask(metrics, "create", what, api.create(&PostParams::default(), &object)).await?
        }
        None => return Ok(None),
    };
    Ok(done.resource_version())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: Option<&str>, expected: Value) {
        let endpoint = Endpoint { bundle: "A".to_owned(), url: url.map(str::to_owned) };
        let mut client = wanted("home", &endpoint)["webhooks"][0]["clientConfig"].take();
        assert_eq!(client["caBundle"].take(), json!("QQ=="));
        client.as_object_mut().expect("a map").remove("caBundle");
        assert_eq!(client, expected);
    }

    #[test]
    fn it_is_asked_where_pods_are() {
        let service =
            json!({ "namespace": "home", "name": "millrace-webhook", "path": "/check", "port": 443 });
        check(None, json!({ "service": service }));
        for url in ["https://192.0.2.1:9443/inject", "https://192.0.2.1:9443"] {
            check(Some(url), json!({ "url": "https://192.0.2.1:9443/check" }));
        }
    }
}
