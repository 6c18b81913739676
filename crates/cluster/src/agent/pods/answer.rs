//! Answers the plugin's question about one pod: from the watch, or, when ADD outran it, by one GET.
//!
//! A pod of the same name that is another one is never taken for it. No request is made for a pod the watch has.

use super::facts::{Known, Seen};
use super::follow::chain;
use super::{Pods, Trouble};
use crate::agent::client::is_unauthorized;
use crate::agent::metrics::Asked;
use kube::Api;
use millrace_core::ask::{Answer, Failure, Question};
use millrace_core::cni::Code;
use millrace_core::knobs::settings_of;
use millrace_core::pod::Pod;
use millrace_core::policy::{Basis, Mesh, Verdict, decide};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

/// How long an open watch may be behind the kubelet's own, which comes from the same server: events take some tens of
/// milliseconds even on busy ones, and an ADD is later still by what the runtime does first. Longer would cost a pod that
/// will need the GET more than the GET does; shorter would make a request of every small delay.
const OUTRUN: Duration = Duration::from_millis(200);
/// How long the first list is waited for: one list answers all that are waiting, as after an agent's restart.
const FIRST_LIST: Duration = Duration::from_secs(3);
/// One GET; a server that works takes milliseconds. Two must fit into what a plugin waits by default.
const GET: Duration = Duration::from_secs(2);
/// Before a server that wants to be asked later is asked again.
const BREATH: Duration = Duration::from_millis(500);
/// Between two doubts about the watches' connections.
const CALM: Duration = Duration::from_secs(5);

