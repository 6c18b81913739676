//! A node's report: what it is made of, when it is told, and what a real API server has of it then.

use super::*;
use crate::agent::client::Access;
use crate::agent::health::Check;
use crate::api::node::DriftedPod;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::wait::until;

fn event(outcome: &str, message: &str) -> Event {
    Event {
        verb: "ADD".to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        outcome: outcome.to_owned(),
        backend: if outcome == "redirected" { "iptables".to_owned() } else { String::new() },
        message: message.to_owned(),
        ..Event::default()
    }
}

fn facts<'a>(health: &'a Health, guarded: &'a Status, outcomes: &'a Outcomes) -> Facts<'a> {
    Facts {
        health,
        guarded,
        audits: false,
        config: None,
        chain: None,
        outcomes,
        backend: Some("iptables"),
        drifted: None,
    }
}

fn well() -> Health {
    let health = Health::new(&[Check::Watch, Check::Chain, Check::Plugin]);
    health.serving(true);
    [Check::Watch, Check::Chain, Check::Plugin].iter().for_each(|check| health.ok(*check, "it is"));
    health
}

/// Each condition by its kind, with `!` where it does not hold.
#[track_caller]
fn check(health: &Health, guarded: &Status, serving: bool, expected: &[&str]) -> MeshCNINodeStatus {
    let status = status(&facts(health, guarded, &Outcomes::default()));
    let told = status.conditions.iter().map(|one| {
        let mark = if one.status == ConditionStatus::True { "" } else { "!" };
        format!("{mark}{} {}", one.kind, one.reason)
    });
    assert_eq!(
        (status.serving, told.collect::<Vec<_>>()),
        (serving, expected.iter().map(|one| (*one).to_owned()).collect())
    );
    status
}

