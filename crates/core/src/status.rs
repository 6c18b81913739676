//! Reads the annotation `sidecar.istio.io/status`, in which an injector says what it put into a pod.
//!
//! Its presence alone is a condition; what it lists is only believed where it can be read.

/// The annotation.
pub const STATUS_ANNOTATION: &str = "sidecar.istio.io/status";

/// Whether the status lists an init container of that name; `None` if it cannot be read.
pub fn lists_init_container(status: &str, name: &str) -> Option<bool> {
    let status: serde_json::Value = serde_json::from_str(status).ok()?;
    match status.as_object()?.get("initContainers") {
        None | Some(serde_json::Value::Null) => Some(false),
        Some(list) => Some(list.as_array()?.iter().any(|item| item.as_str() == Some(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::lists_init_container;

    fn check(status: &str, expected: Option<bool>) {
        assert_eq!(lists_init_container(status, "istio-init"), expected, "{status}");
    }

    #[test]
    fn believes_only_what_it_can_read() {
        check(r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"#, Some(true));
        check(r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"]}"#, Some(false));
        check(r#"{"initContainers":null}"#, Some(false));
        check("{}", Some(false));
        for odd in ["", "injected", "[]", r#"{"initContainers":"istio-init"}"#] {
            check(odd, None);
        }
    }
}
