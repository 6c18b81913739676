//! The agent's pod: as a DaemonSet, and as the Job that clears one node. What each line is for stands in `comments`.
//!
//! Pure. The zero profile has no capability at all; the audit profile adds three, each with a use.

use super::words::{AGENT, Words, labels, map, mark, meta, selector};
use crate::agent::health::probe::VARIABLE;
use crate::api::cleared;
use crate::args::print::Profile;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EnvVar, EnvVarSource, ExecAction, HostPathVolumeSource,
    ObjectFieldSelector, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SELinuxOptions,
    SeccompProfile, SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// The priority class of the agent: a node without it starts no mesh pod.
pub(crate) const PRIORITY: &str = "system-node-critical";
/// Where health and metrics are answered by whoever serves.
pub(crate) const METRICS: &str = "0.0.0.0:15094";
/// The port of [`METRICS`].
const METRICS_PORT: &str = "15094";
/// What each of these is used for is in `comments`; a test takes each away and sees the audit fail.
const AUDIT_CAPABILITIES: [&str; 3] = ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"];
/// Where the configuration is inside the container.
const CONFIG_DIR: &str = "/etc/millrace";

/// Where a pod's agent, and nobody else, is asked for its health.
const PROBE_SOCKET: &str = "/run/millrace/agents/$(POD_NAME).sock";

/// One directory of the node in the agent's pod, at the same path.
struct Mount<'a> {
    name: &'a str,
    path: &'a str,
    /// What kubelet makes sure of before it mounts.
    kind: &'a str,
    read_only: bool,
    /// Whether mounts that the node makes later are seen.
    follow: bool,
}

/// The DaemonSet.
pub(crate) fn daemon_set(words: &Words, profile: Profile) -> DaemonSet {
    let rolling = RollingUpdateDaemonSet {
        max_surge: Some(IntOrString::Int(1)),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    let mut mounts = mounts(words);
    if profile == Profile::Audit {
        let kind = "DirectoryOrCreate";
        mounts.push(Mount { name: "netns", path: "/run/netns", kind, read_only: true, follow: true });
    }
    let mut agent = container(words, profile, &mounts);
    let config = format!("--config={CONFIG_DIR}/agent.yaml");
    agent.args = Some(vec!["agent".into(), config, format!("--metrics-address={METRICS}")]);
    // After the name that it is made of.
    agent.env.get_or_insert_default().push(variable(VARIABLE, PROBE_SOCKET));
    agent.liveness_probe = Some(probe("live", 10, 3));
    agent.readiness_probe = Some(probe("ready", 5, 3));
    agent.startup_probe = Some(probe("live", 1, 60));
    let spec = DaemonSetSpec {
        selector: LabelSelector { match_labels: Some(selector()), ..LabelSelector::default() },
        template: PodTemplateSpec {
            metadata: Some(template_meta(profile)),
            spec: Some(PodSpec {
                host_pid: (profile == Profile::Audit).then_some(true),
                termination_grace_period_seconds: Some(10),
                ..pod(agent, &mounts)
            }),
        },
        update_strategy: Some(DaemonSetUpdateStrategy {
            rolling_update: Some(rolling),
            type_: Some("RollingUpdate".into()),
        }),
        ..DaemonSetSpec::default()
    };
    DaemonSet { metadata: meta(AGENT, Some(&words.namespace)), spec: Some(spec), ..DaemonSet::default() }
}

/// The Job that clears `node`. It speaks to no API server, so it holds no token.
pub(crate) fn uninstall(words: &Words, node: &str) -> Job {
    let mut mounts = mounts(words);
    let kind = "DirectoryOrCreate";
    mounts.push(Mount { name: "cni-cache", path: "/var/lib/cni", kind, read_only: true, follow: false });
    let mut container = container(words, Profile::Zero, &mounts);
    container.args =
        Some(vec!["agent".into(), "uninstall".into(), format!("--config={CONFIG_DIR}/agent.yaml")]);
    container.env.get_or_insert_default().push(variable(cleared::VARIABLE, cleared::FILE));
    container.termination_message_path = Some(cleared::FILE.into());
    // Of one that is killed, the end of its log is better than nothing.
    container.termination_message_policy = Some("FallbackToLogsOnError".into());
    let mut labels = labels();
    labels.insert("app.kubernetes.io/component".into(), "uninstall".into());
    labels.insert("sidecar.istio.io/inject".into(), "false".into());
    let spec = JobSpec {
        backoff_limit: Some(5),
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(labels.clone()), ..ObjectMeta::default() }),
            spec: Some(PodSpec {
                automount_service_account_token: Some(false),
                node_name: Some(node.to_owned()),
                restart_policy: Some("Never".into()),
                ..pod(container, &mounts)
            }),
        },
        ..JobSpec::default()
    };
    let mut metadata = meta(&job_name(node), Some(&words.namespace));
    metadata.labels = Some(labels);
    Job { metadata, spec: Some(spec), ..Job::default() }
}

