//! The audit on real namespaces: rules broken in each way are found and mended, what is others' is left as it is.

mod scene;

use super::api::Error;
use super::staged::runs;
use super::*;
use millrace_core::dialect::Backend;
use millrace_core::repair::Act;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Mode, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_host::backend;
use millrace_rig::absent;
use millrace_rig::net::lab::WORLD;
use millrace_rig::net::{Namespace, missing};
use scene::{PATIENCE, Scene, UID, block_on};
use std::path::Path;

fn has_tools(name: &str) -> bool {
    let tools = [("iptables-nft", "apt-get install iptables"), ("nft", "apt-get install nftables")];
    match missing(&tools) {
        Some((what, how)) => absent::not_run(name, what, how),
        None => return runs(name),
    }
    false
}

/// Whoever only looks says what is so, until it is so no more.
#[test]
fn what_has_drifted_is_said_while_it_has() {
    if !has_tools("audit::what_has_drifted_is_said_while_it_has") {
        return;
    }
    let scene = Scene::new("said", Namespace::new());
    scene.add(&Settings::default(), Backend::Iptables, OWN);
    let (told, said) = watch::channel(None);
    let mut audit = scene.audit(Act::Report).telling(told);
    let count = || said.borrow().as_ref().map(|said| said.count);
    assert_eq!(count(), None, "nobody has looked");
    scene.check(&mut audit, "whole", 1, 0, 0);
    assert_eq!(count(), Some(0));
    scene.lab.pod.sh("nft flush chain ip nat ISTIO_OUTPUT");
    scene.check(&mut audit, "broken", 1, 1, 0);
    let pods = said.borrow().clone().expect("it was said").pods;
    assert_eq!((pods[0].pod.as_str(), pods[0].finding.as_str()), ("default/reviews", "drift"));
    let mut audit = audit.change(scene.stage.clone(), scene.options(Act::Repair), Some(scene.stage.clone()));
    scene.check(&mut audit, "mended", 1, 1, 1);
    assert_eq!(count(), Some(0));
    scene.lab.pod.sh("nft flush ruleset");
    let mut audit = audit.change(scene.stage.clone(), scene.options(Act::Report), None);
    scene.check(&mut audit, "broken again", 1, 1, 0);
    assert_eq!(count(), Some(1));
    *scene.stage.pod.lock().unwrap() = None;
    scene.check(&mut audit, "gone", 0, 0, 0);
    assert_eq!(count(), Some(0));
}

fn tproxy() -> Settings {
    Settings { mode: Mode::Tproxy, ..Settings::default() }
}

/// The beginning of what istio-cni puts into a pod where `values.global.nativeNftables` is set.
const NATIVE: &str = "nft add table inet istio-proxy-nat
    nft add chain inet istio-proxy-nat output '{ type nat hook output priority -100; }'
    nft add chain inet istio-proxy-nat istio-redirect
    nft add rule inet istio-proxy-nat istio-redirect meta l4proto tcp counter redirect to :15001
    nft add rule inet istio-proxy-nat output meta skuid != 1337 counter jump istio-redirect";

const OWN: &str = env!("CARGO_PKG_VERSION");

#[test]
fn rules_broken_in_each_way_are_found_and_mended() {
    if !has_tools("audit::rules_broken_in_each_way_are_found_and_mended") {
        return;
    }
    let iptables = [
        ("a rule", "iptables-nft -t nat -D ISTIO_INBOUND 1", "missing, planned as rule 1"),
        ("a rule of IPv6", "ip6tables-nft -t nat -D ISTIO_OUTPUT 2", "missing, planned as rule 2"),
        ("a rule too many", "iptables-nft -t nat -I ISTIO_OUTPUT -j RETURN", "was not planned"),
        ("a chain", "nft flush chain ip nat ISTIO_OUTPUT", "missing, planned as rule 1"),
        ("the jump", "iptables-nft -t nat -F OUTPUT", "missing, planned as rule 1"),
        ("a table", "nft delete table ip nat", "the chain is missing"),
        ("everything", "nft flush ruleset", "nothing redirects"),
        ("the address", "ip addr del ::6/128 dev lo", "missing: "),
        ("the rule", "ip rule del pref 1330", "missing: "),
        ("the route", "ip route flush table 133", "missing: "),
    ];
    let nftables = [
        ("a chain", "nft flush chain inet millrace nat-istio-output", "missing, planned as rule 1"),
        ("the table", "nft delete table inet millrace", "nothing redirects"),
    ];
    for (backend, breaks) in [(Backend::Iptables, &iptables[..]), (Backend::Nftables, &nftables[..])] {
        for (what, script, words) in breaks {
            let scene = Scene::new("broken", Namespace::new());
            scene.add(&tproxy(), backend, OWN);
            let mut audit = scene.audit(Act::Repair);
            scene.check(&mut audit, what, 1, 0, 0);
            scene.lab.pod.sh(script);
            assert!(!scene.is_planned(&tproxy()), "{what}");
            scene.check(&mut audit, what, 1, 1, 1);
            assert!(scene.is_planned(&tproxy()), "{what}: {:?}", scene.asked());
            let asked = scene.asked();
            let told = asked.len() == 1 && asked[0].starts_with("Normal ") && asked[0].contains(words);
            assert!(told && asked[0].contains("keep their path"), "{what}: {asked:?}");
            scene.check(&mut audit, what, 1, 0, 0);
        }
    }
}

