//! What comes of an admission: a patch, remarks for whoever applied the pod, perhaps a refusal, and its name in metrics. PURE.
//!
//! What can be remarked is in the catalogue of codes.

pub(crate) use crate::codes::Code;

use json_patch::Patch;
use millrace_core::policy::Reason;
use std::fmt;

/// What comes of one admission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What is changed; empty when nothing is.
    pub(crate) patch: Patch,
    /// What whoever applied the pod should know.
    pub(crate) warnings: Vec<Remark>,
    /// Why it is refused, if it is.
    pub(crate) refusal: Option<Remark>,
    /// Its name in metrics.
    pub(crate) outcome: Outcome,
}

/// The most warnings of one answer; the last says how many there are beyond (M10).
const MOST_WARNINGS: usize = 8;

impl Answer {
    /// The warnings as a user sees them: one line each.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> =
            self.warnings.iter().take(MOST_WARNINGS).map(ToString::to_string).collect();
        let more = self.warnings.len() - words.len();
        if more > 0 {
            words.push(format!("{more} more; `millrace explain -f FILE` shows all"));
        }
        words
    }
}

/// One thing to be known about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    /// What kind of thing.
    pub(crate) code: Code,
    /// What it is about.
    pub(crate) about: String,
    /// What to do about it.
    pub(crate) way_out: String,
}

impl Remark {
    /// A remark with the way out that its code always has.
    pub(super) fn new(code: Code, about: impl Into<String>) -> Remark {
        Remark { code, about: about.into(), way_out: way_out(code).to_owned() }
    }
}

impl fmt::Display for Remark {
    /// One line: the code and its name, what, and the way out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}; {}", self.code, self.code.name(), self.about, self.way_out)
    }
}

/// What is usually to be done about it.
fn way_out(code: Code) -> &'static str {
    match code {
        Code::InitContainersKept => {
            "to do without privilege, make the sidecar a native one, or run them as the proxy's user"
        }
        Code::InitContainersCutOff => {
            "make the sidecar a native one, or run them as the proxy's user and group"
        }
        Code::UnservedNode => "nothing, its istio-init redirects it",
        Code::UnknownInit => "use the injector's own istio-init",
        Code::ProxyIsRoot => "give the proxy a user of its own",
        Code::NoInitContainer => "let the injector add istio-init there",
        Code::ForgedStamp => "leave it to Millrace, which stamps every pod anew that is created",
        _ => "millrace explain says more of the code",
    }
}

/// What was done, for metrics: of closed sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing; the pod is none of ours.
    #[default]
    Untouched,
    /// `istio-init` became the validation, and the pod is stamped.
    Converted,
    /// It had no `istio-init`; it is stamped.
    Stamped,
    /// It is stamped as one to be left alone.
    Skipped(Reason),
    /// It keeps its `istio-init`.
    Kept(Code),
    /// Its validation became `istio-init`.
    Restored(Reason),
    /// A stamp of somebody else's was taken off or put back.
    Unforged,
    /// It is refused.
    Refused(Code),
}

impl Outcome {
    /// What was done, and why where there is a why.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Outcome::Untouched => ("untouched", ""),
            Outcome::Converted => ("converted", ""),
            Outcome::Stamped => ("stamped", ""),
            Outcome::Skipped(reason) => ("skipped", reason.name()),
            Outcome::Kept(code) => ("kept", code.name()),
            Outcome::Restored(reason) => ("restored", reason.name()),
            Outcome::Unforged => ("unforged", ""),
            Outcome::Refused(code) => ("refused", code.name()),
        }
    }
}
