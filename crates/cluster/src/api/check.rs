//! Everything that is wrong with a MeshCNI: what the schema and its rules say, which servers before 1.25 pass over, and what
//! neither can say; and what of it is doubtful. PURE.
//!
//! It mends nothing and looks nothing up. What it accepts converts without a complaint.

use super::convert;
use super::mesh::{AuditPolicy, FailurePolicy, Finding, MeshCNISpec, Mode, Way, WebhookFailurePolicy};
use super::names::{is_dns_label, is_image, is_key, is_plain_path, is_value, label};
use super::platform::Platform;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use millrace_core::complaint::Complaint;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// The name of the one that is followed.
pub(crate) const NAME: &str = "default";
/// The most excluded namespaces.
const MOST_NAMESPACES: usize = 1000;

/// All complaints about a MeshCNI of that name, each at its field; each of them refuses it.
pub(crate) fn check(name: &str, spec: &MeshCNISpec) -> Vec<Complaint> {
    let mut found = Found(Vec::new());
    if name != NAME {
        found.wrong(
            "metadata.name",
            name,
            "is not followed: there is one MeshCNI in a cluster",
            "name it default",
        );
    }
    found.namespaces(&spec.exclude_namespaces);
    found.selection(spec);
    // What does not convert is wrong.
    found.0.extend(convert::mesh(spec).err().into_iter().flatten());
    found.install(spec);
    found.rollout(spec);
    found.within("spec.agentTimeoutSeconds", spec.agent_timeout_seconds, 1..=100);
    found.audit(spec);
    let taint = &spec.node_taint.key;
    found.unless(
        is_key(taint),
        "spec.nodeTaint.key",
        taint,
        "is no key of a taint",
        "write one such as example.org/name",
    );
    found.0
}

/// What is not wrong and may still not be meant; each is a warning, and refuses nothing.
pub(crate) fn doubts(spec: &MeshCNISpec) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut doubt = |path: &str, value: &str, problem: &str, fix: &str| {
        found.push(Complaint::note(path, value, problem, fix));
    };
    if spec.failure_policy == FailurePolicy::Open {
        let problem = "lets pods of the mesh start unprotected whose decision cannot be had";
        doubt("spec.failurePolicy", "Open", problem, "write Closed");
    }
    if spec.admission.failure_policy == WebhookFailurePolicy::Fail {
        let problem = "stops pods outside the mesh as well while no webhook answers";
        doubt(
            "spec.admission.failurePolicy",
            "Fail",
            problem,
            "write Ignore where the injector adds istio-init",
        );
    }
    if spec.rollout.max_unavailable == IntOrString::String("100%".to_owned()) {
        let problem = "has the agents of all nodes replaced at once";
        doubt("spec.rollout.maxUnavailable", "100%", problem, "write a smaller part");
    }
    let selected = &spec.install.node_selector;
    if spec.mode == Mode::Cni && !selected.is_empty() {
        let problem =
            "leaves nodes out: a pod that may run on either kind is converted, and does not start on those";
        let labels: Vec<String> = selected.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let fix = "select these labels in the mesh's pods too";
        doubt("spec.install.nodeSelector", &labels.join(","), problem, fix);
    }
    for (key, value) in &spec.rollout.canary_node_selector {
        if selected.get(key).is_some_and(|other| other != value) {
            let problem = "fits no node that install.nodeSelector selects, so no node gets a change first";
            doubt(
                "spec.rollout.canaryNodeSelector",
                &format!("{key}={value}"),
                problem,
                "choose among those",
            );
        }
    }
    found
}

struct Found(Vec<Complaint>);

impl Found {
    fn wrong(&mut self, path: &str, value: impl Display, problem: impl Into<String>, fix: &str) {
        self.0.push(Complaint::fatal(path, &value.to_string(), problem, fix));
    }

    fn unless(&mut self, holds: bool, path: &str, value: impl Display, problem: &str, fix: &str) {
        if !holds {
            self.wrong(path, value, problem, fix);
        }
    }

    fn within(&mut self, path: &str, value: u32, range: RangeInclusive<u32>) {
        let fix = format!("write a number from {} to {}", range.start(), range.end());
        self.unless(range.contains(&value), path, value, "is out of its range", &fix);
    }

