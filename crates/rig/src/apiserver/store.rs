//! The etcd below an API server, on unix sockets in its folder: no port that another could take.
//!
//! Spoken to by its JSON gateway, for what an API server would not do for us.

use super::held;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};

/// How much a compaction moves the revision on: more than an API server's list counts as recent.
const STEPS: usize = 10;

pub(super) fn command(assets: &Path, folder: &Path, janitor: &Child) -> Command {
    let mut command = held::command(&assets.join("etcd"), folder, "etcd.log", janitor);
    // It names a unix socket as a host and a port, and makes the file in its working directory. The peers' address is
    // a name only: there are none.
    command.args([
        "--name=e0",
        "--data-dir=etcd",
        "--listen-client-urls=unix://client:0",
        "--advertise-client-urls=unix://client:0",
        "--listen-peer-urls=unix://peer:0",
        "--initial-advertise-peer-urls=http://127.0.0.1:1",
        "--initial-cluster=e0=http://127.0.0.1:1",
        "--unsafe-no-fsync",
    ]);
    command
}

pub(super) fn compact(folder: &Path) {
    let mut revision = String::new();
    for _ in 0..STEPS {
        let put = call(folder, "put", &json!({ "key": base64(b"rig"), "value": "" }));
        put["header"]["revision"].as_str().unwrap_or_default().clone_into(&mut revision);
    }
    call(folder, "compaction", &json!({ "revision": revision, "physical": true }));
}

pub(super) fn remove(folder: &Path, key: &str) {
    let reply = call(folder, "deleterange", &json!({ "key": base64(key.as_bytes()) }));
    assert_eq!(reply["deleted"], "1", "{key} is in etcd: {reply}");
}

fn call(folder: &Path, act: &str, body: &Value) -> Value {
    let body = body.to_string();
    let request = format!(
        "POST /v3/kv/{act} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = UnixStream::connect(folder.join("client:0")).expect("etcd listens");
    stream.set_read_timeout(Some(super::PATIENCE)).expect("a patience is not zero");
    stream.write_all(request.as_bytes()).expect("etcd reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("etcd answers");
    // Whole or in one chunk: the JSON is what is between the outer braces.
    let json = reply.find('{').zip(reply.rfind('}')).map(|(first, last)| &reply[first..=last]);
    let json = json.and_then(|json| serde_json::from_str(json).ok());
    assert!(reply.starts_with("HTTP/1.1 200"), "etcd {act}: {reply}");
    json.unwrap_or_else(|| panic!("etcd {act}: {reply}"))
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() { '=' } else { char::from(sign) });
        }
    }
    text
}
