//! Why a cluster did not answer as was hoped: the act, the cause, the way out, and the code.

use super::chain;
use crate::args::output::Lang;
use crate::codes::Code;
use kube::core::Status;
use std::fmt;

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// There is neither a kubeconfig nor a pod's service account.
    NoConfig,
    /// The kubeconfig cannot be used.
    Config(String),
    /// Nobody answers.
    Unreachable { act: String, server: String, why: String },
    /// It did not answer in time.
    Slow { act: String, server: String, seconds: u64 },
    /// It does not know who asks.
    Unknown { act: String, server: String },
    /// It refuses it to whoever asks.
    Forbidden { act: String, why: String },
    /// It does not know the kind.
    NotInstalled { act: String },
    /// There is no such object.
    Absent { act: String },
    /// There is no MeshCNI, without which there is nothing to do.
    NoMesh { act: &'static str, code: Option<Code> },
    /// Others own fields: each field with its owner.
    Conflict { act: String, fields: Vec<(String, String)> },
    /// It was changed since it was looked at.
    Outdated { act: String },
    /// It does not accept the object.
    Invalid { act: String, why: Vec<String> },
    /// Something else that it said.
    Other { act: String, why: String },
}

impl Error {
    /// What an error of the client means.
    pub(super) fn of(act: &str, server: &str, error: &kube::Error) -> Error {
        let (act, server) = (act.to_owned(), server.to_owned());
        match error {
            kube::Error::Api(status) => Error::of_status(act, server, status),
            kube::Error::Service(_) | kube::Error::HyperError(_) => {
                Error::Unreachable { act, server, why: chain(error) }
            }
            kube::Error::Auth(_) => Error::Config(format!("cannot {act}: {}", chain(error))),
            _ => Error::Other { act, why: chain(error) },
        }
    }

    fn of_status(act: String, server: String, status: &Status) -> Error {
        let why = status.message.clone();
        let causes = status.details.iter().flat_map(|details| &details.causes);
        match status.code {
            401 => Error::Unknown { act, server },
            403 => Error::Forbidden { act, why },
            // An object that is not there has a name in the details; a kind that is not there has none, or is plain text.
            404 if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) => {
                Error::Absent { act }
            }
            404 => Error::NotInstalled { act },
            409 => {
                let owned = causes.filter(|cause| cause.reason == "FieldManagerConflict");
                let fields: Vec<(String, String)> =
                    owned.map(|cause| (cause.field.clone(), owner(&cause.message))).collect();
                if fields.is_empty() { Error::Outdated { act } } else { Error::Conflict { act, fields } }
            }
            400 | 422 => {
                let mut all: Vec<String> = causes.map(cause).collect();
                if all.is_empty() {
                    all.push(why);
                }
                Error::Invalid { act, why: all }
            }
            _ => Error::Other {
                act,
                why: if why.is_empty() { format!("status {}", status.code) } else { why },
            },
        }
    }

    /// Its code, for `millrace explain`.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Error::NoConfig | Error::Config(_) | Error::Unreachable { .. } | Error::Slow { .. } => {
                Some(Code::ServerUnreachable)
            }
            Error::Unknown { .. } | Error::Forbidden { .. } => Some(Code::Forbidden),
            Error::NotInstalled { .. } => Some(Code::NotInstalled),
            Error::Conflict { .. } => Some(Code::FieldConflict),
            Error::Invalid { .. } => Some(Code::SpecRefused),
            Error::NoMesh { code, .. } => *code,
            Error::Absent { .. } | Error::Outdated { .. } | Error::Other { .. } => None,
        }
    }
}

impl Error {
    /// The same in a language. What the server said stays as it said it.
    pub(crate) fn say(&self, lang: Lang) -> String {
        match (lang, self.code()) {
            (Lang::En, _) => self.to_string(),
            (Lang::Zh, None) => self.chinese(),
            (Lang::Zh, Some(code)) => format!("{} ({code})", self.chinese()),
        }
    }