/// A Job's name is also a label of its pods, so 63 bytes at most; a node's name may have 253.
fn job_name(node: &str) -> String {
    let plain = format!("millrace-uninstall-{}", node.replace('.', "-"));
    if plain.len() <= 63 { plain } else { format!("millrace-uninstall-{}", mark(node)) }
}

fn template_meta(profile: Profile) -> ObjectMeta {
    let mut labels = labels();
    labels.insert("sidecar.istio.io/inject".into(), "false".into());
    let mut annotations = map(&[
        ("prometheus.io/path", "/metrics"),
        ("prometheus.io/port", METRICS_PORT),
        ("prometheus.io/scrape", "true"),
    ]);
    if profile == Profile::Audit {
        annotations
            .insert("container.apparmor.security.beta.kubernetes.io/agent".into(), "unconfined".into());
    }
    ObjectMeta { annotations: Some(annotations), labels: Some(labels), ..ObjectMeta::default() }
}

fn pod(container: Container, mounts: &[Mount]) -> PodSpec {
    let everywhere = Toleration { operator: Some("Exists".into()), ..Toleration::default() };
    let config = Volume {
        name: "config".into(),
        config_map: Some(ConfigMapVolumeSource { name: AGENT.into(), ..ConfigMapVolumeSource::default() }),
        ..Volume::default()
    };
    let volumes = mounts.iter().map(|mount| Volume {
        name: mount.name.into(),
        host_path: Some(HostPathVolumeSource { path: mount.path.into(), type_: Some(mount.kind.into()) }),
        ..Volume::default()
    });
    PodSpec {
        automount_service_account_token: Some(true),
        containers: vec![container],
        dns_policy: Some("Default".into()),
        enable_service_links: Some(false),
        host_network: Some(true),
        node_selector: Some(map(&[("kubernetes.io/os", "linux")])),
        priority_class_name: Some(PRIORITY.into()),
        service_account_name: Some(AGENT.into()),
        tolerations: Some(vec![everywhere]),
        volumes: Some([config].into_iter().chain(volumes).collect()),
        ..PodSpec::default()
    }
}

fn container(words: &Words, profile: Profile, mounts: &[Mount]) -> Container {
    let config = VolumeMount {
        name: "config".into(),
        mount_path: CONFIG_DIR.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let mounts = mounts.iter().map(|mount| VolumeMount {
        name: mount.name.into(),
        mount_path: mount.path.into(),
        read_only: mount.read_only.then_some(true),
        mount_propagation: mount.follow.then(|| "HostToContainer".into()),
        ..VolumeMount::default()
    });
    Container {
        name: "agent".into(),
        image: Some(words.image.clone()),
        image_pull_policy: Some("IfNotPresent".into()),
        command: Some(vec!["/millrace".into()]),
        env: Some(vec![field("NODE_NAME", "spec.nodeName"), field("POD_NAME", "metadata.name")]),
        resources: Some(resources()),
        security_context: Some(security(profile)),
        volume_mounts: Some([config].into_iter().chain(mounts).collect()),
        ..Container::default()
    }
}

fn mounts(words: &Words) -> Vec<Mount<'_>> {
    let theirs = |name, path, read_only| Mount { name, path, kind: "Directory", read_only, follow: false };
    let ours = |name, path| Mount { name, path, kind: "DirectoryOrCreate", read_only: false, follow: false };
    vec![
        theirs("conf-dir", &words.conf_dir, false),
        theirs("bin-dir", &words.bin_dir, false),
        theirs("runtime-config", &words.runtime_dir, true),
        ours("run", "/run/millrace"),
        ours("state", "/var/lib/millrace"),
    ]
}

fn security(profile: Profile) -> SecurityContext {
    let add = (profile == Profile::Audit).then(|| AUDIT_CAPABILITIES.map(str::to_owned).to_vec());
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add, drop: Some(vec!["ALL".into()]) }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(0),
        run_as_user: Some(0),
        se_linux_options: Some(SELinuxOptions { type_: Some("spc_t".into()), ..SELinuxOptions::default() }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
        ..SecurityContext::default()
    }
}

fn resources() -> ResourceRequirements {
    ResourceRequirements {
        limits: Some(amounts(&[("memory", "64Mi")])),
        requests: Some(amounts(&[("cpu", "10m"), ("memory", "32Mi")])),
        ..ResourceRequirements::default()
    }
}

/// Amounts by what they are of.
pub(super) fn amounts(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    map(pairs).into_iter().map(|(key, value)| (key, Quantity(value))).collect()
}

fn probe(question: &str, period: i32, failures: i32) -> Probe {
    let command = ["/millrace", "agent", "probe", question].map(str::to_owned).to_vec();
    Probe {
        exec: Some(ExecAction { command: Some(command) }),
        failure_threshold: Some(failures),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), ..EnvVar::default() }
}

/// A variable with something of the pod's own.
pub(super) fn field(name: &str, path: &str) -> EnvVar {
    let from = ObjectFieldSelector { api_version: None, field_path: path.into() };
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource { field_ref: Some(from), ..EnvVarSource::default() }),
        ..EnvVar::default()
    }
}
