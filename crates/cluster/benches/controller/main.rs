//! The controller's budgets in a cluster of 1 000 nodes and 30 000 pods, against a real API server (`make bench-controller`).
//!
//! Prints one line each, `bench: NAME ratio=R budget=B ok|over`, and ends with status 1 if one is over. Memory is what the kernel
//! counts of the controller's process, in MiB; processor time is held against that of reading the same pods here. Requests are
//! those that the API server wrote into its audit log of the controller's user before it answered them: nothing that is asked
//! can be missing there. How fast the machine is decides nothing: a burst ends when the controller has renewed its Lease twice,
//! and asked for nothing between, and what is told every so many seconds may be told the more often the longer its cause lasts.

mod audit;
mod cluster;

use audit::{Audit, Counts, is, is_by_the_clock};
use cluster::{Cluster, PATIENCE};
use millrace_rig::apiserver::Apiserver;
use millrace_rig::figures::{Memory, Verdicts, memory, processor, processor_of_children};
use millrace_rig::wait::until;
use serde_json::{Value, json};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const NODES: usize = 1_000;
const PODS: usize = 30_000;
/// Pods that change in a storm.
const STORM: usize = 1_000;
/// Agents that are replaced before the next are: as a DaemonSet with `maxUnavailable: 2%` does it.
const WAVE: usize = 20;
/// How long the controller keeps its Lease in silence: an API server that shares two processors with all that is played here is
/// slow at times, and who loses the Lease begins anew.
const LEASE: &str = "60";
/// Seconds between two writes of numbers alone.
const PACE: f64 = 2.0;
/// In MiB.
const MEMORY: f64 = 150.0;
/// Who the controller is to the API server.
const USER: &str = "millrace-controller";

