//! PURE: whether disruption budgets let a pod go.

use super::refusal::Refusal;
use serde_json::{Value, json};

/// The status of the budget once the pod is gone; nothing where no budget minds.
pub(crate) fn allowance(budgets: &[Value], pod: &Value, now: &str) -> Result<Option<Value>, Refusal> {
    let over = ["Succeeded", "Failed", "Pending"].iter().any(|phase| pod["status"]["phase"] == *phase);
    if over || !pod["metadata"]["deletionTimestamp"].is_null() {
        return Ok(None);
    }
    let budget = match budgets {
        [] => return Ok(None),
        [budget] => budget,
        _ => {
            let words = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Refusal::new(500, "InternalError", words));
        }
    };
    let name = budget["metadata"]["name"].as_str().unwrap_or_default();
    let violated = |why: &str| {
        Refusal::too_many("Cannot evict pod as it would violate the pod's disruption budget.")
            .because("DisruptionBudget", &format!("The disruption budget {name} {why}"))
    };
    let number = |path: &str| budget.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Err(violated("is still being processed by the server."));
    }
    let left = number("/status/disruptionsAllowed");
    if left <= 0 {
        let (needs, has) = (number("/status/desiredHealthy"), number("/status/currentHealthy"));
        return Err(violated(&format!("needs {needs} healthy pods and has {has} currently")));
    }
    let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
    Ok(Some(json!({"disruptionsAllowed": left - 1, "disruptedPods": {pod: now}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(budgets: &[Value], phase: &str, expected: Result<Option<i64>, u16>) {
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": phase}});
        let found = allowance(budgets, &pod, "now");
        let found = found.map(|status| status.and_then(|status| status["disruptionsAllowed"].as_i64()));
        assert_eq!(found.map_err(|refusal| refusal.code), expected);
    }

    #[test]
    fn budgets_are_spent() {
        let budget = |left: i64| json!({"metadata": {"name": "b"}, "status": {"disruptionsAllowed": left}});
        check(&[], "Running", Ok(None));
        check(&[budget(2)], "Running", Ok(Some(1)));
        check(&[budget(0)], "Running", Err(429));
        check(&[budget(0)], "Succeeded", Ok(None));
        check(&[budget(1), budget(1)], "Running", Err(500));
        check(
            &[json!({"metadata": {"generation": 2}, "status": {"disruptionsAllowed": 2}})],
            "Running",
            Err(429),
        );
    }
}
