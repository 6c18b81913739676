//! Webhooks: asks those that want to be asked, over TLS, each within its own time.
//!
//! Which ones, in which order and what their answers mean is decided by the pure parts below; only the asking is here.

mod choose;
mod review;

use super::conditions;
use super::draft::{Asked, Draft};
use super::refusal::Refusal;
use super::select::Labels;
use super::store::Stored;
use axum::http::Request;
use choose::{Hook, Subject};
use kube::Client;
use kube::config::{Cluster, Config, Context, KubeConfigOptions, Kubeconfig, NamedCluster, NamedContext};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of an answer: a patch of the largest object there can be.
const LONGEST: usize = 8 << 20;
/// Connections that are kept for the next time.
const KEPT: usize = 64;

/// Where the webhooks are, and who is asked.
pub(crate) struct Configured<'a> {
    /// Configurations, in the order of their names.
    pub(crate) mutating: &'a [Arc<Stored>],
    pub(crate) validating: &'a [Arc<Stored>],
    /// The labels of the object's namespace.
    pub(crate) namespace: Option<Labels>,
    /// The address of a service, by its namespace, name and port.
    pub(crate) resolve: &'a (dyn Fn(&str, &str, u16) -> Option<SocketAddr> + Sync),
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// Those who ask.
#[derive(Default)]
pub(crate) struct Admission {
    clients: Mutex<HashMap<(String, String), Client>>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("admission")
    }
}

impl Admission {
    /// Lets mutating webhooks change the draft. Whether one did.
    pub(crate) async fn mutate(
        &self,
        configured: &Configured<'_>,
        asked: &Asked,
        operation: Operation,
        draft: &mut Draft,
    ) -> Result<bool, Refusal> {
        let hooks = choose::hooks(configured.mutating);
        let mut changed = false;
        // Those that saw something else than what there is now, and those that would mind if it changed again.
        let (mut again, mut previous) = (vec![false; hooks.len()], vec![false; hooks.len()]);
        for round in 0..2 {
            for (at, hook) in hooks.iter().enumerate() {
                if round == 1 && !again[at] {
                    continue;
                }
                let subject = subject(configured, asked, operation, &draft.before, &draft.new);
                if !is_asked(hook, &subject)? {
                    continue;
                }
                let answer = self.ask(configured, hook, &subject, &mut draft.warnings).await?;
                let new = answer.map(|answer| review::patched(&hook.name, &answer, &draft.new));
                if let Some(new) = new.transpose()?.flatten() {
                    // The next one sees what this one left out filled in.
                    let new = review::completed(&hook.name, &asked.served.kind, new)?;
                    if new != draft.new {
                        (draft.new, changed) = (new, true);
                        let both = again.iter_mut().zip(&mut previous);
                        both.for_each(|(again, previous)| *again |= std::mem::take(previous));
                    }
                }
                previous[at] |= hook.again_if_needed();
            }
        }
        Ok(changed)
    }

    /// Asks validating webhooks.
    pub(crate) async fn validate(
        &self,
        configured: &Configured<'_>,
        asked: &Asked,
        operation: Operation,
        (before, new): (&Value, &Value),
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        for hook in choose::hooks(configured.validating) {
            let subject = subject(configured, asked, operation, before, new);
            if is_asked(&hook, &subject)? {
                self.ask(configured, &hook, &subject, warnings).await?;
            }
        }
        Ok(())
    }

