//! `millrace upgrade`: the controller and the agents of another version. The controller's Deployment gets the image first; the
//! agents get it by the MeshCNI, so that canaries, limits and pauses hold as for any other change.
//!
//! It changes these images, which the controller is told as its `--image` too, and neither definitions nor RBAC.

mod skew;

use super::connect::{Connection, Error, block_on};
use super::wait::{Line, Watched, interrupts};
use super::workload::is_ready;
use super::{Outcome, change, revisions, switch};
use crate::api::node::MeshCNINode;
use crate::api::ours::{CONTROLLERS, MANAGER};
use crate::args::lifecycle::Upgrade;
use crate::args::output::{Form, Style};
use crate::print::words::VERSION;
use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use skew::{Leader, Order, Version, judge, retagged};
use std::collections::BTreeMap;
use std::io::Write;
use tokio::time::Instant;

/// Upgrades.
pub(crate) fn run(args: &Upgrade, out: &mut dyn Write) -> Result<Outcome> {
    let connection = Connection::open(&args.change.cluster.server)?;
    block_on(async {
        let mut live = change::present(&connection, "upgrade", None).await?;
        let image = match &args.image {
            Some(image) => image.clone(),
            None => this_version(&connection, &live).await?,
        };
        let agents = agents(&connection).await?;
        let controller = Controller::find(&connection, &args.home.system_namespace).await?;
        let leader = controller
            .as_ref()
            .map_or(Leader::Unknown, |found| Leader::Deployed(Version::of_image(&found.image)));
        let versions: Vec<Version> = agents.keys().filter_map(|version| Version::read(version)).collect();
        let order = judge(&versions, leader, &image, args.ignore_skew)?;
        let upgrade = Step { args, connection: &connection, image: &image };
        upgrade.announce(&agents, controller.as_ref(), order, &live, out)?;
        if let Some(controller) =
            controller.filter(|found| order == Order::ControllerFirst && !found.is_of(&image))
        {
            live = upgrade.hold(live, &controller).await?;
            match upgrade.lead(&controller, out).await? {
                Outcome::Well => {}
                other => return Ok(other),
            }
        }
        let wanted = Map::from_iter([("install".to_owned(), json!({ "image": image }))]);
        let changed = change::change(&connection, &live, &wanted, args.change.writing).await?;
        let report = |out: &mut dyn Write| {
            let style = args.change.cluster.output.style();
            switch::report(&changed, args.change.writing, style, out)
        };
        switch::finish(&connection, &changed, &args.change, &report, "millrace status --watch", out).await
    })
}

/// The image that agents have now, of this program's version.
async fn this_version(connection: &Connection, live: &Value) -> Result<String> {
    let named = live["spec"]["install"]["image"].as_str().map(str::to_owned);
    let now = match named {
        Some(image) => Some(image),
        None => revisions::read(connection).await?.pop().map(|last| last.release.image),
    };
    let now = now.context("cannot tell which image agents have now; name one with --image")?;
    retagged(&now, VERSION)
        .with_context(|| format!("agents have {now}, an image by its digest; name another with --image"))
}

/// How many nodes report agents of which version.
async fn agents(connection: &Connection) -> Result<BTreeMap<String, usize>, Error> {
    let api: Api<MeshCNINode> = Api::all(connection.client.clone());
    let all = connection.ask("list MeshCNINodes", api.list(&ListParams::default())).await?;
    let mut found = BTreeMap::new();
    for version in all.items.into_iter().filter_map(|node| Some(node.status?.agent_version)) {
        *found.entry(version).or_default() += 1;
    }
    Ok(found)
}

/// The controller's Deployment.
struct Controller {
    namespace: String,
    name: String,
    container: String,
    image: String,
    /// What it is started with, of which `--image` is that of agents where the MeshCNI names none.
    arguments: Vec<String>,
}

