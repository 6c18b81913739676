//! Everything of Millrace that a cluster has, read place by place. It asks, and changes nothing.

use super::remains::{self, Left, Remains};
use super::whose::{DEFINITIONS, LABELS, NAMED};
use crate::api::kinds::{KINDS, Kind};
use crate::api::mesh::MeshCNI;
use crate::api::node::MeshCNINode;
use crate::args::cluster::Scope;
use crate::args::output::Lang;
use crate::cli::connect::{Connection, Error};
use crate::cli::findings::say;
use crate::cli::plan;
use crate::mechanism::{Mechanism, mechanism};
use k8s_openapi::api::core::v1::{Event, Namespace, Node};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The most objects of one kind that are looked at (M10).
const MOST: usize = 100_000;
/// The most pods that are named; the others are counted.
const MOST_NAMED: usize = 20;
/// Where events about what has no namespace are.
const EVENTS: &str = "default";

/// A look at a cluster.
pub(super) struct Survey<'a> {
    /// The cluster.
    pub(super) connection: &'a Connection,
    /// Where the controller lives.
    pub(super) home: &'a str,
    /// The key of the taint that is in use.
    pub(super) taint: &'a str,
    /// In which language it is said what is left; programs read English.
    pub(super) lang: Lang,
}

impl Survey<'_> {
    /// Our objects, each kind with the metadata of its objects. A kind that the server does not know has none.
    pub(super) async fn objects(&self) -> Result<Vec<(Kind, Vec<Value>)>, Error> {
        let mut all = Vec::new();
        for kind in KINDS {
            all.push((kind, self.of(kind).await?));
        }
        Ok(all)
    }

    async fn of(&self, kind: Kind) -> Result<Vec<Value>, Error> {
        let known = kind.resource();
        let api: Api<DynamicObject> = Api::all_with(self.connection.client.clone(), &known);
        let mut found: BTreeMap<(String, String), Value> = BTreeMap::new();
        let mut keep = |object: &Value| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            found.insert((text("namespace"), text("name")), object["metadata"].clone());
        };
        for (label, value) in LABELS {
            let params = ListParams::default().labels(&format!("{label}={value}"));
            self.each(kind.plural, &api, params, &mut keep).await?;
        }
        let named = NAMED.iter().filter(|(named, _)| *named == kind.name);
        for (_, name) in named {
            let home: Api<DynamicObject> =
                Api::namespaced_with(self.connection.client.clone(), self.home, &known);
            let act = format!("read {} {}/{name}", kind.name, self.home);
            if let Some(object) = self.connection.ask(&act, home.get_opt(name)).await? {
                keep(&serde_json::to_value(&object).expect("an object that was read can be written"));
            }
        }
        Ok(found.into_values().collect())
    }

    /// All of the kind; none where the server does not know it.
    async fn each(
        &self,
        plural: &str,
        api: &Api<DynamicObject>,
        params: ListParams,
        look: &mut (dyn FnMut(&Value) + Send),
    ) -> Result<(), Error> {
        match self.connection.each(&format!("list {plural}"), api, params, MOST, look).await {
            Err(Error::NotInstalled { .. }) => Ok(()),
            other => other,
        }
    }

    /// The nodes of which an agent has reported, and of which nobody has proved that it is off them.
    pub(super) async fn reports(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let mut keep = |object: &Value| names.extend(object["metadata"]["name"].as_str().map(str::to_owned));
        self.each("meshcninodes", &self.connection.all::<MeshCNINode>(), ListParams::default(), &mut keep)
            .await?;
        Ok(names)
    }

    /// The definitions that are there.
    pub(super) async fn definitions(&self) -> Result<Vec<&'static str>, Error> {
        let api = self.connection.all::<CustomResourceDefinition>();
        let mut found = Vec::new();
        for name in DEFINITIONS {
            let act = format!("read CustomResourceDefinition {name}");
            found.extend(self.connection.ask(&act, api.get_opt(name)).await?.map(|_| name));
        }
        Ok(found)
    }

    /// Pods that depend on the agents, by namespace and name.
    pub(super) async fn dependent(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        self.pods(&mut |pod| {
            if mechanism(pod) == Some(Mechanism::Cni) {
                found.push(named(pod));
            }
        })
        .await?;
        found.sort();
        Ok(found)
    }

    /// Everything that is left, place by place.
    pub(super) async fn remains(&self) -> Result<Remains, Error> {
        let (mut remains, lang) = (Remains::default(), self.lang);
        let mut switches = Vec::new();
        let mut keep = |_: &Value| {
            switches.push(Left {
                what: "MeshCNI default".to_owned(),
                way: Some("millrace uninstall --wait".to_owned()),
            });
        };
        self.each("meshcnis", &self.connection.all::<MeshCNI>(), ListParams::default(), &mut keep).await?;
        remains.at("MeshCNI", switches);
        remains
            .at("MeshCNINode", self.reports().await?.iter().map(|name| unproven(name, self.lang)).collect());
        for (kind, all) in self.objects().await? {
            remains
                .at(kind.name, all.iter().map(|meta| remains::object(kind.name, meta, self.lang)).collect());
        }
        let (mut nodes, mut names) = (Vec::new(), BTreeSet::new());
        let mut look = |node: &Value| {
            names.extend(node["metadata"]["name"].as_str().map(str::to_owned));
            nodes.extend(remains::node(node, self.taint, self.lang));
        };
        self.each("nodes", &self.connection.all::<Node>(), ListParams::default(), &mut look).await?;
        nodes.extend(self.given_up(&names).await?);
        remains.at(say!(lang, "labels, taints and conditions of nodes", "节点的标签、污点与状况"), nodes);
        let mut spaces = Vec::new();
        let mut look = |one: &Value| spaces.extend(remains::namespace(one, self.lang));
        self.each("namespaces", &self.connection.all::<Namespace>(), ListParams::default(), &mut look)
            .await?;
        remains.at(say!(lang, "labels and annotations of namespaces", "命名空间的标签与注解"), spaces);
        remains.at(say!(lang, "stamps of pods", "Pod 的印记"), self.stamped().await?);
        let definition = |name: &&str| Left {
            what: format!("CustomResourceDefinition {name}"),
            way: Some(say!(
                lang,
                "millrace uninstall, or kubectl delete crd {name}",
                "millrace uninstall,或 kubectl delete crd {name}"
            )),
        };
        remains.at("CustomResourceDefinition", self.definitions().await?.iter().map(definition).collect());
        Ok(remains)
    }

    /// Pods with our stamp. One that says to leave the pod alone does nothing, and goes with it.
    async fn stamped(&self) -> Result<Vec<Left>, Error> {
        let (mut redirected, mut skipped) = (Vec::new(), 0_usize);
        self.pods(&mut |pod| {
            let text = pod["metadata"]["annotations"][STAMP_ANNOTATION].as_str();
            match text.map(stamp::read) {
                None => {}
                Some(Ok(Stamp::Skip(_))) => skipped += 1,
                Some(_) => redirected.push((named(pod), pod["metadata"]["namespace"].clone())),
            }
        })
        .await?;
        let lang = self.lang;
        let restart = say!(
            lang,
            "restart it: its rules are kept by nobody any more (MR4006)",
            "请重启:其规则已无人维护 (MR4006)"
        );
        let name =
            |(name, _): &(String, Value)| Left { what: format!("Pod {name}"), way: Some(restart.clone()) };
        let mut left: Vec<Left> = redirected.iter().take(MOST_NAMED).map(name).collect();
        if redirected.len() > MOST_NAMED {
            let more = redirected.len() - MOST_NAMED;
            let what = say!(lang, "{more} pods more", "另有 {more} 个 Pod");
            left.push(Left { what, way: Some(restart.clone()) });
        }
        if skipped > 0 {
            left.push(Left {
                what: say!(
                    lang,
                    "{skipped} pods with a stamp that says to leave them alone",
                    "{skipped} 个 Pod 带有不予处理的印记"
                ),
                way: None,
            });
        }
        Ok(left)
    }

    /// Nodes that were away when they were to be cleared, as far as events still tell and they are there.
    async fn given_up(&self, nodes: &BTreeSet<String>) -> Result<Vec<Left>, Error> {
        let kind = ApiResource::erase::<Event>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.connection.client.clone(), EVENTS, &kind);
        let (mut left, lang) = (Vec::new(), self.lang);
        let mut look = |event: &Value| {
            let words = event["message"].as_str().unwrap_or_default();
            let listed =
                words.split_once(": ").and_then(|(_, rest)| rest.split(';').next()).unwrap_or_default();
            let event = event["metadata"]["name"].as_str().unwrap_or_default();
            left.extend(listed.split(", ").filter(|name| nodes.contains(*name)).map(|name| Left {
                what: say!(
                    lang,
                    "Node {name}: was away when it was to be cleared",
                    "Node {name}:清理时不在线"
                ),
                way: Some(say!(
                    lang,
                    "millrace agent uninstall there, then kubectl delete event {event} -n {EVENTS}",
                    "在该节点执行 millrace agent uninstall,然后 kubectl delete event {event} -n {EVENTS}"
                )),
            }));
        };
        let params = ListParams::default().fields("reason=NodesLeft,involvedObject.kind=MeshCNI");
        self.each("events", &api, params, &mut look).await?;
        Ok(left)
    }

    async fn pods(&self, look: &mut (dyn FnMut(&Value) + Send)) -> Result<(), Error> {
        plan::pods(self.connection, &Scope { namespace: None, all_namespaces: true }, look).await
    }
}

/// A node whose agent reported.
fn unproven(name: &str, lang: Lang) -> Left {
    let way = say!(
        lang,
        "millrace agent uninstall on the node, then kubectl delete meshcninode {name}",
        "在该节点执行 millrace agent uninstall,然后 kubectl delete meshcninode {name}"
    );
    let what = say!(
        lang,
        "MeshCNINode {name}: nobody proved that the node is clear",
        "MeshCNINode {name}:没有证据表明该节点已清理"
    );
    Left { what, way: Some(way) }
}

fn named(pod: &Value) -> String {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}
