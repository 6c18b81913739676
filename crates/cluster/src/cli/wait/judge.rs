//! Whether a cluster is where it was sent, told from its MeshCNI. PURE.

use crate::api::condition::ConditionStatus;
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::status::{MeshCNIStatus, Phase, State};
use crate::args::output::Style;

/// Where it is, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is there.
    There(String),
    /// It is on its way.
    NotYet(String),
    /// It will not get there by itself.
    Never(String),
}

/// Judges whether `generation` is reached.
pub(crate) fn judge(mesh: Option<&MeshCNI>, generation: i64, style: Style) -> Verdict {
    let Some(mesh) = mesh else {
        return Verdict::Never(style.say("the MeshCNI was deleted", "MeshCNI 已被删除").to_owned());
    };
    let status = mesh.status.clone().unwrap_or_default();
    if status.observed_generation.unwrap_or_default() < generation {
        let words = style.say(
            "no controller has looked at the change yet (MR4009 if it stays so)",
            "尚无控制器处理该变更(若一直如此,见 MR4009)",
        );
        return Verdict::NotYet(words.to_owned());
    }
    let words = words(&status);
    if holds(&status, "Stalled") {
        let message = message(&status, "Stalled").unwrap_or(&words);
        return Verdict::Never(format!("{}: {message} (MR4001)", style.say("stalled", "停滞")));
    }
    let there = match (mesh.spec.mode, status.phase) {
        (Mode::Cni, Some(Phase::Running)) => status.state == Some(State::Serving),
        (Mode::InitContainer, Some(Phase::Running)) | (Mode::Disabled, Some(Phase::Disabled)) => true,
        _ => false,
    };
    match there {
        true => Verdict::There(words),
        false => Verdict::NotYet(words),
    }
}

/// The phase and what is said of it.
fn words(status: &MeshCNIStatus) -> String {
    let phase = status.phase.map_or("?".to_owned(), |phase| format!("{phase:?}"));
    let message = message(status, "Ready").unwrap_or("…");
    // The message tells how many.
    let debt = if status.workloads.restart_debt == 0 { "" } else { " (MR4005)" };
    format!("{phase}: {message}{debt}")
}

fn holds(status: &MeshCNIStatus, kind: &str) -> bool {
    status.conditions.iter().any(|one| one.kind == kind && one.status == ConditionStatus::True)
}

fn message<'a>(status: &'a MeshCNIStatus, kind: &str) -> Option<&'a str> {
    let said = status.conditions.iter().find(|one| one.kind == kind)?;
    Some(said.message.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(mode: &str, status: Value, expected: Verdict) {
        let mesh: MeshCNI = serde_json::from_value(json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default" },
            "spec": { "mode": mode }, "status": status,
        }))
        .unwrap();
        assert_eq!(judge(Some(&mesh), 3, Style::default()), expected);
    }

    fn status(observed: i64, phase: &str, state: &str, stalled: &str) -> Value {
        let condition = |kind: &str, status: &str, message: &str| {
            json!({ "type": kind, "status": status, "reason": "X", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
        };
        json!({
            "observedGeneration": observed, "phase": phase, "state": state,
            "conditions": [condition("Ready", "False", "2 of 3 nodes serve"), condition("Stalled", stalled, "nothing moves")],
        })
    }

    #[test]
    fn a_generation_is_reached_when_the_controller_says_so_of_it() {
        let yet = |words: &str| Verdict::NotYet(words.to_owned());
        check(
            "CNI",
            status(3, "Running", "Serving", "False"),
            Verdict::There("Running: 2 of 3 nodes serve".into()),
        );
        check("CNI", status(3, "Running", "Installing", "False"), yet("Running: 2 of 3 nodes serve"));
        check("CNI", status(3, "Updating", "Installing", "False"), yet("Updating: 2 of 3 nodes serve"));
        check("Disabled", status(3, "Running", "Draining", "False"), yet("Running: 2 of 3 nodes serve"));
        check(
            "Disabled",
            status(4, "Disabled", "Absent", "False"),
            Verdict::There("Disabled: 2 of 3 nodes serve".into()),
        );
        let unseen = yet("no controller has looked at the change yet (MR4009 if it stays so)");
        check("CNI", status(2, "Running", "Serving", "True"), unseen.clone());
        check("CNI", json!({}), unseen);
        let never = Verdict::Never("stalled: nothing moves (MR4001)".into());
        check("CNI", status(3, "Degraded", "Installing", "True"), never);
        assert!(matches!(judge(None, 1, Style::default()), Verdict::Never(_)));
    }
}
