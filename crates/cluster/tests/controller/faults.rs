//! What goes wrong around a controller, one fault for each test: on the API server in memory and on a real one.

use crate::cluster::{Cluster, Controller};
use crate::on_each;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::embedded::Api;
use rustix::process::Signal;
use serde_json::{Value, json};

/// The DaemonSet, and its ConfigMap, of the one group there is.
const SET: &str = "daemonset/millrace-agent-kubeadm";
const MAP: &str = "configmap/millrace-agent-kubeadm";
/// The account of all agents.
const ACCOUNT: &str = "serviceaccount/millrace-agent";

/// A cluster of two nodes that serve, and a controller that says so.
fn running<'a>(api: &'a dyn Api, spec: Value) -> (Cluster<'a>, Controller) {
    let cluster = Cluster::new(api);
    let controller = Controller::start(api, "one");
    cluster.wants(spec);
    for node in ["n1", "n2"] {
        cluster.node(node, true);
        cluster.serves(node, true);
    }
    cluster.until("it runs", is_running);
    (cluster, controller)
}

fn is_running(mesh: &Value) -> bool {
    mesh["status"]["phase"] == "Running"
        && mesh["status"]["observedGeneration"] == mesh["metadata"]["generation"]
}

/// The API server goes away, forgets what was, and comes back: watches begin anew, once each, and nothing else does.
#[test]
fn a_server_that_forgot_is_listed_once() {
    let Some(api) = Apiserver::start("controller::a_server_that_forgot_is_listed_once") else { return };
    let (cluster, controller) = running(&api, json!({}));
    cluster.node("n3", true);
    cluster.serves("n3", true);
    cluster.until("three serve", |mesh| mesh["status"]["nodes"]["summary"] == "3/3");
    api.stop();
    // While nobody could hear of it.
    api.remove("/registry/minions/n3");
    api.remove("/registry/millrace.dev/meshcninodes/n3");
    api.compact();
    api.restart();
    cluster.until("the node that went is missed", |mesh| mesh["status"]["nodes"]["summary"] == "2/2");
    for round in 0..5 {
        let excluded = format!("space-{round}");
        cluster.wants(json!({ "excludeNamespaces": [excluded] }));
        cluster.serves("n2", false);
        cluster.until("it is failing", |mesh| mesh["status"]["failingNodes"][0]["name"] == "n2");
        cluster.serves("n2", true);
        cluster.until("it runs again", is_running);
        cluster.until_true("the file has it", || {
            cluster.get(MAP)["data"]["agent.yaml"].to_string().contains(&excluded)
        });
    }
    // Counted since the server started, which lists some for itself; the Lease may have been lost in between. In all namespaces
    // it is this test that lists ConfigMaps, to say how things stand; the controller looks at home.
    let metrics = api.done(&["get", "--raw", "/metrics"], "");
    let looked_at =
        [("pods", "cluster"), ("nodes", "cluster"), ("meshcninodes", "cluster"), ("configmaps", "namespace")];
    for (kind, scope) in looked_at {
        let [kind_is, all, list] =
            [format!("resource=\"{kind}\""), format!("scope=\"{scope}\""), "verb=\"LIST\"".to_owned()];
        let counts = metrics.lines().filter(|line| line.starts_with("apiserver_request_total{"));
        let counts =
            counts.filter(|line| [&kind_is, &all, &list].iter().all(|part| line.contains(part.as_str())));
        let count: f64 = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        assert!((1.0..=4.0).contains(&count), "{kind} were listed {count} times:\n{}", cluster.stands());
    }
    controller.end(Signal::TERM);
}

/// Others write to the MeshCNI and to all that is made of it, a hundred times, while it is installed and changed.
#[test]
fn storms_of_others_end_with_our_fields_ours_and_theirs_theirs() {
    on_each("controller::storms_of_others_end_with_our_fields_ours_and_theirs_theirs", |api| {
        let cluster = Cluster::new(api);
        let controller = Controller::start(api, "one");
        cluster.node("n1", true);
        cluster.wants(json!({ "excludeNamespaces": ["first"] }));
        [SET, MAP, ACCOUNT].iter().for_each(|name| cluster.until_there(name));
        let theirs = r#"{"data":{"theirs.yaml":"kept: true","agent.yaml":"broken: true"}}"#;
        cluster.done(&["patch", MAP, "--type=merge", "-p", theirs]);
        let storm = cluster.storm(&["meshcni/default", SET, MAP, ACCOUNT]);
        cluster.serves("n1", true);
        cluster.until("it runs all the same", is_running);
        let mut round = 0;
        while storm.writes() < 100 {
            round += 1;
            cluster.wants(json!({ "excludeNamespaces": [format!("space-{round}")] }));
            cluster.done(&["patch", MAP, "--type=merge", "-p", theirs]);
            cluster.until("it changes all the same", is_running);
        }
        let last = storm.end();
        cluster.until_true("ours is ours", || {
            let config = cluster.get(MAP)["data"]["agent.yaml"].to_string();
            config.contains(&format!("space-{round}")) && cluster.get(SET)["spec"]["template"].is_object()
        });
        for name in ["meshcni/default", SET, MAP, ACCOUNT] {
            assert_eq!(cluster.get(name)["metadata"]["annotations"]["storm"], last, "{name}");
        }
        assert_eq!(cluster.get(MAP)["data"]["theirs.yaml"], "kept: true");
        cluster.until("it rests", is_running);
        controller.end(Signal::TERM);
    });
}