fn main() -> ExitCode {
    let Some(api) = Apiserver::strict("bench-controller") else { return ExitCode::FAILURE };
    let program = std::env::var("MILLRACE").expect("MILLRACE is not set; run make bench-controller");
    let began = Instant::now();
    let cluster = Cluster::new(&api, &program);
    cluster.nodes(NODES);
    cluster.pods(PODS, NODES);
    println!(
        "bench-controller: {NODES} nodes and {PODS} pods made in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    let controller = Controller::start(&api, &program);
    let mut bench = Bench {
        audit: Audit::new(&api, USER),
        people: Audit::new(&api, "operator"),
        kubeconfig: api.user("operator", &["system:masters"]),
        program,
        cluster,
        controller,
        verdicts: Verdicts::default(),
        began: Instant::now(),
    };
    bench.measure();
    ExitCode::from(bench.verdicts.code())
}

/// What is measured, and by what.
struct Bench {
    cluster: Cluster,
    controller: Controller,
    audit: Audit,
    /// What people ask, with what, as whom.
    people: Audit,
    program: String,
    kubeconfig: PathBuf,
    verdicts: Verdicts,
    began: Instant,
}

impl Bench {
    fn measure(&mut self) {
        self.enabled();
        let started = self.audit.now();
        let first = self.memory("at rest");
        self.pods();
        self.settings();
        self.revision();
        self.node();
        let last = self.memory("after all of it");
        self.verdicts.say("controller-memory-mib", first.resident.max(last.resident), MEMORY);
        self.verdicts.say("controller-memory-peak-mib", last.peak, MEMORY);
        self.lists(started);
        self.people();
    }

    /// From nothing to Running.
    fn enabled(&mut self) {
        self.cluster.wants(&spec("i:1", &["kube-system"]));
        self.cluster.until("it installs", |status| status["state"] == "Installing");
        self.cluster.until_revision("1");
        self.memory("when all is listed");
        self.cluster.run_agents(0..NODES, 1, None);
        self.cluster.report(0..NODES, true);
        self.running(1);
        let all = self.settled(0);
        let (lists, rest) = (all.such(|verb, _| verb == "list"), all.such(|verb, _| verb != "list"));
        println!("bench-controller: start: {}", Counts::of(self.audit.since(0).iter()));
        self.verdicts.say("controller-start-list-pages", lists as f64, 200.0);
        self.verdicts.say("controller-enable-requests-per-node", per_node(rest), 4.0);
    }

    /// What comes of pods that change.
    fn pods(&mut self) {
        let uncounted = self.burst("one pod changes, nothing that counts", |cluster| cluster.touch(7..8));
        self.verdicts.say("controller-pod-event-requests", uncounted.all() as f64, 0.0);
        let storm = self.burst("a storm of pods, nothing that counts", |cluster| cluster.touch(0..STORM));
        self.verdicts.say("controller-pod-storm-requests", storm.all() as f64, 0.0);
        let counted = self.burst("one pod of the mesh goes", |cluster| cluster.remove(1..2));
        self.verdicts.say("controller-pod-gone-requests", counted.all() as f64, 1.0);
        let mut lasted = Duration::ZERO;
        let storm = self.burst("a storm of pods of the mesh that go", |cluster| {
            let began = Instant::now();
            cluster.remove((2..).filter(|at| cluster::is_meshed(*at)).take(STORM));
            lasted = began.elapsed();
        });
        let writes = storm.such(|verb, resource| verb == "patch" && resource == "meshcnis/status");
        let paced = 2.0 + (lasted.as_secs_f64() / PACE).floor();
        self.verdicts.say("controller-pods-gone-status-writes-of-paced", writes as f64 / paced, 1.0);
        self.verdicts.say("controller-pods-gone-other-requests", (storm.all() - writes) as f64, 0.0);
        let beat = self.burst("every agent and every kubelet says again that it is there", |cluster| {
            cluster.beat(0..NODES, 1);
        });
        self.verdicts.say("controller-heartbeat-requests", beat.all() as f64, 0.0);
    }

    /// One change that agents read from a file.
    fn settings(&mut self) {
        let all = self.burst("a namespace is excluded", |cluster| {
            cluster.wants(&spec("i:1", &["kube-system", "team-007"]));
            cluster.until_revision("2");
            cluster.report(0..NODES, false);
            running(cluster, 2);
        });
        self.verdicts.say("controller-setting-requests", all.all() as f64, 40.0);
        self.verdicts.say("controller-setting-node-writes", on_nodes(&all) as f64, 0.0);
    }

    /// One change that agents have to be replaced for.
    fn revision(&mut self) {
        let all = self.burst("a new agent on every node", |cluster| {
            cluster.wants(&spec("i:2", &["kube-system", "team-007"]));
            cluster.until_revision("3");
            for first in (0..NODES).step_by(WAVE) {
                cluster.run_agents(first..first + WAVE, 2, Some(1));
                cluster.report(first..first + WAVE, false);
            }
            running(cluster, 3);
        });
        self.verdicts.say("controller-revision-requests-per-node", per_node(all.all()), 3.0);
    }

    /// A node that fails, and comes back.
    fn node(&mut self) {
        let fails = self.burst("a node is not Ready", |cluster| {
            cluster.ready(3, false);
            cluster.until("it is counted", |status| status["nodes"]["absent"] == 1);
        });
        let back = self.burst("it comes back", |cluster| {
            cluster.ready(3, true);
            cluster.until("it is counted", |status| status["nodes"]["absent"] == 0);
        });
        self.verdicts.say("controller-node-fails-requests", fails.all() as f64, 4.0);
        self.verdicts.say("controller-node-back-requests", back.all() as f64, 4.0);
    }

    /// Nothing of what happened had anything listed anew.
    fn lists(&mut self, started: usize) {
        let since = self.audit.since(started);
        let of = |kind: &str| since.iter().filter(|one| is(one, "list", kind)).count() as f64;
        let kinds = ["pods", "nodes", "meshcninodes", "meshcnis", "jobs"];
        let relists: f64 = kinds.into_iter().map(of).sum();
        let surveys = of("deployments");
        println!("bench-controller: since it runs: {}", Counts::of(since.iter()));
        self.verdicts.say("controller-relists", relists, 0.0);
        // One every five minutes, and who is in a hurry is told.
        let due = (self.began.elapsed().as_secs_f64() / 300.0).ceil();
        self.verdicts.say("controller-surveys", surveys / due, 1.0);
    }

    /// What people ask: in few requests, and told on few lines.
    fn people(&mut self) {
        let pages = |objects: usize, page: usize| objects.div_ceil(page) as f64;
        let all: [(&str, &[&str], f64, f64); 4] = [
            ("status", &["status"], 4.0, 40.0),
            ("nodes", &["nodes"], pages(NODES, 250) + 2.0, 24.0),
            ("plan", &["plan", "--exclude", "team-008"], pages(PODS + NODES, 250) + 8.0, 40.0),
            ("migrate", &["migrate", "--dry-run"], pages(PODS + NODES, 250) + 8.0, 120.0),
        ];
        for (name, args, requests, lines) in all {
            let (before, spent) = (self.people.now(), processor_of_children());
            let output =
                Command::new(&self.program).args(args).arg("--kubeconfig").arg(&self.kubeconfig).output();
            let output = output.expect("millrace runs");
            let said = String::from_utf8_lossy(&output.stdout);
            let complaints = String::from_utf8_lossy(&output.stderr);
            let asked = Counts::of(self.people.since(before).iter());
            println!(
                "bench-controller: millrace {}: {asked}, {}; {complaints}",
                args.join(" "),
                output.status
            );
            self.verdicts.say(&format!("{name}-requests"), asked.all() as f64, requests);
            self.verdicts.say(&format!("{name}-lines"), said.lines().count() as f64, lines);
            if name == "plan" {
                self.plan(processor_of_children() - spent);
            }
        }
    }

    /// What a plan costs beside asking for the pods and reading them.
    fn plan(&mut self, spent: Duration) {
        let before = processor(std::process::id());
        self.cluster.read_pods();
        let floor = processor(std::process::id()) - before;
        self.verdicts.say("plan-processor-of-reading", spent.as_secs_f64() / floor.as_secs_f64(), 3.0);
    }

    /// What is asked because of what `change` does, once the controller has done all of it.
    fn burst(&mut self, what: &str, change: impl FnOnce(&Cluster)) -> Counts {
        let (before, began) = (self.audit.now(), Instant::now());
        change(&self.cluster);
        let counts = self.settled(before);
        println!("bench-controller: {what}: {counts} ({:.0} s)", began.elapsed().as_secs_f64());
        counts
    }

    fn running(&self, revision: u32) {
        running(&self.cluster, revision);
    }

    /// The requests since there were `before`, once the Lease was renewed twice and nothing was asked between.
    fn settled(&mut self, before: usize) -> Counts {
        let from = self.audit.now();
        until("the controller is at rest", PATIENCE, || {
            let since = self.audit.since(from);
            let quiet = since.iter().rev().take_while(|one| is_by_the_clock(one));
            let renewals = quiet.filter(|one| is(one, "update", "leases")).count();
            // The first may have been on its way.
            if renewals > 1 { Ok(()) } else { Err(format!("{} requests", since.len())) }
        });
        self.audit.caused(before)
    }

    fn memory(&self, when: &str) -> Memory {
        let found = memory(self.controller.0.id());
        println!("bench-controller: {when}: VmRSS {:.1} MiB, VmHWM {:.1} MiB", found.resident, found.peak);
        found
    }
}

fn running(cluster: &Cluster, revision: u32) {
    cluster.until("it runs", |status| status["phase"] == "Running" && status["lastGoodRevision"] == revision);
}

fn spec(image: &str, excluded: &[&str]) -> Value {
    json!({ "excludeNamespaces": excluded, "install": { "image": image } })
}

fn per_node(requests: usize) -> f64 {
    requests as f64 / NODES as f64
}

fn on_nodes(counts: &Counts) -> usize {
    counts.such(|_, resource| resource.starts_with("nodes"))
}

/// The program that ships, not the one that cargo built beside this.
struct Controller(Child);

impl Controller {
    fn start(api: &Apiserver, program: &str) -> Controller {
        let kubeconfig = api.user(USER, &["system:masters"]);
        let log = File::create(api.folder().join("controller.log")).expect("the folder is ours");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr());
        let address = format!("127.0.0.1:{}", port.expect("a port is to be had").port());
        let mut command = Command::new(program);
        command.args(["controller", "--identity", "bench", "--metrics-address", "127.0.0.1:0"]);
        command.args(["--lease-seconds", LEASE]);
        command.arg("--kubeconfig").arg(kubeconfig).args(["--webhook-address", &address]);
        command.arg("--webhook-url").arg(format!("https://{address}/inject"));
        Controller(command.stdin(Stdio::null()).stderr(log).spawn().expect("the controller starts"))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
