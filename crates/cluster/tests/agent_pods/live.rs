//! The watch and its answers, against a real API server: steady, outrun, away, restarted, compacted, with another token.

use super::{Change, Enrolled, MOST_ENROLLED, Pods, Store, enrolled};
use crate::agent::client::{Access, Link};
use crate::agent::metrics::Metrics;
use millrace_core::ask::{Answer, Question};
use millrace_core::cni::Code;
use millrace_core::policy::{Mesh, Reason};
use millrace_core::stamp::{self, Stamp};
use millrace_rig::apiserver::Apiserver;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::watch as signal;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);

fn excluding(namespace: &str) -> Mesh {
    Mesh { excluded_namespaces: vec![namespace.to_owned()], ..Mesh::default() }
}

/// An agent's watch of a node as the user of a kubeconfig.
struct Scene {
    pods: Pods,
    metrics: Metrics,
    mesh: signal::Sender<Mesh>,
}

impl Scene {
    async fn new(kubeconfig: &Path, node: &'static str) -> Scene {
        let link = Link::new(Access::Kubeconfig(kubeconfig.to_owned())).await.expect("a usable kubeconfig");
        let metrics = Metrics::new("test");
        let mesh = signal::Sender::new(excluding("kube-system"));
        let pods = Pods::new(link, mesh.subscribe(), metrics.clone());
        let watched = pods.clone();
        tokio::spawn(async move { watched.run(node).await });
        timeout(PATIENCE, pods.synced().wait_for(|synced| *synced)).await.expect("synced").unwrap();
        Scene { pods, metrics, mesh }
    }

    /// Asks as a runtime does: again, if the server was only too slow for it.
    async fn ask_until(&self, name: &str, uid: Option<&str>) -> Answer {
        let start = Instant::now();
        loop {
            match self.ask(name, uid).await {
                Answer::Failed(failure)
                    if failure.message.contains("cannot be asked") && start.elapsed() < PATIENCE => {}
                answer => return answer,
            }
        }
    }

    async fn ask(&self, name: &str, uid: Option<&str>) -> Answer {
        let (namespace, uid) = ("default".to_owned(), uid.map(str::to_owned));
        let question = Question { namespace, name: name.to_owned(), uid, ..Question::default() };
        let (answer, pod) = self.pods.answer(&question, Instant::now() + Duration::from_secs(30)).await;
        // Also of a pod that the watch does not have: what was decided is recorded with its conditions.
        assert_eq!(pod.is_some(), matches!(answer, Answer::Decided(_)), "{answer:?}");
        answer
    }

    /// Waits until the pods are as they should be.
    async fn until(&self, what: &str, right: impl Fn(&Pods) -> bool) {
        let mut changes = self.pods.changes();
        let wait = async {
            while !right(&self.pods) {
                let _ = changes.recv().await;
            }
        };
        let done = timeout(PATIENCE, wait).await;
        done.unwrap_or_else(|_| panic!("{what}: {:?}, {:?}", self.pods.trouble(), self.pods.list()));
    }

    /// How many questions were settled like that.
    fn asked(&self, source: &str) -> u64 {
        let text = self.metrics.write();
        let name = format!("millrace_asks_total{{source=\"{source}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).expect("the metric is there")
    }
}

fn run<F: Future<Output = ()>>(act: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(act);
}

fn pod(name: &str, node: &str, annotations: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "annotations": annotations },
        "spec": { "nodeName": node, "containers": [
            { "name": "app", "image": "none" }, { "name": "istio-proxy", "image": "none" }] } })
}

fn injected() -> Value {
    json!({ "sidecar.istio.io/status": "{}" })
}

fn create(api: &Apiserver, pods: &[Value]) {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods });
    api.done(&["create", "-f", "-"], &list.to_string());
}

fn uid(api: &Apiserver, name: &str) -> String {
    api.done(&["get", "pod", name, "-o", "jsonpath={.metadata.uid}"], "")
}

fn delete(api: &Apiserver, name: &str) {
    api.done(&["delete", "pod", name, "--force", "--grace-period=0"], "");
}

fn is_redirected(answer: &Answer) -> bool {
    matches!(answer, Answer::Decided(text) if matches!(stamp::read(text), Ok(Stamp::Redirect(_))))
}

fn is_skipped(answer: &Answer, reason: Reason) -> bool {
    matches!(answer, Answer::Decided(text) if stamp::read(text) == Ok(Stamp::Skip(reason)))
}

/// The message of an answer that has the runtime try again.
fn try_again(answer: Answer) -> String {
    match answer {
        Answer::Failed(failure) if failure.code == Code::TryAgain as u16 => failure.message,
        other => panic!("{other:?} is not a failure of code 11"),
    }
}

