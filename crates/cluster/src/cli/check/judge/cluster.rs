//! The cluster beside us, in words: its API, its versions, who injects, and who else is in the network. PURE.

use super::{Line, Words, say};
use crate::api::mesh::{Mode, WebhookFailurePolicy};
use crate::args::output::Mark;
use crate::cli::check::facts::Definition;
use crate::codes::Code;
use crate::controller::preconditions::{Injector, KUBERNETES, MESH, list, tag};
use std::collections::BTreeMap;

impl Words<'_> {
    pub(super) fn api(&self) -> Vec<Line> {
        let (lang, server) = (self.lang, &self.facts.server);
        let mut lines = vec![Line::good(say!(lang, "{server} answers", "{server} 有应答"))];
        for (kind, found) in &self.facts.definitions {
            lines.push(match found {
                Definition::Same => Line::good(say!(
                    lang,
                    "{kind} is defined as this program knows it",
                    "{kind} 的定义与本程序一致"
                )),
                Definition::Absent if self.pre => {
                    let next = "millrace print crd | kubectl apply -f -".to_owned();
                    let text = say!(lang, "{kind} is not defined yet", "尚未定义 {kind}");
                    Line { next: Some(next), ..Line::good(text) }
                }
                Definition::Absent => {
                    let text =
                        say!(lang, "the cluster does not know the kind {kind}", "集群不认识 {kind} 这一类型");
                    self.coded(Mark::Bad, Code::NotInstalled, text)
                }
                Definition::Refused => {
                    let text = say!(lang, "{kind} is defined and not served", "{kind} 已定义,但未被提供");
                    let next = format!("kubectl get crd {}.millrace.dev -o yaml", plural(kind));
                    Line { next: Some(next), ..self.coded(Mark::Bad, Code::NotInstalled, text) }
                }
                Definition::Other(fields) => {
                    let fields = fields.join(", ");
                    let text = say!(
                        lang,
                        "{kind} is defined otherwise than this program knows it: {fields}",
                        "{kind} 的定义与本程序的不同:{fields}"
                    );
                    self.coded(Mark::Odd, Code::DefinitionOutdated, text)
                }
            });
        }
        lines
    }

    pub(super) fn versions(&self) -> Vec<Line> {
        let (lang, facts) = (self.lang, self.facts);
        let (version, (major, minor)) = (&facts.version, KUBERNETES);
        let mut lines = self.findings(&[Code::KubernetesTooOld]);
        if lines.is_empty() {
            lines.push(Line::good(say!(
                lang,
                "Kubernetes {version} ({major}.{minor} and later)",
                "Kubernetes {version}(要求 {major}.{minor} 及更高)"
            )));
        }
        let mesh = self.findings(&[Code::MeshVersionUnsupported]);
        if mesh.is_empty() && !facts.cluster.control_planes.is_empty() {
            let tags =
                facts.cluster.control_planes.iter().map(|image| tag(image).unwrap_or(image).to_owned());
            let (tags, (major, minor)) = (list(tags), MESH);
            lines.push(Line::good(say!(
                lang,
                "the mesh's control plane is {tags} ({major}.{minor} and later)",
                "网格控制面版本为 {tags}(要求 {major}.{minor} 及更高)"
            )));
        }
        lines.extend(mesh);
        let nodes = self.findings(&[
            Code::RuntimeTooOld,
            Code::RuntimeHidesAnnotations,
            Code::KernelTooOld,
            Code::NodeUnsupported,
        ]);
        let runtimes = counted(facts.observed.nodes.values().map(|node| node.runtime.replace("://", " ")));
        if nodes.is_empty() && !runtimes.is_empty() {
            lines.push(Line::good(say!(
                lang,
                "runtimes and kernels of all nodes will do: {runtimes}",
                "所有节点的运行时与内核均可用:{runtimes}"
            )));
        }
        lines.extend(nodes);
        lines
    }

    pub(super) fn injection(&self) -> Vec<Line> {
        let lang = self.lang;
        let mut lines = Vec::new();
        if self.found.injector == Some(Injector::Init) {
            lines.push(Line::good(say!(lang, "the injector adds istio-init", "注入器添加 istio-init")));
        }
        lines.extend(self.findings(&[
            Code::NoInjector,
            Code::InjectorInValidationMode,
            Code::PodSecurityForbidsInit,
        ]));
        if self.spec.mode == Mode::Cni {
            let fails = self.spec.admission.failure_policy == WebhookFailurePolicy::Fail;
            let text = match (self.found.injector, fails) {
                (Some(Injector::Init | Injector::Validation), true) => say!(
                    lang,
                    "while the webhook is down no pod at all is created (failurePolicy Fail)",
                    "Webhook 宕机期间不会创建任何 Pod(failurePolicy 为 Fail)"
                ),
                (Some(Injector::Init), false) => say!(
                    lang,
                    "while the webhook is down new pods keep istio-init, and are protected",
                    "Webhook 宕机期间新 Pod 保留 istio-init,仍受保护"
                ),
                (Some(Injector::Validation), false) => say!(
                    lang,
                    "while the webhook is down new pods are left to the chain, and do not start where no agent serves",
                    "Webhook 宕机期间新 Pod 由链处理,在没有 Agent 服务的节点上不会启动"
                ),
                (Some(Injector::None) | None, _) => return lines,
            };
            lines.push(Line::good(text));
        }
        lines
    }

    pub(super) fn network(&self) -> Vec<Line> {
        let lang = self.lang;
        let networks = self.facts.cluster.networks().map(|(called, set)| {
            let version = tag(&set.image).map_or(String::new(), |tag| format!(" {tag}"));
            format!("{called}{version}")
        });
        let networks = list(networks);
        let mut lines = Vec::new();
        if !networks.is_empty() {
            lines.push(Line::good(say!(lang, "the cluster's network: {networks}", "集群网络:{networks}")));
        }
        let conflicts = self.findings(&[
            Code::CiliumExclusive,
            Code::CiliumSocketLoadBalancing,
            Code::CalicoConnectTimeLoadBalancing,
            Code::OtherMeshInChain,
            Code::MultusPresent,
        ]);
        if conflicts.is_empty() {
            lines.push(Line::good(say!(
                lang,
                "nothing is set that would undo our entry, and no other mesh's CNI is there",
                "没有会撤销我们条目的设置,也没有其他网格的 CNI"
            )));
        }
        lines.extend(conflicts);
        lines
    }
}

/// Each word with how often it is there.
pub(super) fn counted(words: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    words.filter(|word| !word.is_empty()).for_each(|word| *counts.entry(word).or_default() += 1);
    list(counts.into_iter().map(|(word, count)| format!("{word} ×{count}")))
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}