    fn chinese(&self) -> String {
        match self {
            Error::NoConfig => {
                "没有 kubeconfig:用 --kubeconfig 或 KUBECONFIG 指定,或在带有服务账号的 Pod 中运行".to_owned()
            }
            Error::Config(why) => format!("kubeconfig 无法使用:{why}"),
            Error::Unreachable { act, server, why } => {
                format!("无法完成 {act}:连接不上 API 服务器 {server}:{why};请检查 --context 与 --kubeconfig")
            }
            Error::Slow { act, server, seconds } => {
                format!(
                    "无法完成 {act}:API 服务器 {server} 在 {seconds} 秒内没有应答;请检查 --request-timeout"
                )
            }
            Error::Unknown { act, server } => {
                format!("无法完成 {act}:API 服务器 {server} 不认识请求者;请更新 kubeconfig 中的凭据")
            }
            Error::Forbidden { act, why } => {
                format!("无法完成 {act}:没有权限:{why};请申请该权限,或换用其他 --context")
            }
            Error::NotInstalled { act } => {
                format!("无法完成 {act}:集群不认识该类型;用 `millrace print crd | kubectl apply -f -` 安装")
            }
            Error::Absent { act } => format!("无法完成 {act}:不存在"),
            Error::NoMesh { act, .. } => {
                format!("无法完成 {act}:没有 MeshCNI;可用 `millrace enable` 创建")
            }
            Error::Conflict { act, fields } => {
                let owned = |(field, owner): &(String, String)| format!("{field} 由 {owner} 管理");
                let fields: Vec<String> = fields.iter().map(owned).collect();
                format!("无法完成 {act}:{};请在那里修改,或用 --force-conflicts 接管", fields.join(","))
            }
            Error::Outdated { act } => format!("无法完成 {act}:此间已被他人修改;请重新查看"),
            Error::Invalid { act, why } => format!("无法完成 {act}:不被接受:{}", why.join(";")),
            Error::Other { act, why } => format!("无法完成 {act}:{why}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoConfig => f.write_str(
                "there is no kubeconfig: name one with --kubeconfig or KUBECONFIG, or run in a pod with a service account",
            ),
            Error::Config(why) => f.write_str(why),
            Error::Unreachable { act, server, why } => {
                write!(f, "cannot {act}: the API server {server} cannot be reached: {why}; see --context and --kubeconfig")
            }
            Error::Slow { act, server, seconds } => write!(
                f,
                "cannot {act}: the API server {server} has not answered for {seconds} s; see --request-timeout"
            ),
            Error::Unknown { act, server } => write!(
                f,
                "cannot {act}: the API server {server} does not know who asks; renew the kubeconfig's credential"
            ),
            Error::Forbidden { act, why } => {
                write!(f, "cannot {act}: {why}; have that right given to you, or ask with another --context")
            }
            Error::NotInstalled { act } => write!(
                f,
                "cannot {act}: the cluster does not know that kind; install it with `millrace print crd | kubectl apply -f -`"
            ),
            Error::Absent { act } => write!(f, "cannot {act}: there is none"),
            Error::NoMesh { act, .. } => {
                write!(f, "cannot {act}: there is no MeshCNI; `millrace enable` makes one")
            }
            Error::Conflict { act, fields } => {
                write!(f, "cannot {act}: ")?;
                for (index, (field, owner)) in fields.iter().enumerate() {
                    write!(f, "{}{field} was applied by {owner}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("; change it there, or take it over with --force-conflicts")
            }
            Error::Outdated { act } => write!(f, "cannot {act}: it was changed since it was looked at; look again"),
            Error::Invalid { act, why } => write!(f, "cannot {act}: it is not accepted: {}", why.join("; ")),
            Error::Other { act, why } => write!(f, "cannot {act}: {why}"),
        }?;
        self.code().map_or(Ok(()), |code| write!(f, " ({code})"))
    }
}

impl std::error::Error for Error {}

/// Whose field it is, out of `conflict with "kubectl-edit" using millrace.dev/v1alpha1`.
fn owner(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_owned()
}

fn cause(cause: &kube::core::response::StatusCause) -> String {
    if cause.field.is_empty() || cause.message.contains(&cause.field) {
        return cause.message.clone();
    }
    format!("{}: {}", cause.field, cause.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(status: serde_json::Value, expected: &str) {
        let status: Status = serde_json::from_value(status).unwrap();
        let error = Error::of("read it", "https://x:6443", &kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn each_answer_says_what_to_do() {
        check(
            json!({ "code": 403, "reason": "Forbidden", "message": "meshcnis is forbidden: User \"eve\" cannot list" }),
            "cannot read it: meshcnis is forbidden: User \"eve\" cannot list; have that right given to you, or ask with \
             another --context (MR1105)",
        );
        check(
            json!({ "code": 404, "message": "404 page not found", "reason": "Failed to parse error data" }),
            "cannot read it: the cluster does not know that kind; install it with `millrace print crd | kubectl apply -f -` \
             (MR1103)",
        );
        let absent = json!({ "name": "default", "group": "millrace.dev", "kind": "meshcnis" });
        check(
            json!({ "code": 404, "reason": "NotFound", "details": absent }),
            "cannot read it: there is none",
        );
        let conflict = json!({ "causes": [{ "reason": "FieldManagerConflict", "field": ".spec.mode",
            "message": "conflict with \"kubectl-edit\" using millrace.dev/v1alpha1" }] });
        check(
            json!({ "code": 409, "reason": "Conflict", "message": "…", "details": conflict }),
            "cannot read it: .spec.mode was applied by kubectl-edit; change it there, or take it over with \
             --force-conflicts (MR1104)",
        );
        let invalid = json!({ "causes": [{ "reason": "FieldValueInvalid", "field": "spec.mode", "message": "Unsupported value" }] });
        check(
            json!({ "code": 422, "reason": "Invalid", "message": "…", "details": invalid }),
            "cannot read it: it is not accepted: spec.mode: Unsupported value (MR1101)",
        );
        check(json!({ "code": 503, "message": "" }), "cannot read it: status 503");
    }
}
