//! A make-believe node: the agent's real process, its directories, and a runtime's calls of the plugin that it installed.
//!
//! Everything is in one temporary folder and in namespaces of its own; what was started ends with it.

use crate::pod::Pod;
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::net::Namespace;
use millrace_rig::wait::{until, until_in};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a loaded machine may need for what takes a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The list of the node's main CNI, before anybody came.
pub(crate) const LIST: &str = r#"{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"main"}]}"#;

/// A node with its agent.
pub(crate) struct Node {
    folder: PathBuf,
    kubeconfig: PathBuf,
    bare: bool,
    agents: Vec<Child>,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// The CNI error's code; 0 if the pod started.
    pub(crate) code: u64,
    /// The error's message and details.
    pub(crate) message: String,
    /// Whether rules of ours are in its namespace.
    pub(crate) redirected: bool,
    /// How long its ADD took.
    pub(crate) took: Duration,
}

impl Node {
    /// Directories, the main CNI's list, and no agent yet.
    pub(crate) fn new(name: &str, kubeconfig: &Path, patience: &str) -> Node {
        Node::with(name, kubeconfig, patience, "Off")
    }

    /// The same, with an audit of this policy.
    pub(crate) fn with(name: &str, kubeconfig: &Path, patience: &str, audit: &str) -> Node {
        let folder = std::env::temp_dir().join(format!("millrace-faults-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        for part in ["net.d", "bin", "run", "data", "log"] {
            std::fs::create_dir_all(folder.join(part)).expect("a temporary folder can be made");
        }
        std::fs::set_permissions(folder.join("run"), Permissions::from_mode(0o700)).expect("it is ours");
        std::fs::write(folder.join("net.d/10-test.conflist"), LIST).expect("it is ours");
        std::fs::write(folder.join("bin/main"), "#!/bin/sh\n").expect("it is ours");
        std::fs::set_permissions(folder.join("bin/main"), Permissions::from_mode(0o755)).expect("it is ours");
        let config = json!({
            "excludeNamespaces": ["legacy"],
            "agentTimeout": patience,
            "install": { "platform": "kubeadm", "way": "in-place" },
            "audit": { "policy": audit, "period": "30s" },
        });
        std::fs::write(folder.join("config.yaml"), config.to_string()).expect("it is ours");
        Node { folder, kubeconfig: kubeconfig.to_owned(), bare: false, agents: Vec::new() }
    }

    /// Whatever of ours is run from now on is root without any capability; the runtime is not ours.
    pub(crate) fn without_capabilities(mut self) -> Node {
        self.bare = true;
        self
    }

    /// The program itself, as this node runs it.
    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_millrace");
        if !self.bare {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--ambient-caps=-all",
            "--no-new-privs",
            "--",
        ]);
        command.arg(program);
        command
    }

    /// Runs the program with `args`, and with `places`: flags, and after each a part of the node's folder. Whether it is
    /// content, and what it said.
    pub(crate) fn millrace(&self, args: &[&str], places: &[(&str, &str)]) -> (bool, String) {
        let mut command = self.program();
        command.args(args);
        for (flag, part) in places {
            command.arg(flag).arg(self.folder.join(part));
        }
        let said = command.stdin(Stdio::null()).output().expect("millrace runs");
        let text = [said.stdout, said.stderr].concat();
        (said.status.success(), String::from_utf8(text).expect("it says text"))
    }

    /// The node's directories: `net.d`, `bin`, `run` and `data`.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process of the agent that was started last.
    pub(crate) fn agent(&self) -> u32 {
        self.agents.last().expect("an agent was started").id()
    }

    /// Starts one more agent and waits until it is ready.
    pub(crate) fn start_agent(&mut self) {
        let number = START.fetch_add(1, Ordering::Relaxed);
        let log = File::create(self.folder.join(format!("log/agent-{number}"))).expect("it is ours");
        let path = |part: &str| self.folder.join(part);
        let mut command = self.program();
        command.arg("agent").args(["--node", "node1", "--metrics-address", "none"]);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--config").arg(path("config.yaml"));
        command.arg("--conf-dir").arg(path("net.d")).arg("--bin-dir").arg(path("bin"));
        command.arg("--state-dir").arg(path("run")).arg("--data-dir").arg(path("data"));
        command.arg("--binary").arg(millrace_cni());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log).stdin(Stdio::null());
        let agent = command.process_group(0).spawn().expect("the agent starts");
        let pid = agent.id();
        self.agents.push(agent);
        until("the agent is ready", PATIENCE, || {
            let newest = self.agents.last_mut().expect("it was started");
            let ended = newest.try_wait().expect("it is a child of ours");
            assert!(ended.is_none(), "the agent has ended ({ended:?}):\n{}", self.logs());
            self.is_ready(pid).then_some(()).ok_or_else(|| self.logs())
        });
    }

    /// Whether the agent with this pid says that it is.
    pub(crate) fn is_ready(&self, pid: u32) -> bool {
        self.says(pid).is_some_and(|(ready, _)| ready)
    }

    /// Whether the agent with this pid is ready, and why; nothing while it has no socket or does not answer.
    fn says(&self, pid: u32) -> Option<(bool, String)> {
        let mut probe = self.program();
        probe.args(["agent", "probe", "ready", "--socket"]).arg(self.socket(pid)?);
        let said = probe.stderr(Stdio::null()).output().ok()?;
        let why = String::from_utf8_lossy(&said.stdout).into_owned();
        (!why.is_empty()).then_some((said.status.success(), why))
    }

    /// The socket by which the agent with this pid is asked how it is.
    fn socket(&self, pid: u32) -> Option<PathBuf> {
        let own = format!("-{pid}.sock");
        let sockets = std::fs::read_dir(self.folder.join("run/agents")).into_iter().flatten().flatten();
        let mut own = sockets.filter(|socket| socket.file_name().to_string_lossy().ends_with(&own));
        Some(own.next()?.path())
    }

    /// The metrics of the agent that was started last.
    pub(crate) fn metrics(&self) -> String {
        let socket = self.socket(self.agent()).expect("the agent has a socket");
        let mut stream = UnixStream::connect(socket).expect("the agent listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a patience is not zero");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("the agent reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("the agent answers");
        reply
    }

    /// Waits until every agent that lives can be asked, and one of them serves.
    pub(crate) fn until_one_serves(&mut self) {
        until("one agent serves", PATIENCE, || {
            self.agents.retain_mut(|agent| agent.try_wait().expect("it is a child of ours").is_none());
            let said: Vec<_> = self.agents.iter().map(|agent| self.says(agent.id())).collect();
            let serve = |said: &&Option<(bool, String)>| {
                said.as_ref().is_some_and(|(_, why)| why.contains("held: this agent serves"))
            };
            let one = said.iter().all(Option::is_some) && said.iter().filter(serve).count() == 1;
            one.then_some(()).ok_or_else(|| format!("{said:?}\n{}", self.logs()))
        });
    }

    /// The agent's own credentials.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Sends a signal to the agent that has run longest, and waits for its end.
    pub(crate) fn end_agent(&mut self, signal: Signal) {
        let oldest = self.agents.remove(0);
        self.end(oldest, signal);
    }

    /// The same to the agent that was started last.
    pub(crate) fn end_newest_agent(&mut self, signal: Signal) {
        let newest = self.agents.pop().expect("an agent was started");
        self.end(newest, signal);
    }

    fn end(&self, mut agent: Child, signal: Signal) {
        kill_process(Pid::from_child(&agent), signal).expect("it is a child of ours");
        let ended = millrace_rig::end::within(PATIENCE, &mut agent);
        if ended.is_none() {
            drop(agent.kill());
        }
        assert!(ended.is_some(), "an agent did not end at {signal:?}:\n{}", self.logs());
    }

    /// What a reboot leaves of /run: nothing.
    pub(crate) fn wipe_runtime_directory(&self) {
        // Aside first: an agent that lives makes files in it while it is being emptied.
        let aside = self.folder.join("run.gone");
        std::fs::rename(self.folder.join("run"), &aside).expect("it is ours");
        std::fs::remove_dir_all(aside).expect("nobody has this name");
    }

    /// The runtime on this node.
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime { folder: self.folder.clone() }
    }

    /// What the agents have said.
    pub(crate) fn logs(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.folder.join("log")).into_iter().flatten().flatten() {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            all.push_str(&format!("--- {}\n{}\n", entry.path().display(), tail.join("\n")));
        }
        all
    }

    /// Waits for something that is not told but can be asked.
    pub(crate) fn until(&self, what: &str, mut is: impl FnMut(&Node) -> bool) {
        until(what, PATIENCE, || is(self).then_some(()).ok_or_else(|| self.logs()));
    }

    /// Waits for something that is in the list.
    pub(crate) fn until_listed(&self, what: &str, is: impl Fn(&str) -> bool) {
        let folder = self.folder.join("net.d");
        until_in(&folder, what, PATIENCE, || {
            let text = std::fs::read_to_string(folder.join("10-test.conflist"))
                .map_err(|error| format!("{error}\n{}", self.logs()))?;
            if is(&text) { Ok(()) } else { Err(format!("{text}\n{}", self.logs())) }
        });
    }
}

