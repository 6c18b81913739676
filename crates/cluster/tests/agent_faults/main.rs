//! The fault matrix of M1 and M2: which pods start, and which are redirected, while something of ours is broken.
//!
//! The agent is the real process, the API server and etcd are real, the plugin is the one the agent installed, and every
//! pod's network namespace is looked at afterwards. No pod of the mesh may start unprotected, and no other may be held up.

mod audit;
mod node;
mod outage;
mod overlap;
mod pod;
mod storm;
mod zero;

use millrace_rig::absent::not_run;
use millrace_rig::apiserver::Apiserver;
use millrace_rig::net::{NEEDS, missing};
use node::{Node, Runtime, Started, publish};
use pod::{Kind, Pod};
use rustix::process::Signal;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;
use storm::storm;

/// CNI's "try again later".
const TRY_AGAIN: u64 = 11;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    AgentDown,
    ApiDown,
    BothDown,
    TokenDead,
    /// As after a reboot: /run is empty, and the pods come before the agent.
    Wiped,
    Upgrading,
}

impl Fault {
    const ALL: [Fault; 7] = [
        Fault::None,
        Fault::AgentDown,
        Fault::ApiDown,
        Fault::BothDown,
        Fault::TokenDead,
        Fault::Wiped,
        Fault::Upgrading,
    ];

    fn title(self) -> &'static str {
        match self {
            Fault::None => "nothing",
            Fault::AgentDown => "agent down",
            Fault::ApiDown => "API down",
            Fault::BothDown => "agent and API down",
            Fault::TokenDead => "token dead",
            Fault::Wiped => "/run wiped, no agent yet",
            Fault::Upgrading => "agent upgrading",
        }
    }

    /// Whether nobody can be asked about a pod.
    fn leaves_nobody(self) -> bool {
        matches!(self, Fault::AgentDown | Fault::BothDown | Fault::Wiped)
    }
}

/// What must become of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Redirected,
    LeftAlone,
    /// Better not started than unprotected: the runtime tries again.
    TryAgain,
}

/// M1 and M2, for one cell.
fn due(fault: Fault, kind: Kind) -> Due {
    match kind {
        Kind::Plain | Kind::PlainUnknown | Kind::Excluded => Due::LeftAlone,
        Kind::Stamped => Due::Redirected,
        Kind::Unstamped | Kind::UnstampedUnknown if fault.leaves_nobody() => Due::TryAgain,
        Kind::Unstamped | Kind::UnstampedUnknown => Due::Redirected,
    }
}

fn is(started: &Started, due: Due) -> bool {
    match due {
        Due::Redirected => started.code == 0 && started.redirected,
        Due::LeftAlone => started.code == 0 && !started.redirected,
        Due::TryAgain => started.code == TRY_AGAIN && !started.redirected,
    }
}

fn word(started: &Started) -> String {
    let took = format!("{} ms", started.took.as_millis());
    match (started.code, started.redirected) {
        (0, true) => format!("redirected, {took}"),
        (0, false) => format!("left alone, {took}"),
        (code, false) => format!("held up ({code}), {took}"),
        (code, true) => format!("held up ({code}) with rules, {took}"),
    }
}

