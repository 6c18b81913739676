//! The ways from a pod to whoever can look into its network namespace: this machine if it is its node, the agent of its node, a
//! debug container.
//!
//! Each way that cannot be gone is named with its cause. A debug container is made only when its image was named, and a pod that
//! was made for looking is deleted whatever came of it.

mod agent;
mod debug;
mod pass;
mod rights;

pub(super) use pass::pass;

use super::connect::Connection;
use super::live::Opened;
use crate::args::output::Lang;
use crate::args::pod::Debug;
use millrace_host::inspect::container::{self, Roots};
use millrace_host::netns::NetNs;
use millrace_host::records::Records;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Who asks, and what is allowed.
pub(super) struct Afar<'a> {
    pub(super) connection: &'a Connection,
    pub(super) debug: &'a Debug,
    /// Where records of this machine's attachments are; nothing where this machine is not whoever asks'.
    pub(super) state_dir: Option<&'a Path>,
    pub(super) lang: Lang,
}

/// What is to be run beside a pod: one command line, which says what it found on standard output.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// The verb.
    pub(super) verb: &'static str,
    /// What follows the namespace's name.
    pub(super) rest: Vec<String>,
}

impl Errand {
    fn words(&self, program: &str, place: [&str; 2]) -> Vec<String> {
        let first = [program, self.verb, place[0], place[1]].map(str::to_owned);
        first.into_iter().chain(self.rest.iter().cloned()).collect()
    }
}

/// How a pod was reached.
pub(super) enum Reached {
    /// This machine is its node.
    Here { way: String, opened: Opened },
    /// The errand was run elsewhere.
    There { way: String, ran: Ran },
}

/// What a command did.
#[derive(Clone, Debug, Default)]
pub(super) struct Ran {
    pub(super) status: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// Why a pod could not be reached: each way with its cause.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unreached {
    pub(crate) ways: Vec<String>,
    /// What the agent that cannot look remembers of it.
    pub(crate) known: Vec<String>,
}

