//! PURE: which webhooks want to be asked about what, and where they are.

use super::Operation;
use crate::apiserver::draft::Asked;
use crate::apiserver::select::{LabelSelector, Labels};
use crate::apiserver::store::Stored;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) name: String,
    said: Value,
}

/// What webhooks are asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) asked: &'a Asked,
    pub(super) operation: Operation,
    pub(super) before: &'a Value,
    pub(super) new: &'a Value,
    /// The labels of its namespace.
    pub(super) namespace: Option<&'a Labels>,
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As messages name it.
    pub(super) url: String,
    /// Whom to connect to: `https://ADDRESS:PORT`.
    pub(super) origin: String,
    /// Whose certificate it has, where that is not the address.
    pub(super) server_name: String,
    pub(super) path: String,
}

/// What nobody is asked about, as a webhook could otherwise lock everybody out.
const NEVER: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// All webhooks of these configurations, in their order.
pub(super) fn hooks(configurations: &[Arc<Stored>]) -> Vec<Hook> {
    let all =
        configurations.iter().flat_map(|configuration| match configuration.value()["webhooks"].take() {
            Value::Array(hooks) => hooks,
            _ => Vec::new(),
        });
    all.map(|said| Hook { name: said["name"].as_str().unwrap_or_default().to_owned(), said }).collect()
}

impl Hook {
    /// Whether it is to be asked.
    pub(super) fn wants(&self, subject: &Subject<'_>) -> bool {
        let kind = &subject.asked.served.kind;
        !NEVER.contains(&kind.kind.as_str())
            && self.rules().any(|rule| self.matches(rule, subject))
            && self.selects_namespace(subject)
            && self.selects_object(subject)
    }

    /// What must be true for it to be asked, if anything.
    pub(super) fn conditions(&self) -> Option<&Value> {
        Some(&self.said["matchConditions"]).filter(|all| all.as_array().is_some_and(|all| !all.is_empty()))
    }

    /// Whether it is asked again when others changed the object after it.
    pub(super) fn again_if_needed(&self) -> bool {
        self.said["reinvocationPolicy"] == "IfNeeded"
    }

    pub(super) fn may_fail(&self) -> bool {
        self.said["failurePolicy"] == "Ignore"
    }

    pub(super) fn seconds(&self) -> u64 {
        self.said["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30)
    }

    /// Base64 of PEM.
    pub(super) fn authority(&self) -> String {
        self.said["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()
    }

    /// Where it is; `resolve` tells the address of a service.
    pub(super) fn target(
        &self,
        resolve: &(dyn Fn(&str, &str, u16) -> Option<SocketAddr> + Sync),
    ) -> Result<Target, String> {
        let config = &self.said["clientConfig"];
        if let Some(url) = config["url"].as_str() {
            let rest = url.strip_prefix("https://").ok_or_else(|| format!("{url} is no https:// address"))?;
            let (origin, path) = rest.split_once('/').unwrap_or((rest, ""));
            return Ok(Target {
                url: url.to_owned(),
                origin: format!("https://{origin}"),
                server_name: String::new(),
                path: format!("/{path}"),
            });
        }
        let service = &config["service"];
        let text = |name: &str| service[name].as_str().unwrap_or_default();
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let server_name = format!("{}.{}.svc", text("name"), text("namespace"));
        let path = format!("/{}", text("path").trim_start_matches('/'));
        let address = resolve(text("namespace"), text("name"), port).ok_or_else(|| {
            format!(
                "failed to call webhook: no endpoints available for service \"{}\": make an Endpoints object of that name, or \
                 name an address with --resolve",
                text("name")
            )
        })?;
        Ok(Target {
            url: format!("https://{server_name}:{port}{path}"),
            origin: format!("https://{address}"),
            server_name,
            path,
        })
    }

    fn rules(&self) -> impl Iterator<Item = &Value> {
        self.said["rules"].as_array().into_iter().flatten()
    }

    fn matches(&self, rule: &Value, subject: &Subject<'_>) -> bool {
        let served = &subject.asked.served;
        let operation = match subject.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        };
        let scope = match rule["scope"].as_str() {
            Some("Namespaced") => served.kind.namespaced,
            Some("Cluster") => !served.kind.namespaced,
            _ => true,
        };
        let here = [(served.group.clone(), served.version.clone())];
        let kept = [(served.kind.group.clone(), served.kind.version.clone())];
        // Whoever asks for one version of a kind is asked about all, in the form that is kept, unless he is exact about it.
        let exact = self.said["matchPolicy"] == "Exact";
        let others = here.iter().chain(kept.iter().chain(&served.kind.aliases).filter(|_| !exact));
        let named = |(group, version): &(String, String)| {
            has(&rule["apiGroups"], group) && has(&rule["apiVersions"], version)
        };
        scope
            && has(&rule["operations"], operation)
            && others.into_iter().any(named)
            && resource(rule, subject)
    }

    fn selects_namespace(&self, subject: &Subject<'_>) -> bool {
        let kind = &subject.asked.served.kind;
        let own;
        let labels = if kind.kind == "Namespace" {
            own = labels(if subject.new.is_null() { subject.before } else { subject.new });
            Some(&own)
        } else {
            subject.namespace.filter(|_| kind.namespaced)
        };
        let Some(labels) = labels else { return true };
        LabelSelector::of(&self.said["namespaceSelector"]).is_some_and(|selector| selector.matches(labels))
    }

    fn selects_object(&self, subject: &Subject<'_>) -> bool {
        let Some(selector) = LabelSelector::of(&self.said["objectSelector"]) else { return false };
        let objects = [subject.before, subject.new].into_iter().filter(|object| !object.is_null());
        selector.is_everything() || objects.into_iter().any(|object| selector.matches(&labels(object)))
    }
}

fn has(list: &Value, wanted: &str) -> bool {
    list.as_array().into_iter().flatten().any(|one| one == wanted || one == "*")
}

fn resource(rule: &Value, subject: &Subject<'_>) -> bool {
    let (plural, part) = (&subject.asked.served.kind.plural, &subject.asked.subresource);
    rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str).any(|wanted| {
        let (of, only) = wanted.split_once('/').unwrap_or((wanted, ""));
        (of == "*" || of == plural) && (only == part || only == "*")
    })
}