#[test]
fn what_others_put_beside_ours_is_left_as_it_is() {
    if !has_tools("audit::what_others_put_beside_ours_is_left_as_it_is") {
        return;
    }
    let scene = Scene::new("others", Namespace::new());
    scene.add(&Settings::default(), Backend::Iptables, OWN);
    let others = "iptables-nft -t nat -N DOCKER; iptables-nft -t nat -A DOCKER -j RETURN; \
                  iptables-nft -t nat -I OUTPUT -m cgroup --cgroup 7 -j DOCKER";
    scene.lab.pod.sh(others);
    let mut audit = scene.audit(Act::Repair);
    scene.check(&mut audit, "beside ours", 1, 0, 0);
    scene.lab.pod.sh("iptables-nft -t nat -F ISTIO_REDIRECT");
    scene.check(&mut audit, "ours", 1, 1, 1);
    let rules = scene.lab.pod.sh("iptables-nft -t nat -S");
    assert!(rules.contains("-A DOCKER -j RETURN") && rules.contains("--cgroup 7 -j DOCKER"), "{rules}");
    assert!(scene.is_planned(&Settings::default()));
}

#[test]
fn a_pod_that_was_missed_is_redirected_while_it_runs() {
    if !runs("audit::a_pod_that_was_missed_is_redirected_while_it_runs") {
        return;
    }
    for (pod, backend) in [(Namespace::new(), Backend::Iptables), (Namespace::shifted(), Backend::Nftables)] {
        let scene = Scene::new("missed", pod).with_process();
        let settings = Settings { tunnel_port: 15009, ..Settings::default() };
        let text = stamp::write(&Stamp::Redirect(Box::new(settings.clone())));
        scene.change(|known| drop(known.pod.annotations.insert(STAMP_ANNOTATION.to_owned(), text)));
        assert!(!scene.is_captured(WORLD[0]) && !scene.is_captured(WORLD[1]));
        let mut audit = scene.audit(Act::Repair);
        scene.check(&mut audit, "missed", 1, 1, 1);
        assert!(scene.is_planned(&settings) && scene.is_captured(WORLD[0]) && scene.is_captured(WORLD[1]));
        assert_eq!(backend::inspect(&scene.netns()).unwrap()[0].0, backend);
        let asked = scene.asked();
        assert!(
            asked.len() == 1 && asked[0].starts_with("Normal MeshBypassed Repair: nothing redirects"),
            "{asked:?}"
        );
        // There is no record, and yet what comes from here is known as such, while a new agent takes it as it is.
        scene.check(&mut audit, "mended", 1, 0, 0);
        scene.check(&mut scene.audit(Act::Repair), "of an agent before", 1, 0, 0);
    }
}

