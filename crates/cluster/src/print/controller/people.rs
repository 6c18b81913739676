//! What people may do: a role for who looks and one for who switches, ready to be bound, and bound to nobody; and what the console
//! needs to find out who somebody is.
//!
//! Pure. The console reads and writes with the rights of whoever is in it, so these are the rights of its pages.

use super::rights::{MILLRACE, RBAC, rule};
use super::{Words, meta};
use crate::print::objects::Object;
use crate::print::words::{CONSOLE, CONTROLLER, OPERATOR, VIEWER};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};

/// The roles.
pub(super) fn objects(words: &Words) -> Vec<Object> {
    let role = |name: &str, rules: Vec<PolicyRule>| ClusterRole {
        metadata: meta(name, None),
        rules: Some(rules),
        ..ClusterRole::default()
    };
    let reviews = rule("authentication.k8s.io", &["tokenreviews"], &["create"], &[]);
    let binding = ClusterRoleBinding {
        metadata: meta(CONSOLE, None),
        role_ref: RoleRef { api_group: RBAC.into(), kind: "ClusterRole".into(), name: CONSOLE.into() },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: CONTROLLER.into(),
            namespace: Some(words.namespace.clone()),
            ..Subject::default()
        }]),
    };
    let mut operates = vec![rule(MILLRACE, &["meshcnis"], &["create", "patch"], &[])];
    operates.extend(looks());
    vec![
        Object::new("console", role(CONSOLE, vec![reviews])),
        Object::new("console", binding),
        Object::new("people", role(VIEWER, looks())),
        Object::new("people", role(OPERATOR, operates)),
    ]
}

/// What pages are made of. Nothing of it is a Secret, and no ConfigMap is read: what only one of those says is named as unread.
fn looks() -> Vec<PolicyRule> {
    let definitions = ["meshcnis.millrace.dev", "meshcninodes.millrace.dev"];
    let webhooks = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    vec![
        rule(MILLRACE, &["meshcnis", "meshcninodes"], &["get", "list", "watch"], &[]),
        rule("", &["namespaces", "nodes"], &["list"], &[]),
        rule("", &["pods"], &["get", "list"], &[]),
        rule("", &["events"], &["list"], &[]),
        rule("apps", &["controllerrevisions"], &["list"], &[]),
        rule("apps", &["daemonsets", "deployments"], &["list"], &[]),
        rule("coordination.k8s.io", &["leases"], &["get"], &[CONTROLLER]),
        rule("apiextensions.k8s.io", &["customresourcedefinitions"], &["get"], &definitions),
        rule("admissionregistration.k8s.io", &webhooks, &["get", "list"], &[]),
    ]
}