fn labels(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::draft::{Seed, Validation};
    use crate::apiserver::registry::Registry;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    fn asked(subresource: &str) -> Asked {
        Asked {
            served: Registry::new(std::iter::empty())
                .find("policy", "v1beta1", "poddisruptionbudgets")
                .unwrap(),
            namespace: "n".to_owned(),
            name: "a".to_owned(),
            subresource: subresource.to_owned(),
            manager: String::new(),
            user: String::new(),
            seed: Seed { now: Timestamp::UNIX_EPOCH, uid: String::new(), letters: String::new() },
            validation: Validation::Ignore,
            force: false,
            dry_run: false,
        }
    }

    fn check(change: &Value, subresource: &str, expected: bool) {
        let rule = json!({"operations": ["UPDATE"], "apiGroups": ["policy"], "apiVersions": ["v1"],
                          "resources": ["poddisruptionbudgets"]});
        let mut said = json!({"rules": [rule], "namespaceSelector": {}, "objectSelector": {}});
        json_patch::merge(&mut said, change);
        let hook = Hook { name: "h".to_owned(), said };
        let asked = asked(subresource);
        let new = json!({"metadata": {"labels": {"a": "b"}}});
        let namespace = Labels::from([("mesh".to_owned(), "on".to_owned())]);
        let operation = Operation::Update;
        let subject = Subject {
            asked: &asked,
            operation,
            before: &Value::Null,
            new: &new,
            namespace: Some(&namespace),
        };
        assert_eq!(hook.wants(&subject), expected, "{change}");
    }

    #[test]
    fn webhooks_choose() {
        check(&json!({}), "", true);
        check(&json!({}), "status", false);
        check(&json!({"matchPolicy": "Exact"}), "", false);
        check(&json!({"namespaceSelector": {"matchLabels": {"mesh": "on"}}}), "", true);
        check(&json!({"namespaceSelector": {"matchLabels": {"mesh": "off"}}}), "", false);
        check(&json!({"objectSelector": {"matchLabels": {"a": "b"}}}), "", true);
        check(&json!({"objectSelector": {"matchLabels": {"a": "c"}}}), "", false);
        let every =
            json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]});
        check(&json!({"rules": [every]}), "status", true);
    }

    #[test]
    fn services_are_resolved() {
        let said =
            json!({"clientConfig": {"service": {"namespace": "n", "name": "s", "port": 443, "path": "/p"}}});
        let hook = Hook { name: "h".to_owned(), said };
        let target = hook.target(&|_, _, port| Some(([127, 0, 0, 1], port).into())).unwrap();
        assert_eq!((target.origin.as_str(), target.path.as_str()), ("https://127.0.0.1:443", "/p"));
        assert_eq!(target.server_name, "s.n.svc");
        assert!(hook.target(&|_, _, _| None).unwrap_err().contains("no endpoints available"));
    }
}
