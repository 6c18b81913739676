//! `millrace console`, asked over HTTP as a browser asks: what it shows, what it does, and whom it refuses.

use crate::browser::{Browser, attribute, value_of};
use crate::cluster::{Cluster, condition, on_each_uncontrolled, until};
use crate::program::command;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// A console, and a browser that was let in.
pub(crate) struct Console {
    child: Child,
    token: String,
    browser: Browser,
}

impl Console {
    pub(crate) fn start(kubeconfig: &PathBuf, flags: &[&str]) -> Console {
        let mut child = command(&[&["console"], flags].concat());
        let child = child.env("KUBECONFIG", kubeconfig).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("millrace runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("it says where it is");
        let (address, token) = line.trim().split_once("/login?token=").expect("an address and a token");
        let address = address.strip_prefix("http://").expect("http").to_owned();
        let browser = Browser { address, cookie: String::new() };
        let mut console = Console { child, token: token.to_owned(), browser };
        let login = console.get(&format!("/login?token={}", console.token));
        assert_eq!(login.status, 200, "{}", login.body);
        assert!(login.head.contains("HttpOnly; SameSite=Strict"), "{}", login.head);
        console.browser.cookie = login.cookie().expect("a cookie");
        console
    }

    /// The state that the page is in.
    fn state(&self) -> String {
        attribute(&self.get("/").body, "data-state")
    }
}

impl Deref for Console {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.browser
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It keeps nothing that an end could spoil.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_switch_of_the_page() {
    on_each_uncontrolled("cli::the_switch_of_the_page", the_switch_of_the_page_on);
}

fn the_switch_of_the_page_on(cluster: &Cluster) {
    let console = Console::start(&cluster.kubeconfig(), &[]);
    let first = console.get("/");
    assert_eq!(
        (first.status, attribute(&first.body, "data-state").as_str()),
        (200, "disabled"),
        "{}",
        first.body
    );
    assert!(
        first
            .head
            .contains("content-security-policy: default-src 'none'; script-src 'self'; style-src 'sha256-"),
        "{}",
        first.head
    );
    assert!(first.body.contains("id=\"preflight\"") && first.body.len() < 100 << 10, "{}", first.body);

    // Proposed, tried, written.
    let query = "base=0&was-mode=Disabled&was-exclude=kube-system,istio-system&mode=CNI&exclude=kube-system";
    let plan = console.get(&format!("/plan?{query}"));
    assert_eq!(attribute(&plan.body, "data-draft"), "planning", "{}", plan.body);
    assert!(
        plan.body.contains("action=\"/update\"") && plan.body.contains("mode: Disabled → CNI"),
        "{}",
        plan.body
    );
    assert!(!cluster.kubectl(&["get", "meshcni", "default"], "").status.success(), "a plan makes nothing");
    let csrf = value_of(&plan.body, "csrf").expect("the form that sends it proves itself");
    let sent = console.post("/update", &format!("csrf={csrf}&{query}"));
    assert_eq!(sent.status, 303, "{}", sent.body);
    let mesh = cluster.mesh();
    assert_eq!(
        (&mesh["spec"]["mode"], &mesh["spec"]["excludeNamespaces"]),
        (&json!("CNI"), &json!(["kube-system"]))
    );
    let managers = mesh["metadata"]["managedFields"].as_array().expect("fields are managed");
    let ours = |one: &Value| one["manager"].as_str().is_some_and(|name| name.starts_with("millrace-cli"));
    assert!(managers.iter().any(ours), "{managers:?}");

    // It is followed until it is so, and whoever looks is told.
    until("the page says that it is on its way", || console.state() == "updating");
    let mut events = BufReader::new(console.connect("GET", "/events", &[], ""));
    next_event(&mut events);
    cluster.report("Running", "Serving", json!({}));
    next_event(&mut events);
    until("the page says that it runs", || console.state() == "running");
    let page = console.get("/").body;
    assert!(page.contains("2 / 2 serve"), "{page}");

    // The buttons.
    let press =
        |act: &str| assert_eq!(console.post("/act", &format!("csrf={csrf}&act={act}")).status, 303, "{act}");
    press("pause");
    assert_eq!(cluster.mesh()["spec"]["rollout"]["paused"], true);
    press("resume");
    assert_eq!(cluster.mesh()["spec"]["rollout"]["paused"], false);
    let none = console.post("/act", &format!("csrf={csrf}&act=rollback"));
    assert!(none.status == 422 && none.body.contains("MR4202"), "{}", none.body);
    assert_eq!(console.get("/history").status, 200);

    somebody_is_faster(cluster, &console, &csrf);
    what_is_in_the_way_is_named(cluster, &console);
}

/// Reads on until an event came whole.
fn next_event(events: &mut impl BufRead) {
    let mut line = String::new();
    while line != "event: status\n" {
        line.clear();
        assert!(events.read_line(&mut line).expect("it goes on") > 0, "the stream ended");
    }
}

/// What was changed since a page was made is never overwritten from it.
fn somebody_is_faster(cluster: &Cluster, console: &Console, csrf: &str) {
    let generation = cluster.mesh()["metadata"]["generation"].as_i64().expect("a generation");
    let form =
        format!("csrf={csrf}&base={generation}&was-mode=CNI&was-exclude=kube-system&mode=CNI&exclude=shop");
    cluster.done(
        &[
            "patch",
            "meshcni",
            "default",
            "--type=merge",
            "-p",
            r#"{"spec":{"excludeNamespaces":["legacy"]}}"#,
        ],
        "",
    );
    let late = console.post("/update", &form);
    assert_eq!(
        (late.status, attribute(&late.body, "data-draft").as_str()),
        (409, "edit-conflict"),
        "{}",
        late.body
    );
    let row = "<th scope=\"row\">excludeNamespaces</th><td>kube-system</td><td>legacy</td><td>shop</td>";
    until("the page has seen what is there now", || console.post("/update", &form).body.contains(row));
    assert_eq!(cluster.mesh()["spec"]["excludeNamespaces"], json!(["legacy"]));
    // What the controller says in between is no conflict.
    let on_top =
        format!("csrf={csrf}&base={}&was-mode=CNI&was-exclude=legacy&mode=CNI&exclude=shop", generation + 1);
    cluster.report("Running", "Serving", json!({}));
    // What somebody else applied is theirs, until it is said otherwise.
    let held = console.post("/update", &on_top);
    assert!(held.status == 422 && held.body.contains("name=\"take-over\""), "{}", held.body);
    let sent = console.post("/update", &format!("{on_top}&take-over=yes"));
    let spec = cluster.mesh()["spec"]["excludeNamespaces"].clone();
    assert!(sent.status == 303 && spec == json!(["shop"]), "{spec}: {}", sent.body);
}

fn what_is_in_the_way_is_named(cluster: &Cluster, console: &Console) {
    let contested =
        condition("NoChainConflict", "False", "ChainContested", "n3: cilium-agent rewrote the list (MR2104)");
    cluster.report("Degraded", "Serving", json!({ "conditions": [contested] }));
    until("the page names who writes the chain", || console.state() == "chain-conflict");
    let page = console.get("/").body;
    assert!(
        page.contains("cilium-agent rewrote the list") && page.contains("MR2104 ChainOverwritten"),
        "{page}"
    );
    nodes_and_events_are_shown(cluster, console);
    let listed = console.get("/nodes?q=n3").body;
    assert!(listed.contains("href=\"/node/n3\""), "{listed}");
    assert_eq!((console.get("/node/n3").status, console.get("/node/none").status), (200, 404));
    assert_eq!((console.get("/workloads?by=owes").status, console.get("/pods/none/none").status), (200, 404));
    let chinese =
        console.ask("GET", "/", &[("Cookie", &format!("{}; lang=zh; theme=dark", console.cookie))], "").body;
    assert!(
        chinese.contains("<html lang=\"zh-CN\" data-theme=\"dark\">") && chinese.contains("CNI 链冲突"),
        "{chinese}"
    );
}

/// What nodes report and what happened is in the page that follows a change; who leads nothing is missed.
fn nodes_and_events_are_shown(cluster: &Cluster, console: &Console) {
    let event = |name: &str, about: (&str, &str, &str), by: &str, reason: &str| {
        let (version, kind, object) = about;
        json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": "default" },
            "involvedObject": { "apiVersion": version, "kind": kind, "name": object },
            "type": "Warning", "reason": reason, "message": "10-x.conflist was <rewritten>", "count": 3,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
            "source": { "component": by }, "reportingComponent": by, "reportingInstance": "n3" })
    };
    let (n3, mesh) = (("v1", "Node", "n3"), ("millrace.dev/v1alpha1", "MeshCNI", "default"));
    let node = json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": "n3" }, "spec": {} });
    cluster.create(&node);
    cluster.create(&event("console.1", n3, "millrace-agent", "ChainRepaired"));
    cluster.create(&event("console.2", n3, "kubelet", "NodeRebooted"));
    cluster.create(&event("console.3", mesh, "gitops", "Applied"));
    until("the page shows the node and what happened to it", || {
        let page = console.get("/").body;
        page.contains("title=\"n3: does not serve, MR2003\"") && page.contains("ChainRepaired")
    });
    let page = console.get("/").body;
    assert!(
        page.contains("<td>Node n3</td><td>3</td><td>10-x.conflist was &#60;rewritten&#62;</td>"),
        "{page}"
    );
    assert!(page.contains("<td>MeshCNI default</td>") && !page.contains("NodeRebooted"), "{page}");
    assert!(page.contains("1 more should serve, and have not reported"), "{page}");
    cluster.done(&["delete", "events", "-n", "default", "console.1", "console.2", "console.3"], "");