impl Controller {
    /// Finds it in its namespace, by its labels or its name. Nothing of one that runs in another way.
    async fn find(connection: &Connection, namespace: &str) -> Result<Option<Controller>, Error> {
        let api: Api<Deployment> = Api::namespaced(connection.client.clone(), namespace);
        let act = format!("list Deployments in {namespace}");
        let ours = ListParams::default().labels(CONTROLLERS);
        let found = connection.ask(&act, api.list(&ours)).await?.items.into_iter().next();
        let found = match found {
            Some(found) => Some(found),
            None => connection.ask(&act, api.get_opt(MANAGER)).await?,
        };
        Ok(found.and_then(|found| Controller::of(&found)))
    }

    fn of(object: &Deployment) -> Option<Controller> {
        let containers = &object.spec.as_ref()?.template.spec.as_ref()?.containers;
        let named = containers.iter().find(|container| container.name == "controller");
        let container = named.or_else(|| containers.first().filter(|_| containers.len() == 1))?;
        Some(Controller {
            namespace: object.namespace()?,
            name: object.name_any(),
            container: container.name.clone(),
            image: container.image.clone()?,
            arguments: container.args.clone().unwrap_or_default(),
        })
    }

    /// The image that it gives agents where the MeshCNI names none, if it was told one.
    fn agents(&self) -> Option<&str> {
        let words = self.arguments.iter().map(String::as_str);
        let next = words.clone().skip(1).chain([""]);
        let told = words.zip(next).find_map(|(word, next)| match word {
            "--image" => Some(next),
            _ => word.strip_prefix("--image="),
        });
        told.filter(|image| !image.is_empty())
    }

    /// Whether it is of that image, and gives it to agents.
    fn is_of(&self, image: &str) -> bool {
        self.image == image && self.agents().is_none_or(|told| told == image)
    }

    /// Its container with that image, also as what it gives to agents.
    fn with(&self, image: &str) -> Value {
        let mut container = json!({ "name": self.container, "image": image });
        if let Some(told) = self.agents() {
            let whole = format!("--image={told}");
            let changed = self.arguments.iter().map(|word| match word {
                word if *word == whole => format!("--image={image}"),
                word if word == told => image.to_owned(),
                word => word.clone(),
            });
            container["args"] = changed.collect();
        }
        container
    }
}

/// One upgrade.
struct Step<'a> {
    args: &'a Upgrade,
    connection: &'a Connection,
    image: &'a str,
}

