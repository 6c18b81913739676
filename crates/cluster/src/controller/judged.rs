//! Has the API server ask us about a MeshCNI: the configuration that was installed with the controller gets the authority that our
//! certificates are signed by, and keeps it.
//!
//! It goes with the installation, so it is not made again when somebody removed it; only where there is no Service, as for a
//! controller run by hand, is it made here. One of that name that is somebody else's is left alone (M11).

use super::apply::{Error, ask};
use super::children::{Endpoint, MANAGED_BY, MANAGER, bundle};
use super::metrics::Metrics;
use crate::api::ours::PART_OF;
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
use tokio::time::sleep_until;

/// Somebody else who changes it as often as we do is answered no more often than this: each of his changes is an event, and
/// none tells that he has stopped.
const PAUSE: Duration = Duration::from_secs(2);
/// A write that failed is tried again after so long: no event tells that it would succeed now.
const AGAIN: Duration = Duration::from_secs(5);
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
    let mut warn = |failure: String| {
        if let Some(withheld) = failures.happens(Instant::now()) {
            tracing::warn!(withheld, "{failure}");
        }
    };
    let mut course = Course { makes: url.is_some(), ..Course::default() };
    loop {
        let due = course.due(Instant::now());
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(found)) => course.sees(found),
                Some(Err(error)) => warn(format!("watch {VALIDATING}: {error}; tried again")),
                None => return,
            },
            changed = trusted.changed() => match changed {
                Ok(()) => course.trusts_another(),
                Err(_) => return,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                let endpoint = Endpoint { bundle: trusted.borrow_and_update().clone(), url: url.clone() };
                let wanted = wanted(&namespace, &endpoint);
                let put = put(&api, &metrics, course.there(), &wanted, course.makes).await;
                match &put {
                    Ok(_) => {}
                    Err(foreign @ Error::Foreign { .. }) => warn(foreign.to_string()),
                    Err(error) => warn(format!("{error}; tried again")),
                }
                course.did(put, Instant::now());
            }
        }
    }
}

/// What is known of the configuration, and from when on it may be written.
#[derive(Debug, Default)]
struct Course {
    /// Whether it is made if it is not there: what was there and is gone was taken away.
    makes: bool,
    /// As it was last; nothing before it was looked for.
    seen: Option<Option<Configuration>>,
    /// The version, or the absence, that nothing is to be done about.
    settled: Option<Option<String>>,
    /// Not before that.
    rest: Option<Instant>,
}

impl Course {
    /// It is so now.
    fn sees(&mut self, found: Option<Configuration>) {
        self.makes &= found.is_none();
        self.seen = Some(found);
    }

    /// Other certificates are to be trusted: that waits for nobody.
    fn trusts_another(&mut self) {
        (self.settled, self.rest) = (None, None);
    }

    /// The moment to write it, if it is to be.
    fn due(&self, now: Instant) -> Option<Instant> {
        self.seen.as_ref()?;
        let owed = self.settled.as_ref() != Some(&self.version());
        owed.then(|| self.rest.unwrap_or(now))
    }

    /// What came of it.
    fn did(&mut self, put: Result<Option<Configuration>, Error>, now: Instant) {
        match put {
            Ok(Some(written)) => {
                self.sees(Some(written));
                (self.settled, self.rest) = (Some(self.version()), Some(now + PAUSE));
            }
            // The watch tells when it is another's no more, and when it is installed.
            Ok(None) | Err(Error::Foreign { .. }) => self.settled = Some(self.version()),
            Err(_) => self.rest = Some(now + AGAIN),
        }
    }

    /// As far as is known.
    fn there(&self) -> Option<&Configuration> {
        self.seen.as_ref()?.as_ref()
    }

    fn version(&self) -> Option<String> {
        self.there().and_then(ResourceExt::resource_version)
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

/// Makes what is there so, whole: where it is asked is one thing or the other, never both. Returns it as it is then; nothing
/// where there is nothing to be done. One that is not there is made if `makes`.
async fn put(
    api: &Api<Configuration>,
    metrics: &Metrics,
    there: Option<&Configuration>,
    wanted: &Value,
    makes: bool,
) -> Result<Option<Configuration>, Error> {
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
    Ok(Some(done))
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

    fn version(version: u32) -> Configuration {
        let tree = json!({ "metadata": { "name": VALIDATING, "resourceVersion": version.to_string() } });
        serde_json::from_value(tree).expect("it is one")
    }

    fn refused() -> Error {
        Error::Silent { act: "patch", what: VALIDATING.to_owned(), patience: PAUSE }
    }

    /// When it is written next, in seconds after `began`.
    fn due(course: &Course, began: Instant, now: Instant) -> Option<u64> {
        course.due(now).map(|at| at.duration_since(began).as_secs())
    }

    #[test]
    fn it_is_written_when_it_is_another() {
        let (began, mut course) = (Instant::now(), Course::default());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        assert_eq!(due(&course, began, at(0)), None, "nobody looked yet");
        course.sees(Some(version(1)));
        assert_eq!(due(&course, began, at(1)), Some(1));
        course.did(Ok(Some(version(2))), at(1));
        assert_eq!(due(&course, began, at(1)), None);
        course.sees(Some(version(2)));
        assert_eq!(due(&course, began, at(1)), None, "our own write");
        course.sees(Some(version(3)));
        assert_eq!(due(&course, began, at(1)), Some(3), "somebody fights");
        course.trusts_another();
        assert_eq!(due(&course, began, at(1)), Some(1), "that waits for nobody");
        course.did(Err(refused()), at(1));
        assert_eq!(due(&course, began, at(2)), Some(6), "again");
        course.did(Ok(Some(version(4))), at(6));
        assert_eq!(due(&course, began, at(60)), None);
    }

    #[test]
    fn what_nothing_can_be_done_about_waits_for_an_event() {
        let now = Instant::now();
        let check = |put: Result<Option<Configuration>, Error>, next: Option<Configuration>| {
            let mut course = Course::default();
            course.sees(Some(version(1)));
            course.did(put, now);
            assert_eq!(course.due(now), None);
            course.sees(next);
            assert_eq!(course.due(now), Some(now));
        };
        check(Err(Error::Foreign { what: String::new() }), Some(version(2)));
        check(Err(Error::Foreign { what: String::new() }), None);
        check(Ok(None), Some(version(2)));
    }

    #[test]
    fn what_was_taken_away_is_not_made_again() {
        let mut course = Course { makes: true, ..Course::default() };
        course.sees(None);
        assert!(course.makes);
        course.did(Ok(Some(version(1))), Instant::now());
        course.sees(None);
        assert!(!course.makes);
    }
}
