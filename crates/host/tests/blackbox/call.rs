//! Calls the built `millrace-cni` as a container runtime does, and stands in for the node agent.
//!
//! Every call has a directory of its own for sockets and records; nothing of the machine's is used or changed.

use crate::plugin;
use millrace_core::ask::{Answer, Question};
use millrace_core::cni::entry::ANNOTATIONS;
use millrace_host::socket;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A node as one test sees it: where its sockets and records are.
pub(crate) struct Node {
    folder: PathBuf,
}

/// What the binary did.
#[derive(Debug)]
pub(crate) struct Said {
    /// Whether the exit status was 0, 1, or what else.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// One call, to be varied.
#[derive(Clone)]
pub(crate) struct Call {
    /// The environment.
    pub(crate) env: Vec<(String, String)>,
    /// Standard input.
    pub(crate) stdin: Vec<u8>,
}

/// The result before ours, with what must survive: odd keys, odd numbers, odd indices.
pub(crate) const PREVIOUS: &str = r#"{"zeta":1.50,"cniVersion":"VERSION","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x","mtu":1500}],"ips":[{VERSIONED"address":"10.0.0.2/24","interface":1,"gateway":"10.0.0.1"}],"routes":[{"dst":"0.0.0.0/0","priority":9007199254740993}],"dns":{},"alpha":[null,-0.0,1e+400]}"#;

impl Node {
    /// A node without an agent.
    pub(crate) fn new() -> Node {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("millrace-call-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).expect("a temporary directory");
        Node { folder }
    }

    /// A file of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The records' file names.
    pub(crate) fn records(&self) -> Vec<String> {
        let Ok(entries) = self.path("attachments").read_dir() else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    }

    /// Our entry as the runtime hands it over, with a short patience.
    pub(crate) fn config(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "name": "k8s-pod-network",
            "type": "millrace-cni",
            "capabilities": { ANNOTATIONS: true },
            "agentSocket": self.path("agent.sock"),
            "eventSocket": self.path("events.sock"),
            "stateDir": self.folder,
            "agentTimeout": "50ms",
        })
    }

    /// A call for a pod of the mesh's namespace.
    pub(crate) fn call(&self, verb: &str, netns: &Path, config: &Value) -> Call {
        let pairs = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c0ffee"),
            ("CNI_NETNS", netns.to_str().expect("a path in text")),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=reviews;K8S_POD_UID=u-1"),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        let env = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Call { env, stdin: config.to_string().into_bytes() }
    }

    /// An agent that answers one question.
    pub(crate) fn agent(&self, answer: Answer) -> JoinHandle<Question> {
        let listener = UnixListener::bind(self.path("agent.sock")).expect("a free path");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the plugin connects");
            let deadline = Instant::now() + Duration::from_secs(30);
            let question = socket::receive(&mut stream, deadline).expect("a whole question");
            socket::send(&mut stream, &answer.write().expect("short"), deadline).expect("the plugin listens");
            Question::read(&question).expect("a question")
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Call {
    /// The same call with one variable changed.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Call {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same call without one variable.
    pub(crate) fn without(mut self, key: &str) -> Call {
        self.env.retain(|(known, _)| known != key);
        self
    }

    /// The process, started, with its input still to be written.
    pub(crate) fn spawn(&self) -> std::process::Child {
        let mut command = Command::new(plugin());
        command.env_clear().envs(self.env.iter().map(|(key, value)| (key, value)));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        pipes.spawn().expect("the binary was built")
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Said {
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().expect("a pipe");
        // A plugin that fails early need not read its input.
        let _ = stdin.write_all(&self.stdin);
        drop(stdin);
        child.wait_with_output().expect("it ends").into()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
        Said { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Said {
    /// It succeeded; what it printed.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.stdout
    }

    /// It failed as the specification wants: exit 1, exactly one JSON value, a code, a message. Returns both.
    pub(crate) fn error(self, version: &str) -> (u64, String) {
        assert_eq!(self.status, Some(1), "{self:?}");
        let value: Value = serde_json::from_str(&self.stdout).expect("exactly one JSON value");
        assert_eq!(value["cniVersion"], version, "{value}");
        let message = value["msg"].as_str().expect("a message");
        assert!(!message.is_empty(), "{value}");
        let details = value.get("details").map_or("", |details| details.as_str().expect("details are text"));
        (value["code"].as_u64().expect("a code that is no text"), format!("{message}; {details}"))
    }
}

/// [`PREVIOUS`] in a version, as the runtime would give it.
pub(crate) fn previous(version: &str) -> String {
    let named = if version < "1" { r#""version":"4","# } else { "" };
    PREVIOUS.replace("VERSION\"", &format!("{version}\"")).replace("VERSIONED", named)
}

/// `config` with a previous result and annotations, as text so that numbers keep their digits.
pub(crate) fn text(config: &Value, previous: Option<&str>, annotations: Option<&Value>) -> Vec<u8> {
    let mut text = config.to_string();
    text.pop();
    if let Some(previous) = previous {
        text.push_str(&format!(r#","prevResult":{previous}"#));
    }
    if let Some(annotations) = annotations {
        text.push_str(&format!(r#","runtimeConfig":{{"{ANNOTATIONS}":{annotations}}}"#));
    }
    text.push('}');
    text.into_bytes()
}
