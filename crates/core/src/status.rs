//! Reads the annotation `sidecar.istio.io/status`, in which an injector says what it put into a pod.
//!
//! Its presence alone is a condition; what it lists is only believed where it can be read.

use crate::json::Members;

/// The annotation.
pub const STATUS_ANNOTATION: &str = "sidecar.istio.io/status";

/// Whether the status lists an init container of that name; `None` if it cannot be read.
pub fn lists_init_container(status: &str, name: &str) -> Option<bool> {
    match Members::read(status).ok()?.get("initContainers").filter(|list| !list.is_null()) {
        None => Some(false),
        Some(list) => Some(list.items()?.iter().any(|item| item.text().is_some_and(|text| text == name))),
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
