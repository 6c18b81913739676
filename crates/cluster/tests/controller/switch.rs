//! The switch as an operator uses it, on a cluster whose nodes run real agents: `enable`, `disable`, and what is said between.
//!
//! The API server is real, the controller and the agents are processes, the controller's own webhook admits the pods. Only what
//! Kubernetes would do with manifests is played.

use crate::cluster::{Cluster, Controller};
use crate::kubelet::{ABSENT, Kubelets};
use crate::program::{Said, ageless, command, golden};
use millrace_rig::apiserver::Apiserver;
use rustix::process::Signal;
use serde_json::json;
use std::process::Stdio;

const NODES: [&str; 2] = ["n1", "n2"];

/// A cluster at which an operator sits.
struct Scene<'a> {
    api: &'a Apiserver,
    cluster: Cluster<'a>,
    kubelets: Kubelets,
}

#[test]
fn enable_reaches_running_and_disable_waits_for_restarts() {
    let test = "controller::enable_reaches_running_and_disable_waits_for_restarts";
    let Some(api) = Apiserver::start(test).filter(|_| Kubelets::can(test)) else { return };
    let cluster = Cluster::new(&api);
    cluster.istio();
    NODES.iter().for_each(|node| cluster.node(node, true));
    let scene = Scene { api: &api, cluster, kubelets: Kubelets::start(&api, &NODES) };
    let before = NODES.map(|node| scene.kubelets.files(node));
    let controller = Controller::admitting(&api, "one");
    scene.cluster.meshed("early");
    scene.says("none", &["status"], 0);

    scene.is_enabled();
    scene.is_disabled();

    for (node, before) in NODES.iter().zip(before) {
        let after = scene.kubelets.files(node);
        assert!(after == before, "not every byte is back on {node}: {:?}", after.keys());
    }
    controller.end(Signal::TERM);
}

impl Scene<'_> {
    fn is_enabled(&self) {
        self.says("enable", &["enable", "--exclude", "kube-system", "--wait", "--timeout=2m"], 0);
        let table = self.api.done(&["get", "meshcni"], "");
        golden("switch-kubectl", &ageless(&table));
        self.api.done(&["wait", "--for=condition=Ready", "meshcni/default", "--timeout=10s"], "");
        for node in NODES {
            let list = self.kubelets.text(node, "etc/cni/net.d/10-flannel.conflist");
            assert!(list.contains("millrace-cni"), "{node}: {list}\n{}", self.kubelets.logs());
        }
        self.says("indebted", &["status"], 0);
        self.says("nodes", &["nodes"], 0);
        self.cluster.until_converted("early");
        self.cluster.meshed("late");
        assert!(self.cluster.stamp("late").contains("redirect"), "{}", self.cluster.stamp("late"));
        self.cluster.until("both are counted", |mesh| mesh["status"]["workloads"]["cni"] == 2);
        self.says("running", &["status"], 0);
    }

    fn is_disabled(&self) {
        self.says("disable-late", &["disable", "--wait", "--timeout=5s"], 1);
        self.says("draining", &["status"], 0);
        self.says("draining-nodes", &["nodes"], 0);
        let mut waiting = command(&["disable", "--wait", "--timeout=2m"]);
        waiting.env("KUBECONFIG", self.api.kubeconfig()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let waiting = waiting.spawn().expect("millrace runs");
        for (name, left) in [("early", 1), ("late", 0)] {
            self.cluster.restart(name);
            assert_eq!(self.cluster.stamp(name), "", "{name} redirects itself again");
            self.cluster.until("the debt falls", |mesh| mesh["status"]["workloads"]["restartDebt"] == left);
        }
        let said = Said::from(waiting.wait_with_output().expect("it ends"));
        assert_eq!(said.status, Some(0), "{}{}\n{}", said.out, said.err, self.kubelets.logs());
        golden("switch-disable", &format!("{}{}", said.out, said.err));
        self.says("disabled", &["status"], 0);
        self.says("disabled-nodes", &["nodes"], 0);
        let table = self.api.done(&["get", "meshcni"], "");
        golden("switch-kubectl-disabled", &ageless(&table));
        assert_eq!(self.cluster.ours(), "");
    }

    /// What a command says to the operator, and how it ends.
    fn says(&self, name: &str, args: &[&str], status: i32) {
        let mut command = command(args);
        let said: Said =
            command.env("KUBECONFIG", self.api.kubeconfig()).output().expect("millrace runs").into();
        let logs = || format!("{}\n{}", self.cluster.stands(), self.kubelets.logs());
        assert_eq!(said.status, Some(status), "{name}: {}{}\n{}", said.out, said.err, logs());
        golden(&format!("switch-{name}"), &ageless(&format!("{}{}", said.out, said.err)));
    }
}

/// An image that is not to be had stops at the first node; the cluster goes back to what it had, and on when that is corrected.
#[test]
fn a_change_that_stalls_is_taken_back() {
    let test = "controller::a_change_that_stalls_is_taken_back";
    let Some(api) = Apiserver::start(test).filter(|_| Kubelets::can(test)) else { return };
    let cluster = Cluster::new(&api);
    NODES.iter().for_each(|node| cluster.node(node, true));
    let kubelets = Kubelets::start(&api, &NODES);
    let controller = Controller::start(&api, "one");
    let rollout = json!({ "progressDeadlineSeconds": 60, "autoRollback": true });
    cluster.wants(json!({ "rollout": rollout }));
    let runs = |mesh: &serde_json::Value| {
        mesh["status"]["phase"] == "Running"
            && mesh["status"]["observedGeneration"] == mesh["metadata"]["generation"]
    };
    cluster.until("it runs", runs);
    let image = || {
        cluster.get("daemonset/millrace-agent-kubeadm")["spec"]["template"]["spec"]["containers"][0]["image"]
            .clone()
    };
    let good = image();

    let bad = format!("{ABSENT}agent:9");
    cluster.wants(json!({ "rollout": rollout, "install": { "image": bad } }));
    cluster.until("one node is at it", |mesh| mesh["status"]["nodes"]["ready"] == 1);
    assert_eq!(image(), bad);
    let stalled = |mesh: &serde_json::Value| {
        let mut conditions = mesh["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|one| one["type"] == "Stalled" && one["reason"] == "RolledBack")
    };
    cluster.until("it is taken back", stalled);
    cluster.until("both serve with what they had", |mesh| {
        stalled(mesh) && mesh["status"]["nodes"]["updated"] == 2
    });
    assert_eq!(image(), good);
    let mesh = cluster.mesh();
    assert_eq!(
        (&mesh["status"]["state"], &mesh["status"]["lastGoodRevision"]),
        (&json!("Serving"), &json!(1))
    );
    let said = cluster.run(&["enable", "--wait", "--timeout=10s"]);
    let words = "stalled: the change stalled and was taken back to revision 1; correct the specification to try again (MR4001)";
    assert!(said.status == Some(1) && said.out.contains(words), "{}{}", said.out, said.err);

    cluster.wants(json!({ "rollout": rollout }));
    cluster.until("what is corrected runs", runs);
    assert_eq!(cluster.condition("n1", "millrace.dev/Serving"), "True", "{}", kubelets.logs());
    controller.end(Signal::TERM);
}