    /// The answer of one that allows it; nothing of one that may fail and did.
    async fn ask(
        &self,
        configured: &Configured<'_>,
        hook: &Hook,
        subject: &Subject<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, Refusal> {
        let question = review::question(subject);
        let limit = Duration::from_secs(hook.seconds());
        let answer = timeout(limit, self.send(configured, hook, &question)).await;
        let answer = answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        match answer.and_then(|answer| review::checked(&question, answer)) {
            Ok(answer) => review::allowed(&hook.name, answer, warnings).map(Some),
            Err(cause) if hook.may_fail() => {
                tracing::warn!(
                    webhook = hook.name,
                    cause,
                    "a webhook failed, and its policy is to ignore that"
                );
                Ok(None)
            }
            Err(cause) => {
                let words =
                    format!("Internal error occurred: failed calling webhook \"{}\": {cause}", hook.name);
                Err(Refusal::new(500, "InternalError", words))
            }
        }
    }

    async fn send(
        &self,
        configured: &Configured<'_>,
        hook: &Hook,
        question: &Value,
    ) -> Result<Value, String> {
        let target = hook.target(configured.resolve)?;
        let failed = |cause: String| format!("failed to call webhook: Post \"{}\": {cause}", target.url);
        let client = self.client(hook, &target).await.map_err(&failed)?;
        let request = Request::post(&target.path).header("content-type", "application/json");
        let request =
            request.body(question.to_string().into_bytes()).map_err(|cause| failed(cause.to_string()))?;
        let response = client.send(request.map(kube::client::Body::from)).await;
        let response = response.map_err(|cause| failed(all_of(&cause)))?;
        let status = response.status();
        let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), LONGEST).await;
        let body = body.map_err(|cause| failed(cause.to_string()))?;
        if !status.is_success() {
            return Err(failed(format!("the webhook answered {status}")));
        }
        serde_json::from_slice(&body).map_err(|cause| failed(format!("the answer is no JSON: {cause}")))
    }

    async fn client(&self, hook: &Hook, target: &choose::Target) -> Result<Client, String> {
        let authority = hook.authority();
        let key = (format!("{}|{}", target.origin, target.server_name), authority.clone());
        if let Some(client) = self.clients().get(&key) {
            return Ok(client.clone());
        }
        let cluster = Cluster {
            server: Some(target.origin.clone()),
            certificate_authority_data: (!authority.is_empty()).then_some(authority),
            tls_server_name: (!target.server_name.is_empty()).then(|| target.server_name.clone()),
            ..Cluster::default()
        };
        let context = Context { cluster: "hook".to_owned(), ..Context::default() };
        let file = Kubeconfig {
            clusters: vec![NamedCluster {
                name: "hook".to_owned(),
                cluster: Some(cluster),
                ..NamedCluster::default()
            }],
            contexts: vec![NamedContext {
                name: "hook".to_owned(),
                context: Some(context),
                ..NamedContext::default()
            }],
            current_context: Some("hook".to_owned()),
            ..Kubeconfig::default()
        };
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|cause| all_of(&cause))?;
        config.proxy_url = None;
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|cause| all_of(&cause))?;
        let mut clients = self.clients();
        if clients.len() >= KEPT {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a webhook is to be asked. One that may fail is not asked where its conditions cannot be told.
fn is_asked(hook: &Hook, subject: &Subject<'_>) -> Result<bool, Refusal> {
    if !hook.wants(subject) {
        return Ok(false);
    }
    let Some(said) = hook.conditions() else { return Ok(true) };
    let mut request = review::question(subject)["request"].take();
    if let Some(request) = request.as_object_mut() {
        request.retain(|name, _| !["object", "oldObject"].contains(&name.as_str()));
    }
    match conditions::hold(said, subject.new, subject.before, &request) {
        Ok(agrees) => Ok(agrees),
        Err(cause) if hook.may_fail() => {
            tracing::warn!(
                webhook = hook.name,
                cause,
                "a webhook is not asked, as its policy is to ignore that"
            );
            Ok(false)
        }
        Err(cause) => {
            let words = format!("admission webhook \"{}\": {cause}", hook.name);
            Err(Refusal::forbidden(subject.asked.served.kind.about(&subject.asked.name), &words))
        }
    }
}

fn subject<'a>(
    configured: &'a Configured<'_>,
    asked: &'a Asked,
    operation: Operation,
    before: &'a Value,
    new: &'a Value,
) -> Subject<'a> {
    Subject { asked, operation, before, new, namespace: configured.namespace.as_ref() }
}

/// An error with everything that caused it.
fn all_of(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
