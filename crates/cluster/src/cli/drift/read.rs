//! Reads what should be and what is. What the controller would write is tried by the server (dry run), and changes nothing.

use super::objects::{Live, Standing, compare, wanted};
use crate::api::kinds::kept;
use crate::api::mesh::MeshCNI;
use crate::api::node::MeshCNINodeStatus;
use crate::cli::change;
use crate::cli::connect::Connection;
use crate::cli::plan::{Plan, plan};
use crate::cli::reader::Reader;
use crate::cli::wait::Line;
use crate::controller::admission::{SECRET, certs_of};
use crate::controller::apply::{api, is_ours, named};
use crate::controller::children::{Endpoint, Home, Key, MANAGED_BY, MANAGER, Release};
use crate::controller::observed::Observed;
use crate::controller::{preconditions, revisions, targets};
use crate::print::words::MUTATING;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most of our objects of a kind (M10): a cluster has a handful.
const MOST: usize = 5_000;

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
    let live = change::present(connection, "compare", None).await?;
    let spec = live["spec"].clone();
    let mesh: MeshCNI = serde_json::from_value(live).context(
        "read the MeshCNI: its definition is another than this program's; see `millrace explain MR5017`",
    )?;
    let mut reader = Reader::new("drift", connection, home, line);
    let moving = mesh.status.as_ref().is_some_and(|status| status.operation.is_some());
    let mut facts = Facts { moving, ..Facts::default() };
    reader.show("objects");
    facts.objects = reader.objects(&mesh).await;
    reader.show("nodes");
    let reports = reader.reports().await.into_iter();
    facts.reports = reports.map(|node| (node.name_any(), node.status.unwrap_or_default())).collect();
    reader.show("pods");
    if settled(&mesh) {
        facts.plan = reader.noted(plan(connection, None, &spec).await);
    }
    facts.unread = reader.unread();
    Ok(facts)
}

/// Whether pods that start get what is wanted: while nodes are on their way, they keep what they had.
fn settled(mesh: &MeshCNI) -> bool {
    use crate::api::mesh::Mode;
    use crate::api::status::State;
    let state = mesh.status.as_ref().and_then(|status| status.state).unwrap_or_default();
    mesh.spec.mode != Mode::Cni || state == State::Serving
}

impl Reader<'_> {
    /// Our objects, those that are there and those that should be.
    async fn objects(&self, mesh: &MeshCNI) -> Vec<(String, Standing)> {
        let Some(live) = self.live().await else { return Vec::new() };
        let Some(home) = self.dwelling(mesh).await else { return Vec::new() };
        let Some(revisions) = self.revisions().await else { return Vec::new() };
        let mut observed = Observed::default();
        let Some(()) = self.nodes(&mut observed).await else { return Vec::new() };
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

    async fn standing(&self, key: &Key, tree: &Value, live: Option<&DynamicObject>) -> Option<Standing> {
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

    async fn live(&self) -> Option<Live> {
        let mut found = Live::new();
        for kind in kept() {
            let api: Api<DynamicObject> = Api::all_with(self.connection.client.clone(), &kind.resource());
            let params = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
            let mut keep = |object: DynamicObject| {
                let key = Key {
                    kind: kind.name.to_owned(),
                    namespace: object.namespace().unwrap_or_default(),
                    name: object.name_any(),
                };
                found.insert(key, object);
            };
            let act = format!("list {}", kind.plural);
            let read = self.connection.pages(&act, &api, params, MOST, &mut keep).await;
            self.noted(read)?;
        }
        Some(found)
    }

    async fn dwelling(&self, mesh: &MeshCNI) -> Option<Home> {
        let version = self.connection.client.apiserver_version();
        let version = self.connection.ask("read the API server's version", version).await;
        let server = self.noted(version).map(|version| (version.major, version.minor))?;
        let facts = preconditions::Facts { server: Some(server), ..preconditions::Facts::default() };
        Some(Home {
            namespace: self.home.to_owned(),
            owner: mesh.uid().unwrap_or_default(),
            surges: facts.surges(),
        })
    }

    async fn revisions(&self) -> Option<BTreeMap<i64, Release>> {
        let api = Api::namespaced(self.connection.client.clone(), self.home);
        revisions::known(&api, self).await.ok()
    }

    /// How the API server should reach the webhook: whom to trust by the Secret, and where as it is registered.
    async fn endpoint(&self, live: &Live) -> Option<Endpoint> {
        let registered = live.iter().find(|(key, _)| key.name == MUTATING).map(|(_, object)| object);
        let client = registered.map(|object| object.data["webhooks"][0]["clientConfig"].clone());
        let url = client.and_then(|client| client["url"].as_str().map(str::to_owned));
        let secrets: Api<Secret> = Api::namespaced(self.connection.client.clone(), self.home);
        let act = format!("read whom to trust in Secret {}/{SECRET}", self.home);
        let secret = self.connection.ask(&act, secrets.get_opt(SECRET)).await;
        let bundle = self.noted(secret)?.as_ref().and_then(certs_of)?.bundle();
        Some(Endpoint { bundle, url })
    }
}
