//! What pages are made of, read from the API server with the user's own rights: every request has a deadline, every list a bound.
//!
//! The MeshCNI is what the one watch saw last. Namespaces and pods are looked through once for all who look at the same time, and
//! few bytes are kept of each pod. It writes nothing.

use super::facts::{Facts, Namespace, Past, PodRow, Progress, Reports, Rights};
use super::feed::Seen;
use super::lists::injection;
use super::paced::Paced;
use super::progress;
use crate::api::mesh::{MeshCNI, Mode};
use crate::api::node::MeshCNINode;
use crate::args::cluster::Scope;
use crate::args::output::{Lang, Style};
use crate::cli::connect::{Connection, Error};
use crate::cli::explain::cluster::Under;
use crate::cli::findings::Category;
use crate::cli::{change, check, nodes, plan, pods, revisions, rights};
use crate::mechanism::mechanism;
use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::ListParams;
use kube::core::ApiResource;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, timeout};

/// The most namespaces that are looked at (M10).
const MOST_NAMESPACES: usize = 20_000;
/// How long the first page waits for the first look at the MeshCNI.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// The most looks through all pods at once, whoever looks (M10): each asks for page after page of some megabytes.
static LOOKS: Semaphore = Semaphore::const_new(2);
/// How long what was found in a look through pods is kept though nobody looks: of many pods it is some megabytes.
const KEPT: Duration = Duration::from_secs(60);
/// For how long what is in the way of switching on is taken to stay.
const PREFLIGHT: Duration = Duration::from_secs(60);

/// Whoever reads.
pub(crate) struct Reader {
    /// Where it asks.
    pub(crate) connection: Connection,
    home: String,
    read_only: bool,
    /// Where this machine's attachments are recorded; nothing where whoever looks is not who runs this.
    pub(crate) state_dir: Option<PathBuf>,
    /// What the watch saw.
    pub(crate) seen: watch::Receiver<Seen>,
    survey: Paced<Survey>,
    progress: Paced<Progress>,
    may: Paced<Result<Rights, Error>>,
    preflight: Mutex<Option<(Instant, Lang, Vec<Category>)>>,
}

/// Namespaces and pods.
#[derive(Clone, Debug, Default)]
struct Survey {
    namespaces: Arc<[Namespace]>,
    pods: Arc<[PodRow]>,
    unread: Vec<Error>,
}

impl Reader {
    /// One that asks by `connection`; the controller is in the namespace `home`.
    pub(crate) fn new(
        connection: Connection,
        home: String,
        read_only: bool,
        seen: watch::Receiver<Seen>,
    ) -> Reader {
        let (survey, progress, may) = (Paced::default(), Paced::default(), Paced::default());
        let preflight = Mutex::default();
        Reader { connection, home, read_only, state_dir: None, seen, survey, progress, may, preflight }
    }

    /// The same, of somebody who may look into the pods of this machine: he runs this on it.
    pub(crate) fn here(self, state_dir: PathBuf) -> Reader {
        Reader { state_dir: Some(state_dir), ..self }
    }

    /// Forgets what nobody looked at for a while.
    pub(crate) fn forget(&self) {
        self.survey.forget(KEPT);
        self.progress.forget(KEPT);
    }

