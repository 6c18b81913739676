//! Gathers a report from the API server, part by part. It reads, and changes nothing: check and drift try things as dry runs, and
//! of pods that are named the agents of their nodes are asked by exec.
//!
//! What may not be read, or is not answered, or not in time, is noted, and the rest is gathered all the same. Secrets are not asked for.

mod events;
mod logs;
mod objects;
mod pods;

use super::bundle::{BOUNDS, Bundle};
use super::page::Told;
use super::redact;
use super::section::Section;
use crate::api::mesh::MeshCNI;
use crate::args::output::{Form, Style};
use crate::args::report::Report;
use crate::cli::connect::{Connection, Error, MOST_NODES};
use crate::cli::findings::{self, Category};
use crate::cli::wait::Line;
use crate::cli::{change, check, drift, nodes, plan, told};
use crate::mechanism::{Mechanism, mechanism};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Resource};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Instant, timeout_at};

/// Gathers it all, for as long as that may take. Fails if nobody answers at all.
pub(super) async fn gather(
    connection: &Connection,
    args: &Report,
    made: Timestamp,
    style: Style,
) -> Result<(Told, Bundle), Error> {
    let deadline = Instant::now() + args.timeout;
    let mut told = Told {
        made,
        server: connection.server.clone(),
        home: args.home.system_namespace.clone(),
        since: args.since,
        pods: super::asked(args),
        ..Told::default()
    };
    let version =
        connection.ask("read the API server's version", connection.client.apiserver_version()).await;
    match version {
        Ok(version) => told.version = Some(version.git_version),
        Err(error @ Error::Forbidden { .. }) => told.note(error.say(style.lang)),
        Err(error) => return Err(error),
    }
    told.user = timeout_at(deadline, change::user(connection)).await.ok().flatten();
    let (bundle, line) = (Bundle::new(BOUNDS), Line { live: style.live });
    let mut gatherer = Gatherer {
        connection,
        args,
        style,
        line,
        told,
        bundle,
        failing: BTreeSet::new(),
        pods: Vec::new(),
        ours: Vec::new(),
    };
    for section in Section::ALL {
        if section == Section::Pods && gatherer.pods.is_empty() {
            continue;
        }
        gatherer.show(section, section.words(style));
        let began = Instant::now();
        let done = timeout_at(deadline, gatherer.section(section)).await;
        if done.is_err() {
            gatherer.told.note(late(section, args, style));
        }
        gatherer.told.took.push((section, began.elapsed()));
    }
    gatherer.line.clear();
    Ok((gatherer.told, gatherer.bundle))
}

fn late(section: Section, args: &Report, style: Style) -> String {
    let (name, seconds) = (section.name(), args.timeout.as_secs());
    let words =
        style.say("not all of it was gathered in time; see --timeout", "未能在时限内全部收集;见 --timeout");
    format!("{name}: {words} ({seconds} s)")
}

/// Whoever gathers, and what is there so far.
struct Gatherer<'a> {
    connection: &'a Connection,
    args: &'a Report,
    style: Style,
    line: Line,
    told: Told,
    bundle: Bundle,
    /// Nodes with which something is wrong.
    failing: BTreeSet<String>,
    /// The pods that are to be looked into.
    pods: Vec<Value>,
    /// The pods of controller and agents.
    ours: Vec<Value>,
}