    // A Lease that nobody renews says that what is shown stands still.
    let home = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "console-home" } });
    cluster.create(&home);
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "millrace-controller", "namespace": "console-home" },
        "spec": { "holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z" } });
    cluster.create(&lease);
    let other = Console::start(&cluster.kubeconfig(), &["--namespace=console-home"]);
    until("the page says that no controller acts", || other.state() == "controller-away");
    let page = other.get("/").body;
    assert!(page.contains("MR4009") && page.contains("one: has the Lease"), "{page}");
    cluster.done(&["delete", "namespace", "console-home", "--wait=false"], "");
}

#[test]
fn strangers_are_refused() {
    let cluster = Cluster::embedded(&["--no-controllers"]);
    let console = Console::start(&cluster.kubeconfig(), &[]);
    let (own, csrf) = (format!("http://{}", console.address), csrf_of(&cluster, &console));
    let refused = |method: &str, path: &str, headers: &[(&str, &str)], body: &str, status: u16| {
        let answer = console.ask(method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path} {headers:?}: {}", answer.body);
        assert!(
            answer.head.contains("content-security-policy: ") && answer.head.contains("nosniff"),
            "{}",
            answer.head
        );
        answer
    };
    for path in [
        "/",
        "/plan?mode=CNI",
        "/workloads",
        "/pods/a/b",
        "/nodes",
        "/node/a",
        "/history",
        "/events",
        "/none",
    ] {
        let answer = refused("GET", path, &[("Cookie", "none=1")], "", 401);
        assert_eq!(attribute(&answer.body, "data-state"), "session-expired");
        assert!(answer.body.contains("MR1108 SessionExpired"), "{}", answer.body);
        refused("GET", path, &[("Cookie", &console.cookie.replace('=', "=0"))], "", 401);
        refused("GET", path, &[("Host", "evil.example")], "", 403);
    }
    refused("GET", "/login?token=0", &[("Cookie", "none=1")], "", 401);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let pause = format!("csrf={csrf}&act=pause");
    refused("POST", "/act", &[form], &pause, 403);
    refused("POST", "/act", &[form, ("Origin", "http://evil.example")], &pause, 403);
    refused("POST", "/act", &[form, ("Origin", "null")], &pause, 403);
    refused("POST", "/act", &[form, ("Origin", &own), ("Sec-Fetch-Site", "cross-site")], &pause, 403);
    refused("POST", "/act", &[form, ("Origin", &own), ("Cookie", "none=1")], &pause, 401);
    refused("POST", "/act", &[form, ("Origin", &own)], "act=pause", 403);
    refused("POST", "/update", &[form, ("Origin", &own)], "csrf=0&mode=Disabled", 403);
    refused("POST", "/update", &[form, ("Origin", &own)], &format!("csrf={csrf}&mode=Off"), 422);
    assert_eq!(cluster.mesh()["spec"]["rollout"]["paused"], false, "nothing was done");
    assert_eq!(console.post("/act", &pause).status, 303);
    assert!(!console.get("/").body.contains(&console.token), "no page holds the token");
}

