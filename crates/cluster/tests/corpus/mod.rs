//! What the reader of manifests must survive: fed by the fuzzer (`fuzz/`) and, as a test, by the committed corpus.
//!
//! It fails by panicking. Whatever the bytes, the reader returns, and what it found can be decided about and be told.

use crate::facts;
use millrace_core::policy::{self, Verdict};
use millrace_core::{knobs, stamp};

/// A manifest.
pub(crate) fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = match facts::pods(text, "here") {
        Ok(found) => found,
        Err(error) => return assert!(!format!("{error:#}").is_empty()),
    };
    assert!(!found.is_empty());
    for facts::Found { pod, kind, complaints } in &found {
        assert!(!kind.is_empty() && !pod.namespace.is_empty(), "{pod:?}");
        assert!(complaints.iter().all(|complaint| complaint.fatal), "{complaints:?}");
        let (settings, complaints) = knobs::settings_of(pod, policy::PROXY, &knobs::Defaults::default());
        let told = complaints.iter().map(ToString::to_string);
        assert!(told.chain(complaints.iter().map(|one| one.fix.clone())).all(|line| !line.is_empty()));
        let decision = policy::decide(pod, &policy::Mesh::default());
        if decision.verdict == Verdict::Redirect && !complaints.iter().any(|complaint| complaint.fatal) {
            let stamp = stamp::Stamp::Redirect(Box::new(settings));
            assert_eq!(stamp::read(&stamp::write(&stamp)), Ok(stamp));
        }
    }
}
