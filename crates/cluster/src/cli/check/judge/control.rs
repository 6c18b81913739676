//! The webhook and the control plane, in words: whether they answer, by which certificates, who leads, and what the MeshCNI
//! itself says. PURE.

use super::{Line, Words, say};
use crate::api::condition::Condition;
use crate::api::status::State;
use crate::args::output::Mark;
use crate::cli::check::facts::{Certificates, Controller, Probe, Registered};
use crate::cli::leader::Absent;
use crate::cli::status;
use crate::codes::Code;
use crate::controller::status::ROLLED_BACK;
use crate::print::words::VERSION;
use k8s_openapi::jiff::Timestamp;

/// A serving certificate is good for 30 days and replaced when a third is left; with less than this nobody replaces it.
const DUE: u64 = 8 * 86_400;

impl Words<'_> {
    pub(super) fn webhook(&self) -> Vec<Line> {
        let (lang, webhook) = (self.lang, &self.facts.webhook);
        if !webhook.looked {
            return Vec::new();
        }
        let state = self.facts.mesh.as_ref().and_then(|mesh| mesh.status.as_ref()?.state);
        let needed = matches!(state, Some(State::Serving | State::Draining));
        let Some(registered) = &webhook.registered else {
            return vec![match needed {
                true => self.coded(
                    Mark::Bad,
                    Code::WebhookDown,
                    say!(
                        lang,
                        "it is not registered, though pods should be converted",
                        "应当转换 Pod,但它未注册"
                    ),
                ),
                false => Line::good(say!(
                    lang,
                    "it is not registered, as no pod is converted now",
                    "未注册,因为目前不转换任何 Pod"
                )),
            }];
        };
        let mut lines = Vec::from_iter(self.answers(registered));
        if let Some(certs) = &webhook.certs {
            lines.extend(self.certificates(registered, certs));
        }
        if let Some(count) = webhook.endpoints {
            lines.push(match count {
                0 => self.coded(
                    Mark::Bad,
                    Code::WebhookDown,
                    say!(lang, "its Service leads to no pod that is Ready", "其 Service 没有就绪的端点"),
                ),
                _ => Line::good(say!(
                    lang,
                    "its Service leads to {count} pods",
                    "其 Service 有 {count} 个端点"
                )),
            });
        }
        for name in &webhook.behind {
            let text = say!(lang, "the injector's {name} runs behind it", "注入器的 {name} 在它之后运行");
            lines.push(self.coded(Mark::Odd, Code::WebhookNotLast, text));
        }
        lines
    }

    /// What a pod that was created as a dry run shows.
    fn answers(&self, registered: &Registered) -> Option<Line> {
        let lang = self.lang;
        let effect = match registered.fails {
            true => say!(lang, "no pod is created meanwhile", "其间不会创建任何 Pod"),
            false => say!(lang, "pods are admitted as they are meanwhile", "其间 Pod 原样准入"),
        };
        let code = |why: &str| match ["x509", "certificate"].iter().any(|word| why.contains(word)) {
            true => Code::WebhookUntrusted,
            false => Code::WebhookDown,
        };
        Some(match &self.facts.webhook.probe {
            Probe::NotAsked => return None,
            Probe::Answered => Line::good(say!(
                lang,
                "it answers: a pod created as a dry run went through it",
                "有应答:以 dry run 创建的 Pod 经过了它"
            )),
            Probe::Passed => self.coded(
                Mark::Bad,
                Code::WebhookDown,
                say!(
                    lang,
                    "it did not answer for a pod created as a dry run; {effect}",
                    "以 dry run 创建 Pod 时它没有应答;{effect}"
                ),
            ),
            Probe::Failed(why) => {
                self.coded(Mark::Bad, code(why), say!(lang, "{why}; {effect}", "{why};{effect}"))
            }
            Probe::Unknown(why) => {
                let text = say!(lang, "whether it answers cannot be told: {why}", "无法判断它是否应答:{why}");
                Line::odd(None, text, None)
            }
        })
    }

    fn certificates(&self, registered: &Registered, certs: &Certificates) -> Vec<Line> {
        let lang = self.lang;
        let seconds = |seconds: u64| Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX));
        let date =
            |at: u64| seconds(at).map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d").to_string());
        let now = u64::try_from(self.facts.now.as_second()).unwrap_or_default();
        let until = date(certs.until);
        let validity = match now {
            now if now >= certs.until || now < certs.from => self.coded(
                Mark::Bad,
                Code::WebhookUntrusted,
                say!(
                    lang,
                    "its certificate is not valid now; it ended on {until}",
                    "其证书目前无效;有效期至 {until}"
                ),
            ),
            now if certs.until - now < DUE => self.coded(
                Mark::Odd,
                Code::WebhookUntrusted,
                say!(
                    lang,
                    "its certificate ends on {until}, and nobody has replaced it yet",
                    "其证书于 {until} 到期,尚无人更换"
                ),
            ),
            _ => Line::good(say!(lang, "its certificate is valid until {until}", "其证书有效期至 {until}")),
        };
        let trusted = match registered.bundle == certs.bundle {
            true => Line::good(say!(
                lang,
                "the API server trusts exactly who signs it",
                "API Server 信任的正是其签发者"
            )),
            false => self.coded(
                Mark::Bad,
                Code::WebhookUntrusted,
                say!(
                    lang,
                    "the API server trusts somebody else than who signs it",
                    "API Server 信任的并非其签发者"
                ),
            ),
        };
        vec![validity, trusted]
    }

    pub(super) fn control_plane(&self) -> Vec<Line> {
        let lang = self.lang;
        let mut lines = Vec::new();
        let Some(mesh) = &self.facts.mesh else {
            let defined = !self.facts.definitions.is_empty();
            if defined {
                let text = say!(lang, "there is no MeshCNI: mesh CNI is off", "没有 MeshCNI:网格 CNI 未启用");
                let next = "millrace check --pre, millrace plan, millrace enable".to_owned();
                lines.push(Line::odd(None, text, Some(next)));
            }
            return lines;
        };
        lines.extend(self.leader());
        lines.extend(self.facts.controllers.iter().flat_map(|all| self.controllers(all)));
        let status = mesh.status.clone().unwrap_or_default();
        let (wanted, seen) =
            (mesh.metadata.generation.unwrap_or_default(), status.observed_generation.unwrap_or_default());
        if seen < wanted {
            let text = say!(
                lang,
                "the controller has not looked at generation {wanted} of the MeshCNI, only at {seen}",
                "控制器尚未处理 MeshCNI 的第 {wanted} 代,只处理到第 {seen} 代"
            );
            lines.push(self.coded(Mark::Odd, Code::ControllerAbsent, text));
        }
        lines.extend(status.conditions.iter().map(|one| self.condition(one)));
        lines
    }

    fn leader(&self) -> Option<Line> {
        let lang = self.lang;
        let lease = self.facts.lease.as_ref()?;
        let holder = &lease.holder;
        Some(match lease.absent(self.facts.now) {
            None => Line::good(say!(
                lang,
                "{holder} leads, and renews its Lease",
                "{holder} 为 leader,并按时续约"
            )),
            Some(Absent::Nobody) => {
                let text = say!(lang, "no controller holds the Lease", "没有控制器持有 Lease");
                self.coded(Mark::Bad, Code::ControllerAbsent, text)
            }
            Some(Absent::Silent(age)) => {
                let age = age.map_or("?".to_owned(), |age| age.to_string());
                let text = say!(
                    lang,
                    "{holder} leads and has not renewed its Lease for {age} s",
                    "{holder} 为 leader,但已 {age} 秒未续约"
                );
                self.coded(Mark::Bad, Code::ControllerAbsent, text)
            }
        })
    }

    fn controllers(&self, all: &[Controller]) -> Vec<Line> {
        let lang = self.lang;
        let mut lines = Vec::new();
        for one in all {
            let (name, version) = (&one.name, &one.version);
            let text = say!(lang, "{name} is {version}", "{name} 版本为 {version}");
            lines.push(match (one.ready, version == VERSION) {
                (true, true) => Line::good(text),
                (true, false) => {
                    let text = say!(lang, "{text}; this program is {VERSION}", "{text};本程序为 {VERSION}");
                    Line::odd(None, text, None)
                }
                (false, _) => {
                    let text = say!(lang, "{name} is not Ready", "{name} 未就绪");
                    let next = format!("kubectl -n {} describe pod {name}", self.facts.home);
                    Line::odd(None, text, Some(next))
                }
            });
        }
        lines
    }

    fn condition(&self, one: &Condition) -> Line {
        let mark = status::judged(one);
        let text = format!("{} {}: {}", one.kind, one.reason, one.message);
        match (mark, code_of(one)) {
            (Mark::Good, _) => Line::good(text),
            (mark, Some(code)) => self.coded(mark, code, text),
            (mark, None) => Line { mark, next: Some("millrace status".to_owned()), ..Line::good(text) },
        }
    }
}

/// The code of a condition that does not hold: the one it names, else that of its kind.
fn code_of(one: &Condition) -> Option<Code> {
    let named =
        one.message.match_indices("MR").find_map(|(at, _)| Code::from_id(one.message.get(at..at + 6)?));
    let general = match one.kind.as_str() {
        "Stalled" if one.reason == ROLLED_BACK => Some(Code::RolledBack),
        "Stalled" => Some(Code::RolloutStalled),
        "NodesConfigured" => Some(Code::AgentNotReady),
        "InjectorSynced" => Some(Code::InjectorInValidationMode),
        "WorkloadsConverged" => Some(Code::RestartDebt),
        "DriftFree" => Some(Code::RulesDrifted),
        "NoChainConflict" => Some(Code::ChainOverwritten),
        _ => None,
    };
    named.or(general)
}
