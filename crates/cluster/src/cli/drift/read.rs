//! Reads what should be and what is. What the controller would write is tried by the server (dry run), and changes nothing.

use super::objects::{Live, Standing, compare, wanted};
use crate::api::mesh::MeshCNI;
use crate::api::node::{MeshCNINode, MeshCNINodeStatus};
use crate::cli::connect::{Connection, Error};
use crate::cli::plan::{Plan, plan};
use crate::cli::wait::Line;
use crate::cli::{change, nodes};
use crate::controller::admission::{SECRET, certs_of};
use crate::controller::apply::{self, Asker, api, is_ours, named};
use crate::controller::children::{Endpoint, Home, Key, MANAGED_BY, MANAGER, Release};
use crate::controller::observed::{self, Observed};
use crate::controller::watches::{KINDS, resource};
use crate::controller::{preconditions, revisions, targets};
use crate::print::words::MUTATING;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The most of our objects of a kind (M10): a cluster has a handful.
const MOST: usize = 5_000;
/// The most nodes.
const MOST_NODES: usize = 20_000;

/// What should be, and what is.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Whether a change is on its way.
    pub(super) moving: bool,
    /// Our objects, each with how it stands.
    pub(super) objects: Vec<(String, Standing)>,
    /// What agents say, by node.
    pub(super) reports: BTreeMap<String, MeshCNINodeStatus>,
    /// What a restart would change, where pods are not on their way.
    pub(super) plan: Option<Plan>,
    /// What could not be read, each with its reason.
    pub(super) unread: Vec<String>,
}

/// Reads it.
pub(super) async fn read(connection: &Connection, home: &str, line: Line) -> Result<Facts> {
    let live = change::read(connection).await?;
    if live.is_null() {
        bail!(
            "there is no MeshCNI, so nothing should be; `millrace check --pre` looks at the cluster before one"
        );
    }
    let spec = live["spec"].clone();
    let mesh: MeshCNI = serde_json::from_value(live).context(
        "read the MeshCNI: its definition is another than this program's; see `millrace explain MR5017`",
    )?;
    let mut reader = Reader { connection, home: home.to_owned(), line, unread: Vec::new() };
    let moving = mesh.status.as_ref().is_some_and(|status| status.operation.is_some());
    let mut facts = Facts { moving, ..Facts::default() };
    reader.line.show("drift: objects");
    facts.objects = reader.objects(&mesh).await;
    reader.line.show("drift: nodes");
    for node in reader.noted(nodes::all(connection).await).into_iter().flatten() {
        match serde_json::from_value::<MeshCNINode>(node) {
            Ok(node) => drop(facts.reports.insert(node.name_any(), node.status.unwrap_or_default())),
            Err(error) => reader.unread.push(format!("cannot read a MeshCNINode: {error} (MR5017)")),
        }
    }
    reader.line.show("drift: pods");
    if settled(&mesh) {
        let planned = plan(connection, None, &spec).await;
        facts.plan = planned.map_err(|error| reader.unread.push(error.to_string())).ok();
    }
    reader.line.clear();
    facts.unread = reader.unread;
    Ok(facts)
}

/// Whether pods that start get what is wanted: while nodes are on their way, they keep what they had.
fn settled(mesh: &MeshCNI) -> bool {
    use crate::api::mesh::Mode;
    use crate::api::status::State;
    let state = mesh.status.as_ref().and_then(|status| status.state).unwrap_or_default();
    mesh.spec.mode != Mode::Cni || state == State::Serving
}

struct Reader<'a> {
    connection: &'a Connection,
    home: String,
    line: Line,
    unread: Vec<String>,
}