#[test]
fn answers_from_the_watch_and_for_what_outran_it_by_one_get() {
    let Some(api) = Apiserver::shared("agent::pods::answers_from_the_watch") else { return };
    run(async {
        create(api, &[pod("web", "n1", injected()), pod("plain", "n1", json!({}))]);
        let scene = Scene::new(&api.kubeconfig(), "n1").await;
        let web = uid(api, "web");
        assert!(is_redirected(&scene.ask("web", Some(&web)).await));
        assert!(is_skipped(&scene.ask("plain", None).await, Reason::NotInjected));
        // A static pod: the runtime has the hash that its mirror tells of.
        let mirror = json!({ "sidecar.istio.io/status": "{}", "kubernetes.io/config.mirror": "h1", "kubernetes.io/config.hash": "h1" });
        create(api, &[pod("static", "n1", mirror)]);
        scene.until("the mirror is known", |pods| pods.find("default", "static").is_some()).await;
        assert!(is_redirected(&scene.ask("static", Some("h1")).await));
        assert_eq!((scene.asked("watch"), scene.asked("get")), (3, 0));

        // The watch does not hear of another node's pods; so is one that outran it.
        create(api, &[pod("far", "n2", injected())]);
        let far = uid(api, "far");
        assert!(is_redirected(&scene.ask_until("far", Some(&far)).await));
        assert_eq!((scene.asked("watch"), scene.asked("get")), (3, 1));

        // Of the same name, but not the one.
        let said = try_again(scene.ask_until("web", Some("u-old")).await);
        assert!(said.contains(&web) && said.contains("u-old"), "{said}");
        let said = try_again(scene.ask_until("nobody", Some("u")).await);
        assert!(said.contains("no pod default/nobody"), "{said}");
        assert!(matches!(scene.ask("../secrets", None).await, Answer::Failed(_)));
        assert!(scene.asked("unknown") >= 3);

        // Replaced by one of the same name: the old one's facts are never used for it.
        delete(api, "web");
        create(api, &[pod("web", "n1", json!({}))]);
        let new = uid(api, "web");
        assert!(is_skipped(&scene.ask_until("web", Some(&new)).await, Reason::NotInjected));
        scene.mesh.send_replace(excluding("default"));
        assert!(is_skipped(&scene.ask("static", None).await, Reason::NamespaceExcluded));
    });
}

#[test]
fn tells_of_changes_and_of_enrolled_namespaces() {
    let Some(api) = Apiserver::shared("agent::pods::tells_of_changes") else { return };
    run(async {
        let scene = Scene::new(&api.kubeconfig(), "n3").await;
        let mut enrolled = scene.pods.enrolled();
        let mut is = async |expected: &[&str]| {
            let right = |now: &Enrolled| matches!(now, Enrolled::These(now) if now == expected);
            let done = timeout(PATIENCE, enrolled.wait_for(right)).await.map(drop);
            done.unwrap_or_else(|_| panic!("{expected:?} are enrolled"));
        };
        is(&[]).await;
        let mut changes = scene.pods.changes();
        create(api, &[pod("meshed", "n3", injected())]);
        let change = timeout(PATIENCE, changes.recv()).await.unwrap().unwrap();
        assert!(matches!(&change, Change::Applied(known) if known.pod.name == "meshed"), "{change:?}");
        is(&["default"]).await;
        // A status is nothing that decides; an annotation of ours is.
        let status = r#"{"metadata": {"labels": {"app": "x"}}}"#;
        api.done(&["patch", "pod", "meshed", "-p", status], "");
        api.done(&["annotate", "pod", "meshed", "sidecar.istio.io/inject=false"], "");
        let change = timeout(PATIENCE, changes.recv()).await.unwrap().unwrap();
        let inject = |known: &super::Known| known.pod.annotations.contains_key("sidecar.istio.io/inject");
        assert!(matches!(&change, Change::Applied(known) if inject(known)), "{change:?}");
        api.done(&["create", "namespace", "shop"], "");
        api.done(&["label", "namespace", "shop", "istio-injection=enabled"], "");
        is(&["default", "shop"]).await;
        delete(api, "meshed");
        is(&["shop"]).await;
        // It is ending before it is gone.
        while !matches!(timeout(PATIENCE, changes.recv()).await.unwrap().unwrap(), Change::Gone(_)) {}
        api.done(&["label", "namespace", "shop", "istio-injection-"], "");
        is(&[]).await;
    });
}