impl Afar<'_> {
    /// Goes the first way that is open, in this order: this machine, the node's agent, a debug container.
    pub(super) async fn reach(&self, pod: &Value, errand: &Errand) -> Result<Reached, Unreached> {
        let mut missed = Unreached::default();
        match self.state_dir.map(|state_dir| here(pod, state_dir)) {
            Some(Ok(opened)) => {
                return Ok(Reached::Here {
                    way: self.say("on this node", "在本节点上").to_owned(), opened
                });
            }
            Some(Err(why)) => missed.ways.push(format!("{}: {why}", self.say("this machine", "本机"))),
            None => {}
        }
        let Some(container) = container_id(pod) else {
            missed.ways.push(self.say("no container of it runs", "没有正在运行的容器").to_owned());
            return Err(missed);
        };
        match self.by_agent(pod, errand, ["--container", container], &mut missed).await {
            Ok(reached) => return Ok(reached),
            Err(why) => {
                missed.ways.push(format!("{}: {why}", self.say("the node's agent", "节点上的 Agent")))
            }
        }
        match self.by_debug(pod, errand, container).await {
            Ok(reached) => Ok(reached),
            Err(why) => {
                missed.ways.push(format!("{}: {why}", self.say("a debug container", "调试容器")));
                Err(missed)
            }
        }
    }

    /// Runs what needs no namespace, only the node's files, in the agent of the pod's node.
    pub(super) async fn ask_agent(&self, pod: &Value, args: &[String]) -> Result<(String, Ran), String> {
        let agent = agent::of(self.connection, node(pod)).await.map_err(|error| error.say(self.lang))?;
        let agent = agent.ok_or_else(|| self.no_agent(pod))?;
        let words = [std::slice::from_ref(&agent.program), args].concat();
        let ran = agent.run(self.connection, &words).await.map_err(|error| error.say(self.lang))?;
        Ok((self.by(&agent), ran))
    }

    async fn by_agent(
        &self,
        pod: &Value,
        errand: &Errand,
        place: [&str; 2],
        missed: &mut Unreached,
    ) -> Result<Reached, String> {
        let said = |error: super::connect::Error| error.say(self.lang);
        let agent = agent::of(self.connection, node(pod)).await.map_err(said)?;
        let agent = agent.ok_or_else(|| self.no_agent(pod))?;
        if !agent.enters {
            let args = ["why", "--uid", pod["metadata"]["uid"].as_str().unwrap_or_default(), "-o", "json"];
            let words: Vec<String> =
                [agent.program.as_str()].into_iter().chain(args).map(str::to_owned).collect();
            if let Ok(ran) = agent.run(self.connection, &words).await {
                missed.known.extend(agent::remembered(&ran.out));
            }
            let english = "has no capability (profile zero) and cannot enter a pod's namespace; the audit profile can: \
                           `millrace print --profile audit`";
            let chinese = "没有任何特权 (profile zero),无法进入 Pod 的网络命名空间;audit 模式可以:`millrace print --profile audit`";
            return Err(format!("{} {}", agent.title(), self.say(english, chinese)));
        }
        let words = errand.words(&agent.program, place);
        let ran = agent.run(self.connection, &words).await.map_err(said)?;
        Ok(Reached::There { way: self.by(&agent), ran })
    }

    async fn by_debug(&self, pod: &Value, errand: &Errand, container: &str) -> Result<Reached, String> {
        let Some(image) = &self.debug.debug_image else {
            let english = "none was asked for; --debug-image IMAGE puts one of an image of Millrace into the pod (it stays in \
                           its list), and with --debug-node into a short-lived privileged pod on its node";
            let chinese = "未请求;--debug-image IMAGE 会在该 Pod 内加入一个使用 Millrace 镜像的临时容器 (会保留在其列表中),\
                           再加 --debug-node 则在其节点上创建一个短暂的特权 Pod";
            return Err(self.say(english, chinese).to_owned());
        };
        let made = if self.debug.debug_node {
            let words = errand.words(debug::PROGRAM, ["--container", container]);
            debug::on_node(self.connection, pod, image, &words).await
        } else {
            // The first process of any container there is in the pod's namespace.
            let words = errand.words(debug::PROGRAM, ["--pid", "1"]);
            debug::in_pod(self.connection, pod, image, &words).await
        };
        let (name, ran) = made.map_err(|error| error.say(self.lang))?;
        let way = match (self.lang, self.debug.debug_node) {
            (Lang::En, false) => format!("from the debug container {name} in the pod"),
            (Lang::En, true) => format!("from the pod {name} on node {}, deleted since", node(pod)),
            (Lang::Zh, false) => format!("通过 Pod 内的调试容器 {name}"),
            (Lang::Zh, true) => format!("通过节点 {} 上的 Pod {name} (已删除)", node(pod)),
        };
        Ok(Reached::There { way, ran })
    }

    fn by(&self, agent: &agent::Agent) -> String {
        match self.lang {
            Lang::En => format!("by exec into {} on node {}", agent.title(), agent.node),
            Lang::Zh => format!("通过 exec 进入节点 {} 上的 {}", agent.node, agent.title()),
        }
    }

    fn no_agent(&self, pod: &Value) -> String {
        match self.lang {
            Lang::En => format!("none of Millrace runs on node {}", node(pod)),
            Lang::Zh => format!("节点 {} 上没有运行 Millrace 的 Agent", node(pod)),
        }
    }

    fn say<'t>(&self, english: &'t str, chinese: &'t str) -> &'t str {
        if self.lang == Lang::En { english } else { chinese }
    }
}

/// The pod's node.
pub(super) fn node(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or("(none)")
}

/// The id of a container of the pod that runs.
fn container_id(pod: &Value) -> Option<&str> {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
    let all = lists.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let mut running = all.filter(|status| !status["state"]["running"].is_null());
    running.find_map(|status| status["containerID"].as_str().filter(|id| !id.is_empty()))
}

/// The pod's namespace, if this machine is its node: one of its containers runs here, or its attachment is recorded here.
fn here(pod: &Value, state_dir: &Path) -> Result<Opened, String> {
    let roots = Roots::below(PathBuf::from("/"));
    if let Some(Ok(pid)) = container_id(pod).map(|id| container::pid(id, &roots)) {
        let netns = NetNs::of_pid(pid).map_err(|error| error.to_string())?;
        return Ok(Opened { netns, pid: Some(pid) });
    }
    let uid = pod["metadata"]["uid"].as_str();
    let (records, _unreadable) = Records::below(state_dir).all().map_err(|error| error.to_string())?;
    let of_pod = records.into_iter().find(|record| record.uid.is_some() && record.uid.as_deref() == uid);
    let Some(record) = of_pod else {
        return Err(format!("it is not node {}, or not asked as root", node(pod)));
    };
    let netns = NetNs::open(Path::new(&record.netns)).map_err(|error| error.to_string())?;
    Ok(Opened { netns, pid: None })
}
