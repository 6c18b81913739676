//! What is removed once no node has anything of ours any more: the controller and what belongs to it, and the definitions.
//!
//! Nothing is deleted that is not ours by its labels or its one name, and nothing another made in its place meanwhile.

use super::Walk;
use super::follow::End;
use super::survey::Survey;
use super::whose::{DEFINITIONS, NAMED, Whose, whose};
use crate::api::kinds::Kind;
use crate::api::ours::{CONTROLLERS, MANAGER};
use crate::cli::Outcome;
use crate::cli::connect::Error;
use crate::cli::wait::{Group, Line, Watched};
use anyhow::Result;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions, PropagationPolicy};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;

/// What would be removed, in its order.
pub(super) async fn planned(survey: &Survey<'_>) -> Result<Vec<String>, Error> {
    let mut all: Vec<String> = mine(survey).await?.0.iter().map(|(kind, meta)| named(*kind, meta)).collect();
    all.extend(survey.definitions().await?.iter().map(|name| format!("CustomResourceDefinition {name}")));
    Ok(all)
}

/// Our objects that go with the controller, in the order in which they go; and those that keep it.
async fn mine(survey: &Survey<'_>) -> Result<(Vec<(Kind, Value)>, Vec<String>), Error> {
    let (mut mine, mut keeping) = (Vec::new(), Vec::new());
    for (kind, all) in survey.objects().await? {
        for meta in all {
            let labels: BTreeMap<String, String> =
                serde_json::from_value(meta["labels"].clone()).unwrap_or_default();
            match whose(kind.name, meta["name"].as_str().unwrap_or_default(), &labels) {
                Whose::Controllers => mine.push((kind, meta)),
                Whose::Nodes => keeping.push(named(kind, &meta)),
                Whose::ByHand | Whose::Namespace => {}
            }
        }
    }
    Ok((mine, keeping))
}