    fn once<T: Ord + Display>(&mut self, path: &str, items: impl Iterator<Item = T>) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.enumerate() {
            let text = item.to_string();
            if !seen.insert(item) {
                self.wrong(
                    &format!("{path}[{index}]"),
                    text,
                    "is in the list already",
                    "remove the second one",
                );
            }
        }
    }

    fn labels(&mut self, path: &str, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            self.unless(is_key(key), path, key, "is no key of a label", "write one such as example.org/name");
            let fix = "write up to 63 letters, digits, -, _ and ., letters or digits at both ends";
            self.unless(is_value(value), &format!("{path}.{key}"), value, "is no value of a label", fix);
        }
    }

    fn namespaces(&mut self, names: &[String]) {
        let path = "spec.excludeNamespaces";
        let fix = "leave the mesh's namespaces without injection instead";
        self.unless(names.len() <= MOST_NAMESPACES, path, names.len(), "are more namespaces than 1000", fix);
        for (index, name) in names.iter().enumerate() {
            let fix = "write its exact name: there are no patterns";
            self.unless(is_dns_label(name), &format!("{path}[{index}]"), name, "is no namespace's name", fix);
        }
        self.once(path, names.iter());
    }

    fn selection(&mut self, spec: &MeshCNISpec) {
        let name = &spec.selection.proxy_container;
        let fix = "write up to 63 small letters, digits and -";
        self.unless(is_dns_label(name), "spec.selection.proxyContainer", name, "is no container's name", fix);
        self.within("spec.selection.minContainers", spec.selection.min_containers, 1..=2);
    }

    fn install(&mut self, spec: &MeshCNISpec) {
        let install = &spec.install;
        for (key, path) in [("confDir", &install.conf_dir), ("binDir", &install.bin_dir)] {
            if let Some(path) = path.as_ref().filter(|path| !is_plain_path(path)) {
                let fix = "write an absolute path without . and ..";
                self.wrong(&format!("spec.install.{key}"), path, "is no plain path", fix);
            }
        }
        if let Some(list) = &install.list {
            let fits = (1..=253).contains(&list.len())
                && !list.contains(['/', '\0'])
                && !matches!(list.as_str(), "." | "..");
            self.unless(
                fits,
                "spec.install.list",
                list,
                "is no file's name",
                "write it without its directory",
            );
        }
        if let Some(image) = &install.image {
            let fix = "write one such as registry.example/millrace:0.1.0";
            self.unless(is_image(image), "spec.install.image", image, "is no image", fix);
        }
        if let (Some(Way::Auxiliary), Some(platform)) = (install.way, install.platform)
            && platform != Platform::Openshift
        {
            let problem =
                format!("is a way into OpenShift's Multus alone, and the platform is {}", platform.name());
            self.wrong("spec.install.way", "Auxiliary", problem, "write InPlace or OwnList, or leave it out");
        }
        self.labels("spec.install.nodeSelector", &install.node_selector);
    }

    fn rollout(&mut self, spec: &MeshCNISpec) {
        let path = "spec.rollout.maxUnavailable";
        let fix = "write a number from 1 to 5000, or a percentage from 1% to 100%";
        match &spec.rollout.max_unavailable {
            IntOrString::Int(count) => {
                self.unless((1..=5000).contains(count), path, count, "is no number of nodes", fix)
            }
            IntOrString::String(text) => {
                self.unless(is_percentage(text), path, text, "is no percentage", fix)
            }
        }
        self.labels("spec.rollout.canaryNodeSelector", &spec.rollout.canary_node_selector);
        self.within(
            "spec.rollout.progressDeadlineSeconds",
            spec.rollout.progress_deadline_seconds,
            60..=86400,
        );
    }

    fn audit(&mut self, spec: &MeshCNISpec) {
        let audit = &spec.audit;
        self.within("spec.audit.periodSeconds", audit.period_seconds, 30..=86400);
        self.once("spec.audit.findings", audit.findings.iter().map(|finding| Finding::name(*finding)));
        let acts = matches!(audit.policy, AuditPolicy::Repair | AuditPolicy::Delete | AuditPolicy::Label);
        if acts && audit.findings.is_empty() {
            let problem = format!("is empty, so that the policy {} acts upon nothing", audit.policy.name());
            self.wrong(
                "spec.audit.findings",
                "[]",
                problem,
                "name Bypass, Drift or both, or set the policy to Report",
            );
        }
        let fix = "write key=value, as a pod's labels may be";
        self.unless(label(&audit.label).is_some(), "spec.audit.label", &audit.label, "is no label", fix);
    }
}

/// From 1% to 100%, without leading zeros.
fn is_percentage(text: &str) -> bool {
    let number = text.strip_suffix('%').filter(|digits| !digits.starts_with(['0', '+', '-']));
    number.and_then(|digits| digits.parse::<u8>().ok()).is_some_and(|part| (1..=100).contains(&part))
}