fn csrf_of(cluster: &Cluster, console: &Console) -> String {
    cluster.run(&["enable"]);
    until("the page has seen the MeshCNI", || console.state() == "updating");
    console.csrf()
}

#[test]
fn who_may_only_look_changes_nothing() {
    let cluster = Cluster::embedded(&["--no-controllers"]);
    only_looks(&cluster, &Console::start(&cluster.kubeconfig(), &["--read-only"]));
    let Some(cluster) = Cluster::real("cli::who_may_only_look_changes_nothing") else { return };
    let viewer = cluster.api().user("viewer", &["viewers"]);
    cluster.api().allow("viewer", "get,list,watch", "meshcnis.millrace.dev,pods,namespaces");
    let console = Console::start(&viewer, &[]);
    only_looks(&cluster, &console);
    let page = console.get("/").body;
    for (said, resource) in
        [("Events cannot be read", "events"), ("Reports of nodes cannot be read", "meshcninodes")]
    {
        assert!(page.contains(said) && page.contains(resource), "{said}: {page}");
    }
}

fn only_looks(cluster: &Cluster, console: &Console) {
    cluster.run(&["enable"]);
    cluster.report("Running", "Serving", json!({}));
    until("the page is for looking alone", || console.state() == "read-only");
    let page = console.get("/").body;
    assert!(page.contains("<fieldset disabled>") && page.contains("value=\"pause\" disabled"), "{page}");
    let csrf = console.csrf();
    let generation = &cluster.mesh()["metadata"]["generation"];
    let sent = console.post("/update", &format!("csrf={csrf}&base={generation}&mode=Disabled"));
    assert_eq!(sent.status, 422, "{}", sent.body);
    assert_eq!(console.post("/act", &format!("csrf={csrf}&act=pause")).status, 422);
    let spec = cluster.mesh()["spec"].clone();
    assert_eq!((&spec["mode"], &spec["rollout"]["paused"]), (&json!("CNI"), &json!(false)));
}