    /// All that the main pages are made of.
    pub(crate) async fn facts(&self, lang: Lang) -> Facts {
        let mut facts = self.mesh(lang).await;
        if !facts.looked {
            return facts;
        }
        let version = facts.live["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let survey = self.survey.get(version, look(&self.connection, &facts.live)).await;
        facts.progress = self.progress.get(version, progress::look(&self.connection, &self.home)).await;
        facts.unread.extend(survey.unread.iter().map(|error| error.say(lang)));
        (facts.namespaces, facts.pods) = (survey.namespaces, survey.pods);
        if facts.mesh.as_ref().is_none_or(|mesh| mesh.spec.mode != Mode::Cni) {
            facts.preflight = self.preflight(lang).await;
        }
        facts
    }

    /// The MeshCNI, and what may be done to it.
    pub(crate) async fn mesh(&self, lang: Lang) -> Facts {
        let mut receiver = self.seen.clone();
        let came = timeout(FIRST_LOOK, receiver.wait_for(|seen| seen.looked || seen.cut.is_some())).await;
        let seen = came.ok().and_then(Result::ok).map(|seen| seen.clone()).unwrap_or_default();
        let Seen { looked, live, cut } = seen;
        let (server, home) = (self.connection.server.clone(), self.home.clone());
        let mut facts = Facts { server, home, looked, now: now(), ..Facts::default() };
        match cut {
            Some(error @ Error::NotInstalled { .. }) => facts.unread.push(error.say(lang)),
            Some(error) => facts.cut = Some(error.say(lang)),
            None => {}
        }
        if !live.is_null() {
            match serde_json::from_value::<MeshCNI>(live.clone()) {
                Ok(mesh) => facts.mesh = Some(mesh),
                Err(error) => facts.unread.push(format!("MeshCNI default: {error} (MR5017)")),
            }
            facts.held = change::held(&live, &Map::from_iter([("excludeNamespaces".to_owned(), json!([]))]));
        }
        facts.live = live;
        if looked {
            // What a page offers may be some seconds old; what is done is asked about when it is done.
            match self.may.get("", self.rights()).await {
                Ok(rights) => facts.rights = rights,
                Err(error) => facts.unread.push(error.say(lang)),
            }
        }
        facts
    }

    /// Why nothing can be shown, if whoever looks may not read the MeshCNI and never could.
    pub(crate) fn barred(&self) -> Option<Error> {
        let seen = self.seen.borrow();
        seen.cut.clone().filter(|error| !seen.looked && matches!(error, Error::Forbidden { .. }))
    }

    /// Waits a while until the watch has seen a generation that is `enough`, so that the next page shows it.
    pub(crate) async fn sees(&self, mut enough: impl FnMut(i64) -> bool) {
        let mut receiver = self.seen.clone();
        // A watch that is behind, or cut, is no failure of what was done.
        let _ = timeout(FIRST_LOOK, receiver.wait_for(|seen| enough(generation(&seen.live)))).await;
    }

    /// What whoever looks may do.
    pub(crate) async fn rights(&self) -> Result<Rights, Error> {
        if self.read_only {
            return Ok(Rights::Flag);
        }
        let asked = ResourceAttributes {
            group: Some(MeshCNI::group(&()).into_owned()),
            resource: Some(MeshCNI::plural(&()).into_owned()),
            verb: Some("patch".to_owned()),
            ..ResourceAttributes::default()
        };
        let may = rights::may(&self.connection, asked).await?;
        Ok(if may { Rights::Change } else { Rights::Look })
    }

    /// Whether nothing is to be changed or sent, whatever whoever looks may do.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// What nodes report.
    pub(crate) async fn reports(&self, lang: Lang) -> Reports {
        let read = nodes::all(&self.connection).await;
        let unread = read.as_ref().err().map(|error| error.say(lang));
        let typed = read.unwrap_or_default().into_iter().filter_map(|node| serde_json::from_value(node).ok());
        Reports { nodes: typed.collect(), unread }
    }

    /// What one node reports.
    pub(crate) async fn node(&self, name: &str) -> Result<MeshCNINode> {
        let found = nodes::one(&self.connection, name).await?;
        serde_json::from_value(found).context("read a MeshCNINode (MR5017)")
    }

    /// What was wanted once.
    pub(crate) async fn past(&self, lang: Lang) -> Past {
        match revisions::read(&self.connection).await {
            Ok(kept) => Past { kept, unread: None },
            Err(error) => Past { kept: Vec::new(), unread: Some(error.say(lang)) },
        }
    }

    /// One pod, and what decides about it.
    pub(crate) async fn pod(&self, namespace: &str, name: &str) -> Result<(Value, Under)> {
        let kind = ApiResource::erase::<Pod>(&());
        let pod = pods::one(&self.connection, &kind, namespace, name).await?;
        let live = self.seen.borrow().live.clone();
        Ok((pod, Under::of(&live["spec"])?))
    }

    async fn preflight(&self, lang: Lang) -> Vec<Category> {
        let mut last = self.preflight.lock().await;
        if let Some((at, of, found)) = &*last
            && at.elapsed() < PREFLIGHT
            && *of == lang
        {
            return found.clone();
        }
        let style = Style { lang, ..Style::default() };
        let found = check::check(&self.connection, &self.home, true, style).await.unwrap_or_default();
        *last = Some((Instant::now(), lang, found.clone()));
        found
    }
}

/// The moment, to the second: nobody reads more of it.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The generation of a MeshCNI; 0 of none.
pub(crate) fn generation(live: &Value) -> i64 {
    live["metadata"]["generation"].as_i64().unwrap_or_default()
}

/// Looks through namespaces and pods.
async fn look(connection: &Connection, live: &Value) -> Survey {
    let _turn = LOOKS.acquire().await;
    let (mut namespaces, mut pods, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    let mut keep = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        namespaces.push(Namespace { name, injection: injection(object) });
    };
    let api = connection.all::<ApiNamespace>();
    let read =
        connection.each("list namespaces", &api, ListParams::default(), MOST_NAMESPACES, &mut keep).await;
    unread.extend(read.err());
    let under = Under::of(&live["spec"]).unwrap_or_default();
    let mut keep = |pod: &Value| pods.extend(row(pod, &under));
    let everywhere = Scope { namespace: None, all_namespaces: true };
    let read = plan::pods(connection, &everywhere, &mut keep).await;
    unread.extend(read.err());
    namespaces.sort_by(|one, other| one.name.cmp(&other.name));
    pods.sort_by(|one: &PodRow, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Survey { namespaces: namespaces.into(), pods: pods.into(), unread }
}

fn row(pod: &Value, under: &Under) -> Option<PodRow> {
    let before = mechanism(pod)?;
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(PodRow {
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
        node: text("/spec/nodeName"),
        workload: plan::workload(pod),
        before,
        owes: under.next(pod).is_some_and(|next| !next.same),
    })
}
