//! What the controller may do, as RBAC. Each line is for requests that its code makes, or for what it grants agents: whoever
//! writes a role must hold what is in it. So it needs no right to grant more than it has, and can grant no more.
//!
//! Pure. Where RBAC can name one object it does; where a request has no name (a list of many, a create that is no apply) it cannot.

use super::{Words, meta};
use crate::args::print::Profile;
use crate::print::objects::{Object, SCC, SCC_BINDING, rules as agents};
use crate::print::words::{AGENT, CONTROLLER, MUTATING, VALIDATING, WEBHOOK};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};

pub(super) const RBAC: &str = "rbac.authorization.k8s.io";
pub(super) const MILLRACE: &str = "millrace.dev";
const ADMISSION: &str = "admissionregistration.k8s.io";
/// Verbs of what is watched.
const LOOK: [&str; 2] = ["list", "watch"];
/// Verbs of what is applied under a name and deleted again. To apply what is not there is to create it.
const KEEP: [&str; 4] = ["create", "delete", "get", "patch"];

/// The account with its roles and their bindings.
pub(super) fn objects(words: &Words) -> Vec<Object> {
    let home = Some(words.namespace.as_str());
    let account = ServiceAccount {
        metadata: meta(CONTROLLER, home),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let subjects = Some(vec![Subject {
        kind: "ServiceAccount".into(),
        name: CONTROLLER.into(),
        namespace: Some(words.namespace.clone()),
        ..Subject::default()
    }]);
    let reference =
        |kind: &str| RoleRef { api_group: RBAC.into(), kind: kind.into(), name: CONTROLLER.into() };
    let everywhere =
        ClusterRole { metadata: meta(CONTROLLER, None), rules: Some(everywhere()), ..ClusterRole::default() };
    let at_home = Role { metadata: meta(CONTROLLER, home), rules: Some(at_home()) };
    let binding = ClusterRoleBinding {
        metadata: meta(CONTROLLER, None),
        role_ref: reference("ClusterRole"),
        subjects: subjects.clone(),
    };
    let own = RoleBinding { metadata: meta(CONTROLLER, home), role_ref: reference("Role"), subjects };
    vec![
        Object::new("rbac", account),
        Object::new("rbac", everywhere),
        Object::new("rbac", binding),
        Object::new("rbac", at_home),
        Object::new("rbac", own),
    ]
}

/// In the whole cluster.
fn everywhere() -> Vec<PolicyRule> {
    let mut all = vec![
        rule(MILLRACE, &["meshcnis"], &["get", "list", "watch"], &[]),
        rule(MILLRACE, &["meshcnis", "meshcnis/status"], &["patch"], &["default"]),
        rule(MILLRACE, &["meshcnis/finalizers"], &["update"], &["default"]),
        rule(MILLRACE, &["meshcninodes"], &["delete", "list", "watch"], &[]),
        rule("", &["nodes"], &["get", "list", "patch", "watch"], &[]),
        rule("", &["nodes/status"], &["patch"], &[]),
        rule("", &["pods"], &LOOK, &[]),
        rule("", &["pods/eviction"], &["create"], &[]),
        rule("", &["events"], &["create"], &[]),
        rule("", &["namespaces"], &["get", "list"], &[]),
        rule("", &["configmaps"], &["get"], &[]),
        rule("apps", &["daemonsets", "deployments"], &["list"], &[]),
        rule("crd.projectcalico.org", &["felixconfigurations"], &["get"], &["default"]),
        rule(RBAC, &["clusterrolebindings", "clusterroles"], &LOOK, &[]),
        rule(RBAC, &["clusterroles"], &KEEP, &[AGENT]),
        rule(RBAC, &["clusterrolebindings"], &KEEP, &[AGENT, SCC_BINDING]),
        rule(RBAC, &["clusterroles"], &["bind"], &[SCC]),
        rule(ADMISSION, &["mutatingwebhookconfigurations"], &LOOK, &[]),
        rule(ADMISSION, &["mutatingwebhookconfigurations"], &KEEP, &[MUTATING]),
        rule(ADMISSION, &["validatingwebhookconfigurations"], &["list", "patch", "watch"], &[VALIDATING]),
    ];
    let granted = agents(Profile::Audit);
    let missing: Vec<PolicyRule> = granted.into_iter().filter_map(|granted| beyond(granted, &all)).collect();
    all.extend(missing);
    all
}

/// In its own namespace.
fn at_home() -> Vec<PolicyRule> {
    let kept: Vec<&str> = LOOK.into_iter().chain(KEEP).collect();
    vec![
        rule("coordination.k8s.io", &["leases"], &["create"], &[]),
        rule("coordination.k8s.io", &["leases"], &["get", "list", "update", "watch"], &[CONTROLLER]),
        rule("", &["secrets"], &["create"], &[]),
        rule("", &["secrets"], &["get", "list", "update", "watch"], &[WEBHOOK]),
        rule("", &["configmaps", "resourcequotas", "serviceaccounts"], &kept, &[]),
        rule("networking.k8s.io", &["networkpolicies"], &kept, &[]),
        rule("apps", &["daemonsets"], &kept, &[]),
        rule("batch", &["jobs"], &["create", "delete", "get", "list", "watch"], &[]),
        rule("apps", &["controllerrevisions"], &["create", "delete", "list"], &[]),
    ]
}

/// One rule.
pub(super) fn rule(group: &str, resources: &[&str], verbs: &[&str], names: &[&str]) -> PolicyRule {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut verbs = words(verbs);
    verbs.sort();
    PolicyRule {
        api_groups: Some(words(&[group])),
        resources: Some(words(resources)),
        resource_names: (!names.is_empty()).then(|| words(names)),
        verbs,
        ..PolicyRule::default()
    }
}

/// What of a granted rule is not held by the rules without names; nothing if all is.
fn beyond(granted: PolicyRule, held: &[PolicyRule]) -> Option<PolicyRule> {
    let holds = |verb: &String| {
        let all = |rule: &&PolicyRule| rule.resource_names.is_none() && rule.api_groups == granted.api_groups;
        held.iter().filter(all).any(|rule| {
            let named = |resource| rule.resources.iter().flatten().any(|known| known == resource);
            rule.verbs.contains(verb) && granted.resources.iter().flatten().all(named)
        })
    };
    let verbs: Vec<String> = granted.verbs.iter().filter(|verb| !holds(verb)).cloned().collect();
    (!verbs.is_empty()).then_some(PolicyRule { verbs, ..granted })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether all that `wanted` allows is held.
    fn check(wanted: Vec<PolicyRule>) {
        let all = everywhere();
        let missing: Vec<_> = wanted.into_iter().filter_map(|rule| beyond(rule, &all)).collect();
        assert!(missing.is_empty(), "agents are granted what the controller has not: {missing:#?}");
    }

    #[test]
    fn what_agents_are_granted_is_held() {
        Profile::ALL.into_iter().for_each(|profile| check(agents(profile)));
    }

    #[test]
    fn what_is_not_held_is_found() {
        let wanted = rule("", &["pods"], &["list", "delete"], &[]);
        let missing = beyond(wanted, &everywhere()).expect("pods are not deleted");
        assert_eq!(missing.verbs, ["delete"]);
    }
}
