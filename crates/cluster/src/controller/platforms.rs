//! What kind of node a node is, told from what its kubelet says of it. PURE.
//!
//! An agent still reads the runtime's own configuration on the node before it believes what was told from here.

use super::observed::Node;
use crate::api::mesh::MeshCNISpec;
use crate::api::platform::Platform;

/// What is wanted of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It should serve.
    Target(Platform),
    /// It runs no DaemonSets: its pods keep istio-init.
    Unserved,
    /// Nothing: another operating system, or not selected.
    Left,
}

/// What is wanted of `node`.
pub(crate) fn kind(spec: &MeshCNISpec, node: &Node) -> Kind {
    if is_virtual(node) {
        return Kind::Unserved;
    }
    let system = node.labels.get("kubernetes.io/os").map_or("linux", String::as_str);
    if system != "linux" || !node.has_labels(&spec.install.node_selector) {
        return Kind::Left;
    }
    Kind::Target(spec.install.platform.unwrap_or_else(|| platform(node)))
}

/// Its platform: from the most telling to the least: an immutable system's name, a distribution's mark in the kubelet's version, a cloud's
/// labels.
pub(crate) fn platform(node: &Node) -> Platform {
    let systems = [
        ("Bottlerocket", Platform::Bottlerocket),
        ("Talos", Platform::Talos),
        ("Red Hat Enterprise Linux CoreOS", Platform::Openshift),
        ("CentOS Stream CoreOS", Platform::Openshift),
    ];
    let versions = [
        ("+k3s", Platform::K3s),
        ("+rke2", Platform::Rke2),
        ("-gke.", Platform::Gke),
        ("-eks-", Platform::Eks),
    ];
    let labels = [
        ("node.openshift.io/os_id", Platform::Openshift),
        ("microk8s.io/cluster", Platform::Microk8s),
        ("cloud.google.com/gke-nodepool", Platform::Gke),
        ("eks.amazonaws.com/nodegroup", Platform::Eks),
        ("kubernetes.azure.com/cluster", Platform::Aks),
    ];
    let system = systems.iter().find(|(name, _)| node.os_image.contains(name));
    let version = versions.iter().find(|(mark, _)| node.kubelet.contains(mark));
    let label = labels.iter().find(|(key, _)| node.labels.contains_key(*key));
    system.or(version).or(label).map_or(Platform::Kubeadm, |(_, platform)| *platform)
}

/// virtual-kubelet and its descendants, and Fargate: a pod is a machine there, and no DaemonSet's pod ever is on it.
fn is_virtual(node: &Node) -> bool {
    let says = |key: &str, value: &str| node.labels.get(key).is_some_and(|found| found == value);
    says("type", "virtual-kubelet") || says("eks.amazonaws.com/compute-type", "fargate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(os_image: &str, kubelet: &str, label: (&str, &str), expected: Kind) {
        let labels = [label].into_iter().filter(|(key, _)| !key.is_empty());
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let node = Node { os_image: os_image.into(), kubelet: kubelet.into(), labels, ..Node::default() };
        let spec = serde_json::from_str("{}").expect("every field has a default");
        assert_eq!(kind(&spec, &node), expected, "{os_image} {kubelet} {label:?}");
    }

    #[test]
    fn a_node_is_known_by_what_its_kubelet_says() {
        let none = ("", "");
        let target = Kind::Target;
        check("Debian GNU/Linux 12", "v1.32.1", none, target(Platform::Kubeadm));
        check("Bottlerocket OS 1.20 (aws-k8s-1.30)", "v1.30.1-eks-1a", none, target(Platform::Bottlerocket));
        check("Talos (v1.7.0)", "v1.30.0", none, target(Platform::Talos));
        check("Red Hat Enterprise Linux CoreOS 416", "v1.29.5", none, target(Platform::Openshift));
        check("Ubuntu 24.04", "v1.31.4+k3s1", none, target(Platform::K3s));
        check("Ubuntu 24.04", "v1.31.4+rke2r1", none, target(Platform::Rke2));
        check("Container-Optimized OS", "v1.31.4-gke.1177000", none, target(Platform::Gke));
        check("Amazon Linux 2023", "v1.31.4-eks-aeac579", none, target(Platform::Eks));
        check("Ubuntu 22.04", "v1.31.4", ("kubernetes.azure.com/cluster", "x"), target(Platform::Aks));
        check("Ubuntu 22.04", "v1.31.4", ("microk8s.io/cluster", "true"), target(Platform::Microk8s));
        check("", "v1.31.4-vk", ("type", "virtual-kubelet"), Kind::Unserved);
        check("", "v1.31.4", ("eks.amazonaws.com/compute-type", "fargate"), Kind::Unserved);
        check("Windows Server 2022", "v1.31.4", ("kubernetes.io/os", "windows"), Kind::Left);
    }
}