impl Gatherer<'_> {
    async fn section(&mut self, section: Section) {
        match section {
            Section::Mesh => self.mesh().await,
            Section::Findings => self.findings().await,
            Section::Cluster => self.cluster().await,
            Section::Objects => self.objects().await,
            Section::Events => self.events().await,
            Section::Logs => self.logs().await,
            Section::Pods => self.look_into_pods().await,
        }
    }

    fn show(&mut self, section: Section, what: &str) {
        self.line.show(&format!("report: {}: {what}", section.name()));
    }

    /// What was read, or nothing and a note of why.
    fn noted<T>(&mut self, read: Result<T, Error>) -> Option<T> {
        read.map_err(|error| self.told.note(error.say(self.style.lang))).ok()
    }

    /// The switch, the nodes' reports, and the pods that are asked about.
    async fn mesh(&mut self) {
        let mesh = self.noted(change::read(self.connection).await).filter(|mesh| !mesh.is_null());
        if let Some(mesh) = mesh {
            self.bundle.object("mesh/meshcni.yaml", &redact::object(&mesh));
            match serde_json::from_value::<MeshCNI>(mesh) {
                Ok(mesh) => {
                    let failing = mesh.status.iter().flat_map(|status| &status.failing_nodes);
                    self.failing.extend(failing.map(|node| node.name.clone()));
                    self.told.mesh = Some(mesh);
                }
                Err(error) => self.told.note(format!("cannot read the MeshCNI: {error} (MR5017)")),
            }
        }
        if let Some(reports) = self.noted(nodes::all(self.connection).await) {
            let idle = reports.iter().filter(|report| report["status"]["serving"] != true);
            self.failing
                .extend(idle.filter_map(|report| report["metadata"]["name"].as_str().map(str::to_owned)));
            let reports: Vec<Value> = reports.iter().map(redact::object).collect();
            self.bundle.list("mesh/nodes.yaml", &reports);
        }
        self.choose_pods().await;
    }

    /// What the verbs that look for what is wrong find, in their own words.
    async fn findings(&mut self) {
        let (connection, home) = (self.connection, self.told.home.clone());
        if let Some(found) = self.noted(check::check(connection, &home, false, self.style).await) {
            self.told.check = self.kept_findings("check", found);
        }
        // Without a switch nothing should be, so that nothing can have drifted.
        if self.told.mesh.is_none() {
            return;
        }
        match drift::drift(connection, &home, self.style).await {
            Ok(found) => self.told.drift = self.kept_findings("drift", found),
            Err(error) => self.told.note(format!("drift: {}", told(&error, self.style.lang))),
        }
    }

    /// What was found, without what may be secret in it.
    fn kept_findings(&mut self, verb: &str, mut found: Vec<Category>) -> Vec<Category> {
        for line in found.iter_mut().flat_map(|category| &mut category.lines) {
            line.detail.iter_mut().for_each(|detail| *detail = redact::detail(detail));
        }
        for (form, end) in [(Form::Wide, "txt"), (Form::Json, "json")] {
            let mut text = Vec::new();
            let style = Style { form, color: false, live: false, ..self.style };
            findings::print(&found, style, &mut text).expect("a vector takes it");
            self.bundle.text(&format!("findings/{verb}.{end}"), &String::from_utf8_lossy(&text));
        }
        found
    }

    /// What the cluster is made of, and who redirects how many pods.
    async fn cluster(&mut self) {
        let version = json!({ "kubernetes": self.told.version, "millrace": crate::print::words::VERSION });
        self.bundle.object("cluster/versions.yaml", &version);
        for (name, act, kept) in [
            ("cluster/nodes.yaml", "list nodes", redact::node as fn(&Value) -> Value),
            ("cluster/namespaces.yaml", "list namespaces", redact::namespace),
        ] {
            let api = if act == "list nodes" { self.all::<Node>() } else { self.all::<Namespace>() };
            let mut found = Vec::new();
            let mut keep = |object: &Value| found.push(kept(object));
            let read = self.connection.each(act, &api, ListParams::default(), MOST_NODES, &mut keep).await;
            if self.noted(read).is_some() {
                self.bundle.list(name, &found);
            }
        }
        let mut counts: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
        let mut count = |pod: &Value| {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            let by = mechanism(pod).map_or("outside the mesh", Mechanism::words);
            *counts.entry(namespace).or_default().entry(by).or_default() += 1;
        };
        let everywhere = crate::args::cluster::Scope { namespace: None, all_namespaces: true };
        let read = plan::pods(self.connection, &everywhere, &mut count).await;
        if self.noted(read).is_some() {
            self.bundle.object("cluster/pods-by-mechanism.yaml", &json!(counts));
        }
    }

    fn all<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        self.connection.all::<K>()
    }
}

/// A field of an object's metadata.
fn meta<'v>(object: &'v Value, field: &str) -> &'v str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `NAMESPACE/NAME`
fn place(object: &Value) -> String {
    format!("{}/{}", meta(object, "namespace"), meta(object, "name"))
}
