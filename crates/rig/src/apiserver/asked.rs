//! Who asked an API server for what, as its own audit log has it.
//!
//! Only of a server that was started to write it down.

use super::Apiserver;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// What was to be done.
    pub verb: String,
    /// The group of the resource.
    pub group: String,
    /// The resource, with its part: `pods/eviction`; the path of what is none.
    pub resource: String,
    /// The namespace; empty for something of the whole cluster, or of all namespaces.
    pub namespace: String,
    /// The name; empty where none was said.
    pub name: String,
    /// What was answered: 403 is a refusal.
    pub code: u64,
}

/// Everybody's requests but the administrator's, who is the test itself. In the mode "blocking" nobody is answered before his
/// line is written.
const POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "None", "users": ["admin"]}, {"level": "Metadata"}]}"#;

/// What has a server write it down.
pub(super) fn flags(folder: &Path) -> [String; 3] {
    let policy = folder.join("audit-policy.json");
    std::fs::write(&policy, POLICY).expect("the folder is ours");
    [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log(folder).display()),
        "--audit-log-mode=blocking".to_owned(),
    ]
}

/// What `user` asked `api` for until now, each once.
pub fn by(api: &Apiserver, user: &str) -> Vec<Asked> {
    let text = std::fs::read_to_string(log(api.folder())).expect("the server was started to write it down");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let theirs = lines.filter(|event| event["user"]["username"] == user && event["objectRef"].is_object());
    let mut all: Vec<Asked> = theirs.map(|event| asked(&event)).collect();
    all.sort();
    all.dedup();
    all
}

/// What one user asks for, one request after the other, in the order of their answers; a watch when it ends.
#[derive(Debug)]
pub struct Log {
    lines: BufReader<File>,
    user: String,
    /// A line that is not whole yet.
    begun: String,
}

impl Log {
    /// That of `user`, from the beginning.
    pub fn of(api: &Apiserver, user: &str) -> Log {
        let file = File::open(log(api.folder())).expect("the server was started to write it down");
        Log { lines: BufReader::new(file), user: user.to_owned(), begun: String::new() }
    }

    /// What was written since this was asked last.
    pub fn more(&mut self) -> Vec<Asked> {
        let mut found = Vec::new();
        while self.lines.read_line(&mut self.begun).expect("the log is readable") > 0 {
            if self.begun.ends_with('\n') {
                let event: Value = serde_json::from_str(&self.begun).expect("each line is an Event");
                let counts = event["user"]["username"] == self.user && event["stage"] == "ResponseComplete";
                found.extend(counts.then(|| asked(&event)));
                self.begun.clear();
            }
        }
        found
    }
}

fn asked(event: &Value) -> Asked {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let part = of(&object["subresource"]);
    let resource = of(&object["resource"]);
    Asked {
        verb: of(&event["verb"]),
        group: of(&object["apiGroup"]),
        resource: match (resource.is_empty(), part.is_empty()) {
            (true, _) => of(&event["requestURI"]),
            (false, true) => resource,
            (false, false) => format!("{resource}/{part}"),
        },
        namespace: of(&object["namespace"]),
        name: of(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    }
}

fn log(folder: &Path) -> std::path::PathBuf {
    folder.join("audit.log")
}
