//! The logs of the controller and of agents: their ends, of their last run as well where they were started again.
//!
//! Some are read at once, each with its deadline; no more of one is ever held than is kept.

use super::{Gatherer, meta};
use crate::args::output::Lang;
use crate::cli::connect::{Connection, Error};
use crate::cli::report::bundle::BOUNDS;
use crate::cli::report::section::Section;
use futures::{AsyncReadExt, StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::Value;
use std::collections::BTreeSet;

/// The most agents whose logs are read.
const MOST_AGENTS: usize = 50;
/// How many are read at once.
const AT_ONCE: usize = 8;
/// How many lines of a log's end are asked for: some times what is kept.
const LINES: i64 = 50_000;

/// A log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Log {
    namespace: String,
    pod: String,
    container: String,
    /// Whether it is that of the run before.
    previous: bool,
}

/// The end of a log, and how many bytes came before it.
struct End {
    text: String,
    before: u64,
}

impl Gatherer<'_> {
    /// Reads them.
    pub(super) async fn logs(&mut self) {
        let named: BTreeSet<&str> =
            self.pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
        let wish = Wish { only: &self.args.nodes, named: &named, failing: &self.failing };
        let (pods, passed) = wish.choose(&self.ours);
        if passed > 0 {
            let words = match (self.style.lang, passed) {
                (Lang::En, 1) => "logs of one agent; --node NODE reads those of its agent".to_owned(),
                (Lang::En, _) => format!("logs of {passed} agents; --node NODE reads those of its agent"),
                (Lang::Zh, _) => format!("{passed} 个 Agent 的日志;--node NODE 读取该节点 Agent 的日志"),
            };
            self.told.passed.push(words);
        }
        for node in wish.unknown(&self.ours) {
            self.told.note(format!(
                "no pod of Millrace is on node {node}; `millrace nodes` lists those with an agent"
            ));
        }
        let wanted: Vec<Log> = pods.iter().flat_map(|pod| of(pod)).collect();
        let (connection, all) = (self.connection, wanted.len());
        let since = i64::try_from(self.told.since.as_secs()).unwrap_or(i64::MAX);
        let mut read = stream::iter(wanted)
            .map(|log| async move { (read(connection, &log, since).await, log) })
            .buffered(AT_ONCE);
        let mut count = 0;
        while let Some((end, log)) = read.next().await {
            count += 1;
            self.show(Section::Logs, &format!("{count}/{all}"));
            if let Some(end) = self.noted(end) {
                self.bundle.log(&log.file(), &end.text, end.before);
            }
        }
    }
}

impl Log {
    fn file(&self) -> String {
        let last = if self.previous { ".previous" } else { "" };
        format!("logs/{}/{}/{}{last}.log", self.namespace, self.pod, self.container)
    }
}

/// Whose logs are wanted.
struct Wish<'a> {
    /// The agents of these nodes alone, if there are any.
    only: &'a [String],
    /// The nodes of pods that are named.
    named: &'a BTreeSet<&'a str>,
    /// The nodes with which something is wrong.
    failing: &'a BTreeSet<String>,
}

impl Wish<'_> {
    /// The pods whose logs are read, and how many are passed over: the controller's, and of the agents those that matter most.
    fn choose<'p>(&self, pods: &'p [Value]) -> (Vec<&'p Value>, usize) {
        let (agents, mut chosen): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(|pod| is_agent(pod));
        let (mut agents, others): (Vec<&Value>, Vec<&Value>) = agents
            .into_iter()
            .partition(|pod| self.only.is_empty() || self.only.iter().any(|one| one == node(pod)));
        agents.sort_by_key(|pod| (self.rank(pod), meta(pod, "name")));
        let most = if self.only.is_empty() { MOST_AGENTS } else { agents.len() };
        let passed = agents.len().saturating_sub(most) + others.len();
        agents.truncate(most);
        chosen.extend(agents);
        (chosen, passed)
    }

    fn rank(&self, pod: &Value) -> u8 {
        match node(pod) {
            node if self.named.contains(node) => 0,
            node if self.failing.contains(node) => 1,
            _ if statuses(pod).any(|one| one["restartCount"] != 0 || one["ready"] != true) => 2,
            _ => 3,
        }
    }

    /// The nodes that are asked for and have nothing of ours.
    fn unknown<'n>(&'n self, pods: &'n [Value]) -> impl Iterator<Item = &'n str> {
        let known = |name: &str| pods.iter().any(|pod| node(pod) == name);
        self.only.iter().map(String::as_str).filter(move |name| !known(name))
    }
}

