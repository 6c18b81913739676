//! A picture of each state of the console, of the real page in that state: what the documentation shows.
//!
//! Every run leaves them in `target/console`; with `UPDATE_GOLDEN` they are put into `docs/console`. Their pixels are compared with
//! nobody's, as fonts and clocks differ: that each state is reached is what is tested, and that each picture is kept.

use crate::bookinfo::{self, By, ago, tell};
use crate::cluster::{Cluster, condition};
use crate::served::Served;
use crate::sound::{NARROW, WIDE, nothing_failed, nothing_failed_but};
use millrace_rig::browser::Browser;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The tallest picture: who looks at a document sees no more at once.
const TALLEST: u64 = 1200;
/// What is excluded from the beginning.
const EXCLUDED: &str = "--exclude=kube-system,istio-system,legacy";

/// A camera in front of one console.
struct Camera<'a> {
    browser: &'a Browser,
    served: Served,
    taken: BTreeSet<String>,
}

impl<'a> Camera<'a> {
    fn of(browser: &'a Browser, served: Served) -> Camera<'a> {
        served.admit(browser);
        Camera { browser, served, taken: BTreeSet::new() }
    }

    /// Goes to a page, and waits until the cluster is shown in that state.
    fn go(&self, path: &str, state: &str) {
        self.served.go(self.browser, path);
        self.shows(state);
    }

    /// Waits until the page says so by itself.
    fn shows(&self, state: &str) {
        let body = "document.body.dataset";
        let expression = format!("[{body}.state, {body}.draft].includes('{state}')");
        self.browser.until(&format!("the page says {state}"), &expression);
    }

    /// Takes a picture of the page from its top.
    fn take(&mut self, name: &str) {
        self.take_of(name, WIDE.0);
    }

    fn take_of(&mut self, name: &str, width: u32) {
        self.browser.look(width, WIDE.1, false);
        let height = self.browser.run("return document.documentElement.scrollHeight", json!([]));
        let height = height.as_u64().expect("a page has a height").clamp(480, TALLEST);
        self.browser.look(width, u32::try_from(height).expect("it is bounded"), false);
        self.keep(name);
        self.browser.look(WIDE.0, WIDE.1, false);
    }

    /// Takes one of the window as it is.
    fn keep(&mut self, name: &str) {
        keep(self.browser, name);
        assert!(self.taken.insert(name.to_owned()), "{name} is taken once");
    }
}

/// Takes a picture of the window as it is.
pub(crate) fn keep(browser: &Browser, name: &str) {
    browser.run("document.activeElement?.blur()", json!([]));
    let picture = browser.picture();
    assert!(picture.starts_with(b"\x89PNG"), "{name} is no PNG");
    let is_golden = std::env::var_os("UPDATE_GOLDEN").is_some();
    for folder in [made()].into_iter().chain(is_golden.then(kept)) {
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        std::fs::write(folder.join(format!("{name}.png")), &picture).expect("the folder is writable");
    }
}

fn made() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("console")
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/console")
}

#[test]
fn golden_pictures_of_every_state() {
    let Some(browser) = Browser::start("console::golden_pictures_of_every_state") else { return };
    let off = Cluster::embedded(&["--no-controllers"]);
    bookinfo::build(&off, By::Themselves);
    let mut camera = Camera::of(&browser, Served::start(&off, &[]));
    switched_off(&mut camera, &off);
    let mut taken = std::mem::take(&mut camera.taken);
    let owing = Cluster::embedded(&["--no-controllers"]);
    bookinfo::build(&owing, By::CniButSome);
    let mut camera = Camera::of(&browser, Served::start(&owing, &[]));
    in_debt(&mut camera, &owing);
    taken.append(&mut camera.taken);
    let on = Cluster::embedded(&["--no-controllers"]);
    bookinfo::build(&on, By::Cni);
    on.run(&["enable", EXCLUDED]);
    let mut camera = Camera::of(&browser, Served::start(&on, &["--request-timeout=5s"]));
    under_way(&mut camera, &on);
    in_trouble(&mut camera, &on);
    beside(&mut camera, &on);
    drafts(&mut camera, &on);
    nothing_failed_but(&browser, "pictures", &[409]);
    taken.append(&mut camera.taken);
    let mut camera = Camera::of(&browser, Served::start(&on, &["--read-only"]));
    camera.shows("read-only");
    camera.take("read-only");
    taken.append(&mut camera.taken);
    ends(&mut taken, &browser, on);
    // A pod's counters are taken of the demo, where packets are.
    taken.insert("pod-drawer".to_owned());
    let named: BTreeSet<String> = kept_names();
    assert_eq!(taken, named, "docs/console holds these pictures and no others; UPDATE_GOLDEN=1 makes them");
    let readme = include_str!("../../../../README.md");
    let unshown: Vec<&String> =
        named.iter().filter(|name| !readme.contains(&format!("docs/console/{name}.png"))).collect();
    assert!(unshown.is_empty(), "the README shows each picture, but not {unshown:?}");
}

