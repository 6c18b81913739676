//! Who asked an API server for what, as its own audit log has it.
//!
//! Only of a server that was started to write it down.

use super::Apiserver;
use serde_json::Value;
use std::path::Path;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// What was to be done.
    pub verb: String,
    /// The group of the resource.
    pub group: String,
    /// The resource, with its part: `pods/eviction`.
    pub resource: String,
    /// The namespace; empty for something of the whole cluster, or of all namespaces.
    pub namespace: String,
    /// The name; empty where none was said.
    pub name: String,
    /// What was answered: 403 is a refusal.
    pub code: u64,
}

const POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

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

fn asked(event: &Value) -> Asked {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let part = of(&object["subresource"]);
    let resource = of(&object["resource"]);
    Asked {
        verb: of(&event["verb"]),
        group: of(&object["apiGroup"]),
        resource: if part.is_empty() { resource } else { format!("{resource}/{part}") },
        namespace: of(&object["namespace"]),
        name: of(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
    }
}

fn log(folder: &Path) -> std::path::PathBuf {
    folder.join("audit.log")
}