impl Walk<'_> {
    /// Removes what is left once there is no MeshCNI.
    pub(super) async fn sweep(&mut self, out: &mut dyn Write) -> Result<Outcome> {
        let style = self.style;
        let (mine, keeping) = mine(&self.survey).await?;
        if !keeping.is_empty() {
            let words = style.say(
                "a controller has to clear their nodes: millrace enable, then the same command",
                "需由控制器清理其节点:先执行 millrace enable,再执行同一命令",
            );
            self.say(&format!("{}: {words} (MR4201)", keeping.join(", ")), out)?;
            return Ok(Outcome::Wrong);
        }
        // What a controller would make anew goes when there is none.
        let is_its = |(kind, meta): &(Kind, Value)| {
            NAMED.iter().any(|(named, name)| *named == kind.name && meta["name"] == *name)
        };
        let (last, first): (Vec<_>, Vec<_>) = mine.into_iter().partition(is_its);
        for (kind, meta) in &first {
            self.delete(*kind, meta, out).await?;
        }
        match self.until_no_controller(out).await? {
            Outcome::Well => {}
            other => return Ok(other),
        }
        for (kind, meta) in &last {
            self.delete(*kind, meta, out).await?;
        }
        let unproven = self.survey.reports().await?;
        if !unproven.is_empty() && !self.args.force {
            let words = style.say(
                "nobody proved that these nodes are clear; run millrace agent uninstall there and delete their \
                 MeshCNINodes, or say --force",
                "没有证据表明这些节点已清理;请在节点上执行 millrace agent uninstall 并删除其 MeshCNINode,或使用 --force",
            );
            self.say(&format!("{}: {words} (MR4201)", unproven.join(", ")), out)?;
            return Ok(Outcome::Wrong);
        }
        self.undefine(out).await
    }

    /// Deletes an object, if it is still the one that was looked at.
    async fn delete(&mut self, kind: Kind, meta: &Value, out: &mut dyn Write) -> Result<()> {
        let text = |field: &str| meta[field].as_str().map(str::to_owned);
        let name = text("name").unwrap_or_default();
        let known = kind.resource();
        let api: Api<DynamicObject> = match text("namespace") {
            Some(namespace) => Api::namespaced_with(self.connection.client.clone(), &namespace, &known),
            None => Api::all_with(self.connection.client.clone(), &known),
        };
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: text("uid"), resource_version: None }),
            ..DeleteParams::default()
        };
        let what = named(kind, meta);
        match self.connection.ask(&format!("delete {what}"), api.delete(&name, &params)).await {
            Ok(_) | Err(Error::Absent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.say(&format!("{what}: {}", self.style.say("removed", "已删除")), out)?;
        self.removed.push(what);
        Ok(())
    }

    /// Waits until no pod of a controller is there, and sees that none acts from elsewhere.
    async fn until_no_controller(&mut self, out: &mut dyn Write) -> Result<Outcome> {
        let style = self.style;
        let end = self.pods_end().await?;
        if end != End::There {
            let (words, outcome) = match end {
                End::Interrupted => (
                    style.say("interrupted; the same command goes on", "已中断;同一命令会继续"),
                    Outcome::Interrupted,
                ),
                _ => (
                    style.say(
                        "the controller's pods are still there; the same command goes on",
                        "控制器的 Pod 仍在;同一命令会继续",
                    ),
                    Outcome::Wrong,
                ),
            };
            self.say(words, out)?;
            return Ok(outcome);
        }
        let leases: Api<Lease> = Api::namespaced(self.connection.client.clone(), self.survey.home);
        let act = format!("read Lease {}/{MANAGER}", self.survey.home);
        let lease = self.connection.ask(&act, leases.get_opt(MANAGER)).await?;
        if let Some(holder) = lease.and_then(|lease| holder(&lease, Timestamp::now())) {
            let words = style.say(
                "a controller acts still, though no Deployment of it is here; end it, then the same command goes on",
                "仍有控制器在运行,但此处没有它的 Deployment;请停止它,然后执行同一命令",
            );
            self.say(&format!("{holder}: {words}"), out)?;
            return Ok(Outcome::Wrong);
        }
        Ok(Outcome::Well)
    }

    async fn pods_end(&mut self) -> Result<End> {
        let api: Api<Pod> = Api::namespaced(self.connection.client.clone(), self.survey.home);
        let pods = Group { api, labels: CONTROLLERS, act: "watch the controller's pods" };
        let (mut line, waits) = (Line { live: self.style.live }, self.style.say("waits for", "等待"));
        let gone = pods.until(self.connection, self.deadline, |pods| {
            line.clear();
            if pods.is_empty() {
                return Some(());
            }
            line.show(&format!("{waits}: {}", pods.keys().cloned().collect::<Vec<_>>().join(", ")));
            None
        });
        tokio::select! {
            gone = gone => Ok(if gone?.is_some() { End::There } else { End::Late(String::new()) }),
            _ = self.interrupt.recv() => Ok(End::Interrupted),
        }
    }

    /// Deletes the definitions, the switch's last.
    async fn undefine(&mut self, out: &mut dyn Write) -> Result<Outcome> {
        let api = self.connection.all::<CustomResourceDefinition>();
        for name in DEFINITIONS {
            let act = format!("delete CustomResourceDefinition {name}");
            match self.connection.ask(&act, api.delete(name, &DeleteParams::default())).await {
                Err(Error::Absent { .. }) => continue,
                other => drop(other?),
            }
            let gone = Watched { api: api.clone(), name, act: &act };
            let gone =
                gone.until(self.connection, self.deadline, |found| found.is_none().then_some(())).await?;
            let what = format!("CustomResourceDefinition {name}");
            if gone.is_none() {
                let words = self.style.say("is going; the same command goes on", "正在删除;同一命令会继续");
                self.say(&format!("{what}: {words}"), out)?;
                return Ok(Outcome::Wrong);
            }
            self.say(&format!("{what}: {}", self.style.say("removed", "已删除")), out)?;
            self.removed.push(what);
        }
        Ok(Outcome::Well)
    }
}

/// Who holds the Lease, if it was renewed lately. Three of its durations allow for clocks that differ a little.
fn holder(lease: &Lease, now: Timestamp) -> Option<String> {
    let spec = lease.spec.as_ref()?;
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let lasts = SignedDuration::from_secs(3 * i64::from(spec.lease_duration_seconds.unwrap_or(15)));
    let renewed = spec.renew_time.as_ref()?.0;
    (now.duration_since(renewed) < lasts).then_some(holder)
}

fn named(kind: Kind, meta: &Value) -> String {
    let text = |field: &str| meta[field].as_str().unwrap_or_default();
    match text("namespace") {
        "" => format!("{} {}", kind.name, text("name")),
        namespace => format!("{} {namespace}/{}", kind.name, text("name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_is_held_while_it_is_renewed() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let check = |holder_is: &str, renewed: &str, expected: Option<&str>| {
            let lease: Lease = serde_json::from_value(json!({ "metadata": {}, "spec": {
                "holderIdentity": holder_is, "leaseDurationSeconds": 15, "renewTime": renewed } }))
            .unwrap();
            assert_eq!(holder(&lease, now).as_deref(), expected);
        };
        check("a", "2026-01-01T00:00:50.000000Z", Some("a"));
        check("a", "2026-01-01T00:00:10.000000Z", None);
        check("", "2026-01-01T00:00:59.000000Z", None);
    }
}