/// A container runtime: it reads the list that is there and calls what is installed.
#[derive(Clone)]
pub(crate) struct Runtime {
    folder: PathBuf,
}

impl Runtime {
    /// Calls the installed plugin for `pod` in a namespace of its own, as a runtime does.
    pub(crate) fn start(&self, pod: &Pod) -> Started {
        self.start_in(pod, &Namespace::new())
    }

    /// The same, in this one.
    pub(crate) fn start_in(&self, pod: &Pod, namespace: &Namespace) -> Started {
        self.call("ADD", pod, START.fetch_add(1, Ordering::Relaxed), namespace)
    }

    /// Calls the installed plugin to `act` for the container of this number of `pod`, in `namespace`.
    pub(crate) fn call(&self, act: &str, pod: &Pod, container: usize, namespace: &Namespace) -> Started {
        let container = format!("{container:064x}");
        let input = self.request(pod);
        let mut command = Command::new(self.folder.join("bin/millrace-cni"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs([("CNI_COMMAND", act), ("CNI_IFNAME", "eth0"), ("CNI_CONTAINERID", &container)]);
        // A runtime's name for a namespace outlasts the process that made it, so the audit believes it.
        let netns = self.folder.join(format!("netns-{container}"));
        if !netns.is_symlink() {
            std::os::unix::fs::symlink(namespace.path(), &netns).expect("the folder is ours");
        }
        command.env("CNI_NETNS", netns).env("CNI_PATH", self.folder.join("bin"));
        command.env("CNI_ARGS", pod.arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().expect("the plugin is installed");
        child.stdin.take().expect("it is a pipe").write_all(&input).expect("the plugin reads");
        let ended = child.wait_with_output().expect("it is a child of ours");
        let took = began.elapsed();
        // A DEL that went well has nothing to say.
        let said = if ended.stdout.is_empty() { b"{}".as_slice() } else { &ended.stdout };
        let said: Value = serde_json::from_slice(said)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(&ended.stdout)));
        let code =
            if ended.status.success() { 0 } else { said["code"].as_u64().expect("an error has a code") };
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        Started {
            code,
            message: format!("{} {}", text("msg"), text("details")),
            redirected: rules(namespace) > 0,
            took,
        }
    }

    /// Our entry of the list as it is now.
    pub(crate) fn entry(&self) -> Map<String, Value> {
        let path = self.folder.join("net.d/10-test.conflist");
        let text = std::fs::read_to_string(path).expect("the list is there");
        let list: Value = serde_json::from_str(&text).expect("the list is whole at every moment");
        let last = list["plugins"].as_array().and_then(|plugins| plugins.last()).expect("it has plugins");
        assert_eq!(last["type"], "millrace-cni", "{text}");
        last.as_object().expect("an entry is an object").clone()
    }

    fn request(&self, pod: &Pod) -> Vec<u8> {
        let mut request = self.entry();
        request.insert("cniVersion".into(), "1.0.0".into());
        request.insert("name".into(), "test".into());
        if let Some(annotations) = &pod.handed_over {
            request
                .insert("runtimeConfig".into(), json!({ "io.kubernetes.cri.pod-annotations": annotations }));
        }
        request.insert(
            "prevResult".into(),
            json!({
                "cniVersion": "1.0.0",
                "interfaces": [{ "name": "eth0", "sandbox": "/run/netns/x" }],
                "ips": [{ "interface": 0, "address": "198.51.100.7/24" }, { "interface": 0, "address": "2001:db8::7/64" }],
                "dns": {}
            }),
        );
        serde_json::to_vec(&request).expect("a map can be written")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            drop(agent.kill());
            drop(agent.wait());
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

static START: AtomicUsize = AtomicUsize::new(1);

fn millrace_cni() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("millrace-cni");
    millrace_rig::plugin::plugin(beside)
}

/// How many rules of our chains are in a namespace.
pub(crate) fn rules(namespace: &Namespace) -> usize {
    let netns = NetNs::open(&namespace.path()).expect("the namespace is there");
    let found = backend::inspect(&netns).expect("its rules can be read");
    found.iter().flat_map(|(_, observed)| observed.chains.values()).map(Vec::len).sum()
}

/// The API server's side: what an operator and the scheduler, which chose `node`, did.
pub(crate) fn publish(api: &Apiserver, pods: &mut [Pod], node: &str) {
    let items: Vec<Value> = pods.iter().map(|pod| pod.object(node)).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    api.done(&["create", "-f", "-"], &list);
    let found: Value = serde_json::from_str(&api.done(&["get", "pods", "-A", "-o", "json"], ""))
        .expect("kubectl tells what is there");
    for pod in pods {
        let mut items = found["items"].as_array().expect("it is a list").iter();
        let metadata = |item: &Value| {
            item["metadata"]["namespace"] == pod.namespace() && item["metadata"]["name"] == pod.name()
        };
        let item = items.find(|item| metadata(item)).expect("what was made is there");
        pod.uid = item["metadata"]["uid"].as_str().map(str::to_owned);
    }
}
