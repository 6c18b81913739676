//! Kinds of nodes, by one name wherever a person or a program says one. Plain data.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kinds of nodes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Platform {
    /// kubeadm, and whatever keeps its places with containerd.
    #[default]
    Kubeadm,
    /// Google Kubernetes Engine.
    Gke,
    /// Amazon's EKS.
    Eks,
    /// Azure's AKS.
    Aks,
    /// k3s.
    K3s,
    /// RKE2.
    Rke2,
    /// MicroK8s.
    Microk8s,
    /// OpenShift 4, with Multus.
    Openshift,
    /// Bottlerocket.
    Bottlerocket,
    /// Talos.
    Talos,
}

impl Platform {
    /// All of them.
    pub(crate) const ALL: [Platform; 10] = [
        Platform::Kubeadm,
        Platform::Gke,
        Platform::Eks,
        Platform::Aks,
        Platform::K3s,
        Platform::Rke2,
        Platform::Microk8s,
        Platform::Openshift,
        Platform::Bottlerocket,
        Platform::Talos,
    ];

    /// Its name on the command line, in every configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Platform::Kubeadm => "kubeadm",
            Platform::Gke => "gke",
            Platform::Eks => "eks",
            Platform::Aks => "aks",
            Platform::K3s => "k3s",
            Platform::Rke2 => "rke2",
            Platform::Microk8s => "microk8s",
            Platform::Openshift => "openshift",
            Platform::Bottlerocket => "bottlerocket",
            Platform::Talos => "talos",
        }
    }
}
