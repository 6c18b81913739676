//! The one wire we own: what the plugin asks the node's agent, what it is answered, and what it tells it afterwards.
//!
//! A frame is a length (32 bits, big-endian) and that many bytes of JSON, which carries a version `v`. Both sides accept the
//! version before their own, so that agent and plugin may be replaced in either order; a golden of every version's frames
//! is kept for ever. What happened to a pod is told in one datagram that holds the same kind of JSON without the length.
//!
//! An answer carries a decision as the text of a stamp: what it means is the stamp's business, so that there is one format
//! of decisions. Nothing here opens a socket.

use crate::json::put;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The version we write.
pub const VERSION: u64 = 1;
/// The oldest version we read.
pub const OLDEST: u64 = 1;
/// The longest body of a frame: 64 KiB.
pub const LONGEST: usize = 64 << 10;

/// What the plugin wants to know: is this pod redirected, and how?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Its UID as the runtime has it; a static pod's is its mirror's annotation, not its mirror's UID.
    pub uid: Option<String>,
    /// The container id of its sandbox.
    pub container: String,
    /// The interface being added.
    pub interface: String,
    /// The path of its network namespace.
    pub netns: String,
    /// Its annotations as the runtime handed them over, when it did.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It knows the pod: the decision, as the text of a stamp.
    Decided(String),
    /// It does not.
    Failed(Failure),
}

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether the same question may be answered later (`11`), or never will (any other code of `cni::Code`).
    pub code: u16,
    /// What failed, why, and the way out.
    pub message: String,
}

/// What was done to one attachment, told to the agent if it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The CNI verb.
    pub verb: String,
    /// The network's name.
    pub network: String,
    /// The container id of the sandbox.
    pub container: String,
    /// The interface.
    pub interface: String,
    /// The pod's namespace; empty when there is no pod.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Its UID, when known.
    pub uid: String,
    /// What was done: `redirected`, `passed`, `failed`.
    pub outcome: String,
    /// The name of the reason.
    pub reason: String,
    /// Which rung of the ladder settled it.
    pub rung: String,
    /// The backend that took the rules.
    pub backend: String,
    /// How long it took, in microseconds.
    pub microseconds: u64,
    /// The error's code; 0 without one.
    pub code: u16,
    /// What else is worth reading: the error, the complaints.
    pub message: String,
}

/// Why a frame was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Its length is over [`LONGEST`].
    TooLong(usize),
    /// It is not the JSON it should be.
    Malformed(String),
    /// It is of a version we do not read.
    Version(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TooLong(length) => {
                write!(f, "a frame of {length} bytes is longer than the {LONGEST} allowed")
            }
            Error::Malformed(why) => write!(f, "a frame is malformed: {why}"),
            Error::Version(version) => write!(
                f,
                "a frame of version {version} is not between {OLDEST} and {VERSION}; bring plugin and agent within one release of each other"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The body's length from a frame's first four bytes.
pub fn length(header: [u8; 4]) -> Result<usize, Error> {
    let length = u32::from_be_bytes(header) as usize;
    if length > LONGEST { Err(Error::TooLong(length)) } else { Ok(length) }
}

impl Question {
    /// The whole frame.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let mut question = json!({ "namespace": self.namespace, "name": self.name });
        if let Some(uid) = &self.uid {
            question["uid"] = uid.as_str().into();
        }
        question["container"] = self.container.as_str().into();
        question["interface"] = self.interface.as_str().into();
        question["netns"] = self.netns.as_str().into();
        if let Some(annotations) = &self.annotations {
            let pairs = annotations.iter().map(|(key, value)| (key.clone(), value.as_str().into()));
            question["annotations"] = Value::Object(pairs.collect());
        }
        frame(&json!({ "v": VERSION, "question": question }))
    }

    /// Reads a frame's body.
    pub fn read(body: &[u8]) -> Result<Question, Error> {
        let mut map = open(body)?;
        let question = object(&mut map, "question")?;
        let annotations = match question.get("annotations") {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(strings(map)?),
            Some(_) => return Err(Error::Malformed("annotations is not an object".to_owned())),
        };
        Ok(Question {
            namespace: text(&question, "namespace")?,
            name: text(&question, "name")?,
            uid: optional(&question, "uid")?,
            container: text(&question, "container")?,
            interface: text(&question, "interface")?,
            netns: text(&question, "netns")?,
            annotations,
        })
    }
}

impl Answer {
    /// The whole frame.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        frame(&match self {
            Answer::Decided(stamp) => json!({ "v": VERSION, "answer": { "stamp": stamp } }),
            Answer::Failed(failure) => {
                json!({ "v": VERSION, "answer": { "error": { "code": failure.code, "message": failure.message } } })
            }
        })
    }

    /// Reads a frame's body.
    pub fn read(body: &[u8]) -> Result<Answer, Error> {
        let mut map = open(body)?;
        let mut answer = object(&mut map, "answer")?;
        if let Some(stamp) = optional(&answer, "stamp")? {
            return Ok(Answer::Decided(stamp));
        }
        let failure = object(&mut answer, "error")?;
        Ok(Answer::Failed(Failure { code: number(&failure, "code")?, message: text(&failure, "message")? }))
    }
}

