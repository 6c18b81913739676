//! What of a cluster a command is asked about: a pod, the pods of a workload, those of a namespace. Words only.

use super::cluster::{Scope, Server};
use super::output::{Form, Lang};
use clap::Args;

/// Where the API server is, which namespace is meant, and the language: of commands with an `-o` of their own.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) server: Server,
    /// The language of what is said to people; else that of the locale. Names, codes and rules are in none.
    #[arg(long, value_enum, help_heading = "Printing")]
    pub(crate) lang: Option<Lang>,
}

impl Reach {
    /// The language that was asked for, else that of the locale.
    pub(crate) fn lang(&self) -> Lang {
        Lang::of(self.lang, Lang::locale().as_deref())
    }
}

/// The same, with the forms that most commands print in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t, help_heading = "Printing")]
    pub(crate) output: Form,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One pod; its namespace where it was said with it.
    Pod { namespace: Option<String>, name: String },
    /// A workload: its kind and its name.
    Workload { kind: Kind, name: String },
    /// All pods of a namespace.
    Namespace(String),
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    CronJob,
}

impl Kind {
    /// As objects spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => "StatefulSet",
            Kind::DaemonSet => "DaemonSet",
            Kind::ReplicaSet => "ReplicaSet",
            Kind::Job => "Job",
            Kind::CronJob => "CronJob",
        }
    }
}

/// Reads `NAME`, `pod/NAME`, `deploy/NAME`, `namespace/NAME` and the like as kubectl does, and `NAMESPACE/NAME`.
pub(crate) fn subject(text: &str) -> Result<Subject, String> {
    let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
    if kind.is_empty() || name.is_empty() || name.contains('/') {
        return Err("write NAME or pod/NAME, deploy/NAME or namespace/NAME, or NAMESPACE/POD".to_owned());
    }
    let name = name.to_owned();
    let workload = |kind| Ok(Subject::Workload { kind, name: name.clone() });
    match kind {
        "pod" | "pods" | "po" => Ok(Subject::Pod { namespace: None, name }),
        "namespace" | "namespaces" | "ns" => Ok(Subject::Namespace(name)),
        "deployment" | "deployments" | "deploy" => workload(Kind::Deployment),
        "statefulset" | "statefulsets" | "sts" => workload(Kind::StatefulSet),
        "daemonset" | "daemonsets" | "ds" => workload(Kind::DaemonSet),
        "replicaset" | "replicasets" | "rs" => workload(Kind::ReplicaSet),
        "job" | "jobs" => workload(Kind::Job),
        "cronjob" | "cronjobs" | "cj" => workload(Kind::CronJob),
        namespace => Ok(Subject::Pod { namespace: Some(namespace.to_owned()), name }),
    }
}

/// A code, or what of a cluster is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A code, perhaps one that there is not.
    Code(String),
    /// Something of a cluster.
    Subject(Subject),
}

/// A code begins as all do, or has a letter that no name in Kubernetes has.
pub(crate) fn what(text: &str) -> Result<What, String> {
    let digits = text
        .strip_prefix("mr")
        .is_some_and(|rest| rest.len() >= 4 && rest.bytes().take(4).all(|byte| byte.is_ascii_digit()));
    if digits || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(What::Code(text.to_owned()));
    }
    subject(text).map(What::Subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_kubectl_reads_them() {
        let check = |text: &str, expected: &str| {
            let found = subject(text).map(|found| match found {
                Subject::Pod { namespace: None, name } => format!("pod {name}"),
                Subject::Pod { namespace: Some(namespace), name } => format!("pod {namespace} {name}"),
                Subject::Workload { kind, name } => format!("{} {name}", kind.name()),
                Subject::Namespace(name) => format!("namespace {name}"),
            });
            assert_eq!(found.unwrap_or_default(), expected, "{text}");
        };
        check("web", "pod web");
        check("po/web", "pod web");
        check("shop/web", "pod shop web");
        check("deploy/web", "Deployment web");
        check("sts/db", "StatefulSet db");
        check("ns/shop", "namespace shop");
        for wrong in ["", "/", "a/", "/a", "a/b/c"] {
            check(wrong, "");
        }
    }

    #[test]
    fn a_code_is_no_pod() {
        let code = |text: &str| matches!(what(text), Ok(What::Code(_)));
        assert!(code("MR2104") && code("mr2104") && code("MR9") && code("Nonsense"));
        assert!(!code("mr-web") && !code("mr21-web") && !code("deploy/web"));
    }
}