/// While the server is away, what is known is answered; afterwards everything is as the server has it, also what changed
/// behind a compaction, for an account that has another token by now.
#[test]
fn an_outage_a_compaction_another_token_and_a_hang() {
    let Some(api) = Apiserver::start("agent::pods::an_outage") else { return };
    run(async {
        for account in ["first", "second"] {
            api.allow(
                &format!("system:serviceaccount:default:{account}"),
                "get,list,watch",
                "pods,namespaces",
            );
        }
        let token = api.folder().join("token");
        std::fs::write(&token, api.token("default", "first")).unwrap();
        let next = api.token("default", "second");
        let known: Vec<Value> = (0..20).map(|n| pod(&format!("web-{n}"), "n1", injected())).collect();
        create(&api, &known);
        let scene = Scene::new(&api.with_token_file(&token), "n1").await;
        assert_eq!(scene.pods.list().len(), 20);
        assert_eq!(scene.pods.trouble(), None);

        api.stop();
        let asked = (0..300).map(|n| {
            let (scene, name) = (&scene, format!("web-{}", n % 40));
            async move { (n % 40 < 20, scene.ask(&name, None).await) }
        });
        for (is_known, answer) in futures::future::join_all(asked).await {
            if is_known {
                assert!(is_redirected(&answer), "{answer:?}");
            } else {
                let said = try_again(answer);
                assert!(said.contains("see that this node reaches the API server"), "{said}");
            }
        }
        assert!(scene.pods.trouble().is_some() && *scene.pods.synced().borrow());

        api.remove("/registry/pods/default/web-7");
        api.remove("/registry/serviceaccounts/default/first");
        api.compact();
        std::fs::write(&token, next).unwrap();
        api.restart();
        scene.until("web-7 is gone", |pods| pods.list().len() == 19).await;
        assert_eq!(scene.pods.find("default", "web-7"), None);
        create(&api, &[pod("late", "n1", injected())]);
        scene.until("the watch goes on", |pods| pods.find("default", "late").is_some()).await;
        let well = async {
            while scene.pods.trouble().is_some() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, well).await.expect("the trouble is over");

        // Killed and started again, with nothing compacted.
        api.restart();
        create(&api, &[pod("later", "n1", injected())]);
        scene.until("the watch goes on again", |pods| pods.find("default", "later").is_some()).await;
        assert!(try_again(scene.ask_until("web-7", None).await).contains("no pod"));
        hangs(&api, &scene).await;
    });
}

/// A server that hangs is worse than one that is gone: nothing tells.
async fn hangs(api: &Apiserver, scene: &Scene) {
    api.freeze();
    assert!(is_redirected(&scene.ask("web-1", None).await));
    let said = try_again(scene.ask("slow", None).await);
    assert!(said.contains("does not answer"), "{said}");
    api.thaw();
    create(api, &[pod("slow", "n1", injected())]);
    scene.until("the watch goes on after a hang", |pods| pods.find("default", "slow").is_some()).await;
    assert!(is_redirected(&scene.ask_until("slow", None).await));
}

#[test]
fn an_agent_without_rights_says_which_it_needs() {
    let Some(api) = Apiserver::shared("agent::pods::an_agent_without_rights") else { return };
    run(async {
        let link = Link::new(Access::Kubeconfig(api.user("nobody", &[]))).await.unwrap();
        let (_mesh, none) = signal::channel(Mesh::default());
        let pods = Pods::new(link, none, Metrics::new("test"));
        let question = Question { namespace: "default".into(), name: "web".into(), ..Question::default() };
        let (answer, _) = pods.answer(&question, Instant::now() + PATIENCE).await;
        let said = try_again(answer);
        assert!(said.contains("give its service account get, list and watch on pods"), "{said}");
        assert_eq!(*pods.enrolled().borrow(), Enrolled::Unknown);
    });
}

#[test]
fn too_many_namespaces_are_not_the_same_as_unknown_ones() {
    let names = |count: usize| Some((0..count).map(|n| format!("n{n:05}")).collect());
    let check = |spaces: Option<BTreeSet<String>>, too_many: bool| {
        enrolled(&Store { spaces, too_many, ..Store::default() })
    };
    assert_eq!(check(None, false), Enrolled::Unknown);
    assert_eq!(check(None, true), Enrolled::TooMany);
    assert_eq!(check(names(2), false), Enrolled::These(vec!["n00000".into(), "n00001".into()]));
    assert!(matches!(check(names(MOST_ENROLLED), false), Enrolled::These(all) if all.len() == MOST_ENROLLED));
    assert_eq!(check(names(MOST_ENROLLED + 1), false), Enrolled::TooMany);
}