#[test]
fn each_finding_is_counted_also_a_second_one_between_two_looks() {
    if !has_tools("audit::each_finding_is_counted_also_a_second_one_between_two_looks") {
        return;
    }
    let scene = Scene::new("counted", Namespace::new());
    scene.add(&Settings::default(), Backend::Iptables, OWN);
    let metrics = Metrics::new("0");
    let mut audit = scene.audit(Act::Repair);
    audit.acting = Acting::new(Some(scene.stage.clone()), metrics.clone());
    // Nothing to wait for between two tries: what is counted is the matter here.
    audit.options.policy.limits.first_wait = Duration::ZERO;
    for round in 1..=2 {
        scene.lab.pod.sh("iptables-nft -t nat -D ISTIO_INBOUND 1");
        scene.check(&mut audit, "a rule", 1, 1, 1);
        let counted = format!("millrace_audit_findings_total{{finding=\"drift\"}} {round}\n");
        assert!(metrics.write().contains(&counted), "{}", metrics.write());
    }
    scene.lab.pod.sh("nft flush ruleset");
    scene.check(&mut audit, "everything", 1, 1, 1);
    assert!(metrics.write().contains("millrace_audit_findings_total{finding=\"bypass\"} 1\n"));
}

#[test]
fn who_is_not_ours_to_judge_is_left() {
    if !has_tools("audit::who_is_not_ours_to_judge_is_left") {
        return;
    }
    type Change = fn(&mut Known);
    let cases: [(&str, Change); 8] = [
        ("of the node's network", |known| known.pod.host_network = true),
        ("not started", |known| known.life = Life::Waiting),
        ("ending", |known| known.life = Life::Ending),
        ("a completed job's", |known| known.life = Life::Ended),
        ("of an excluded namespace", |known| known.pod.namespace = "kube-system".to_owned()),
        ("outside the mesh", |known| known.pod.annotations.clear()),
        ("with istio-init", |known| known.pod.containers[0].name = "istio-init".to_owned()),
        ("that is gone", |known| known.uid = "another".to_owned()),
    ];
    for (what, change) in cases {
        let scene = Scene::new("left", Namespace::new()).with_process();
        scene.change(change);
        if what == "that is gone" {
            scene.change(|known| known.life = Life::Ended);
        }
        scene.check(&mut scene.audit(Act::Repair), what, 0, 0, 0);
        assert_eq!(scene.lab.pod.sh("nft list ruleset"), "", "{what}");
    }
    // Somebody else's redirection, as istio-cni's before us: it is one, and it is not ours.
    let scene = Scene::new("foreign", Namespace::new()).with_process();
    backend::apply(&scene.netns(), &plan(&tproxy(), Families::Both), Choice::Auto, None).unwrap();
    let before = scene.lab.pod.sh("nft list ruleset");
    scene.check(&mut scene.audit(Act::Repair), "redirected by others", 1, 0, 0);
    assert_eq!(scene.lab.pod.sh("nft list ruleset"), before);
    // And as istio-cni's with native nftables, in tables of its own.
    let scene = Scene::new("native", Namespace::new()).with_process();
    scene.lab.pod.sh(NATIVE);
    let before = scene.lab.pod.sh("nft list ruleset");
    scene.check(&mut scene.audit(Act::Repair), "redirected by others' tables", 1, 0, 0);
    assert_eq!(scene.lab.pod.sh("nft list ruleset"), before);
    scene.lab.pod.sh("nft delete chain inet istio-proxy-nat output");
    scene.check(&mut scene.audit(Act::Repair), "what is left of them redirects nothing", 1, 1, 1);
    // Rules of another release are there, and today's plan is no measure of them.
    let scene = Scene::new("release", Namespace::new());
    scene.add(&tproxy(), Backend::Iptables, "0.0.1");
    scene.lab.pod.sh("iptables-nft -t nat -D ISTIO_INBOUND 1");
    scene.check(&mut scene.audit(Act::Repair), "another release's", 1, 0, 0);
    scene.lab.pod.sh("nft flush ruleset");
    scene.check(&mut scene.audit(Act::Repair), "nobody's any more", 1, 1, 1);
    let record = scene.records().all().unwrap().0.remove(0);
    assert_eq!(record.release.as_deref(), Some(OWN), "it is ours from now on");
}

#[test]
fn a_pod_whose_namespace_is_not_certain_is_not_touched() {
    if !runs("audit::a_pod_whose_namespace_is_not_certain_is_not_touched") {
        return;
    }
    let scene = Scene::new("unseen", Namespace::new());
    let mut audit = scene.audit(Act::Repair);
    let unseen = Report { unseen: 1, ..Report::default() };
    assert_eq!(block_on(audit.sweep(&CancellationToken::new())), unseen, "no process");
    scene.proc.process(7, &format!("0::/kubepods/pod{UID}/c1\n"), Path::new("/proc/self/ns/net"));
    assert_eq!(block_on(audit.sweep(&CancellationToken::new())), unseen, "the node's");
    assert_eq!(scene.asked(), Vec::<String>::new());
}

