//! Our own keys in our entry of a node's plugin list, and their defaults.
//!
//! | key | value | default |
//! |---|---|---|
//! | `agentSocket` | path of the node agent's socket | `/run/millrace/agent.sock` |
//! | `eventSocket` | path of the socket decisions are told to | `/run/millrace/events.sock` |
//! | `stateDir` | directory of the attachment records and of the backend's memory; a tmpfs | `/run/millrace` |
//! | `failurePolicy` | `Closed`: a pod whose decision cannot be had does not start; `Open`: it starts unprotected | `Closed` |
//! | `backend` | `auto`, `iptables`, `nftables`, `iptables-text` | `auto` |
//! | `excludeNamespaces` | namespaces whose pods are never redirected from here | none |
//! | `enrolledNamespaces` | the agent's hint: pods elsewhere need no question when their annotations are unknown | absent: unknown |
//! | `agentTimeout` | how long an ADD goes on trying to reach the agent: `10s`, `500ms` | `10s` |
//! | `statusGating` | whether STATUS fails while the agent is away | `false` |
//!
//! An entry is read by older and newer binaries than the one that wrote it, for as long as a pod lives. So a key that is
//! unknown is passed over, and one that is malformed takes its default and is complained of: neither stops a pod.

use crate::dialect::Choice;
use crate::json::{Members, Raw};
use serde_json::{Map, Value};
use std::time::Duration;

/// The name of our binary, and so the `type` of our entry.
pub const TYPE: &str = "millrace-cni";
/// The capability by which a runtime hands over a pod's annotations (containerd 1.6, CRI-O 1.29).
pub const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// What our entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the node agent answers.
    pub agent_socket: String,
    /// Where decisions are told, if somebody listens.
    pub event_socket: String,
    /// Where records are kept.
    pub state_dir: String,
    /// What happens to a pod whose decision cannot be had.
    pub failure_policy: FailurePolicy,
    /// Which backend is wanted.
    pub backend: Choice,
    /// Namespaces never redirected from here.
    pub exclude_namespaces: Vec<String>,
    /// Namespaces known to hold pods of the mesh; `None` when not known.
    pub enrolled_namespaces: Option<Vec<String>>,
    /// How long to go on trying to reach the agent.
    pub agent_timeout: Duration,
    /// Whether STATUS fails while the agent is away.
    pub status_gating: bool,
}

/// What happens to a pod whose decision cannot be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// It does not start.
    #[default]
    Closed,
    /// It starts, unprotected.
    Open,
}

impl Entry {
    /// The most namespaces either list may hold.
    pub const MOST_NAMESPACES: usize = 4096;
    /// The longest wait for the agent: kubelet gives a sandbox four minutes in all, the runtime two for one call.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(100);

    /// Reads our keys as they stand in a list, with a complaint for each that is malformed.
    pub fn of(map: &Map<String, Value>) -> (Entry, Vec<String>) {
        let text = serde_json::to_string(map).expect("a map can be written");
        Entry::read(&Members::read(&text).expect("what was just written is an object"))
    }

    /// Reads our keys, with a complaint for each that is malformed.
    pub(crate) fn read(members: &Members<'_>) -> (Entry, Vec<String>) {
        let mut entry = Entry::default();
        let mut reader = Reader { members, complaints: Vec::new() };
        reader.set(
            "agentSocket",
            "a socket's absolute path of at most 107 bytes",
            socket,
            &mut entry.agent_socket,
        );
        reader.set(
            "eventSocket",
            "a socket's absolute path of at most 107 bytes",
            socket,
            &mut entry.event_socket,
        );
        reader.set("stateDir", "an absolute path", path, &mut entry.state_dir);
        reader.set("failurePolicy", "Closed or Open", policy, &mut entry.failure_policy);
        reader.set("backend", "auto, iptables, nftables or iptables-text", backend, &mut entry.backend);
        let list = "a list of at most 4096 namespaces";
        reader.set("excludeNamespaces", list, namespaces, &mut entry.exclude_namespaces);
        let some = |raw: Raw<'_>| namespaces(raw).map(Some);
        reader.set("enrolledNamespaces", list, some, &mut entry.enrolled_namespaces);
        reader.set("agentTimeout", "10s or 500ms, at most 100s", timeout, &mut entry.agent_timeout);
        reader.set("statusGating", "true or false", switch, &mut entry.status_gating);
        (entry, reader.complaints)
    }

    /// The entry as it stands in a list: our type, the capability that brings annotations, and every key that is not
    /// its default.
    pub fn write(&self) -> Map<String, Value> {
        let default = Entry::default();
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
        put("type", TYPE.into());
        put("capabilities", serde_json::json!({ ANNOTATIONS: true }));
        for (key, ours, theirs) in [
            ("agentSocket", &self.agent_socket, &default.agent_socket),
            ("eventSocket", &self.event_socket, &default.event_socket),
            ("stateDir", &self.state_dir, &default.state_dir),
        ] {
            if ours != theirs {
                put(key, ours.as_str().into());
            }
        }
        if self.failure_policy == FailurePolicy::Open {
            put("failurePolicy", "Open".into());
        }
        if self.backend != default.backend {
            put("backend", self.backend.name().into());
        }
        if !self.exclude_namespaces.is_empty() {
            put("excludeNamespaces", self.exclude_namespaces.clone().into());
        }
        if let Some(namespaces) = &self.enrolled_namespaces {
            put("enrolledNamespaces", namespaces.clone().into());
        }
        if self.agent_timeout != default.agent_timeout {
            put("agentTimeout", format!("{}ms", self.agent_timeout.as_millis()).into());
        }
        if self.status_gating {
            put("statusGating", true.into());
        }
        map
    }
}

