//! The agent's budgets on a full node: 250 pods, 20 pod changes a second, a real API server (`make bench-agent`).
//!
//! Prints one line each, `bench: NAME ratio=R budget=B ok|over`, and ends with status 1 if one is over. Memory is what the
//! kernel counts as resident at the end, processor time that of the agent's own process, each a part of its budget's
//! unit; requests are those the API server itself counted.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use millrace_core::ask::{Answer, Question};
use millrace_rig::apiserver::Apiserver;
use millrace_rig::figures::{self, Verdicts};
use millrace_rig::large::injected_pod;
use millrace_rig::wait::until;
use serde_json::json;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const PODS: usize = 250;
const CHANGES_A_SECOND: u32 = 20;
const QUESTIONS: usize = 1000;
/// How long changes go on while the agent is watched.
const WATCHED: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
/// In MiB.
const MEMORY: f64 = 24.0;
/// Of one core.
const PROCESSOR: f64 = 0.02;

fn main() -> ExitCode {
    let Some(api) = Apiserver::start("bench-agent") else { return ExitCode::FAILURE };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    ExitCode::from(runtime.block_on(measure(&api)).code())
}

async fn measure(api: &Apiserver) -> Verdicts {
    let client = client(api).await;
    let pods = publish(&client).await;
    let mut agent = Agent::start(api);
    agent.until_ready();

    let (before, began) = (figures::processor(agent.process.id()), Instant::now());
    let mut changes = tokio::time::interval(Duration::from_secs(1) / CHANGES_A_SECOND);
    let mut made = 0_usize;
    while began.elapsed() < WATCHED {
        changes.tick().await;
        change(&client, &pods[made % PODS], made).await;
        made += 1;
    }
    let share =
        (figures::processor(agent.process.id()) - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let memory = figures::memory(agent.process.id()).resident;
    println!(
        "bench-agent: {PODS} pods, {made} changes in {:.1} s ({:.1} a second)",
        began.elapsed().as_secs_f64(),
        made as f64 / began.elapsed().as_secs_f64()
    );

    let requests = requests(&client).await;
    let asked = Instant::now();
    for number in 0..QUESTIONS {
        agent.ask(&pods[number % PODS]);
    }
    let each = asked.elapsed() / u32::try_from(QUESTIONS).expect("it is a small number");
    let requests = self::requests(&client).await - requests;
    println!("bench-agent: {QUESTIONS} questions answered, {} µs each", each.as_micros());

    let mut verdicts = Verdicts::default();
    verdicts.say("agent-memory-mib", memory, MEMORY);
    verdicts.say("agent-processor-cores", share, PROCESSOR);
    verdicts.say("agent-requests-per-add", requests / QUESTIONS as f64, 0.0);
    verdicts
}

async fn client(api: &Apiserver) -> kube::Client {
    let file = kube::config::Kubeconfig::read_from(api.kubeconfig()).expect("the rig writes a kubeconfig");
    let config =
        kube::Config::from_custom_kubeconfig(file, &Default::default()).await.expect("it can be used");
    kube::Client::try_from(config).expect("it makes a client")
}

/// As many pods as kubelet allows on a large node, each as large as an injected one is.
async fn publish(client: &kube::Client) -> Vec<Pod> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mesh = json!({ "metadata": { "name": "mesh", "labels": { "istio-injection": "enabled" } } });
    let mesh: Namespace = serde_json::from_value(mesh).expect("it is a namespace");
    namespaces.create(&PostParams::default(), &mesh).await.expect("it can be made");
    let api: Api<Pod> = Api::namespaced(client.clone(), "mesh");
    let mut pods = Vec::with_capacity(PODS);
    for number in 0..PODS {
        let mut pod = injected_pod(&format!("reviews-v1-5b9c4f7d8-{number:05}"));
        pod["spec"]["nodeName"] = "node1".into();
        let pod = serde_json::from_value(pod).expect("it is a pod");
        pods.push(api.create(&PostParams::default(), &pod).await.expect("it can be made"));
    }
    pods
}

