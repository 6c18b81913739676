//! What stands beside the lines of a manifest: why they are there, for whoever reviews or changes them.
//!
//! Words only. A test sees that each is about a line that is really printed.

/// The lines of comment on the part at `path`.
pub(crate) fn of(path: &str) -> impl Iterator<Item = &'static str> {
    let path = path.strip_prefix("Job/").map_or_else(|| path.to_owned(), |rest| format!("DaemonSet/{rest}"));
    let found = COMMENTS.iter().find(|(place, _)| *place == path);
    found.into_iter().flat_map(|(_, text)| text.lines())
}

const QUOTA: &str = "GKE admits pods of this priority outside kube-system only where a quota names it.";
const STARTUP: &str = "A minute to come up; the others begin when it has.";

/// Places, each a kind with the names of the parts below it, and what is said there.
pub(crate) const COMMENTS: &[(&str, &str)] = &[
    (
        "Namespace/metadata/labels/pod-security.kubernetes.io/enforce",
        "The agent's pod has hostPath volumes and the node's network, which only this level lets in.",
    ),
    (
        "ServiceAccount/automountServiceAccountToken",
        "Pods say so themselves when they want the token: the agent does, the Job that uninstalls does not.",
    ),
    (
        "ClusterRole/rules/ pods get,list,watch",
        "One watch of this node's pods answers the plugin; get is for a pod whose start outran the watch.\n\
         RBAC cannot narrow this down to one node's pods; the agent asks for no others.",
    ),
    (
        "ClusterRole/rules/ namespaces get,list,watch",
        "Labels of namespaces say where an injector is at work; the chain entry hints at them.",
    ),
    (
        "ClusterRole/rules/ events create",
        "Says at the node who rewrites its CNI chain, and at a pod what the audit found and did.\n\
         Without this line the log and the metrics still say it.",
    ),
    (
        "ClusterRole/rules/millrace.dev meshcninodes create,patch",
        "The report of its node: how its chain is and how pods' starts went. RBAC cannot narrow this down to\n\
         the node's own, so nobody takes a node's word alone; see docs/install.md.",
    ),
    (
        "ClusterRole/rules/ nodes get",
        "The report goes with its node, so it names the node's UID as its owner's.",
    ),
    (
        "ClusterRole/rules/ pods/eviction create",
        "Audit policy Delete: a pod that runs unprotected is evicted, so disruption budgets hold.",
    ),
    (
        "ClusterRole/rules/ pods patch",
        "Audit policy Label: marks a pod that runs unprotected. With another policy this line can go.",
    ),
    (
        "NetworkPolicy/spec/podSelector",
        "No policy is about pods in the node's network, so none is about the agent. This one shuts off\n\
         whatever else ends up in this namespace: nothing else belongs here.",
    ),
    ("ResourceQuota/spec", QUOTA),
    (
        "DaemonSet/spec/updateStrategy/rollingUpdate",
        "The new agent is up and in step before the old one goes. Declare no ports: two pods with the\n\
         same host port cannot be on one node, and the new one would wait forever. (Kubernetes 1.25)",
    ),
    (
        "DaemonSet/spec/template/metadata/annotations/container.apparmor.security.beta.kubernetes.io/agent",
        "The usual AppArmor profile refuses to look at processes of other containers. (An annotation,\n\
         because the field is only known since Kubernetes 1.30.)",
    ),
    (
        "DaemonSet/spec/template/spec/dnsPolicy",
        "The node's resolver: the agent needs no cluster name, and cluster DNS is a pod that may wait for it.",
    ),
    (
        "DaemonSet/spec/template/spec/hostNetwork",
        "In the node's network no plugin is asked, so the agent never waits for itself.",
    ),
    (
        "DaemonSet/spec/template/spec/hostPID",
        "Pods without a pause process are found by their processes, in /proc.",
    ),
    (
        "DaemonSet/spec/template/spec/terminationGracePeriodSeconds",
        "It stops serving at once and leaves the chain, the plugin and its state as they are.",
    ),
    (
        "DaemonSet/spec/template/spec/tolerations",
        "Every node that starts pods: also one that is not ready yet, or is being drained.",
    ),
    (
        "DaemonSet/spec/template/spec/priorityClassName",
        "A node without an agent starts no mesh pod that carries no stamp.",
    ),
    (
        "DaemonSet/spec/template/spec/containers/agent/resources/limits",
        "No CPU limit: it is busiest when many pods start, and slowed down then they would all wait.\n\
         The budget is 24 MiB with 250 pods; the rest is room for a probe's process.",
    ),
    ("DaemonSet/spec/template/spec/containers/agent/startupProbe", STARTUP),
    (
        "DaemonSet/spec/template/spec/containers/agent/livenessProbe",
        "Each pod's agent answers on a socket of its own, so during an upgrade both agents are seen apart.",
    ),
    (
        "DaemonSet/spec/template/spec/containers/agent/securityContext/capabilities/add/NET_ADMIN",
        "Reads and repairs rules in a pod's network namespace (nf_tables asks for it even to list).",
    ),
    (
        "DaemonSet/spec/template/spec/containers/agent/securityContext/capabilities/add/SYS_ADMIN",
        "Enters a pod's network namespace (setns), makes the self-test's, sees who rewrites the list (fanotify).",
    ),
    (
        "DaemonSet/spec/template/spec/containers/agent/securityContext/capabilities/add/SYS_PTRACE",
        "Opens /proc/PID/ns/net of processes of other users.",
    ),
    (
        "DaemonSet/spec/template/spec/containers/agent/securityContext/runAsUser",
        "Root's own directories, and files that belong to root; with no capability it is nothing more.",
    ),
    (
        "DaemonSet/spec/template/spec/containers/agent/securityContext/seLinuxOptions",
        "Without SELinux nothing comes of it. With it, an ordinary container may not write what the\n\
         runtime reads (container_t may not write etc_t); Bottlerocket knows the type by this name, too.",
    ),
    (
        "DaemonSet/spec/template/spec/volumes/conf-dir",
        "Must be there: the runtime makes it. Were it made here, a wrong path would go unnoticed, with our\n\
         entry where nobody looks. A pod that cannot mount says so by name.",
    ),
    ("DaemonSet/spec/template/spec/volumes/bin-dir", "Must be there, for the same reason."),
    (
        "DaemonSet/spec/template/spec/volumes/runtime-config",
        "Read only: says which two directories the runtime really uses.",
    ),
    (
        "DaemonSet/spec/template/spec/volumes/run",
        "Ours: sockets, the lock, records. Gone with a reboot, as pods are.",
    ),
    (
        "DaemonSet/spec/template/spec/volumes/state",
        "Ours: what was decided, for `millrace why`, and what was installed.",
    ),
    (
        "DaemonSet/spec/template/spec/volumes/netns",
        "Where runtimes pin network namespaces; they make the directory just like this themselves.",
    ),
    (
        "DaemonSet/spec/template/spec/volumes/cni-cache",
        "Read only: which attachments still name our plugin, so that it is not taken from under them.",
    ),
    (
        "controller/ServiceAccount/automountServiceAccountToken",
        "Pods say so themselves when they want the token.",
    ),
    (
        "controller/ClusterRole/rules/millrace.dev meshcnis get,list,watch",
        "The switch: watched by whoever acts, asked for by each replica's webhook.",
    ),
    (
        "controller/ClusterRole/rules/millrace.dev meshcnis,meshcnis/status patch",
        "Its status, and the finalizer that keeps it until the nodes are clean; never its specification.",
    ),
    (
        "controller/ClusterRole/rules/millrace.dev meshcnis/finalizers update",
        "Objects that go with the MeshCNI name it as their owner, which some clusters (OpenShift) let only those\n\
         do who may finalize it.",
    ),
    (
        "controller/ClusterRole/rules/millrace.dev meshcninodes delete,list,watch",
        "What agents report. The report of a node that was cleared is of a time before that.",
    ),
    (
        "controller/ClusterRole/rules/ nodes get,list,patch,watch",
        "The platform's label and the start-up taint; the condition is in the status. Agents may do neither.",
    ),
    (
        "controller/ClusterRole/rules/ pods list,watch",
        "Who redirects each pod; of each a few bytes are kept.",
    ),
    (
        "controller/ClusterRole/rules/ pods/eviction create",
        "A pod that can never start where it is. Disruption budgets hold; no pod is ever deleted.",
    ),
    ("controller/ClusterRole/rules/ events create", "What happens to the MeshCNI, for kubectl describe."),
    (
        "controller/ClusterRole/rules/ namespaces get,list",
        "Its own, and those in which Pod Security would refuse istio-init.",
    ),
    (
        "controller/ClusterRole/rules/ configmaps get",
        "By name: Cilium's settings, and those of the injector of each revision of the mesh. (RBAC knows no\n\
         beginning of a name, and which revisions there are is not known here.)",
    ),
    (
        "controller/ClusterRole/rules/apps daemonsets,deployments list",
        "Another mesh's CNI, and the control plane of this one: what is checked before anything is changed.",
    ),
    (
        "controller/ClusterRole/rules/rbac.authorization.k8s.io clusterroles create,delete,get,patch",
        "The agents' role. Neither escalate nor bind is granted for it, which together would be as good as\n\
         cluster-admin: the controller holds whatever it grants, and can grant nothing else.",
    ),
    (
        "controller/ClusterRole/rules/rbac.authorization.k8s.io clusterroles bind",
        "On OpenShift agents are bound to this role, which is not held here. Elsewhere there is none.",
    ),
    (
        "controller/ClusterRole/rules/admissionregistration.k8s.io mutatingwebhookconfigurations create,delete,get,patch",
        "Has pods admitted by the webhook, from when all nodes serve to when no pod depends on them.",
    ),
    (
        "controller/ClusterRole/rules/admissionregistration.k8s.io validatingwebhookconfigurations list,patch,watch",
        "Has a MeshCNI judged by the webhook: who installed it takes it away, the controller says whom to trust.",
    ),
    (
        "controller/ClusterRole/rules/ pods get",
        "From here on: held for no other reason than to be granted to agents.",
    ),
    (
        "controller/ClusterRole/rules/authentication.k8s.io tokenreviews create",
        "Whose a token is that somebody shows the console. Whatever the console reads or writes is asked with that\n\
         token; nobody is impersonated. Without this role nobody logs in, and all else goes on.",
    ),
    ("people/ClusterRole/rules/millrace.dev meshcnis create,patch", "The switch."),
    (
        "people/ClusterRole/rules/millrace.dev meshcnis,meshcninodes get,list,watch",
        "What is wanted, how far it is, and what nodes report. Without this line the console shows nothing.",
    ),
    (
        "people/ClusterRole/rules/ namespaces,nodes list",
        "The namespaces to choose from. From here on: what may not be read is named, and the rest is shown.",
    ),
    ("people/ClusterRole/rules/ pods get,list", "Who redirects each pod, and what a change does to it."),
    ("people/ClusterRole/rules/ events list", "What happened to the MeshCNI."),
    ("people/ClusterRole/rules/apps controllerrevisions list", "What was wanted before, to go back to."),
    (
        "people/ClusterRole/rules/apps daemonsets,deployments list",
        "What is in the way of switching on: this and all below.",
    ),
    (
        "controller/Role/rules/coordination.k8s.io leases create",
        "Of several replicas one acts. (What is created without an apply has no name that RBAC could tell.)",
    ),
    (
        "controller/Role/rules/ secrets create",
        "The webhook's own certificates, shared by all replicas. Nobody else's Secret can be read.",
    ),
    (
        "controller/Role/rules/ configmaps,resourcequotas,serviceaccounts create,delete,get,list,patch,watch",
        "What agents are made of. Whoever may make a DaemonSet here may run anything on every node: keep this\n\
         namespace to Millrace.",
    ),
    ("controller/Role/rules/batch jobs create,delete,get,list,watch", "Each clears one node, at the end."),
    (
        "controller/Role/rules/apps controllerrevisions create,delete,list",
        "What was wanted before, to go back to.",
    ),
    ("controller/ResourceQuota/spec", QUOTA),
    (
        "controller/NetworkPolicy/spec/ingress",
        "The API server asks the webhook, from an address that no policy can name; the kubelet and whoever\n\
         collects metrics ask the other port.",
    ),
    (
        "controller/NetworkPolicy/spec/egress",
        "The API server, whose address and port are not known here. Policies add up: without this one, that which\n\
         shuts the agents' namespace would shut the controller in.",
    ),
    (
        "controller/PodDisruptionBudget/spec/maxUnavailable",
        "Holds for any number of replicas; of one alone, no drain would ever come to an end otherwise.",
    ),
    (
        "controller/ValidatingWebhookConfiguration/webhooks/meshcnis.millrace.dev/failurePolicy",
        "A controller that is down or broken must not keep anybody from switching off.",
    ),
    (
        "controller/ValidatingWebhookConfiguration/webhooks/meshcnis.millrace.dev/clientConfig",
        "The controller adds whom to trust (caBundle); until then nobody is asked.",
    ),
    (
        "controller/Deployment/spec/template/spec/containers/controller/args",
        "The console is on the pod's loopback: kubectl port-forward reaches it, and nothing else does.",
    ),
    (
        "controller/Deployment/spec/template/spec/dnsPolicy",
        "It asks for no name, so it depends on no cluster DNS.",
    ),
    (
        "controller/Deployment/spec/template/spec/priorityClassName",
        "Without a controller nothing breaks, but nothing is converted, healed or changed either.",
    ),
    (
        "controller/Deployment/spec/template/spec/terminationGracePeriodSeconds",
        "It gives its Lease back at once and answers reviews on for ten seconds, until API servers send them\n\
         elsewhere (--linger-seconds).",
    ),
    (
        "controller/Deployment/spec/template/spec/tolerations",
        "The start-up taint: whoever takes it off nodes cannot wait for that. Another key in the MeshCNI\n\
         (nodeTaint.key) belongs here as well.",
    ),
    (
        "controller/Deployment/spec/template/spec/containers/controller/resources/limits",
        "No CPU limit: pods that are created wait for the webhook.",
    ),
    ("controller/Deployment/spec/template/spec/containers/controller/startupProbe", STARTUP),
    (
        "Config/excludeNamespaces",
        "Pods in these keep istio-init. What is always excluded: pods in the node's network.",
    ),
    (
        "Config/failurePolicy",
        "Closed: a mesh pod whose decision cannot be had does not start. Open: it starts unprotected.",
    ),
    ("Config/backend", "auto, iptables, nftables or iptables-text."),
    ("Config/agentTimeout", "How long the start of a pod goes on asking for the agent."),
    (
        "Config/statusGating",
        "Whether a node counts as not ready for pods while its agent is away (CNI 1.1.0 lists only).",
    ),
    ("Config/install/way", "in-place, own-list or auxiliary (Multus); without it by who owns the list."),
    ("Config/install/confDir", "The runtime's directories; without them what its configuration says."),
    ("Config/audit/findings", "Which findings are acted upon; all are reported."),
    ("Config/audit/period", "The time between two looks at all pods."),
    ("Config/audit/label", "What Label puts on a pod."),
    ("Config/install/list", "The list by name; without it the one the runtime uses."),
    ("Config/audit/policy", "Off, Report, Repair, Delete or Label. All but Off need the audit profile."),
    ("Config/selection/proxyContainer", "The name of the container that is the sidecar."),
    (
        "Config/selection/minContainers",
        "The fewest containers a pod of the mesh has, ordinary init containers not counted: 1 or 2.",
    ),
    ("Config/defaults", "Settings of pods that state none: text by key, as docs/settings.md has them."),
];

#[cfg(test)]
mod tests {
    use super::super::{controller, objects, yaml};
    use super::*;
    use crate::args::print::{Platform, Profile};
    use std::collections::BTreeSet;

    #[test]
    fn every_comment_is_about_a_line_that_is_printed() {
        let mut everything = Vec::new();
        for platform in Platform::ALL {
            for profile in Profile::ALL {
                let words = objects::plain(profile, platform, None);
                let mut all = objects::objects(&words, profile, platform);
                all.extend(objects::uninstall(&words, &["node".to_owned()]));
                everything.extend(all);
            }
        }
        everything.extend(controller::objects(&controller::Words::plain(None)));
        let printed: String = everything
            .iter()
            .map(|object| yaml::write(&yaml::Node::of(&object.tree), &object.place()))
            .collect();
        let unused: Vec<_> = COMMENTS
            .iter()
            .filter(|(_, text)| {
                text.is_empty() || !text.lines().all(|line| printed.contains(&format!("# {line}")))
            })
            .collect();
        assert!(unused.is_empty(), "{unused:#?}");
        let places: BTreeSet<_> = COMMENTS.iter().map(|(place, _)| place).collect();
        assert_eq!(places.len(), COMMENTS.len(), "a place has two comments");
    }
}