fn node(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

fn is_agent(pod: &Value) -> bool {
    pod["metadata"]["labels"]["app.kubernetes.io/component"] == "agent"
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainerStatuses", "containerStatuses"].into_iter();
    lists.flat_map(|list| pod["status"][list].as_array().into_iter().flatten())
}

/// The logs that there are of a pod: one that never ran has none.
fn of(pod: &Value) -> Vec<Log> {
    let mut logs = Vec::new();
    for status in statuses(pod) {
        let log = |previous| Log {
            namespace: meta(pod, "namespace").to_owned(),
            pod: meta(pod, "name").to_owned(),
            container: status["name"].as_str().unwrap_or_default().to_owned(),
            previous,
        };
        let again = status["restartCount"].as_u64().unwrap_or_default() > 0;
        if again || status["state"]["waiting"].is_null() {
            logs.push(log(false));
        }
        if again {
            logs.push(log(true));
        }
    }
    logs
}

async fn read(connection: &Connection, log: &Log, since: i64) -> Result<End, Error> {
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), &log.namespace);
    let params = LogParams {
        container: Some(log.container.clone()),
        previous: log.previous,
        since_seconds: Some(since),
        tail_lines: Some(LINES),
        timestamps: true,
        ..LogParams::default()
    };
    let words = if log.previous { "last run's log" } else { "log" };
    let act = format!("read the {words} of {} in {}/{}", log.container, log.namespace, log.pod);
    let whole = async {
        let mut told = pods.log_stream(&log.pod, &params).await?;
        let (mut kept, mut before, mut piece) = (Vec::new(), 0_u64, vec![0; 64 << 10]);
        loop {
            let count = told.read(&mut piece).await.map_err(kube::Error::ReadEvents)?;
            if count == 0 {
                return Ok((kept, before));
            }
            kept.extend_from_slice(&piece[..count]);
            // Twice as much as is kept, so that little is moved about.
            if kept.len() > 2 * BOUNDS.log {
                let over = kept.len() - BOUNDS.log;
                kept.drain(..over);
                before += over as u64;
            }
        }
    };
    let (kept, before) = connection.ask(&act, whole).await.map_err(|error| match error {
        Error::NotInstalled { act } => {
            Error::Other { act, why: "this API server has no logs of it".to_owned() }
        }
        error => error,
    })?;
    Ok(end(kept, before, BOUNDS.log))
}

/// What is kept of what was read. The line that a cut goes through is left out: half of a secret has no form by which to tell it.
fn end(mut kept: Vec<u8>, mut before: u64, most: usize) -> End {
    let mut over = kept.len().saturating_sub(most);
    if over > 0 || before > 0 {
        let line = kept[over..].iter().position(|byte| *byte == b'\n');
        over = line.map_or(kept.len(), |end| over + end + 1);
    }
    kept.drain(..over);
    before += over as u64;
    End { text: String::from_utf8_lossy(&kept).into_owned(), before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn agent(node: &str, restarts: u64) -> Value {
        json!({ "metadata": { "name": format!("agent-{node}"), "namespace": "home", "labels": { "app.kubernetes.io/component": "agent" } },
            "spec": { "nodeName": node }, "status": { "containerStatuses": [{ "name": "agent", "ready": true, "restartCount": restarts,
                "state": { "running": {} } }] } })
    }

    fn check(only: &[&str], pods: &[Value], expected: &[&str], passed: usize) {
        let only: Vec<String> = only.iter().map(|one| (*one).to_owned()).collect();
        let failing = BTreeSet::from(["n60".to_owned()]);
        let wish = Wish { only: &only, named: &BTreeSet::from(["n61"]), failing: &failing };
        let (chosen, over) = wish.choose(pods);
        let names: Vec<&str> = chosen.iter().map(|pod| meta(pod, "name")).take(expected.len()).collect();
        assert_eq!((names, over), (expected.to_vec(), passed));
    }

    #[test]
    fn the_controllers_logs_come_first_then_those_that_matter_most() {
        let mut pods: Vec<Value> = (10..62).map(|number| agent(&format!("n{number}"), 0)).collect();
        pods.push(agent("n62", 1));
        pods.push(json!({ "metadata": { "name": "controller-0", "labels": { "app.kubernetes.io/component": "controller" } } }));
        check(&[], &pods, &["controller-0", "agent-n61", "agent-n60", "agent-n62", "agent-n10"], 3);
        check(&["n11"], &pods, &["controller-0", "agent-n11"], 52);
        let only = ["n11".to_owned(), "elsewhere".to_owned()];
        let wish = Wish { only: &only, named: &BTreeSet::new(), failing: &BTreeSet::new() };
        assert_eq!(wish.unknown(&pods).collect::<Vec<_>>(), ["elsewhere"]);
    }

    #[test]
    fn of_a_long_log_whole_lines_of_its_end_are_kept() {
        let check = |text: &str, before: u64, expected: (&str, u64)| {
            let end = end(text.as_bytes().to_vec(), before, 10);
            assert_eq!((end.text.as_str(), end.before), expected, "{text:?} {before}");
        };
        check("one\ntwo\n", 0, ("one\ntwo\n", 0));
        check("word=secret\ntwo\n", 0, ("two\n", 12));
        check("ret\ntwo\n", 5, ("two\n", 9));
        check("one line that has no end", 0, ("", 24));
    }

    #[test]
    fn a_container_that_was_started_again_has_two_logs() {
        let files = |pod: &Value| of(pod).iter().map(Log::file).collect::<Vec<_>>();
        assert_eq!(files(&agent("n", 0)), ["logs/home/agent-n/agent.log"]);
        assert_eq!(
            files(&agent("n", 2)),
            ["logs/home/agent-n/agent.log", "logs/home/agent-n/agent.previous.log"]
        );
        let mut waiting = agent("n", 0);
        waiting["status"]["containerStatuses"][0]["state"] =
            json!({ "waiting": { "reason": "ErrImagePull" } });
        assert_eq!(files(&waiting), [""; 0]);
    }
}
