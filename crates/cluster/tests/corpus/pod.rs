//! What the reader of pods and namespaces of the wire must survive: fed by the fuzzer (`fuzz/`) and, as a test, by the
//! committed corpus.
//!
//! It fails by panicking. Whatever the bytes, the reader returns; of what it read nothing is kept that no decision looks at,
//! and what is kept can be decided about.

use super::facts::{self, Seen, Space};
use kube::Resource;
use millrace_core::policy::{self, Verdict};
use millrace_core::{knobs, stamp};
use std::time::SystemTime;

/// An object as a list or a watch brings it.
pub(crate) fn pod(data: &[u8]) {
    if let Ok(space) = serde_json::from_slice::<Space>(data) {
        assert_eq!(Some(space.name()).filter(|name| !name.is_empty()), named(&space));
    }
    let Ok(seen) = serde_json::from_slice::<Seen>(data) else { return };
    for now in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 40)] {
        // Any time may be claimed.
        seen.age(now);
    }
    let (known, pod) = (&seen.known, &seen.known.pod);
    assert_eq!(named(&seen).unwrap_or_default(), pod.name);
    let ours = |key: &String| key.contains("istio.io") || key.contains("millrace.dev");
    assert!(pod.labels.keys().chain(pod.annotations.keys()).all(ours), "{pod:?}");
    // `proxy` and its type; words of others may be long, and secret.
    let is_short = |args: &[String]| args.is_empty() || args[0] == "proxy" && args.len() <= 2;
    assert!(pod.containers.iter().all(|one| is_short(&one.args)), "{pod:?}");
    assert!(pod.uid.iter().chain(&known.static_uid).all(|uid| known.is(uid)));

    let decision = policy::decide(pod, &policy::Mesh::default());
    // Else its namespace might not be told to the plugin as one of the mesh.
    assert!(facts::is_meshed(pod) || decision.verdict != Verdict::Redirect, "{decision:?}");
    let (settings, complaints) = knobs::settings_of(pod, policy::PROXY, &knobs::Defaults::default());
    if !complaints.iter().any(|complaint| complaint.fatal) {
        let stamp = stamp::Stamp::Redirect(Box::new(settings));
        assert_eq!(stamp::read(&stamp::write(&stamp)), Ok(stamp));
    }
}

fn named(object: &impl Resource) -> Option<&str> {
    object.meta().name.as_deref().filter(|name| !name.is_empty())
}