fn kept_names() -> BTreeSet<String> {
    let files = std::fs::read_dir(kept()).into_iter().flatten().flatten();
    let name = |path: PathBuf| {
        let size = path.metadata().map(|file| file.len()).unwrap_or_default();
        assert!((5 << 10..250 << 10).contains(&size), "{} has {size} bytes", path.display());
        path.file_name()?.to_str()?.strip_suffix(".png").map(str::to_owned)
    };
    files.filter_map(|file| name(file.path())).collect()
}

/// Off, and with agents that wait.
fn switched_off(camera: &mut Camera<'_>, cluster: &Cluster) {
    camera.go("/", "disabled");
    camera.take("disabled");
    camera.browser.run("document.getElementById('preflight').scrollIntoView()", json!([]));
    camera.keep("preflight");
    bookinfo::install(cluster);
    cluster.run(&["enable"]);
    cluster.run(&["disable", "--keep-agents"]);
    tell(cluster, "Running", "Installing", json!({ "workloads": workloads(0, 28, 0) }));
    camera.shows("clean");
    camera.go("/", "clean");
    camera.take("clean");
    nothing_failed(camera.browser, "switched off");
}

fn workloads(cni: usize, init: usize, debt: usize) -> Value {
    json!({ "cni": cni, "initContainer": init, "none": 0, "restartDebt": debt, "drifted": 0 })
}

fn operation(kind: &str, generation: i64, began: i64, moved: i64) -> Value {
    json!({ "kind": kind, "generation": generation, "startedAt": ago(began), "progressedAt": ago(moved),
        "deadline": ago(moved - 10) })
}

fn nodes(ready: usize, updated: usize, failed: usize, absent: usize) -> Value {
    json!({ "desired": 6, "updated": updated, "ready": ready, "failed": failed, "absent": absent, "summary": format!("{ready}/6") })
}

