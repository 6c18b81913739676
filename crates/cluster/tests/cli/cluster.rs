//! A cluster for the command line: an API server, the definitions that `millrace print crd` prints, and a controller that the
//! test plays.

use crate::program::{Said, command, run};
use millrace_rig::apiserver::Apiserver;
use millrace_rig::embedded::Embedded;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cluster that a test has for itself: its MeshCNI is the only one.
pub(crate) struct Cluster {
    server: Server,
}

enum Server {
    /// Ours, in memory.
    Embedded(Embedded),
    /// A real one, that all tests share, one at a time.
    Real(&'static Apiserver, #[allow(dead_code, reason = "held, not read")] MutexGuard<'static, ()>),
}

const MESH: &str = "/apis/millrace.dev/v1alpha1/meshcnis";

/// Runs `test` on the server in memory, and the same on a real one where there is one.
pub(crate) fn on_each(name: &str, test: impl Fn(&Cluster)) {
    on_both(name, &[], test);
}

/// The same, where the test plays what controllers would do: a real server alone has none.
pub(crate) fn on_each_uncontrolled(name: &str, test: impl Fn(&Cluster)) {
    on_both(name, &["--no-controllers"], test);
}

fn on_both(name: &str, flags: &[&str], test: impl Fn(&Cluster)) {
    test(&Cluster::embedded(flags));
    if let Some(cluster) = Cluster::real(name) {
        test(&cluster);
    }
}

impl Cluster {
    /// One in memory, with the definitions.
    pub(crate) fn embedded(flags: &[&str]) -> Cluster {
        let server = Server::Embedded(Embedded::start(env!("CARGO_BIN_EXE_millrace"), flags));
        let cluster = Cluster { server };
        cluster.done(&["apply", "--validate=false", "-f", "-"], &run(&["print", "crd"]).out);
        cluster
    }

    /// A real one without a MeshCNI, whose definitions are there; `None` after saying that `test` is not run.
    pub(crate) fn real(test: &str) -> Option<Cluster> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Cluster { server: Server::Real(Apiserver::shared(test)?, turn) };
        let definitions = run(&["print", "crd"]);
        // Kubernetes 1.20 knows no rules in CEL and drops them, and takes an empty text as a default for null.
        let older = |line: &&str| !line.ends_with(" default: \"\"") && !line.ends_with(" summary: \"\"");
        let definitions: Vec<&str> = definitions.out.lines().filter(older).collect();
        cluster.done(&["apply", "--validate=false", "-f", "-"], &definitions.join("\n"));
        let named = ["crd/meshcnis.millrace.dev", "crd/meshcninodes.millrace.dev"];
        cluster.done(&[&["wait", "--for=condition=Established", "--timeout=60s"], &named[..]].concat(), "");
        cluster.kubectl(&["delete", "meshcni,meshcninode", "--all", "--wait=true"], "");
        Some(cluster)
    }

    /// The real server, for what only it has.
    pub(crate) fn api(&self) -> &'static Apiserver {
        match &self.server {
            Server::Real(api, _) => api,
            Server::Embedded(_) => panic!("only a real server has users"),
        }
    }

    /// The kubeconfig of who may do all.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        match &self.server {
            Server::Real(api, _) => api.kubeconfig(),
            Server::Embedded(server) => server.kubeconfig(),
        }
    }

    /// Runs kubectl.
    pub(crate) fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        match &self.server {
            Server::Real(api, _) => api.kubectl(args, stdin),
            Server::Embedded(server) => server.kubectl(args, stdin),
        }
    }

    /// Runs kubectl, which must succeed; what it prints.
    pub(crate) fn done(&self, args: &[&str], stdin: &str) -> String {
        match &self.server {
            Server::Real(api, _) => api.done(args, stdin),
            Server::Embedded(server) => server.done(args, stdin),
        }
    }

    /// Runs a command with the administrator's kubeconfig.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_as(&self.kubeconfig(), args)
    }

    /// Runs a command with that kubeconfig.
    pub(crate) fn run_as(&self, kubeconfig: &PathBuf, args: &[&str]) -> Said {
        command(args).env("KUBECONFIG", kubeconfig).output().expect("millrace runs").into()
    }

    /// Starts a command that waits.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = command(args);
        command.env("KUBECONFIG", self.kubeconfig()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("millrace runs")
    }

    /// The MeshCNI.
    pub(crate) fn mesh(&self) -> Value {
        let text = self.done(&["get", "--raw", &format!("{MESH}/default")], "");
        serde_json::from_str(&text).expect("an object is JSON")
    }

    /// Says of the present generation what a controller would.
    pub(crate) fn report(&self, phase: &str, state: &str, more: Value) {
        let mut mesh = self.mesh();
        let ready = if matches!(phase, "Running" | "Disabled") { "True" } else { "False" };
        let mut status = json!({
            "observedGeneration": mesh["metadata"]["generation"],
            "phase": phase,
            "state": state,
            "conditions": [condition("Ready", ready, phase, "2 of 2 nodes serve")],
            "nodes": { "desired": 2, "updated": 2, "ready": 2, "failed": 0, "absent": 0, "summary": "2/2" },
            "workloads": { "cni": 4, "initContainer": 1, "none": 0, "restartDebt": 0, "drifted": 0 },
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            status[field] = value.clone();
        }
        mesh["status"] = status;
        self.replace(&format!("{MESH}/default/status"), &mesh);
    }

    /// Puts an object in its place.
    pub(crate) fn replace(&self, path: &str, object: &Value) {
        self.done(&["replace", "--raw", path, "-f", "-"], &object.to_string());
    }

    /// Makes objects.
    pub(crate) fn create(&self, objects: &Value) {
        self.done(&["create", "-f", "-"], &objects.to_string());
    }
}

/// A condition that has been so since the beginning of 2026.
pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z" })
}

/// Waits until it is so: an API server tells of a change by a watch, and one look a while after another does as well here.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    millrace_rig::wait::until(what, std::time::Duration::from_secs(120), || {
        if is_so() { Ok(()) } else { Err(what.to_owned()) }
    });
}