#[test]
fn each_policy_does_what_it_says_once_and_waits() {
    if !runs("audit::each_policy_does_what_it_says_once_and_waits") {
        return;
    }
    let later = || Some(Error::Later("the budget holds".to_owned()));
    for (act, refuses, idle, acted, expected) in [
        (Act::Delete, None, false, 1, &["evict", "Warning MeshBypassed Evict: "][..]),
        (Act::Delete, later(), false, 1, &["evict", "Warning MeshBypassed Evict: "][..]),
        (Act::Delete, None, true, 0, &["Warning MeshBypassed None: "][..]),
        (Act::Label, None, true, 1, &["label", "Warning MeshBypassed Label: "][..]),
        (Act::Report, None, false, 0, &["Warning MeshBypassed None: "][..]),
    ] {
        let mut scene = Scene::new("policy", Namespace::new()).with_process();
        (scene.stage.refuses, scene.stage.idle) = (refuses.clone(), idle);
        let mut audit = scene.audit(act);
        scene.check(&mut audit, act.name(), 1, 1, acted);
        let asked = scene.asked();
        assert_eq!(asked.len(), expected.len(), "{asked:?}");
        assert!(asked.iter().zip(expected).all(|(asked, start)| asked.starts_with(start)), "{asked:?}");
        let says = if refuses.is_some() { "the budget holds" } else { "" };
        assert!(asked.iter().any(|asked| asked.contains(says)), "{asked:?}");
        // Too soon to do it again, and nothing new to tell.
        scene.check(&mut audit, act.name(), 1, 1, 0);
        assert_eq!(scene.asked(), Vec::<String>::new());
        assert!(!scene.is_planned(&Settings::default()), "{}", act.name());
    }
}

#[test]
fn another_policy_finds_the_history_as_it_was() {
    if !runs("audit::another_policy_finds_the_history_as_it_was") {
        return;
    }
    let scene = Scene::new("changed", Namespace::new()).with_process();
    let mut audit = scene.audit(Act::Label);
    scene.check(&mut audit, "labelled", 1, 1, 1);
    let other = scene.audit(Act::Delete);
    let mut audit = audit.change(scene.stage.clone(), other.options, Some(scene.stage.clone()));
    scene.asked();
    scene.check(&mut audit, "found and tried already", 1, 1, 0);
    assert_eq!(scene.asked(), Vec::<String>::new());
}

#[test]
fn it_looks_at_the_start_and_when_something_happens_until_it_is_stopped() {
    if !runs("audit::it_looks_at_the_start_and_when_something_happens_until_it_is_stopped") {
        return;
    }
    let mut scene = Scene::new("run", Namespace::new()).with_process();
    let (told, mut notes) = mpsc::unbounded_channel();
    scene.stage.told = Some(told);
    let mut audit = scene.audit(Act::Repair);
    let (wake, mut wakes) = mpsc::channel(4);
    let stop = CancellationToken::new();
    block_on(async {
        let watched = async {
            let first = tokio::time::timeout(PATIENCE, notes.recv()).await.expect("at the start").unwrap();
            assert_eq!(first.action, "Repair");
            // A pod of the same name that is another one, missed while it started.
            let backend::Survey { found, .. } = backend::survey(&scene.netns()).unwrap();
            assert_eq!(found.len(), 1);
            backend::clear(&scene.netns(), &plan(&Settings::default(), Families::Both)).unwrap();
            let other = UID.replace('0', "1");
            scene.proc.process(78, &format!("0::/kubepods/pod{other}/c1\n"), &scene.lab.pod.path());
            scene.change(|known| (known.uid, known.node_uid) = (other.clone(), other.clone()));
            wake.send(Wake::Pod(other)).await.unwrap();
            let second = tokio::time::timeout(PATIENCE, notes.recv()).await.expect("when told").unwrap();
            assert_eq!(second.action, "Repair");
            assert!(scene.is_planned(&Settings::default()));
            stop.cancel();
        };
        let stopped =
            tokio::time::timeout(PATIENCE * 4, async { tokio::join!(audit.run(&mut wakes, &stop), watched) });
        stopped.await.expect("it stops");
    });
}