#[test]
fn a_cluster_that_is_lost_is_shown_as_it_was() {
    let cluster = Cluster::embedded(&["--no-controllers"]);
    let console = Console::start(&cluster.kubeconfig(), &["--request-timeout=5s"]);
    csrf_of(&cluster, &console);
    drop(cluster);
    until("the page says that it is not live", || console.state() == "stream-lost");
    let page = console.get("/").body;
    assert!(page.contains("MR1106") && page.contains("data-notice=\"updating\""), "{page}");
}

#[test]
fn who_leaves_is_out_and_who_guesses_waits() {
    let cluster = Cluster::embedded(&["--no-controllers"]);
    let console = Console::start(&cluster.kubeconfig(), &[]);
    let csrf = csrf_of(&cluster, &console);
    let guess = || console.ask("GET", "/login?token=0", &[("Cookie", "none=1")], "");
    let statuses: Vec<u16> = (0..6).map(|_| guess().status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    let told = guess();
    assert!(
        told.head.contains("retry-after: ") && attribute(&told.body, "data-state") == "later",
        "{}",
        told.body
    );
    assert_eq!(
        console.get(&format!("/login?token={}", console.token)).status,
        200,
        "nobody is locked out by others"
    );
    assert_eq!(console.post("/logout", "csrf=0").status, 403);
    let left = console.post("/logout", &format!("csrf={csrf}"));
    assert!(left.status == 303 && left.head.contains("Max-Age=0"), "{}", left.head);
    assert_eq!(console.get("/").status, 401);
}

#[test]
fn it_is_for_this_machine_alone() {
    let cluster = Cluster::embedded(&["--no-controllers"]);
    let said = cluster.run(&["console", "--listen", "0.0.0.0:0"]);
    assert!(said.status == Some(2) && said.err.contains("for this machine alone"), "{}", said.err);
}
