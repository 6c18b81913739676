//! A cluster for the command line: an API server, the definitions that `millrace print crd` prints, and a controller that the
//! test plays.

use crate::program::{Said, command};
use millrace_rig::apiserver::Apiserver;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cluster that one test at a time has for itself: its MeshCNI is the only one.
pub(crate) struct Cluster {
    pub(crate) api: &'static Apiserver,
    _turn: MutexGuard<'static, ()>,
}

const MESH: &str = "/apis/millrace.dev/v1alpha1/meshcnis";

impl Cluster {
    /// One without a MeshCNI, whose definitions are there; `None` after saying that `test` is not run.
    pub(crate) fn fresh(test: &str) -> Option<Cluster> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let api = Apiserver::shared(test)?;
        let cluster = Cluster { api, _turn: turn };
        let definitions = crate::program::run(&["print", "crd"]);
        // Kubernetes 1.20 knows no rules in CEL and drops them, and takes an empty text as a default for null.
        let older = |line: &&str| !line.ends_with(" default: \"\"") && !line.ends_with(" summary: \"\"");
        let definitions: Vec<&str> = definitions.out.lines().filter(older).collect();
        api.done(&["apply", "--validate=false", "-f", "-"], &definitions.join("\n"));
        let named = ["crd/meshcnis.millrace.dev", "crd/meshcninodes.millrace.dev"];
        api.done(&[&["wait", "--for=condition=Established", "--timeout=60s"], &named[..]].concat(), "");
        api.kubectl(&["delete", "meshcni,meshcninode", "--all", "--wait=true"], "");
        Some(cluster)
    }

    /// Runs a command with the administrator's kubeconfig.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_as(&self.api.kubeconfig(), args)
    }

    /// Runs a command with that kubeconfig.
    pub(crate) fn run_as(&self, kubeconfig: &PathBuf, args: &[&str]) -> Said {
        command(args).env("KUBECONFIG", kubeconfig).output().expect("millrace runs").into()
    }

    /// Starts a command that waits.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = command(args);
        command.env("KUBECONFIG", self.api.kubeconfig()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("millrace runs")
    }

    /// The MeshCNI.
    pub(crate) fn mesh(&self) -> Value {
        let text = self.api.done(&["get", "--raw", &format!("{MESH}/default")], "");
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
        self.api.done(&["replace", "--raw", path, "-f", "-"], &object.to_string());
    }

    /// Makes objects.
    pub(crate) fn create(&self, objects: &Value) {
        self.api.done(&["create", "-f", "-"], &objects.to_string());
    }
}

/// A condition that has been so since the beginning of 2026.
pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z" })
}