impl Event {
    /// The longest message told; the rest of an event is bounded by its sources.
    const LONGEST_MESSAGE: usize = 4096;

    /// The datagram. Written word by word, as every pod's start pays for it.
    pub fn write(&self) -> Vec<u8> {
        let end = (0..=self.message.len().min(Self::LONGEST_MESSAGE))
            .rev()
            .find(|at| self.message.is_char_boundary(*at));
        let mut datagram = Vec::with_capacity(1024);
        let mut separator = r#"{"v":1,"event":{"#;
        let pair = |into: &mut Vec<u8>, separator: &str, key: &str, value: &str| {
            into.extend_from_slice(separator.as_bytes());
            put(into, key);
            into.push(b':');
            put(into, value);
        };
        for (key, value) in [
            ("verb", &self.verb),
            ("network", &self.network),
            ("container", &self.container),
            ("interface", &self.interface),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("outcome", &self.outcome),
            ("reason", &self.reason),
            ("rung", &self.rung),
            ("backend", &self.backend),
        ] {
            pair(&mut datagram, separator, key, value);
            separator = ",";
        }
        let numbers = format!(r#","microseconds":{},"code":{}"#, self.microseconds, self.code);
        datagram.extend_from_slice(numbers.as_bytes());
        pair(&mut datagram, separator, "message", &self.message[..end.unwrap_or(0)]);
        datagram.extend_from_slice(b"}}");
        datagram
    }

    /// Reads a datagram.
    pub fn read(body: &[u8]) -> Result<Event, Error> {
        let mut map = open(body)?;
        let event = object(&mut map, "event")?;
        let text = |key: &str| optional(&event, key).map(Option::unwrap_or_default);
        Ok(Event {
            verb: text("verb")?,
            network: text("network")?,
            container: text("container")?,
            interface: text("interface")?,
            namespace: text("namespace")?,
            name: text("name")?,
            uid: text("uid")?,
            outcome: text("outcome")?,
            reason: text("reason")?,
            rung: text("rung")?,
            backend: text("backend")?,
            microseconds: event.get("microseconds").and_then(Value::as_u64).unwrap_or(0),
            code: number(&event, "code")?,
            message: text("message")?,
        })
    }
}

fn frame(value: &Value) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value).map_err(|error| Error::Malformed(error.to_string()))?;
    let length = bytes.len() - 4;
    match u32::try_from(length) {
        Ok(header) if length <= LONGEST => bytes[..4].copy_from_slice(&header.to_be_bytes()),
        _ => return Err(Error::TooLong(length)),
    }
    Ok(bytes)
}

fn open(body: &[u8]) -> Result<Map<String, Value>, Error> {
    if body.len() > LONGEST {
        return Err(Error::TooLong(body.len()));
    }
    let map = match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => map,
        Ok(_) => return Err(Error::Malformed("it is not an object".to_owned())),
        Err(error) => return Err(Error::Malformed(error.to_string())),
    };
    match map.get("v").and_then(Value::as_u64) {
        Some(version) if (OLDEST..=VERSION).contains(&version) => Ok(map),
        Some(version) => Err(Error::Version(version)),
        None => Err(Error::Malformed("it has no version".to_owned())),
    }
}

fn object(map: &mut Map<String, Value>, key: &str) -> Result<Map<String, Value>, Error> {
    match map.swap_remove(key) {
        Some(Value::Object(value)) => Ok(value),
        _ => Err(Error::Malformed(format!("{key} is not an object"))),
    }
}

fn text(map: &Map<String, Value>, key: &str) -> Result<String, Error> {
    optional(map, key)?.ok_or_else(|| Error::Malformed(format!("{key} is missing")))
}

fn optional(map: &Map<String, Value>, key: &str) -> Result<Option<String>, Error> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone())),
        Some(_) => Err(Error::Malformed(format!("{key} is not a string"))),
    }
}

fn number(map: &Map<String, Value>, key: &str) -> Result<u16, Error> {
    let value = map.get(key).and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    value.ok_or_else(|| Error::Malformed(format!("{key} is not a small number")))
}

