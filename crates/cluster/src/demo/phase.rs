//! What the MeshCNI says of the cluster, in a line. Pure.

use serde_json::Value;

/// How far a cluster is, as its MeshCNI tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phase {
    /// Disabled, Updating, Running or Degraded.
    pub(crate) phase: String,
    /// The state that the controller is in.
    pub(crate) state: String,
    /// Pods that get what is wanted when they are restarted.
    pub(crate) debt: u64,
    /// Whether this is said of what is wanted now.
    pub(crate) current: bool,
    /// What is said of the injector, once it was looked for.
    pub(crate) injector: Option<String>,
    /// What is said beside.
    message: String,
}

impl Phase {
    /// What an object says.
    pub(crate) fn of(mesh: &Value) -> Phase {
        let status = &mesh["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let condition = |wanted: &str| {
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            conditions.find(|one| one["type"] == wanted)
        };
        let injector = condition("InjectorSynced").filter(|one| one["status"] != "Unknown");
        let injector = injector.map(|one| {
            let [status, reason, message] = ["status", "reason", "message"].map(|field| text(&one[field]));
            format!("InjectorSynced {status} ({reason}): {message}")
        });
        Phase {
            phase: text(&status["phase"]),
            state: text(&status["state"]),
            debt: status["workloads"]["restartDebt"].as_u64().unwrap_or_default(),
            current: status["observedGeneration"] == mesh["metadata"]["generation"],
            injector,
            message: condition("Ready").map(|ready| text(&ready["message"])).unwrap_or_default(),
        }
    }

    /// Whether a cluster is there, and for what is wanted now.
    pub(crate) fn is(&self, phase: &str, state: &str) -> bool {
        self.current && self.phase == phase && self.state == state
    }

    /// It in a line; nothing before a controller said anything.
    pub(crate) fn told(&self) -> Option<String> {
        if self.phase.is_empty() {
            return None;
        }
        let debt = match self.debt {
            // The message may have it already.
            _ if self.message.contains("restart") => String::new(),
            0 => String::new(),
            1 => "; 1 pod owes a restart".to_owned(),
            many => format!("; {many} pods owe a restart"),
        };
        Some(format!("{} ({}): {}{debt}", self.phase, self.state, self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(status: Value, expected: Option<&str>) {
        let mesh = json!({ "metadata": { "generation": 2 }, "status": status });
        assert_eq!(Phase::of(&mesh).told().as_deref(), expected);
    }

    #[test]
    fn a_cluster_is_told_in_a_line() {
        check(json!(null), None);
        let ready = json!([{ "type": "Stalled" }, { "type": "Ready", "message": "1/1 nodes serve" }]);
        let status =
            json!({ "phase": "Running", "state": "Serving", "conditions": ready, "observedGeneration": 2 });
        check(status.clone(), Some("Running (Serving): 1/1 nodes serve"));
        let mut owes = status.clone();
        owes["workloads"] = json!({ "restartDebt": 6 });
        check(owes.clone(), Some("Running (Serving): 1/1 nodes serve; 6 pods owe a restart"));
        owes["conditions"] = json!([{ "type": "Ready", "message": "6 pods wait for a restart" }]);
        check(owes, Some("Running (Serving): 6 pods wait for a restart"));
        let synced = |status: &str| {
            let reason =
                json!({ "type": "InjectorSynced", "status": status, "reason": "Converting", "message": "m" });
            Phase::of(&json!({ "status": { "conditions": [reason] } })).injector
        };
        assert_eq!(synced("True").as_deref(), Some("InjectorSynced True (Converting): m"));
        assert_eq!(synced("Unknown"), None);
        let of = |generation: u32| {
            Phase::of(&json!({ "metadata": { "generation": generation }, "status": status }))
        };
        assert!(of(2).is("Running", "Serving") && !of(3).is("Running", "Serving"));
    }
}