impl Default for Entry {
    fn default() -> Self {
        Entry {
            agent_socket: "/run/millrace/agent.sock".to_owned(),
            event_socket: "/run/millrace/events.sock".to_owned(),
            state_dir: "/run/millrace".to_owned(),
            failure_policy: FailurePolicy::Closed,
            backend: Choice::Auto,
            exclude_namespaces: Vec::new(),
            enrolled_namespaces: None,
            agent_timeout: Duration::from_secs(10),
            status_gating: false,
        }
    }
}

struct Reader<'a> {
    members: &'a Members<'a>,
    complaints: Vec<String>,
}

impl Reader<'_> {
    fn set<T>(&mut self, key: &str, wanted: &str, read: impl Fn(Raw<'_>) -> Option<T>, into: &mut T) {
        let Some(raw) = self.members.get(key).filter(|raw| !raw.is_null()) else { return };
        match read(raw) {
            Some(value) => *into = value,
            None => self
                .complaints
                .push(format!("{key} in the {TYPE} entry is not {wanted}; its default is used")),
        }
    }
}

fn path(raw: Raw<'_>) -> Option<String> {
    let text = raw.text()?;
    (text.starts_with('/') && text.len() < 4096 && !text.contains('\0')).then(|| text.into_owned())
}

/// `sun_path` holds 108 bytes with its NUL (unix(7)).
fn socket(raw: Raw<'_>) -> Option<String> {
    path(raw).filter(|path| path.len() <= 107)
}

fn policy(raw: Raw<'_>) -> Option<FailurePolicy> {
    match &*raw.text()? {
        "Closed" => Some(FailurePolicy::Closed),
        "Open" => Some(FailurePolicy::Open),
        _ => None,
    }
}

fn backend(raw: Raw<'_>) -> Option<Choice> {
    Choice::from_name(&raw.text()?)
}

fn namespaces(raw: Raw<'_>) -> Option<Vec<String>> {
    let names: Vec<String> = serde_json::from_str(raw.get()).ok()?;
    (names.len() <= Entry::MOST_NAMESPACES).then_some(names)
}

fn switch(raw: Raw<'_>) -> Option<bool> {
    raw.get().parse().ok()
}

fn timeout(raw: Raw<'_>) -> Option<Duration> {
    let text = raw.text()?;
    let duration = match text.strip_suffix("ms") {
        Some(number) => Duration::from_millis(digits(number)?),
        None => Duration::from_secs(digits(text.strip_suffix('s')?)?),
    };
    (!duration.is_zero() && duration <= Entry::LONGEST_TIMEOUT).then_some(duration)
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: impl Into<Value>) -> (Entry, Vec<String>) {
        let text = value.into().to_string();
        Entry::read(&Members::read(&text).expect("the test gives an object"))
    }

    #[test]
    fn an_entry_reads_what_it_wrote() {
        let entry = Entry {
            agent_socket: "/a".into(),
            event_socket: "/b".into(),
            state_dir: "/c".into(),
            failure_policy: FailurePolicy::Open,
            backend: Choice::from_name("nftables").expect("a backend"),
            exclude_namespaces: vec!["kube-system".into()],
            enrolled_namespaces: Some(vec![]),
            agent_timeout: Duration::from_millis(1500),
            status_gating: true,
        };
        for entry in [entry, Entry::default()] {
            assert_eq!(read(entry.write()), (entry, vec![]));
        }
    }

    #[test]
    fn unknown_keys_are_passed_over_and_malformed_ones_complained_of() {
        let (entry, complaints) = read(json!({ "type": TYPE, "shiny": [1], "statusGating": null }));
        assert_eq!((entry, complaints.len()), (Entry::default(), 0));
        let long = vec!["n"; Entry::MOST_NAMESPACES + 1];
        for (key, value) in [
            ("agentSocket", json!("run/x")),
            ("agentSocket", json!(format!("/{}", "x".repeat(107)))),
            ("eventSocket", json!(7)),
            ("stateDir", json!("/a\0b")),
            ("failurePolicy", json!("open")),
            ("backend", json!("ebpf")),
            ("excludeNamespaces", json!("kube-system")),
            ("excludeNamespaces", json!(["a", 1])),
            ("enrolledNamespaces", json!(long)),
            ("agentTimeout", json!("0s")),
            ("agentTimeout", json!("101s")),
            ("agentTimeout", json!("+5s")),
            ("agentTimeout", json!("ms")),
            ("agentTimeout", json!(5)),
            ("agentTimeout", json!("99999999999999999999s")),
            ("statusGating", json!("true")),
        ] {
            let (entry, complaints) = read(json!({ key: value }));
            assert_eq!(entry, Entry::default(), "{key}");
            assert!(complaints.len() == 1 && complaints[0].starts_with(key), "{key}: {complaints:?}");
        }
    }
}
