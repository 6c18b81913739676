//! Why a pod is left alone: the names everybody uses, from the stamp to the console, and the sentences that go with them.
//!
//! Names are a promise: they are stored on pods and counted in metrics, so one may be added and none may change.

use std::fmt;

/// Why a pod is not redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The runtime named no pod.
    NotKubernetes,
    /// The pod shares the node's network.
    HostNetwork,
    /// Its namespace is excluded.
    NamespaceExcluded,
    /// No container is the sidecar: none is named `istio-proxy`, or as the operator says.
    NoProxyContainer,
    /// It has one container only.
    SingleContainer,
    /// The annotation `sidecar.istio.io/status` is absent.
    NotInjected,
    /// `sidecar.istio.io/inject` is false.
    InjectionDisabled,
    /// `istio-init` is there and redirects the pod itself.
    InitContainerPresent,
    /// `DISABLE_ENVOY` is set.
    ProxyDisabled,
    /// Its proxy is a router, a waypoint or the like.
    NotSidecar,
    /// Its interception mode is NONE.
    InterceptionNone,
    /// Its annotations are unknown and nobody in its namespace is in the mesh.
    NotEnrolled,
    /// Nobody could say, and the operator chose that such pods start unprotected.
    FailedOpen,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Reason; 13] = [
        Reason::NotKubernetes,
        Reason::HostNetwork,
        Reason::NamespaceExcluded,
        Reason::NoProxyContainer,
        Reason::SingleContainer,
        Reason::NotInjected,
        Reason::InjectionDisabled,
        Reason::InitContainerPresent,
        Reason::ProxyDisabled,
        Reason::NotSidecar,
        Reason::InterceptionNone,
        Reason::NotEnrolled,
        Reason::FailedOpen,
    ];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotKubernetes => "NotKubernetes",
            Reason::HostNetwork => "HostNetwork",
            Reason::NamespaceExcluded => "NamespaceExcluded",
            Reason::NoProxyContainer => "NoProxyContainer",
            Reason::SingleContainer => "SingleContainer",
            Reason::NotInjected => "NotInjected",
            Reason::InjectionDisabled => "InjectionDisabled",
            Reason::InitContainerPresent => "InitContainerPresent",
            Reason::ProxyDisabled => "ProxyDisabled",
            Reason::NotSidecar => "NotSidecar",
            Reason::InterceptionNone => "InterceptionNone",
            Reason::NotEnrolled => "NotEnrolled",
            Reason::FailedOpen => "FailedOpen",
        }
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// What must hold for it not to be the reason.
    pub fn condition(self) -> &'static str {
        match self {
            Reason::NotKubernetes => "the runtime names a pod of Kubernetes",
            Reason::HostNetwork => "the pod has its own network",
            Reason::NamespaceExcluded => "the namespace is not excluded",
            Reason::NoProxyContainer => "a container is the sidecar",
            Reason::SingleContainer => "there is more than one container",
            Reason::NotInjected => "the annotation sidecar.istio.io/status is there",
            Reason::InjectionDisabled => "sidecar.istio.io/inject is not false",
            Reason::InitContainerPresent => "no container is named istio-init",
            Reason::ProxyDisabled => "the sidecar does not have DISABLE_ENVOY",
            Reason::NotSidecar => "the proxy is a sidecar",
            Reason::InterceptionNone => "the interception mode is not NONE",
            Reason::NotEnrolled => "the namespace has pods in the mesh",
            Reason::FailedOpen => "the node's agent can be asked",
        }
    }

    /// Why the pod is left alone, as a sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::NotKubernetes => "the runtime named no pod, so this is not a pod of Kubernetes",
            Reason::HostNetwork => "it shares the node's network, which is never redirected",
            Reason::NamespaceExcluded => "its namespace is excluded; there istio-init redirects",
            Reason::NoProxyContainer => {
                "no container of it is the sidecar, so there is nobody to redirect to"
            }
            Reason::SingleContainer => {
                "it has one container only, so there is no application beside the proxy"
            }
            Reason::NotInjected => {
                "no injector has been at it: the annotation sidecar.istio.io/status is absent"
            }
            Reason::InjectionDisabled => "sidecar.istio.io/inject says false",
            Reason::InitContainerPresent => "its own istio-init redirects it",
            Reason::ProxyDisabled => "its proxy is switched off by DISABLE_ENVOY",
            Reason::NotSidecar => "its proxy is not a sidecar but stands for itself",
            Reason::InterceptionNone => "its interception mode is NONE",
            Reason::NotEnrolled => {
                "nobody in its namespace is in the mesh, and the runtime hands over no annotations"
            }
            Reason::FailedOpen => "the node's agent could not be asked, and the failure policy is Open",
        }
    }

    /// What to do if the pod should be redirected all the same.
    pub fn way_out(self) -> &'static str {
        match self {
            Reason::NotKubernetes => "nothing, if it is no pod; else see that the runtime passes CNI_ARGS",
            Reason::HostNetwork => "take hostNetwork out of the pod",
            Reason::NamespaceExcluded => "take the namespace off the excluded ones, then restart the pod",
            Reason::NoProxyContainer | Reason::NotInjected => {
                "label the namespace for injection, then restart the pod"
            }
            Reason::SingleContainer => "put the application into the pod",
            Reason::InjectionDisabled => {
                "remove sidecar.istio.io/inject, label and annotation, then restart the pod"
            }
            Reason::InitContainerPresent => {
                "nothing, it is redirected; to do without privilege, restart the pod"
            }
            Reason::ProxyDisabled => "remove DISABLE_ENVOY from the sidecar",
            Reason::NotSidecar => "nothing, gateways and waypoints need no redirection",
            Reason::InterceptionNone => "set sidecar.istio.io/interceptionMode to REDIRECT or TPROXY",
            Reason::NotEnrolled => {
                "restart the pod once the agent has seen the namespace's first pod in the mesh"
            }
            Reason::FailedOpen => "restart the pod once the agent runs, or set the failure policy to Closed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_name_finds_its_reason_again() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(Reason::from_name("notinjected"), None);
    }
}