/// In each state the controller is killed, in the midst of its work; another goes on from what is written.
#[test]
fn whoever_takes_over_goes_on_in_every_state() {
    on_each("controller::whoever_takes_over_goes_on_in_every_state", |api| {
        let cluster = Cluster::new(api);
        ["n1", "n2"].iter().for_each(|node| cluster.node(node, true));
        let first = Controller::start(api, "first");
        cluster.wants(json!({}));
        cluster.until_there(SET);
        first.end(Signal::KILL);
        // As far as it would have come, had it been killed earlier.
        cluster.done(&["delete", SET, MAP, "clusterrolebinding/millrace-agent"]);

        let second = Controller::start(api, "second");
        [SET, MAP, "clusterrolebinding/millrace-agent"].iter().for_each(|name| cluster.until_there(name));
        ["n1", "n2"].iter().for_each(|node| cluster.serves(node, true));
        cluster.until("it runs", is_running);
        cluster.pod("shop", "stamped", &[("millrace.dev/redirect", r#"{"v":1,"redirect":{}}"#)]);
        cluster.until("the pod is counted", |mesh| mesh["status"]["workloads"]["cni"] == 1);
        cluster.wants(json!({ "mode": "Disabled" }));
        cluster.until("it drains", |mesh| mesh["status"]["state"] == "Draining");
        second.end(Signal::KILL);
        cluster.done(&["delete", "pod", "-n", "shop", "stamped", "--grace-period=0", "--force"]);
        cluster.done(&["delete", ACCOUNT]);

        let third = Controller::start(api, "third");
        cluster.until("agents leave", |mesh| mesh["status"]["state"] == "Removing");
        cluster.clear("n1");
        cluster.until_there("job/millrace-uninstall-n2");
        third.end(Signal::KILL);

        let fourth = Controller::start(api, "first");
        cluster.clear("n2");
        cluster.until("nothing is left", |mesh| mesh["status"]["phase"] == "Disabled");
        cluster.until_true("no object of ours is left", || cluster.ours().is_empty());
        fourth.end(Signal::TERM);
    });
}

/// While nobody answers for the webhook, pods redirect themselves, or are not made if that is what the operator wants.
#[test]
fn without_a_webhook_pods_redirect_themselves_or_wait() {
    on_each("controller::without_a_webhook_pods_redirect_themselves_or_wait", |api| {
        let cluster = Cluster::new(api);
        cluster.node("n1", true);
        cluster.serves("n1", true);
        let controller = Controller::admitting(api, "one");
        cluster.wants(json!({}));
        cluster.until("it runs", is_running);
        cluster.meshed("pod");
        cluster.until_converted("pod");
        controller.end(Signal::KILL);
        cluster.restart("pod");
        assert_eq!(cluster.stamp("pod"), "", "it keeps its istio-init");

        let second = Controller::admitting(api, "second");
        cluster.until_converted("pod");
        cluster.wants(json!({ "admission": { "failurePolicy": "Fail" } }));
        cluster.until_true("it is to fail", || {
            cluster.get("mutatingwebhookconfiguration/zz-millrace")["webhooks"][0]["failurePolicy"] == "Fail"
        });
        second.end(Signal::KILL);
        let mut refused = String::new();
        cluster.until_true("pods wait", || {
            refused = cluster.refused("late");
            !refused.is_empty()
        });
        assert!(refused.contains("pods.millrace.dev"), "who refuses is named: {refused}");
        let third = Controller::admitting(api, "third");
        cluster.until_true("pods are made again", || cluster.refused("late").is_empty());
        cluster.until_converted("late");
        third.end(Signal::TERM);
    });
}

/// A node that never serves stalls a change, by its name, and holds up nobody who asks how far it is.
#[test]
fn one_dead_node_stalls_by_name_and_no_longer_than_it_is_dead() {
    on_each("controller::one_dead_node_stalls_by_name_and_no_longer_than_it_is_dead", |api| {
        let cluster = Cluster::new(api);
        let controller = Controller::start(api, "one");
        ["n1", "n2"].iter().for_each(|node| cluster.node(node, true));
        cluster.serves("n1", true);
        cluster.serves("n2", false);
        cluster.wants(json!({ "rollout": { "progressDeadlineSeconds": 60 } }));
        let said = cluster.run(&["enable", "--wait", "--timeout=2m"]);
        let named =
            "stalled: nothing has moved for 60 s: node n2: the chain has no entry of ours (MR2003) (MR4001)";
        assert!(said.status == Some(1) && said.out.contains(named), "{} {}", said.out, said.err);
        let mesh = cluster.mesh();
        assert_eq!(
            (&mesh["status"]["phase"], &mesh["status"]["state"]),
            (&json!("Degraded"), &json!("Installing"))
        );
        cluster.serves("n2", true);
        cluster.until("it goes on by itself", is_running);
        controller.end(Signal::TERM);
    });
}

/// What no webhook could refuse got through: what was wanted before goes on, and it is said why; what is right again is followed.
#[test]
fn what_cannot_be_accepted_is_not_acted_upon() {
    on_each("controller::what_cannot_be_accepted_is_not_acted_upon", |api| {
        let cluster = Cluster::new(api);
        let controller = Controller::start(api, "one");
        // No schema can say it; a server of today has a rule against it, and ours has our webhook.
        let way = json!({ "way": "Auxiliary", "platform": "kubeadm" });
        let says = |mesh: &Value, words: &str| {
            mesh["status"]["observedGeneration"] == mesh["metadata"]["generation"]
                && mesh["status"]["conditions"].to_string().contains(words)
        };
        cluster.wants(json!({ "install": way }));
        cluster.until("it is refused", |mesh| says(mesh, "SpecRefused") && says(mesh, "(MR1101)"));
        assert!(cluster.get(SET).is_null(), "nothing is installed of it");
        cluster.wants(json!({ "excludeNamespaces": ["first"] }));
        cluster.node("n1", true);
        cluster.serves("n1", true);
        cluster.until("it runs", is_running);
        let before = cluster.get(SET)["metadata"]["generation"].clone();
        cluster.wants(json!({ "mode": "Disabled", "install": way }));
        cluster.until("it is refused", |mesh| says(mesh, "what was wanted before goes on"));
        let mesh = cluster.mesh();
        assert_eq!(
            (&mesh["status"]["state"], &mesh["status"]["phase"]),
            (&json!("Serving"), &json!("Degraded"))
        );
        assert_eq!(cluster.get(SET)["metadata"]["generation"], before, "agents stay as they are");
        cluster.wants(json!({ "excludeNamespaces": ["second"] }));
        cluster.until("it runs again", is_running);
        cluster.until_true("the file has it", || {
            cluster.get(MAP)["data"]["agent.yaml"].to_string().contains("second")
        });
        controller.end(Signal::TERM);
    });
}

/// A pod that can never start is evicted, though its budget spares no pod that runs; that one is let be.
#[test]
fn a_pod_that_cannot_start_is_evicted_and_its_budget_kept() {
    on_each("controller::a_pod_that_cannot_start_is_evicted_and_its_budget_kept", |api| {
        let (cluster, controller) = running(api, json!({}));
        cluster.owned("stuck", "n1", "Pending");
        cluster.owned("fine", "n1", "Running");
        cluster.owned("elsewhere", "n9", "Pending");
        cluster.budget();
        assert!(cluster.evict("fine").contains("disruption budget"), "its budget spares none");
        cluster.validated("fine", 126);
        cluster.validated("elsewhere", 126);
        cluster.validated("stuck", 1);
        cluster.until("the pods are counted", |mesh| mesh["status"]["workloads"]["cni"] == 3);
        assert!(!cluster.get_in("shop", "pod/stuck").is_null(), "another failure is its own");
        cluster.validated("stuck", 126);
        cluster.until_true("it is evicted", || {
            cluster.get_in("shop", "pod/stuck")["metadata"]["deletionTimestamp"].is_string()
                || cluster.get_in("shop", "pod/stuck").is_null()
        });
        for other in ["pod/fine", "pod/elsewhere"] {
            let pod = cluster.get_in("shop", other);
            assert!(pod.is_object() && pod["metadata"]["deletionTimestamp"].is_null(), "{other}");
        }
        controller.end(Signal::TERM);
    });
}