impl Reader<'_> {
    fn noted<T>(&mut self, read: Result<T, Error>) -> Option<T> {
        read.map_err(|error| self.unread.push(error.to_string())).ok()
    }

    /// Our objects, those that are there and those that should be.
    async fn objects(&mut self, mesh: &MeshCNI) -> Vec<(String, Standing)> {
        let Some(live) = self.live().await else { return Vec::new() };
        let Some(home) = self.dwelling(mesh).await else { return Vec::new() };
        let Some(revisions) = self.revisions().await else { return Vec::new() };
        let Some(observed) = self.nodes().await else { return Vec::new() };
        let groups = targets::groups(&mesh.spec, &observed);
        let endpoint = self.endpoint(&live).await;
        let trees = wanted(&home, mesh, &revisions, &groups, &live, endpoint.as_ref());
        let surplus =
            live.keys().filter(|key| !trees.contains_key(key) && !self.is_unknown(key, endpoint.as_ref()));
        let mut found: Vec<(String, Standing)> = surplus.map(|key| (named(key), Standing::Surplus)).collect();
        for (key, tree) in &trees {
            if let Some(standing) = self.standing(key, tree, live.get(key)).await {
                found.push((named(key), standing));
            }
        }
        found
    }

    /// What has pods admitted is not judged where its certificates could not be read.
    fn is_unknown(&self, key: &Key, endpoint: Option<&Endpoint>) -> bool {
        endpoint.is_none() && key.kind == "MutatingWebhookConfiguration"
    }

    async fn standing(&mut self, key: &Key, tree: &Value, live: Option<&DynamicObject>) -> Option<Standing> {
        let api = api(&self.connection.client, key);
        let Some(live) = live else {
            let read = self.connection.ask(&format!("read {}", named(key)), api.get_opt(&key.name)).await;
            return self.noted(read).map(|there| match there {
                Some(object) if !is_ours(&object) => Standing::Foreign,
                // It came meanwhile, or its label went: then it is somebody else's above.
                Some(_) => Standing::Same,
                None => Standing::Missing,
            });
        };
        let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
        let act = format!("try to apply {}", named(key));
        let tried = self.connection.ask(&act, api.patch(&key.name, &params, &Patch::Apply(tree))).await;
        self.noted(tried).map(|tried| compare(live, &tried))
    }

    async fn live(&mut self) -> Option<Live> {
        let mut found = Live::new();
        for (.., kind, _) in KINDS {
            let api: Api<DynamicObject> = Api::all_with(self.connection.client.clone(), &resource(kind));
            let params = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
            let mut keep = |object: DynamicObject| {
                let key = Key {
                    kind: kind.to_owned(),
                    namespace: object.namespace().unwrap_or_default(),
                    name: object.name_any(),
                };
                found.insert(key, object);
            };
            let read = self.connection.pages(&format!("list {kind}s"), &api, params, MOST, &mut keep).await;
            self.noted(read)?;
        }
        Some(found)
    }

    async fn dwelling(&mut self, mesh: &MeshCNI) -> Option<Home> {
        let version = self.connection.client.apiserver_version();
        let version = self.connection.ask("read the API server's version", version).await;
        let server = self.noted(version).map(|version| (version.major, version.minor))?;
        let facts = preconditions::Facts { server: Some(server), ..preconditions::Facts::default() };
        Some(Home {
            namespace: self.home.clone(),
            owner: mesh.uid().unwrap_or_default(),
            surges: facts.surges(),
        })
    }

    async fn revisions(&mut self) -> Option<BTreeMap<i64, Release>> {
        let api = Api::namespaced(self.connection.client.clone(), &self.home);
        let known = revisions::known(&api, &Patience(self.connection.patience)).await;
        known.map_err(|error| self.unread.push(format!("cannot {error}"))).ok()
    }

    async fn nodes(&mut self) -> Option<Observed> {
        let api: Api<Node> = Api::all(self.connection.client.clone());
        let mut observed = Observed::default();
        let mut keep = |node: Node| observed.nodes.extend([observed::node(&node)]);
        let params = ListParams::default();
        let read = self.connection.pages("list nodes", &api, params, MOST_NODES, &mut keep).await;
        self.noted(read)?;
        Some(observed)
    }

    /// How the API server should reach the webhook: whom to trust by the Secret, and where as it is registered.
    async fn endpoint(&mut self, live: &Live) -> Option<Endpoint> {
        let registered = live.iter().find(|(key, _)| key.name == MUTATING).map(|(_, object)| object);
        let client = registered.map(|object| object.data["webhooks"][0]["clientConfig"].clone());
        let url = client.and_then(|client| client["url"].as_str().map(str::to_owned));
        let secrets: Api<Secret> = Api::namespaced(self.connection.client.clone(), &self.home);
        let act = format!("read whom to trust in Secret {}/{SECRET}", self.home);
        let secret = self.connection.ask(&act, secrets.get_opt(SECRET)).await;
        let bundle = self.noted(secret)?.as_ref().and_then(certs_of)?.bundle();
        Some(Endpoint { bundle, url })
    }
}

/// For requests that are made by the controller's own functions.
struct Patience(Duration);

impl Asker for Patience {
    fn heard(&self, _: &'static str, _: Option<&apply::Error>) {}

    fn patience(&self) -> Duration {
        self.0
    }
}
