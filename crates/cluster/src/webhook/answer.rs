//! What comes of an admission: a patch, remarks for whoever applied the pod, perhaps a refusal, and its name in metrics. PURE.
//!
//! The codes are a promise: they are shown to users and counted, so one may be added and none may change.

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
        Remark { code, about: about.into(), way_out: code.way_out().to_owned() }
    }
}

impl fmt::Display for Remark {
    /// One line: `Code: what; way out`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code.name(), self.about, self.way_out)
    }
}

/// What can be remarked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// A setting of the pod cannot be used.
    UnusableSetting,
    /// A setting of the pod was put right or is ignored.
    OddSetting,
    /// A container runs as the proxy.
    IdentityClash,
    /// Init containers keep their network because `istio-init` stays.
    InitContainersKept,
    /// Init containers have no network, whoever redirects.
    InitContainersCutOff,
    /// The pod is bound for a node without the plugin.
    UnservedNode,
    /// `istio-init` has a command or arguments that are not known.
    UnknownInit,
    /// The proxy has no user but root, as which nothing unprivileged can validate.
    ProxyIsRoot,
    /// Nothing in the pod can redirect it where the plugin does not.
    NoInitContainer,
    /// Somebody else wrote the stamp.
    ForgedStamp,
}

impl Code {
    /// Its stable name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Code::UnusableSetting => "UnusableSetting",
            Code::OddSetting => "OddSetting",
            Code::IdentityClash => "IdentityClash",
            Code::InitContainersKept => "InitContainersKept",
            Code::InitContainersCutOff => "InitContainersCutOff",
            Code::UnservedNode => "UnservedNode",
            Code::UnknownInit => "UnknownInit",
            Code::ProxyIsRoot => "ProxyIsRoot",
            Code::NoInitContainer => "NoInitContainer",
            Code::ForgedStamp => "ForgedStamp",
        }
    }

    fn way_out(self) -> &'static str {
        match self {
            Code::UnusableSetting | Code::OddSetting => "look the setting up in docs/settings.md",
            Code::IdentityClash => "run it as another user",
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
        }
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