/// What kubelet does all the time: another status.
async fn change(client: &kube::Client, pod: &Pod, number: usize) {
    let api: Api<Pod> = Api::namespaced(client.clone(), "mesh");
    let name = pod.metadata.name.as_deref().expect("a pod has a name");
    let patch = json!({ "status": { "message": format!("change {number}"), "podIP": "198.51.100.7" } });
    let params = PatchParams::default();
    api.patch_status(name, &params, &Patch::Merge(patch)).await.expect("a status can be patched");
}

/// What the API server has served of what an agent asks for.
async fn requests(client: &kube::Client) -> f64 {
    let request = axum::http::Request::get("/metrics").body(Vec::new()).expect("it is a request");
    let text = client.request_text(request).await.expect("an administrator may read the metrics");
    let of_agent = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && ["resource=\"pods\"", "resource=\"namespaces\""].iter().any(|what| line.contains(what))
            && ["verb=\"GET\"", "verb=\"LIST\"", "verb=\"WATCH\""].iter().any(|verb| line.contains(verb))
    };
    text.lines().filter(of_agent).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The program that ships, not the one that cargo built beside this.
fn agent() -> String {
    std::env::var("MILLRACE").expect("MILLRACE is not set; run make bench-agent")
}

/// The agent's process, and its folders.
struct Agent {
    folder: PathBuf,
    process: Child,
}

impl Agent {
    fn start(api: &Apiserver) -> Agent {
        let folder = api.folder().join("node");
        for part in ["net.d", "bin", "run", "data"] {
            std::fs::create_dir_all(folder.join(part)).expect("the rig's folder is ours");
        }
        let list = r#"{"cniVersion":"1.0.0","name":"bench","plugins":[{"type":"main"}]}"#;
        std::fs::write(folder.join("net.d/10-bench.conflist"), list).expect("the rig's folder is ours");
        std::fs::copy("/bin/true", folder.join("bin/main")).expect("the rig's folder is ours");
        let plugin = std::env::var("MILLRACE_CNI").expect("MILLRACE_CNI is not set; run make bench-agent");
        let mut command = Command::new(agent());
        command.args(["agent", "--node", "node1", "--metrics-address", "none", "--platform", "kubeadm"]);
        command.arg("--kubeconfig").arg(api.kubeconfig()).arg("--binary").arg(plugin);
        for (flag, part) in
            [("--conf-dir", "net.d"), ("--bin-dir", "bin"), ("--state-dir", "run"), ("--data-dir", "data")]
        {
            command.arg(flag).arg(folder.join(part));
        }
        let process = command.stdin(Stdio::null()).spawn().expect("the agent starts");
        Agent { folder, process }
    }

    fn until_ready(&mut self) {
        let mut probe = Command::new(agent());
        probe.args(["agent", "probe", "ready", "--sockets"]).arg(self.folder.join("run/agents"));
        probe.stdout(Stdio::null()).stderr(Stdio::null());
        until("the agent is ready", PATIENCE, || {
            let ended = self.process.try_wait().expect("it is a child of ours");
            assert_eq!(ended, None, "the agent has ended");
            let said = probe.status().map_err(|error| error.to_string())?;
            said.success().then_some(()).ok_or_else(|| format!("its probe ends with {said}"))
        });
    }

    fn ask(&self, pod: &Pod) {
        let question = Question {
            namespace: "mesh".to_owned(),
            name: pod.metadata.name.clone().expect("a pod has a name"),
            uid: pod.metadata.uid.clone(),
            container: "c".repeat(64),
            interface: "eth0".to_owned(),
            netns: "/run/netns/x".to_owned(),
            annotations: None,
        };
        let answer = millrace_host::socket::ask(&self.folder.join("run/agent.sock"), &question, PATIENCE);
        assert!(matches!(answer, Ok(Answer::Decided(_))), "{answer:?}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