impl Pods {
    /// The decision about the pod, by `deadline`, and the pod it is about, where one was found.
    pub(crate) async fn answer(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> (Answer, Option<Arc<Known>>) {
        let (found, asked) = match self.known(question, deadline).await {
            Ok((known, asked)) => (Ok(known), asked),
            Err(why) => (Err(why), Asked::Unknown),
        };
        self.0.metrics.asked(asked);
        let pod = format!("{}/{}", question.namespace, question.name);
        match found {
            Ok(known) => {
                tracing::debug!(pod, container = question.container, ?asked, "answered");
                (decided(&known.pod, &self.0.mesh.borrow()), Some(known))
            }
            Err(failure) => {
                tracing::warn!(pod, container = question.container, "no answer: {}", failure.message);
                (Answer::Failed(failure), None)
            }
        }
    }

    async fn known(&self, question: &Question, deadline: Instant) -> Result<(Arc<Known>, Asked), Failure> {
        if !is_name(&question.namespace) || !is_name(&question.name) {
            let (namespace, name) = (&question.namespace, &question.name);
            return Err(Failure {
                code: Code::Answer as u16,
                message: format!("{namespace:?}/{name:?} is not the name of a pod; report it as a defect"),
            });
        }
        if let Some(known) = self.arrived(question, deadline).await {
            return Ok((known, Asked::Watch));
        }
        match self.get(question, deadline).await {
            Ok(seen) if fits(&seen.known, question) => Ok((Arc::new(seen.known), Asked::Get)),
            Ok(seen) => Err(try_again(another(&seen.known, question))),
            Err(why) => {
                // It may have come by the watch meanwhile.
                let known = self.find(&question.namespace, &question.name);
                known.filter(|known| fits(known, question)).map(|known| (known, Asked::Watch)).ok_or(why)
            }
        }
    }

    /// The pod from the watch, waited for as long as that is likely to help.
    async fn arrived(&self, question: &Question, deadline: Instant) -> Option<Arc<Known>> {
        let mut synced = self.synced();
        let mut changes = self.changes();
        let known = || self.find(&question.namespace, &question.name).filter(|known| fits(known, question));
        if let Some(known) = known() {
            return Some(known);
        }
        if !*synced.borrow_and_update() {
            let until = deadline.min(Instant::now() + FIRST_LIST);
            let _ = timeout_at(until.into(), synced.wait_for(|synced| *synced)).await;
            if let Some(known) = known() {
                return Some(known);
            }
        }
        if self.trouble().is_some() {
            return None;
        }
        let until = deadline.min(Instant::now() + OUTRUN);
        // Whatever changes, and also if too much did, it is looked up again.
        while timeout_at(until.into(), changes.recv()).await.is_ok() {
            if let Some(known) = known() {
                return Some(known);
            }
        }
        None
    }

    /// Asks the server; twice if the first try does not reach it, as a connection may have died unnoticed.
    async fn get(&self, question: &Question, deadline: Instant) -> Result<Seen, Failure> {
        let name = format!("{}/{}", question.namespace, question.name);
        let turn = timeout_at(deadline.into(), self.0.gets.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(self.unreachable(&name, "too many other pods are being asked for"));
        };
        let mut last = String::new();
        for _ in 0..2 {
            let current = self.0.link.current();
            let api = Api::<Seen>::namespaced(current.client, &question.namespace);
            let until = deadline.min(Instant::now() + GET);
            let error = match timeout_at(until.into(), api.get(&question.name)).await {
                Ok(Ok(seen)) => {
                    self.reconnect_if_troubled();
                    return Ok(seen);
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    "it does not answer".clone_into(&mut last);
                    self.doubt(current.generation).await;
                    continue;
                }
            };
            match &error {
                kube::Error::Api(status) if status.code == 404 => {
                    return Err(try_again(missing(&name, question)));
                }
                kube::Error::Api(status) if status.code == 403 => {
                    return Err(try_again(format!(
                        "the API server forbids the agent to get pod {name} ({}); give its service account get, \
                         list and watch on pods",
                        status.message
                    )));
                }
                // It has too much to do, or is starting.
                kube::Error::Api(status) if matches!(status.code, 429 | 503 | 504) => {
                    last = chain(&error);
                    let _ = timeout_at(deadline.into(), tokio::time::sleep(BREATH)).await;
                }
                kube::Error::Api(_) if !is_unauthorized(&error) => {
                    return Err(self.unreachable(&name, &chain(&error)));
                }
                _ => {
                    last = chain(&error);
                    self.doubt(current.generation).await;
                }
            }
        }
        Err(self.unreachable(&name, &last))
    }

    /// Has the next request connect anew, and the watches too.
    async fn doubt(&self, generation: u64) {
        if let Err(error) = self.0.link.renew(generation).await {
            tracing::warn!("{error:#}");
        }
        self.reconnect();
    }

    /// The server is back, and the watch may be waiting to try again.
    fn reconnect_if_troubled(&self) {
        if self.trouble().is_some() {
            self.reconnect();
        }
    }

    /// Not for each of many: a server that is merely slow must not lose its watches again and again.
    fn reconnect(&self) {
        let now = Instant::now();
        let last = &mut self.store().reconnected;
        if last.is_none_or(|last| now.saturating_duration_since(last) >= CALM) {
            *last = Some(now);
            self.0.doubt.send_modify(|count| *count += 1);
        }
    }

    fn unreachable(&self, name: &str, why: &str) -> Failure {
        let now = Instant::now();
        let since = self.trouble().map(|trouble: Trouble| trouble.lasts(now).as_secs());
        let since = since
            .map(|seconds| format!(", and its watch has been broken for {seconds} s"))
            .unwrap_or_default();
        try_again(format!(
            "pod {name} is not among those the agent knows, and the API server cannot be asked: {why}{since}; \
             see that this node reaches the API server. The pod starts once it does; the other pods are not concerned"
        ))
    }
}

/// What is answered about a pod of which everything is known.
pub(crate) fn decided(pod: &Pod, mesh: &Mesh) -> Answer {
    let decision = decide(pod, mesh);
    let stamped = pod.annotations.get(STAMP_ANNOTATION).filter(|_| decision.basis == Basis::Stamp);
    match (decision.verdict, stamped) {
        (Verdict::Skip(reason), _) => Answer::Decided(stamp::write(&Stamp::Skip(reason))),
        (Verdict::Redirect, Some(stamp)) => Answer::Decided(stamp.clone()),
        (Verdict::Redirect, None) => {
            let (settings, complaints) = settings_of(pod, &mesh.proxy_container, &mesh.defaults);
            let fatal: Vec<String> =
                complaints.iter().filter(|one| one.fatal).map(ToString::to_string).collect();
            if fatal.is_empty() {
                return Answer::Decided(stamp::write(&Stamp::Redirect(Box::new(settings))));
            }
            // Half of what was meant is not protection (M1).
            Answer::Failed(Failure {
                code: Code::Answer as u16,
                message: format!(
                    "its settings cannot be used: {}; mend them and start it anew",
                    fatal.join("; ")
                ),
            })
        }
    }
}

/// Whether it is the pod that is asked for. Without a UID a pod that is ending does not count: it may have a successor of
/// the same name, as a StatefulSet's do.
fn fits(known: &Known, question: &Question) -> bool {
    match &question.uid {
        Some(uid) => known.is(uid),
        None => !known.ending,
    }
}

fn another(known: &Known, question: &Question) -> String {
    let name = format!("{}/{}", question.namespace, question.name);
    match &question.uid {
        Some(uid) => format!(
            "pod {name} of the API server has the UID {}, the one that starts has {uid}: it was replaced meanwhile, or \
             the runtime is late; nothing need be done, the runtime tries again with the one that is wanted",
            known.pod.uid.as_deref().unwrap_or("none")
        ),
        None => format!(
            "pod {name} is ending; nothing need be done, its successor starts when the API server has it"
        ),
    }
}

fn missing(name: &str, question: &Question) -> String {
    let uid = question.uid.as_deref().unwrap_or("unknown");
    format!(
        "the API server has no pod {name} (UID {uid}): it was deleted meanwhile, or it is a static pod whose mirror is \
         not made yet; nothing need be done, the runtime tries again if it is still wanted"
    )
}

fn try_again(message: String) -> Failure {
    Failure { code: Code::TryAgain as u16, message }
}

/// What a namespace or a pod may be called (RFC 1123); anything else would be another path of the API.
fn is_name(text: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(sign) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::knobs::Defaults;
    use millrace_core::policy::Reason;
    use millrace_core::settings::{Mode, Settings};

    fn pod(annotations: &[(&str, &str)]) -> Pod {
        let container =
            |name: &str| millrace_core::pod::Container { name: name.into(), ..Default::default() };
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Pod {
            namespace: "shop".into(),
            name: "web".into(),
            annotations: pairs.collect(),
            containers: vec![container("app"), container("istio-proxy")],
            ..Pod::default()
        }
    }

    fn check(annotations: &[(&str, &str)], expected: Result<Stamp, &str>) {
        check_in(
            &Mesh { excluded_namespaces: vec!["away".to_owned()], ..Mesh::default() },
            annotations,
            expected,
        );
    }

    fn check_in(mesh: &Mesh, annotations: &[(&str, &str)], expected: Result<Stamp, &str>) {
        match (decided(&pod(annotations), mesh), expected) {
            (Answer::Decided(text), Ok(stamp)) => assert_eq!(stamp::read(&text), Ok(stamp)),
            (Answer::Failed(failure), Err(part)) => {
                assert_eq!(failure.code, Code::Answer as u16);
                assert!(failure.message.contains(part), "{}", failure.message);
            }
            (answer, expected) => panic!("{answer:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_decision_is_told_as_a_stamp() {
        let injected = ("sidecar.istio.io/status", "{}");
        let settings = Settings::default();
        check(&[injected], Ok(Stamp::Redirect(Box::new(settings.clone()))));
        check(&[], Ok(Stamp::Skip(Reason::NotInjected)));
        let skip = stamp::write(&Stamp::Skip(Reason::SingleContainer));
        check(&[injected, (STAMP_ANNOTATION, &skip)], Ok(Stamp::Skip(Reason::SingleContainer)));
        // A stamp that can be followed is followed, whatever else the pod says since.
        let redirect = stamp::write(&Stamp::Redirect(Box::new(settings.clone())));
        let later = ("traffic.sidecar.istio.io/excludeOutboundPorts", "25");
        check(&[later, (STAMP_ANNOTATION, &redirect)], Ok(Stamp::Redirect(Box::new(settings.clone()))));
        check(&[injected, (STAMP_ANNOTATION, "{}")], Ok(Stamp::Redirect(Box::new(settings))));
        check(
            &[injected, ("traffic.sidecar.istio.io/excludeOutboundPorts", "x")],
            Err("excludeOutboundPorts"),
        );
    }

    #[test]
    fn what_the_operator_says_is_followed_where_the_pod_says_nothing() {
        let defaults = Defaults::read([("mode", "TPROXY")]).unwrap();
        let mesh = Mesh { proxy_container: "app".to_owned(), defaults, ..Mesh::default() };
        let injected = ("sidecar.istio.io/status", "{}");
        let tproxy = Settings { mode: Mode::Tproxy, ..Settings::default() };
        check_in(&mesh, &[injected], Ok(Stamp::Redirect(Box::new(tproxy))));
        let said = ("sidecar.istio.io/interceptionMode", "REDIRECT");
        check_in(&mesh, &[injected, said], Ok(Stamp::Redirect(Box::default())));
        let nobody = Mesh { proxy_container: "envoy".to_owned(), ..Mesh::default() };
        check_in(&nobody, &[injected], Ok(Stamp::Skip(Reason::NoProxyContainer)));
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["web-0", "web.v1", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a?b", "A", "a%2fb", "a b", &"a".repeat(254)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn without_a_uid_a_pod_that_ends_is_not_the_one() {
        let mut known =
            Known { pod: pod(&[]), static_uid: Some("hash".into()), ending: false, ..Known::default() };
        known.pod.uid = Some("u1".into());
        let asked = |uid: Option<&str>| Question { uid: uid.map(str::to_owned), ..Question::default() };
        assert!(fits(&known, &asked(None)) && fits(&known, &asked(Some("u1"))));
        assert!(fits(&known, &asked(Some("hash"))) && !fits(&known, &asked(Some("u2"))));
        known.ending = true;
        assert!(fits(&known, &asked(Some("u1"))) && !fits(&known, &asked(None)));
    }
}