#[test]
fn no_pod_is_unprotected_and_none_is_held_up_wrongly() {
    let Some(api) = scene("no_pod_is_unprotected_and_none_is_held_up_wrongly") else { return };
    let rows: Vec<(Fault, Vec<Started>)> =
        Fault::ALL.into_iter().map(|fault| (fault, row(&api, fault))).collect();
    let (unprotected, held_up) = (wrong(&rows, Due::Redirected), wrong(&rows, Due::LeftAlone));
    let odd = wrong(&rows, Due::TryAgain);
    // Past the test harness, which keeps what a passing test prints: the table is for whoever reads the run.
    let told = format!(
        "\nfaults: what became of pods while something was broken\n{}faults: {} cells, {} unprotected, {} wrongly blocked\n",
        table(&rows),
        rows.len() * Kind::ALL.len(),
        unprotected.len(),
        held_up.len()
    );
    std::io::stderr().write_all(told.as_bytes()).expect("standard error takes it");
    let all = [unprotected, held_up, odd].concat();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// M1 under the hardest stop there is, as kubelet mends it: by starting the agent anew.
#[test]
fn killing_the_agent_during_200_adds_loses_none() {
    let Some(api) = scene("killing_the_agent_during_200_adds_loses_none") else { return };
    let mut node = Node::new("storm", &credentials(&api), "100s");
    let mut pods: Vec<Pod> =
        (0..200).map(|number| Pod::new(Kind::Unstamped, &format!("storm-{number}"))).collect();
    publish(&api, &mut pods, "node1");
    node.start_agent();
    let runtime = node.runtime();
    let started: Vec<Started> = thread::scope(|scope| {
        let adds: Vec<_> = pods.iter().map(|pod| scope.spawn(|| runtime.start(pod))).collect();
        for _ in 0..3 {
            node.end_agent(Signal::KILL);
            node.start_agent();
        }
        adds.into_iter().map(|add| add.join().expect("an ADD is told of")).collect()
    });
    let lost: Vec<&Started> = started.iter().filter(|started| !is(started, Due::Redirected)).collect();
    assert!(lost.is_empty(), "{} of 200 lost, the first: {:?}\n{}", lost.len(), lost[0], node.logs());
}

/// Somebody clears /run/millrace under the agents that use it, the lock with it.
#[test]
fn a_wiped_runtime_directory_leaves_one_agent_that_serves() {
    let Some(api) = scene("a_wiped_runtime_directory_leaves_one_agent_that_serves") else { return };
    let mut node = Node::new("cleared", &credentials(&api), "60s");
    let mut pods = ["alone", "two", "end"].map(|name| Pod::new(Kind::Unstamped, name));
    publish(&api, &mut pods, "node1");
    node.start_agent();
    node.until_one_serves();
    let [alone, two, end] = pods;
    for pod in [alone, two] {
        node.wipe_runtime_directory();
        let started = node.runtime().start(&pod);
        assert!(is(&started, Due::Redirected), "{started:?}\n{}", node.logs());
        node.until_one_serves();
        // The first time it finds an agent that has made everything anew; the second time both find nothing.
        node.start_agent();
        node.until_one_serves();
    }
    let started = node.runtime().start(&end);
    assert!(is(&started, Due::Redirected), "{started:?}\n{}", node.logs());
}

/// Everything a row of the table needs; `None` after saying that `test` is not run.
fn scene(test: &str) -> Option<Apiserver> {
    if let Some((what, how)) = missing(&NEEDS) {
        not_run(test, what, how);
        return None;
    }
    let api = Apiserver::start(test)?;
    for (name, label) in [("mesh", "enabled"), ("plain", "disabled"), ("legacy", "enabled")] {
        api.done(&["create", "namespace", name], "");
        api.done(&["label", "namespace", name, &format!("istio-injection={label}")], "");
    }
    api.allow(&format!("system:serviceaccount:default:{ACCOUNT}"), "get,list,watch", "pods,namespaces");
    Some(api)
}

const ACCOUNT: &str = "agent";

/// The agent's own kubeconfig, with a token that dies with the account.
fn credentials(api: &Apiserver) -> PathBuf {
    let file = api.folder().join("agent.token");
    std::fs::write(&file, api.token("default", ACCOUNT)).expect("the folder is ours");
    api.with_token_file(&file)
}

/// Starts a pod of every kind while `fault` lasts; those that were told to try again must start when it is over.
fn row(api: &Apiserver, fault: Fault) -> Vec<Started> {
    let name = format!("{fault:?}").to_lowercase();
    // Where nobody will answer, the plugin need not wait for long.
    let patience = if fault.leaves_nobody() { "3s" } else { "60s" };
    let mut node = Node::new(&name, &credentials(api), patience);
    let mut pods: Vec<Pod> =
        (0..).zip(Kind::ALL).map(|(number, kind)| Pod::new(kind, &format!("{name}-{number}"))).collect();
    publish(api, &mut pods, "node1");
    node.start_agent();
    let runtime = node.runtime();
    node.until_listed("the hint names the mesh's namespace", |_| {
        runtime.entry().get("enrolledNamespaces").is_some_and(|names| names.to_string().contains("\"mesh\""))
    });
    strike(api, &mut node, fault);
    let started = if fault == Fault::Upgrading { upgrade(&mut node, &pods) } else { start(&runtime, &pods) };
    heal(api, &mut node, fault);
    let again = pods.iter().zip(&started).filter(|(_, first)| first.code != 0);
    for (pod, first) in again {
        let second = runtime.start(pod);
        assert!(
            is(&second, Due::Redirected),
            "{fault:?} over, {first:?}, and then {second:?}\n{}",
            node.logs()
        );
    }
    started
}

fn start(runtime: &Runtime, pods: &[Pod]) -> Vec<Started> {
    thread::scope(|scope| {
        let adds: Vec<_> = pods.iter().map(|pod| scope.spawn(|| runtime.start(pod))).collect();
        adds.into_iter().map(|add| add.join().expect("an ADD is told of")).collect()
    })
}

/// Pods start before, while and after a new agent takes over; of each kind the slowest, or one that is wrong, is told.
fn upgrade(node: &mut Node, pods: &[Pod]) -> Vec<Started> {
    let starts = storm(&node.runtime(), pods, |storm| {
        storm.round();
        node.start_agent();
        node.end_agent(Signal::TERM);
        // The new one alone.
        storm.round();
    });
    let of_pod = |at: usize| starts.iter().filter(move |start| start.pod == at).map(|start| &start.started);
    let worst = |at: usize, kind: Kind| {
        let wrong = of_pod(at).find(|started| !is(started, due(Fault::Upgrading, kind)));
        wrong.or_else(|| of_pod(at).max_by_key(|started| started.took)).expect("there was a round").clone()
    };
    Kind::ALL.into_iter().enumerate().map(|(at, kind)| worst(at, kind)).collect()
}

fn strike(api: &Apiserver, node: &mut Node, fault: Fault) {
    match fault {
        Fault::None | Fault::Upgrading => {}
        Fault::AgentDown => node.end_agent(Signal::KILL),
        Fault::ApiDown => api.stop(),
        Fault::BothDown => {
            api.stop();
            node.end_agent(Signal::KILL);
        }
        Fault::TokenDead => {
            api.done(&["delete", "serviceaccount", "-n", "default", ACCOUNT], "");
            // The server looks at the account again after ten seconds; a new connection is then refused.
            let config = node.kubeconfig().display().to_string();
            node.until("the token is dead", |_| {
                !api.kubectl(&["--kubeconfig", &config, "get", "namespaces"], "").status.success()
            });
        }
        Fault::Wiped => {
            node.end_agent(Signal::KILL);
            node.wipe_runtime_directory();
        }
    }
}

fn heal(api: &Apiserver, node: &mut Node, fault: Fault) {
    match fault {
        Fault::None | Fault::Upgrading | Fault::TokenDead => {}
        Fault::AgentDown | Fault::Wiped => node.start_agent(),
        Fault::ApiDown => api.restart(),
        Fault::BothDown => {
            api.restart();
            node.start_agent();
        }
    }
}

/// The cells that should have been `due` and are not.
fn wrong(rows: &[(Fault, Vec<Started>)], wanted: Due) -> Vec<String> {
    let cells =
        rows.iter().flat_map(|(fault, row)| Kind::ALL.into_iter().zip(row).map(move |cell| (*fault, cell)));
    let wrong = cells.filter(|(fault, (kind, started))| due(*fault, *kind) == wanted && !is(started, wanted));
    let tell = |(fault, (kind, started)): (Fault, (Kind, &Started))| {
        format!("{}: {} should be {wanted:?} and is {started:?}", fault.title(), kind.title())
    };
    wrong.map(tell).collect()
}

fn table(rows: &[(Fault, Vec<Started>)]) -> String {
    let mut text = String::new();
    let mut line = |first: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!(" | {cell:<22}")).collect();
        writeln!(text, "{first:<24}{cells}").expect("a string takes what is written");
    };
    line("broken", Kind::ALL.iter().map(|kind| kind.title().to_owned()).collect());
    for (fault, row) in rows {
        line(fault.title(), row.iter().map(word).collect());
    }
    text
}
