//! What an operator wishes of admission, as plain data: made from the MeshCNI resource, or read from a file. PURE.
//!
//! It decides nothing. A wish that is absent is the product's default.

use crate::api::convert;
use crate::api::mesh::MeshCNISpec;
pub(crate) use crate::api::mesh::{ExcludedPolicy as Excluded, InvalidPods as Invalid, Mode};
use millrace_core::complaint::Complaint;
use millrace_core::knobs::Defaults;
use millrace_core::policy::PROXY;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Everything that the admission of a pod depends on beside the pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Wishes {
    /// Who redirects.
    pub(crate) mode: Mode,
    /// Whether every targeted node that is Ready can serve. Until then no pod is converted.
    pub(crate) serving: bool,
    /// Namespaces that are excluded, exactly as named.
    pub(crate) exclude_namespaces: Vec<String>,
    /// What pods of excluded namespaces get.
    pub(crate) excluded: Excluded,
    /// The name of the container that is the sidecar.
    pub(crate) proxy_container: String,
    /// How many containers a pod has at least, native sidecars included, to be redirected.
    pub(crate) min_containers: usize,
    /// Settings of pods that state none, as text by the key of the setting.
    #[serde(deserialize_with = "defaults")]
    pub(crate) defaults: Defaults,
    /// What is done about a pod that cannot work as it is.
    pub(crate) invalid_pods: Invalid,
    /// The nodes on which no plugin can run.
    pub(crate) unserved: Unserved,
}

/// The nodes on which no plugin can run, by what shows that a pod is bound for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Unserved {
    /// Labels that only such nodes have.
    pub(crate) node_labels: Vec<Mark>,
    /// Keys of taints that only such nodes have.
    pub(crate) taints: Vec<String>,
    /// Labels of pods by which their provider takes them to such a node.
    pub(crate) pod_labels: Vec<Mark>,
    /// Names of such nodes.
    pub(crate) names: Vec<String>,
    /// The labels of the nodes that have agents: one that has another value of one of these, or none, is such a node.
    pub(crate) without_labels: BTreeMap<String, String>,
}

/// A label by its key, and by its value if not every value counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mark {
    /// The key.
    pub(crate) key: String,
    /// The value.
    #[serde(default)]
    pub(crate) value: Option<String>,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes {
            mode: Mode::Cni,
            serving: true,
            exclude_namespaces: Vec::new(),
            excluded: Excluded::InitContainer,
            proxy_container: PROXY.to_owned(),
            min_containers: 2,
            defaults: Defaults::default(),
            invalid_pods: Invalid::Warn,
            unserved: Unserved::known(),
        }
    }
}

impl Wishes {
    /// What a specification wishes once every node serves, and everything that is wrong with its defaults: with defaults that
    /// cannot be used no pod is converted, and all else stays as it is wished.
    pub(crate) fn of(spec: &MeshCNISpec) -> (Wishes, Vec<Complaint>) {
        let (defaults, complaints) = match convert::defaults(&spec.redirection.defaults) {
            Ok(defaults) => (defaults, Vec::new()),
            Err(complaints) => (Defaults::default(), complaints),
        };
        let wishes = Wishes {
            mode: spec.mode,
            serving: complaints.is_empty(),
            exclude_namespaces: spec.exclude_namespaces.clone(),
            excluded: spec.excluded_policy,
            proxy_container: spec.selection.proxy_container.clone(),
            min_containers: usize::try_from(spec.selection.min_containers).unwrap_or(usize::MAX),
            defaults,
            invalid_pods: spec.admission.invalid_pods,
            unserved: Unserved { without_labels: spec.install.node_selector.clone(), ..Unserved::known() },
        };
        (wishes, complaints)
    }

    /// Whether a namespace is excluded.
    pub(super) fn excludes(&self, namespace: &str) -> bool {
        self.exclude_namespaces.iter().any(|excluded| excluded == namespace)
    }
}

impl Unserved {
    /// The virtual nodes of the field: virtual-kubelet with its descendants (ACK's and AKS's), and EKS Fargate.
    pub(crate) fn known() -> Unserved {
        let mark =
            |key: &str, value: Option<&str>| Mark { key: key.to_owned(), value: value.map(str::to_owned) };
        Unserved {
            node_labels: vec![
                mark("type", Some("virtual-kubelet")),
                mark("eks.amazonaws.com/compute-type", Some("fargate")),
            ],
            taints: vec![
                "virtual-kubelet.io/provider".to_owned(),
                "eks.amazonaws.com/compute-type".to_owned(),
            ],
            pod_labels: vec![
                mark("eks.amazonaws.com/fargate-profile", None),
                mark("alibabacloud.com/eci", Some("true")),
            ],
            names: Vec::new(),
            without_labels: BTreeMap::new(),
        }
    }
}

fn defaults<'de, D: Deserializer<'de>>(from: D) -> Result<Defaults, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(from)?;
    let read = Defaults::read(texts.iter().map(|(key, text)| (key.as_str(), text.as_str())));
    read.map_err(|found| {
        let told: Vec<String> = found.iter().map(|complaint| format!("defaults.{complaint}")).collect();
        D::Error::custom(told.join("; "))
    })
}

impl Mark {
    /// Whether a label is meant.
    pub(super) fn fits(&self, key: &str, value: &str) -> bool {
        self.key == key && self.value.as_deref().is_none_or(|wanted| wanted == value)
    }
}
