//! Where things are on the nodes of each platform: what is mounted into the agent, at the very same path.
//!
//! The same path inside and outside: what the agent says of a file is then true for whoever looks on the node, and what
//! the runtime's configuration names is found where it says. The agent still reads that configuration before it believes
//! this table.

use crate::args::print::Platform;

/// The directories of one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Where the runtime, or Multus, looks for lists.
    pub(crate) conf_dir: &'static str,
    /// Where the runtime looks for plugins.
    pub(crate) bin_dir: &'static str,
    /// Where the runtime keeps its configuration.
    pub(crate) runtime_dir: &'static str,
}

const CONF: &str = "/etc/cni/net.d";
const BIN: &str = "/opt/cni/bin";
const CONTAINERD: &str = "/etc/containerd";

/// Where things are on nodes of `platform`.
pub(crate) fn places(platform: Platform) -> Places {
    let usual = Places { conf_dir: CONF, bin_dir: BIN, runtime_dir: CONTAINERD };
    match platform {
        Platform::Kubeadm | Platform::Eks | Platform::Aks | Platform::Bottlerocket => usual,
        // Container-Optimized OS has a read-only /opt.
        Platform::Gke => Places { bin_dir: "/home/kubernetes/bin", ..usual },
        // The directory of plugins is this one since the releases of October 2024; before, its name held a hash that
        // changed with each release.
        Platform::K3s => Places {
            conf_dir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
            bin_dir: "/var/lib/rancher/k3s/data/cni",
            runtime_dir: "/var/lib/rancher/k3s/agent/etc/containerd",
        },
        Platform::Rke2 => Places { runtime_dir: "/var/lib/rancher/rke2/agent/etc/containerd", ..usual },
        // `current` is a link that a refresh of the snap moves: the mounts then show the former revision until the
        // agent's pod starts anew.
        Platform::Microk8s => Places {
            conf_dir: "/var/snap/microk8s/current/args/cni-network",
            bin_dir: "/var/snap/microk8s/current/opt/cni/bin",
            runtime_dir: "/var/snap/microk8s/current/args",
        },
        // Multus looks for its auxiliary chain below the directory of the cluster's network; CRI-O's own directory holds
        // nothing but Multus, whose exact file name is what readiness probes ask for.
        Platform::Openshift => Places {
            conf_dir: "/run/multus/cni/net.d",
            bin_dir: "/var/lib/cni/bin",
            runtime_dir: "/etc/crio",
        },
        Platform::Talos => Places { runtime_dir: "/etc/cri", ..usual },
    }
}

/// The way into the chain, where the platform leaves no choice; else it is chosen by who owns the list.
pub(crate) fn way(platform: Platform) -> &'static str {
    match platform {
        Platform::Openshift => "auxiliary",
        _ => "",
    }
}

/// The directories of lists and plugins that the agent is told, where the runtime's own configuration would mislead it: it
/// names Multus's, not those of the chain that Multus runs. Elsewhere the agent finds them out.
pub(crate) fn chain(platform: Platform) -> Option<(&'static str, &'static str)> {
    let Places { conf_dir, bin_dir, .. } = places(platform);
    (platform == Platform::Openshift).then_some((conf_dir, bin_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_absolute_and_our_two_are_apart() {
        for platform in Platform::ALL {
            let Places { conf_dir, bin_dir, runtime_dir } = places(platform);
            for path in [conf_dir, bin_dir, runtime_dir] {
                assert!(path.starts_with('/') && !path.ends_with('/'), "{platform:?}: {path}");
            }
            assert_ne!(conf_dir, bin_dir, "{platform:?}");
        }
    }
}
