//! The controller's pods: two that are alike, of which one acts and both serve the webhook.
//!
//! Pure. They have no privilege on their node: no user 0, no capability, nothing of the node's is mounted.

use super::{Words, labels, meta, pods};
use crate::api::mesh::NodeTaint;
use crate::print::daemonset::{amounts, field};
use crate::print::words::{CONTROLLER, map};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, HTTPGetAction, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecurityContext, Toleration, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The priority class: while no controller is there nothing changes and no pod is converted, but nothing breaks either.
pub(crate) const PRIORITY: &str = "system-cluster-critical";
/// Where the webhook listens.
pub(crate) const WEBHOOK_PORT: i32 = 9443;
/// Where health and metrics are.
pub(crate) const HEALTH: i32 = 15095;
/// Where the console is served: on the pod's loopback, which nobody reaches but by kubectl port-forward.
pub(crate) const CONSOLE_ADDRESS: &str = "127.0.0.1:8090";
/// How long a pod that is told to go may take: it serves on until API servers have heard of that (`--linger-seconds`), ends what is
/// under way, and is gone well before.
pub(crate) const GRACE: i64 = 30;
/// How many there are.
pub(crate) const REPLICAS: i32 = 2;
/// The user of the image.
const USER: i64 = 65532;

/// The Deployment.
pub(super) fn deployment(words: &Words) -> Deployment {
    // The new one serves before the old one goes.
    let rolling = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(1)),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    let mut labels = labels();
    labels.insert("sidecar.istio.io/inject".into(), "false".into());
    let annotations = map(&[
        ("prometheus.io/path", "/metrics"),
        ("prometheus.io/port", &HEALTH.to_string()),
        ("prometheus.io/scrape", "true"),
    ]);
    let metadata =
        ObjectMeta { annotations: Some(annotations), labels: Some(labels), ..ObjectMeta::default() };
    let spec = DeploymentSpec {
        replicas: Some(REPLICAS),
        selector: pods(),
        strategy: Some(DeploymentStrategy {
            rolling_update: Some(rolling),
            type_: Some("RollingUpdate".into()),
        }),
        template: PodTemplateSpec { metadata: Some(metadata), spec: Some(pod(words)) },
        ..DeploymentSpec::default()
    };
    Deployment {
        metadata: meta(CONTROLLER, Some(&words.namespace)),
        spec: Some(spec),
        ..Deployment::default()
    }
}

/// Rather not two on one node.
pub(super) fn affinity() -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(pods()),
        topology_key: "kubernetes.io/hostname".into(),
        ..PodAffinityTerm::default()
    };
    let apart = PodAntiAffinity {
        preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
            pod_affinity_term: term,
            weight: 100,
        }]),
        ..PodAntiAffinity::default()
    };
    Affinity { pod_anti_affinity: Some(apart), ..Affinity::default() }
}

/// Whoever says which nodes can serve cannot wait for one that can.
pub(super) fn tolerations() -> Vec<Toleration> {
    vec![Toleration {
        effect: Some("NoSchedule".into()),
        key: Some(NodeTaint::default().key),
        operator: Some("Exists".into()),
        ..Toleration::default()
    }]
}

pub(super) fn resources() -> ResourceRequirements {
    ResourceRequirements {
        limits: Some(amounts(&[("memory", "256Mi")])),
        requests: Some(amounts(&[("cpu", "50m"), ("memory", "64Mi")])),
        ..ResourceRequirements::default()
    }
}

fn pod(words: &Words) -> PodSpec {
    PodSpec {
        affinity: Some(affinity()),
        automount_service_account_token: Some(true),
        containers: vec![container(words)],
        dns_policy: Some("Default".into()),
        enable_service_links: Some(false),
        node_selector: Some(map(&[("kubernetes.io/os", "linux")])),
        priority_class_name: Some(PRIORITY.into()),
        security_context: Some(PodSecurityContext {
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        service_account_name: Some(CONTROLLER.into()),
        termination_grace_period_seconds: Some(GRACE),
        tolerations: Some(tolerations()),
        ..PodSpec::default()
    }
}

fn container(words: &Words) -> Container {
    let port = |name: &str, port| ContainerPort {
        container_port: port,
        name: Some(name.into()),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    };
    let security = SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    };
    Container {
        name: "controller".into(),
        image: Some(words.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        command: Some(vec!["/millrace".into()]),
        args: Some(vec![
            "controller".into(),
            format!("--image={}", words.image),
            format!("--console-address={CONSOLE_ADDRESS}"),
        ]),
        env: Some(vec![field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace")]),
        ports: Some(vec![port("webhook", WEBHOOK_PORT), port("health", HEALTH)]),
        resources: Some(resources()),
        security_context: Some(security),
        liveness_probe: Some(probe("/livez", 10, 3)),
        readiness_probe: Some(probe("/readyz", 5, 3)),
        startup_probe: Some(probe("/livez", 1, 60)),
        ..Container::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.into()),
        port: IntOrString::String("health".into()),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(get),
        failure_threshold: Some(failures),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
