//! The kinds of which we have objects in a cluster, beside our own two. Plain data.
//!
//! Their order is that in which they are removed: what is asked by the API server first, so that nobody is refused for want of an
//! answer; then what runs; then what that needed. They are made the other way round.

use kube::core::ApiResource;

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// As objects spell it.
    pub(crate) name: &'static str,
    /// As paths spell it.
    pub(crate) plural: &'static str,
    group: &'static str,
    /// Whether its objects are in no namespace.
    pub(crate) is_of_cluster: bool,
    /// Whether the controller sees to it that ours are as they should be.
    is_kept: bool,
}

const RBAC: &str = "rbac.authorization.k8s.io";
const HOOKS: &str = "admissionregistration.k8s.io";

/// All but the definitions, which go last.
pub(crate) const KINDS: [Kind; 19] = [
    kind(HOOKS, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations").of_cluster().kept(),
    kind(HOOKS, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations").of_cluster(),
    kind("apps", "DaemonSet", "daemonsets").kept(),
    kind("batch", "Job", "jobs"),
    kind("apps", "Deployment", "deployments"),
    kind("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("", "Service", "services"),
    kind("apps", "ControllerRevision", "controllerrevisions"),
    kind("", "ConfigMap", "configmaps").kept(),
    kind("networking.k8s.io", "NetworkPolicy", "networkpolicies").kept(),
    kind("", "ResourceQuota", "resourcequotas").kept(),
    kind(RBAC, "RoleBinding", "rolebindings"),
    kind(RBAC, "Role", "roles"),
    kind(RBAC, "ClusterRoleBinding", "clusterrolebindings").of_cluster().kept(),
    kind(RBAC, "ClusterRole", "clusterroles").of_cluster().kept(),
    kind("", "ServiceAccount", "serviceaccounts").kept(),
    kind("", "Secret", "secrets"),
    kind("coordination.k8s.io", "Lease", "leases"),
    kind("", "Namespace", "namespaces").of_cluster(),
];

/// Those that the controller keeps, beside Jobs, in the order in which they are made.
pub(crate) fn kept() -> impl Iterator<Item = Kind> {
    KINDS.into_iter().rev().filter(|kind| kind.is_kept)
}

/// The kind of that name, to speak of it to an API server.
pub(crate) fn resource(name: &str) -> ApiResource {
    let known = KINDS.iter().find(|kind| kind.name == name);
    known.expect("we have objects of these kinds alone").resource()
}

impl Kind {
    /// The same, of this kind.
    pub(crate) fn resource(&self) -> ApiResource {
        let Kind { group, name, plural, .. } = *self;
        ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") },
            kind: name.to_owned(),
            plural: plural.to_owned(),
        }
    }

    const fn of_cluster(self) -> Kind {
        Kind { is_of_cluster: true, ..self }
    }

    const fn kept(self) -> Kind {
        Kind { is_kept: true, ..self }
    }
}

const fn kind(group: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind { name, plural, group, is_of_cluster: false, is_kept: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_is_made_first_and_removed_last() {
        let made: Vec<&str> = kept().map(|kind| kind.name).collect();
        let place = |name: &str| made.iter().position(|known| *known == name).expect("it is kept");
        for (needed, by) in [
            ("ServiceAccount", "ClusterRoleBinding"),
            ("ClusterRole", "ClusterRoleBinding"),
            ("ClusterRoleBinding", "DaemonSet"),
            ("ConfigMap", "DaemonSet"),
            ("ResourceQuota", "DaemonSet"),
            ("DaemonSet", "MutatingWebhookConfiguration"),
        ] {
            assert!(place(needed) < place(by), "{needed} before {by}");
        }
    }

    #[test]
    fn the_core_group_has_no_name() {
        assert_eq!(resource("Secret").api_version, "v1");
        assert_eq!(resource("DaemonSet").api_version, "apps/v1");
    }
}
