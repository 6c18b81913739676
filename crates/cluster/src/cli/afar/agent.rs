//! The agent of a node, and commands run in its container by exec.
//!
//! What it says is read up to a bound and a deadline.

use super::super::connect::{Connection, Error};
use super::Ran;
use super::rights::{Right, need};
use crate::print::words::selector;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, ListParams};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How long a command may take: probes wait a second each.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most bytes of an answer (M10).
const MOST: u64 = 8 << 20;

/// An agent that runs.
pub(super) struct Agent {
    pub(super) node: String,
    namespace: String,
    name: String,
    container: String,
    /// The program in its container.
    pub(super) program: String,
    /// Whether it may enter pods' namespaces.
    pub(super) enters: bool,
}

/// The agent of a node, if one runs there; of several, as there are during an upgrade, one that may enter namespaces.
pub(super) async fn of(connection: &Connection, node: &str) -> Result<Option<Agent>, Error> {
    let labels: Vec<String> = selector().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let params = ListParams::default().labels(&labels.join(",")).fields(&format!("spec.nodeName={node}"));
    let pods: Api<Pod> = Api::all(connection.client.clone());
    let found = connection.ask(&format!("find the agent of node {node}"), pods.list(&params)).await?;
    let running = found.items.into_iter().filter(|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Running")
    });
    let mut agents: Vec<Agent> = running.filter_map(|pod| agent(pod, node)).collect();
    agents.sort_by_key(|agent| (!agent.enters, agent.name.clone()));
    Ok(agents.into_iter().next())
}

fn agent(pod: Pod, node: &str) -> Option<Agent> {
    let spec = pod.spec?;
    let container = spec.containers.first()?;
    let program = container.command.as_ref().and_then(|words| words.first().cloned());
    Some(Agent {
        node: node.to_owned(),
        namespace: pod.metadata.namespace?,
        name: pod.metadata.name?,
        container: container.name.clone(),
        program: program.unwrap_or_else(|| "/millrace".to_owned()),
        enters: spec.host_pid == Some(true) && has_capability(container),
    })
}

fn has_capability(container: &Container) -> bool {
    let Some(context) = &container.security_context else { return false };
    let added = context.capabilities.as_ref().and_then(|all| all.add.as_ref());
    context.privileged == Some(true) || added.is_some_and(|added| added.iter().any(|one| one == "SYS_ADMIN"))
}

impl Agent {
    /// `millrace-system/millrace-agent-x`
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Runs a command in its container.
    pub(super) async fn run(&self, connection: &Connection, words: &[String]) -> Result<Ran, Error> {
        let act = format!("exec in {}", self.title());
        // Either counts, by the server's release.
        let rights = ["create", "get"].map(|verb| Right { verb, part: "exec", namespace: &self.namespace });
        need(connection, &act, &rights).await?;
        let pods: Api<Pod> = Api::namespaced(connection.client.clone(), &self.namespace);
        let params = AttachParams::default().container(self.container.clone());
        let attached = connection.ask(&act, pods.exec(&self.name, words, &params)).await?;
        match timeout(PATIENCE, hear(attached)).await {
            Ok(Ok(ran)) => Ok(ran),
            Ok(Err(why)) => Err(Error::Other { act, why }),
            Err(_) => {
                Err(Error::Slow { act, server: connection.server.clone(), seconds: PATIENCE.as_secs() })
            }
        }
    }
}

async fn hear(mut attached: AttachedProcess) -> Result<Ran, String> {
    let status = attached.take_status();
    let (out, err) = tokio::join!(read(attached.stdout()), read(attached.stderr()));
    let (out, err) = (out?, err?);
    let status = match status {
        Some(status) => status.await.ok_or("the connection broke before it ended")?,
        None => return Err("nothing says how it ended".to_owned()),
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(Ran { status: 0, out, err });
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let mut codes = causes.iter().filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match codes.find_map(|cause| cause.message.as_ref()?.parse().ok()) {
        Some(code) => Ok(Ran { status: code, out, err }),
        None => Err(status.message.unwrap_or_default()),
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Result<String, String> {
    let Some(stream) = stream else { return Ok(String::new()) };
    let mut text = String::new();
    stream.take(MOST + 1).read_to_string(&mut text).await.map_err(|error| error.to_string())?;
    if text.len() as u64 > MOST { Err(format!("it said more than {} MiB", MOST >> 20)) } else { Ok(text) }
}

/// The last start of a pod as `millrace why -o json` tells it, in lines for people.
pub(super) fn remembered(why: &str) -> Vec<String> {
    let told: Value = serde_json::from_str(why).unwrap_or_default();
    let calls = told["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(last) = calls.iter().rev().find(|call| call["verb"] == "ADD") else { return Vec::new() };
    let text = |field: &str| last[field].as_str().unwrap_or_default();
    let mut lines = vec![format!("{}  ADD {}: {}", text("time"), text("interface"), text("outcome"))];
    if let Some(sentence) = last["sentence"].as_str() {
        lines.push(format!("{}: {sentence}", text("reason")));
    }
    if let Some(counts) = last["ruleCounts"].as_object() {
        let counts: Vec<String> =
            counts.iter().map(|(family, count)| format!("{count} of {family}")).collect();
        lines.push(format!("rules {}, by {}", counts.join(", "), text("backend")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(pod: Value, expected: Option<(&str, bool)>) {
        let found = agent(serde_json::from_value(pod).unwrap(), "n1");
        let found = found.as_ref().map(|agent| (agent.program.as_str(), agent.enters));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_profile_says_whether_an_agent_enters_namespaces() {
        let pod = |host: bool, context: Value| {
            json!({ "metadata": { "name": "a", "namespace": "m" }, "spec": { "hostPID": host, "containers": [
                { "name": "agent", "command": ["/millrace"], "securityContext": context }] } })
        };
        let audit = json!({ "capabilities": { "add": ["NET_ADMIN", "SYS_ADMIN"], "drop": ["ALL"] } });
        check(pod(true, audit.clone()), Some(("/millrace", true)));
        check(pod(false, audit), Some(("/millrace", false)));
        check(pod(true, json!({ "capabilities": { "drop": ["ALL"] } })), Some(("/millrace", false)));
        check(pod(true, json!({ "privileged": true })), Some(("/millrace", true)));
        check(json!({ "metadata": { "name": "a", "namespace": "m" } }), None);
    }

    #[test]
    fn the_last_start_is_told() {
        let why = json!({ "calls": [
            { "verb": "ADD", "time": "T1", "interface": "eth0", "outcome": "failed" },
            { "verb": "ADD", "time": "T2", "interface": "eth0", "outcome": "redirected", "backend": "iptables",
              "ruleCounts": { "IPv4": 20 } },
            { "verb": "CHECK", "time": "T3" }] });
        assert_eq!(
            remembered(&why.to_string()),
            ["T2  ADD eth0: redirected", "rules 20 of IPv4, by iptables"]
        );
        assert_eq!(remembered("nonsense"), Vec::<String>::new());
    }
}
