//! What differs between clusters, and the names and labels that everything has.
//!
//! Plain data.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// Where it all lives.
pub(crate) const NAMESPACE: &str = "millrace-system";
/// What everything of the agent is called.
pub(crate) const AGENT: &str = "millrace-agent";
/// What everything of the controller is called, its Lease too.
pub(crate) const CONTROLLER: &str = "millrace-controller";
/// The value of the component's label that tells the controller's objects from the agents'.
pub(crate) const COMPONENT: &str = "controller";
/// The role that the console needs beside the controller's.
pub(crate) const CONSOLE: &str = "millrace-console";
/// The role of who looks.
pub(crate) const VIEWER: &str = "millrace-viewer";
/// The role of who switches.
pub(crate) const OPERATOR: &str = "millrace-operator";
/// The Service by which an API server reaches the webhook, and the Secret of its certificates.
pub(crate) const WEBHOOK: &str = "millrace-webhook";
/// What has pods admitted by us: the last in order of names, so that injectors were at a pod before.
pub(crate) const MUTATING: &str = "zz-millrace";
/// What has a MeshCNI judged by us.
pub(crate) const VALIDATING: &str = "millrace-meshcni";
/// Our version, which is the image's tag as well.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The image that `make image` makes, as a runtime knows it after an import; without the tag.
pub(crate) const REPOSITORY: &str = "localhost/millrace";

/// What differs: plain words in a manifest, expressions in the chart.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// The image.
    pub(crate) image: String,
    /// The namespace of everything that has one.
    pub(crate) namespace: String,
    /// The directories.
    pub(crate) conf_dir: String,
    /// See `places`.
    pub(crate) bin_dir: String,
    /// See `places`.
    pub(crate) runtime_dir: String,
    /// The agent's configuration file.
    pub(crate) config: String,
}

/// Name and labels of an object; cluster-wide ones have no namespace.
pub(crate) fn meta(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: Some(labels()),
        ..ObjectMeta::default()
    }
}

/// The labels that everything has.
pub(crate) fn labels() -> BTreeMap<String, String> {
    map(&[
        ("app.kubernetes.io/name", "millrace"),
        ("app.kubernetes.io/component", "agent"),
        ("app.kubernetes.io/part-of", "millrace"),
        ("app.kubernetes.io/version", VERSION),
    ])
}

/// The labels by which the DaemonSet knows its pods; they can never change.
pub(crate) fn selector() -> BTreeMap<String, String> {
    map(&[("app.kubernetes.io/name", "millrace"), ("app.kubernetes.io/component", "agent")])
}

/// The image, if none is named.
pub(crate) fn image(named: Option<&str>) -> String {
    named.map_or_else(|| format!("{REPOSITORY}:{VERSION}"), str::to_owned)
}

/// A map of words.
pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A short name of a text's content (FNV-1a): it only has to differ when the text does, by accident at worst once in 2⁶⁴.
pub(crate) fn mark(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("fnv1a-{hash:016x}")
}
