//! Plain requests, through kubectl's own transport so that both servers are asked alike.

use millrace_rig::embedded::Server;
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};

/// Every server that can be had.
pub(crate) fn servers(test: &str) -> Vec<Server> {
    Server::each(test, env!("CARGO_BIN_EXE_millrace"))
}

/// A name that no other test uses, as the real server is shared.
pub(crate) fn own(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A namespace of its own.
pub(crate) fn namespace(server: &Server) -> String {
    let name = own("n");
    server.done(&["create", "namespace", &name], "");
    name
}

/// What `kubectl ARGS -o json` says.
pub(crate) fn json(server: &Server, args: &[&str], stdin: &Value) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let said = server.done(&args, &stdin.to_string());
    serde_json::from_str(&said).expect("kubectl prints JSON")
}

/// What kubectl says where it must fail.
pub(crate) fn refused(server: &Server, args: &[&str], stdin: &Value) -> String {
    let output = server.kubectl(args, &stdin.to_string());
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert!(!output.status.success(), "{}: kubectl {args:?} succeeds", server.name());
    said
}