/// From the first node to the last, with a pause.
fn under_way(camera: &mut Camera<'_>, cluster: &Cluster) {
    let conditions = json!([
        condition("Ready", "False", "Updating", "4 of 6 nodes serve; worker-4 and worker-5 are next"),
        condition(
            "NodesConfigured",
            "False",
            "NodesOutdated",
            "4 of 6 nodes serve, 4 with what is wanted now"
        ),
        condition("InjectorSynced", "True", "Waiting", "pods keep istio-init until all nodes serve"),
    ]);
    let way = json!({ "nodes": nodes(4, 4, 0, 0), "operation": operation("Enable", 1, 1, 0), "conditions": conditions,
        "failingNodes": [failing("worker-4", "MR2003", "the agent's image is being pulled"),
            failing("worker-5", "MR2003", "the agent's image is being pulled")],
        "workloads": workloads(0, 28, 25) });
    let serve = |is: bool| {
        for node in ["worker-4", "worker-5"] {
            bookinfo::report(cluster, node, json!({ "serving": is }));
        }
    };
    serve(false);
    tell(cluster, "Updating", "Installing", way.clone());
    camera.go("/", "updating");
    camera.take("updating");
    cluster.done(
        &["patch", "meshcni", "default", "--type=merge", "-p", r#"{"spec":{"rollout":{"paused":true}}}"#],
        "",
    );
    tell(cluster, "Updating", "Installing", way);
    camera.shows("paused");
    camera.go("/", "paused");
    camera.take("paused");
    cluster.done(
        &["patch", "meshcni", "default", "--type=merge", "-p", r#"{"spec":{"rollout":{"paused":false}}}"#],
        "",
    );
    serve(true);
    for excluded in ["legacy,payments", "legacy"] {
        cluster.run(&["exclude", "set", &format!("kube-system,istio-system,{excluded}")]);
    }
    tell(cluster, "Running", "Serving", json!({}));
    camera.shows("running");
    camera.go("/", "running");
    camera.take("running");
    camera.take_of("narrow", NARROW.0);
    camera.served.go(camera.browser, "/look?theme=dark&back=/");
    camera.take("dark");
    camera.served.go(camera.browser, "/look?theme=light&lang=zh&back=/");
    camera.take("zh");
    camera.served.go(camera.browser, "/look?lang=en&back=/");
}

/// There, but for pods that were not restarted.
fn in_debt(camera: &mut Camera<'_>, cluster: &Cluster) {
    cluster.run(&["enable", EXCLUDED]);
    let debt = "7 pods get what is wanted only when they are restarted: authorizer, fraud-check and receipts in payments";
    let conditions = json!([
        condition("Ready", "True", "Running", "6 of 6 nodes serve"),
        condition("WorkloadsConverged", "False", "RestartDebt", debt),
    ]);
    tell(
        cluster,
        "Running",
        "Serving",
        json!({ "workloads": workloads(18, 10, 7), "conditions": conditions }),
    );
    camera.shows("running-restart-debt");
    camera.go("/", "running-restart-debt");
    camera.take("running-restart-debt");
}

fn failing(name: &str, code: &str, reason: &str) -> Value {
    json!({ "name": name, "code": code, "reason": reason, "since": ago(14) })
}

/// What goes wrong with clusters.
fn in_trouble(camera: &mut Camera<'_>, cluster: &Cluster) {
    let ready = |message: &str| condition("Ready", "False", "Degraded", message);
    let mut say = |name: &str, status: Value| {
        tell(cluster, "Degraded", "Serving", status);
        camera.shows(name);
        camera.go("/", name);
        camera.take(name);
    };
    say(
        "degraded",
        json!({
            "nodes": nodes(5, 6, 1, 0),
            "failingNodes": [failing("worker-3", "MR2113", "the plugin does not answer: exec format error")],
            "conditions": [ready("5 of 6 nodes serve"),
                condition("NodesConfigured", "False", "NodeFailing", "worker-3 does not serve (MR2113)")],
        }),
    );
    say(
        "stalled",
        json!({
            "nodes": nodes(4, 4, 2, 0), "operation": operation("UpdateSettings", 5, 26, 14),
            "failingNodes": [failing("worker-4", "MR2001", "no agent has reported since the change"),
                failing("worker-5", "MR2001", "no agent has reported since the change")],
            "conditions": [condition("Stalled", "True", "ProgressDeadlineExceeded", "nothing has moved for 600 s; 4 of 6 nodes have what is wanted"),
                ready("4 of 6 nodes serve")],
        }),
    );
    say(
        "agents-unreachable",
        json!({
            "nodes": nodes(4, 6, 2, 0),
            "failingNodes": [failing("worker-1", "MR2003", "the agent is not ready: its pod restarts again and again"),
                failing("worker-2", "MR2003", "the agent is not ready: its pod restarts again and again")],
            "conditions": [ready("4 of 6 nodes serve"),
                condition("NodesConfigured", "False", "NodeFailing", "worker-1 and worker-2 have no agent that answers")],
        }),
    );
    say(
        "injector-missing",
        json!({
            "conditions": [ready("no pod of the mesh can be converted"),
                condition("InjectorSynced", "False", "NoInjector", "no sidecar injector was found in any webhook configuration (MR5011)")],
        }),
    );
    say(
        "chain-conflict",
        json!({
            "nodes": nodes(5, 6, 1, 0),
            "failingNodes": [failing("worker-2", "MR2104", "cilium-agent rewrote 05-cilium.conflist without millrace-cni")],
            "conditions": [ready("5 of 6 nodes serve"),
                condition("NoChainConflict", "False", "ChainContested", "worker-2: cilium-agent rewrote 05-cilium.conflist (MR2104)")],
        }),
    );
    say(
        "unsupported-runtime",
        json!({
            "nodes": nodes(5, 6, 1, 0),
            "failingNodes": [failing("worker-5", "MR5003", "docker://20.10.7 is not supported; the agent says that it does not serve")],
            "conditions": [ready("5 of 6 nodes serve"),
                condition("NodesConfigured", "False", "NodeFailing", "worker-5 does not serve (MR5003)")],
        }),
    );
    tell(cluster, "Running", "Serving", json!({}));
    camera.shows("running");
}

/// Pods and nodes beside their lists, and the history.
fn beside(camera: &mut Camera<'_>, cluster: &Cluster) {
    bookinfo::remember(cluster);
    camera.served.go(camera.browser, "/nodes");
    camera.browser.click("th a[data-drawer][href*='worker-2']");
    camera.browser.until("it is beside the list", "document.getElementById('drawer').open");
    camera.keep("node-drawer");
    camera.served.go(camera.browser, "/history");
    camera.take("history");
}

/// A change that is made, tried, and overtaken.
fn drafts(camera: &mut Camera<'_>, cluster: &Cluster) {
    camera.go("/", "running");
    camera.browser.click("input[name=exclude][value=checkout]");
    camera.browser.until("it says that it was not sent", "!document.getElementById('unsent').hidden");
    camera.take("dirty");
    camera.browser.click("#settings button.primary");
    camera.shows("planning");
    camera.take("planning");
    cluster.run(&["exclude", "add", "payments"]);
    tell(cluster, "Running", "Serving", json!({}));
    camera.browser.click("#pending button.primary");
    camera.shows("edit-conflict");
    camera.take("edit-conflict");
}

/// What ends: a session, and the connection.
fn ends(taken: &mut BTreeSet<String>, browser: &Browser, cluster: Cluster) {
    let mut camera = Camera::of(browser, Served::start(&cluster, &["--request-timeout=5s"]));
    browser.tell("Network.clearBrowserCookies", &json!({}));
    camera.go("/", "session-expired");
    camera.take("session-expired");
    nothing_failed_but(browser, "a session that is over", &[401]);
    camera.served.admit(browser);
    camera.shows("running");
    drop(cluster);
    camera.shows("stream-lost");
    camera.go("/", "stream-lost");
    let stale =
        "document.querySelector('#alive .good').hidden && !document.querySelector('#alive .odd').hidden";
    browser.until("the clock says that what is shown is old", stale);
    camera.take("stream-lost");
    taken.append(&mut camera.taken);
}