impl Step<'_> {
    fn style(&self) -> Style {
        self.args.change.cluster.output.style()
    }

    /// Says what there is, what it becomes, and by which rule.
    fn announce(
        &self,
        agents: &BTreeMap<String, usize>,
        controller: Option<&Controller>,
        order: Order,
        live: &Value,
        out: &mut dyn Write,
    ) -> Result<()> {
        let (style, image) = (self.style(), self.image);
        if !matches!(style.form, Form::Table | Form::Wide) {
            return Ok(());
        }
        let agents: Vec<String> =
            agents.iter().map(|(version, count)| format!("{version} × {count}")).collect();
        let agents =
            if agents.is_empty() { style.say("none yet", "尚无").to_owned() } else { agents.join(", ") };
        writeln!(out, "{}: {agents} → {image}", style.say("agents", "代理"))?;
        let leads = style.say("controller", "控制器");
        match controller {
            Some(found) if order == Order::ControllerFirst && !found.is_of(image) => {
                writeln!(
                    out,
                    "{leads}: Deployment {}/{}: {} → {image}",
                    found.namespace, found.name, found.image
                )?;
            }
            Some(found) => {
                let stays = style.say("stays", "保持不变");
                writeln!(
                    out,
                    "{leads}: Deployment {}/{}: {} {stays}",
                    found.namespace, found.name, found.image
                )?;
            }
            None => {
                let words = style.say(
                    "no Deployment of it was found, so it is not changed; bring it to this version first",
                    "未找到其 Deployment,因此不作更改;请先将它升级到此版本",
                );
                writeln!(out, "{leads}: {words}")?;
            }
        }
        if live["spec"]["rollout"]["paused"] == true {
            let words = style.say(
                "rollout.paused is true: agents stay as they are until it is not (MR4002)",
                "rollout.paused 为 true:在取消之前代理保持原样 (MR4002)",
            );
            writeln!(out, "{words}")?;
        }
        Ok(out.flush()?)
    }

    /// Has agents keep the image that they have while the controller is replaced: it would give them its own at once, where the
    /// MeshCNI names none. The MeshCNI as it is then.
    async fn hold(&self, live: Value, controller: &Controller) -> Result<Value> {
        let writing = self.args.change.writing;
        let Some(now) = controller.agents().filter(|_| live["spec"]["install"]["image"].is_null()) else {
            return Ok(live);
        };
        if writing.dry_run.is_some() {
            return Ok(live);
        }
        let kept = Map::from_iter([("install".to_owned(), json!({ "image": now }))]);
        Ok(change::change(self.connection, &live, &kept, writing).await?.after)
    }

    /// Gives the controller its image, and waits until it runs with that.
    async fn lead(&self, controller: &Controller, out: &mut dyn Write) -> Result<Outcome> {
        let Controller { namespace, name, .. } = controller;
        let style = self.style();
        let dry_run = self.args.change.writing.dry_run.is_some();
        let kind = ApiResource::erase::<Deployment>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.connection.client.clone(), namespace, &kind);
        let template = json!({ "spec": { "containers": [controller.with(self.image)] } });
        let patch = Patch::Strategic(json!({ "spec": { "template": template } }));
        let params =
            PatchParams { field_manager: Some("millrace-cli".to_owned()), dry_run, ..PatchParams::default() };
        let what = format!("Deployment {namespace}/{name}");
        self.connection.ask(&format!("upgrade {what}"), api.patch(name, &params, &patch)).await?;
        if dry_run {
            return Ok(Outcome::Well);
        }
        let mut interrupt = interrupts()?;
        let limit = self.args.change.waiting.timeout;
        let yet = style.say("the controller is being replaced", "正在替换控制器");
        Line { live: style.live }.show(&format!("{what}: {yet}"));
        let act = format!("watch {what}");
        let watched = Watched { api, name, act: &act };
        let ready = watched.until(self.connection, Instant::now() + limit, |found| {
            let found = serde_json::to_value(found?).ok()?;
            is_ready("Deployment", &found).then_some(())
        });
        let ready = tokio::select! {
            ready = ready => Some(ready?),
            _ = interrupt.recv() => None,
        };
        Line { live: style.live }.clear();
        let (words, outcome) = match ready {
            Some(Some(())) => (style.say("upgraded", "已升级"), Outcome::Well),
            Some(None) => (
                style.say(
                    "is not ready in time; agents were not touched, and the same command goes on (MR4001)",
                    "未在时限内就绪;代理未被更改,再次执行同一命令即可继续 (MR4001)",
                ),
                Outcome::Wrong,
            ),
            None => (
                style.say(
                    "interrupted; agents were not touched, and the same command goes on",
                    "已中断;代理未被更改,再次执行同一命令即可继续",
                ),
                Outcome::Interrupted,
            ),
        };
        if matches!(style.form, Form::Table | Form::Wide) || outcome != Outcome::Well {
            writeln!(out, "{what}: {words}")?;
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], agents: Option<&str>, after: &[&str]) {
        let controller = Controller {
            namespace: "n".to_owned(),
            name: "c".to_owned(),
            container: "controller".to_owned(),
            image: "r/m:1".to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        };
        assert_eq!(controller.agents(), agents, "{arguments:?}");
        let told = controller.with("r/m:2");
        let expected = if agents.is_some() { json!(after) } else { Value::Null };
        assert_eq!((&told["image"], &told["args"]), (&json!("r/m:2"), &expected), "{arguments:?}");
        assert_eq!(controller.is_of("r/m:1"), agents.is_none_or(|told| told == "r/m:1"), "{arguments:?}");
    }

    #[test]
    fn what_the_controller_gives_to_agents_goes_with_it() {
        check(&["controller"], None, &[]);
        check(&["controller", "--image"], None, &[]);
        let lease = "--lease-seconds=5";
        check(
            &["controller", "--image=r/m:1", lease],
            Some("r/m:1"),
            &["controller", "--image=r/m:2", lease],
        );
        check(&["controller", "--image", "r/m:0"], Some("r/m:0"), &["controller", "--image", "r/m:2"]);
    }
}