fn strings(map: &Map<String, Value>) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    for (key, value) in map {
        let Some(text) = value.as_str() else {
            return Err(Error::Malformed("an annotation is not a string".to_owned()));
        };
        all.insert(key.clone(), text.to_owned());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question() -> Question {
        Question {
            namespace: "default".into(),
            name: "reviews-v1".into(),
            uid: Some("u-1".into()),
            container: "c0ffee".into(),
            interface: "eth0".into(),
            netns: "/var/run/netns/cni-1".into(),
            annotations: Some(BTreeMap::from([("a".into(), "b".into())])),
        }
    }

    fn event() -> Event {
        Event {
            verb: "ADD".into(),
            network: "k8s-pod-network".into(),
            container: "c0ffee".into(),
            interface: "eth0".into(),
            namespace: "default".into(),
            name: "reviews-v1".into(),
            uid: "u-1".into(),
            outcome: "redirected".into(),
            reason: "Sidecar".into(),
            rung: "stamp".into(),
            backend: "iptables".into(),
            microseconds: 1234,
            code: 0,
            message: String::new(),
        }
    }

    /// A golden is a frame as one line of JSON; it must be written as it is and read as what it was.
    fn check(name: &str, frame: &[u8]) {
        let golden = include_str!("../tests/golden/ask-v1.jsonl");
        let line = golden.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let body = std::str::from_utf8(frame).expect("frames are text");
        assert_eq!(Some(body), line, "{name}: a frame of version 1 changed; raise VERSION instead");
    }

    fn body(frame: Result<Vec<u8>, Error>) -> Vec<u8> {
        let frame = frame.expect("short enough");
        let header = frame[..4].try_into().expect("four bytes");
        assert_eq!(length(header), Ok(frame.len() - 4));
        frame[4..].to_vec()
    }

    #[test]
    fn frames_of_version_1_stay_as_they_are() {
        let asked = body(question().write());
        check("question", &asked);
        assert_eq!(Question::read(&asked), Ok(question()));
        let unknown = Question { uid: None, annotations: None, ..question() };
        let asked = body(unknown.write());
        check("question-unknown", &asked);
        assert_eq!(Question::read(&asked), Ok(unknown));
        for (name, answer) in [
            ("decided", Answer::Decided(r#"{"v":1,"skip":"X"}"#.into())),
            ("failed", Answer::Failed(Failure { code: 11, message: "no such pod yet".into() })),
        ] {
            let bytes = body(answer.write());
            check(name, &bytes);
            assert_eq!(Answer::read(&bytes), Ok(answer));
        }
        let told = event().write();
        check("event", &told);
        assert_eq!(Event::read(&told), Ok(event()));
    }

    #[test]
    fn an_unknown_version_says_so_before_anything_else() {
        assert_eq!(Question::read(br#"{"v":2,"q":[]}"#), Err(Error::Version(2)));
        assert_eq!(Answer::read(br#"{"v":0}"#), Err(Error::Version(0)));
        assert!(matches!(Answer::read(b"{}"), Err(Error::Malformed(_))));
    }

    #[test]
    fn bounds_are_errors() {
        assert_eq!(length([0, 1, 0, 0]), Ok(LONGEST));
        assert_eq!(length([0, 1, 0, 1]), Err(Error::TooLong(LONGEST + 1)));
        let long = Question { netns: "x".repeat(LONGEST), ..question() };
        assert!(matches!(long.write(), Err(Error::TooLong(_))));
        let long = Event { message: "ä".repeat(Event::LONGEST_MESSAGE), ..event() };
        assert_eq!(
            Event::read(&long.write()).expect("readable").message,
            "ä".repeat(Event::LONGEST_MESSAGE / 2)
        );
    }

    #[test]
    fn shapes_are_checked() {
        for bad in [
            r#"{"v":1}"#,
            r#"{"v":1,"question":[]}"#,
            r#"{"v":1,"question":{"namespace":"a"}}"#,
            r#"{"v":1,"answer":{}}"#,
            r#"{"v":1,"answer":{"stamp":1}}"#,
            r#"{"v":1,"answer":{"error":{"code":-1,"message":"x"}}}"#,
            r#"{"v":"1"}"#,
            "[1]",
        ] {
            assert!(matches!(Question::read(bad.as_bytes()), Err(Error::Malformed(_))), "{bad}");
            assert!(matches!(Answer::read(bad.as_bytes()), Err(Error::Malformed(_))), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(crate::laws::config())]

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Question::read(&bytes), Answer::read(&bytes), Event::read(&bytes));
        }

        #[test]
        fn no_mutation_makes_it_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            for mut bytes in [body(question().write()), event().write()] {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                let _ = (Question::read(&bytes), Answer::read(&bytes), Event::read(&bytes));
            }
        }
    }
}
