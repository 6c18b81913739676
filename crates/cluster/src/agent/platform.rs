//! What is known of each platform: where its runtime's configuration is, where lists and plugins lie, how to join.
//!
//! A table and nothing else; the runtime's own configuration wins over it, except where Multus runs the chain, and flags over
//! both. What is printed for a platform is derived from it. A platform is told from files that only it has, read only.

use super::install::Way;
pub(crate) use crate::api::platform::Platform;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Container runtimes whose configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// containerd.
    Containerd,
    /// CRI-O.
    Crio,
}

/// What is known of a platform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Where lists lie unless the runtime says otherwise.
    pub(crate) conf_dir: &'static str,
    /// Where plugins lie unless the runtime says otherwise.
    pub(crate) bin_dir: &'static str,
    /// Runtimes it may have, with their configuration and their socket.
    pub(crate) runtimes: &'static [(Runtime, &'static str, &'static str)],
    /// Whether Multus runs our chain: the runtime's configuration names Multus's own directories then, not the chain's.
    pub(crate) through_multus: bool,
    /// How to join, where the list's owner does not settle it.
    pub(crate) way: Option<Way>,
    /// Multus's auxiliary chain.
    pub(crate) auxiliary: Option<&'static str>,
}

const CONTAINERD: (Runtime, &str, &str) =
    (Runtime::Containerd, "/etc/containerd/config.toml", "/run/containerd/containerd.sock");
const CRIO: (Runtime, &str, &str) = (Runtime::Crio, "/etc/crio/crio.conf", "/run/crio/crio.sock");

const USUAL: Profile = Profile {
    conf_dir: "/etc/cni/net.d",
    bin_dir: "/opt/cni/bin",
    runtimes: &[CONTAINERD, CRIO],
    through_multus: false,
    way: None,
    auxiliary: None,
};

/// What is known of `platform`.
pub(crate) fn profile(platform: Platform) -> Profile {
    match platform {
        Platform::Kubeadm | Platform::Eks | Platform::Aks => USUAL,
        // `/opt` cannot be written on Container-Optimized OS.
        Platform::Gke => Profile { bin_dir: "/home/kubernetes/bin", ..USUAL },
        // Releases before October 2024 had a directory of plugins whose name held a hash that changed with each; the
        // runtime's configuration tells.
        Platform::K3s => Profile {
            conf_dir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            bin_dir: "/var/lib/rancher/k3s/data/cni",
            runtimes: &[(
                Runtime::Containerd,
                "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
                "/run/k3s/containerd/containerd.sock",
            )],
            ..USUAL
        },
        Platform::Rke2 => Profile {
            runtimes: &[(
                Runtime::Containerd,
                "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
                "/run/k3s/containerd/containerd.sock",
            )],
            ..USUAL
        },
        // `current` is a link that a refresh of the snap moves: a container's mounts then show the former revision until its
        // pod starts anew.
        Platform::Microk8s => Profile {
            conf_dir: "/var/snap/microk8s/current/args/cni-network",
            bin_dir: "/var/snap/microk8s/current/opt/cni/bin",
            runtimes: &[(
                Runtime::Containerd,
                "/var/snap/microk8s/current/args/containerd.toml",
                "/var/snap/microk8s/common/run/containerd.sock",
            )],
            ..USUAL
        },
        // Its operator's readiness probes look for exact files: nothing of it is edited. Multus looks for its auxiliary chain
        // below the directory of the list that its `clusterNetwork` names, which its operator writes as
        // /host/run/multus/cni/net.d; CRI-O's own directory (/etc/kubernetes/cni/net.d) holds nothing but Multus. Upstream's
        // Multus has /etc/cni/net.d there. Not tried on a cluster: it comes from configurations that others published; which
        // releases set `auxiliaryCNIChainName` is unknown.
        Platform::Openshift => Profile {
            conf_dir: "/run/multus/cni/net.d",
            bin_dir: "/var/lib/cni/bin",
            runtimes: &[CRIO],
            through_multus: true,
            way: Some(Way::Auxiliary),
            auxiliary: Some("vendor-cni-chain"),
        },
        Platform::Bottlerocket => Profile { runtimes: &[CONTAINERD], ..USUAL },
        Platform::Talos => Profile {
            runtimes: &[(Runtime::Containerd, "/etc/cri/containerd.toml", "/run/containerd/containerd.sock")],
            ..USUAL
        },
    }
}

/// Which platform this is, and what told so.
pub(crate) fn detect(host_root: &Path) -> (Platform, String) {
    let system = system(host_root);
    for (id, platform) in [
        ("rhcos", Platform::Openshift),
        ("scos", Platform::Openshift),
        ("bottlerocket", Platform::Bottlerocket),
        ("talos", Platform::Talos),
    ] {
        if system.as_deref() == Some(id) {
            return (platform, format!("/etc/os-release says {id}"));
        }
    }
    for (path, platform) in [
        ("/var/lib/rancher/rke2/agent", Platform::Rke2),
        ("/var/lib/rancher/k3s/agent", Platform::K3s),
        ("/var/snap/microk8s/current", Platform::Microk8s),
        ("/home/kubernetes/bin", Platform::Gke),
        ("/etc/eks", Platform::Eks),
        ("/etc/kubernetes/azure.json", Platform::Aks),
    ] {
        if below(host_root, path).exists() {
            return (platform, format!("{path} is there"));
        }
    }
    (Platform::Kubeadm, "nothing tells another".to_owned())
}

/// A path of the node, as this process sees it.
pub(crate) fn below(host_root: &Path, path: &str) -> PathBuf {
    host_root.join(path.trim_start_matches('/'))
}

/// The operating system's name for itself (os-release(5)).
fn system(host_root: &Path) -> Option<String> {
    let mut text = String::new();
    let paths = ["/etc/os-release", "/usr/lib/os-release"];
    let file = paths.iter().find_map(|path| File::open(below(host_root, path)).ok())?;
    file.take(64 << 10).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("ID="))?;
    Some(line.trim_matches(['"', '\'']).to_owned())
}