#[test]
fn a_report_says_what_health_and_guard_say() {
    let (health, guarding) = (well(), Status::Guarding);
    let all = ["Ready Serving", "ChainConfigured Guarding", "NoChainConflict NoConflict"];
    let status = check(&health, &guarding, true, &all);
    assert_eq!(status.plugin_version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    health.not_ok(Check::Plugin, "it is not there");
    let wrong = ["!Ready NotServing", "ChainConfigured Guarding", "NoChainConflict NoConflict"];
    let status = check(&health, &guarding, false, &wrong);
    assert_eq!(
        (status.plugin_version, status.conditions[0].message.as_str()),
        (None, "plugin: it is not there")
    );
    let broken = Status::Broken { error: "no list".to_owned() };
    check(
        &well(),
        &broken,
        true,
        &["Ready Serving", "!ChainConfigured Broken", "NoChainConflict NoConflict"],
    );
}

#[test]
fn counts_alone_are_no_news_and_moments_stay_while_nothing_changes() {
    let (mut counted, mut backend) = (Outcomes::default(), None);
    let at = |second| Timestamp::from_second(second).expect("a moment");
    let report = |counted: &Outcomes| status(&facts(&well(), &Status::Guarding, counted));
    let mut first = report(&counted);
    stamp(&mut first, None, at(10));
    for outcome in ["redirected", "passed", "redirected"] {
        count(&event(outcome, ""), &mut counted, &mut backend, at(11));
    }
    assert_eq!((counted.redirected, counted.skipped, backend.as_deref()), (2, 1, Some("iptables")));
    let mut second = report(&counted);
    stamp(&mut second, Some(&first), at(20));
    assert!(!is_news(&first, &second));
    assert_eq!(second.conditions[0].last_transition_time, Time(at(10)));
    for number in 0..7 {
        count(
            &event("failed", &format!("{number} {}", "ä".repeat(1000))),
            &mut counted,
            &mut backend,
            at(30),
        );
    }
    let last = &counted.last_failures;
    assert_eq!((counted.failed, last.len(), last[0].pod.as_str()), (7, 5, "shop/web"));
    assert!(last[0].message.starts_with("6 ä") && last[0].message.len() <= LONGEST_TEXT);
    assert!(is_news(&first, &report(&counted)));
}

#[test]
fn pods_that_drifted_are_counted_and_named_where_somebody_looks() {
    let (health, outcomes) = (well(), Outcomes::default());
    let report = |drifted| status(&Facts { drifted, ..facts(&health, &Status::Guarding, &outcomes) });
    assert_eq!(report(None).drifted, None);
    let pod =
        DriftedPod { pod: "shop/web".into(), finding: "drift".into(), message: "a rule is gone".into() };
    let (none, one) =
        (report(Some(Drifted::default())), report(Some(Drifted { count: 1, pods: vec![pod.clone()] })));
    assert_eq!((none.drifted, one.drifted, one.drifted_pods.as_slice()), (Some(0), Some(1), &[pod][..]));
    assert!(is_news(&none, &one));
}

#[test]
fn a_real_api_server_gets_it_once_it_knows_the_resource_and_lets_the_agent() {
    let test = "agent::report::a_real_api_server_gets_it";
    let Some(api) = Apiserver::start(test) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let node = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#;
        api.done(&["create", "-f", "-"], node);
        let user = "system:serviceaccount:millrace-system:millrace-agent";
        let token = api.folder().join("token");
        api.done(&["create", "namespace", "millrace-system"], "");
        std::fs::write(&token, api.token("millrace-system", "millrace-agent")).expect("it can be written");
        let link =
            Link::new(Access::Kubeconfig(api.with_token_file(&token))).await.expect("a usable kubeconfig");
        let mut told = Told::new(link, "n1".to_owned());
        let (health, outcomes) = (well(), Outcomes::default());
        let now = || status(&facts(&health, &Status::Guarding, &outcomes));

        // Neither the resource nor the right: it is said once, and not tried again at once.
        told.tell(now(), Instant::now(), Timestamp::now()).await;
        assert!(told.last.is_none() && told.complained.contains("MeshCNINode"), "{}", told.complained);
        let complained = std::mem::take(&mut told.complained);
        told.tell(now(), Instant::now(), Timestamp::now()).await;
        assert!(told.complained.is_empty(), "before its time: {complained}");

        let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crd.yaml");
        api.done(&["apply", "--validate=false", "-f", definitions], "");
        api.done(
            &["wait", "--for=condition=Established", "crd/meshcninodes.millrace.dev", "--timeout=120s"],
            "",
        );
        api.done(
            &[
                "apply",
                "--validate=false",
                "-f",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/base/rbac.yaml"),
            ],
            "",
        );
        until("the role counts", PATIENCE * 8, || {
            let asked = ["auth", "can-i", "patch", "meshcninodes.millrace.dev", "--as", user];
            let may = api.kubectl(&asked, "");
            may.status
                .success()
                .then_some(())
                .ok_or_else(|| String::from_utf8_lossy(&may.stdout).into_owned())
        });
        told.tell(now(), Instant::now() + LATER, Timestamp::now()).await;
        assert_eq!(told.complained, "");
        let get = || -> Value {
            let text = api.done(&["get", "meshcninode", "n1", "-o", "json"], "");
            serde_json::from_str(&text).expect("JSON")
        };
        let first = get();
        assert_eq!(
            (&first["status"]["serving"], &first["status"]["backend"]),
            (&true.into(), &"iptables".into())
        );
        assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "Node");
        let uid = api.done(&["get", "node", "n1", "-o", "jsonpath={.metadata.uid}"], "");
        assert_eq!(first["metadata"]["ownerReferences"][0]["uid"], uid.as_str());

        // Nothing new, nothing written; something new, written at once, and what it was since then stays.
        told.tell(now(), Instant::now(), Timestamp::now()).await;
        assert_eq!(get()["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        health.not_ok(Check::Plugin, "it is not there");
        told.tell(now(), Instant::now(), Timestamp::now()).await;
        let second = get();
        assert_eq!(
            (&second["status"]["serving"], second["status"].get("pluginVersion")),
            (&false.into(), None)
        );
        let shown = api.done(&["get", "meshcninodes"], "");
        assert!(shown.contains("SERVING") && shown.contains("false"), "{shown}");
    });
}
