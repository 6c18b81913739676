//! What the demo says: each pod with its proofs, and how to look inside. Pure: it makes text.

use crate::demo::counts::{Both, Counts};
use crate::demo::pods::{Member, Part};
use crate::demo::process::Privileges;
use crate::demo::verdict::{By, Evidence};
use millrace_core::policy::{Basis, Decision, Verdict};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What is said of one pod beside its evidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// The pod.
    pub(crate) member: &'a Member,
    /// Its addresses.
    pub(crate) addresses: &'a [IpAddr],
    /// How long each plugin's ADD took.
    pub(crate) took: &'a [(String, Duration)],
    /// By which rung the plugin settled it, and which backend took the rules.
    pub(crate) rung: &'a str,
    /// The backend that holds rules.
    pub(crate) backend: Option<&'a str>,
    /// What the rules had counted before the walk.
    pub(crate) earlier: Counts,
}

/// One pod's paragraph.
pub(crate) fn pod(about: &About<'_>, evidence: &Evidence, faults: &[String]) -> String {
    let member = about.member;
    let verdict = if faults.is_empty() { "VERIFIED" } else { "FAILED" };
    let addresses: Vec<String> = about.addresses.iter().map(IpAddr::to_string).collect();
    let mut text = format!("{}/{}  {}\n", member.facts.namespace, member.facts.name, addresses.join("  "));
    let mut line = |key: &str, value: &str| {
        for (at, part) in wrapped(value).iter().enumerate() {
            let _ = writeln!(text, "  {:<10} {part}", if at == 0 { key } else { "" });
        }
    };
    line("image", &image(member));
    line("decision", &decision(&member.decision));
    line("admission", &admission(evidence));
    line("mechanism", &mechanism(about, evidence));
    line("rules", &rules(evidence));
    if member.part == Part::Outside {
        line(
            "traffic",
            &format!(
                "direct: {} connections in, {} out, callers seen by their own addresses",
                evidence.witnesses.programs.inbound.all(),
                evidence.witnesses.programs.outbound.all()
            ),
        );
    } else {
        let witnesses = &evidence.witnesses;
        line(
            "inbound",
            &direction(
                witnesses.rules.inbound,
                witnesses.proxy.inbound,
                witnesses.programs.inbound,
                about.earlier.inbound,
            ),
        );
        line(
            "outbound",
            &direction(
                witnesses.rules.outbound,
                witnesses.proxy.outbound,
                witnesses.programs.outbound,
                about.earlier.outbound,
            ),
        );
    }
    line("privilege", &privileges(&evidence.processes));
    for fault in faults {
        line("fault", fault);
    }
    let _ = writeln!(text, "  {verdict}");
    text
}

/// `value` in lines that with their margin fit into 96 columns; a longer word has a line of its own.
fn wrapped(value: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in value.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= WIDTH - MARGIN {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

const WIDTH: usize = 96;
/// Two spaces, a key of ten, a space.
const MARGIN: usize = 13;

fn image(member: &Member) -> String {
    match member.part {
        Part::Outside => format!("a client of ours, uid {}, without a sidecar", member.workload.user),
        _ => format!("{} (a stand-in of ours), uid {}", member.workload.image, member.workload.user),
    }
}

fn decision(decision: &Decision) -> String {
    let basis = match decision.basis {
        Basis::Conditions => "",
        Basis::Stamp => ", by its stamp",
        Basis::UnreadableStamp(_) => ", its stamp being unreadable",
    };
    match decision.verdict {
        Verdict::Redirect => format!("redirect: all {} conditions hold{basis}", decision.conditions.len()),
        Verdict::Skip(reason) => format!("skip, {reason}: {}{basis}", reason.sentence()),
    }
}

/// What the injector gave to a pod, and what our webhook made of that.
fn admission(evidence: &Evidence) -> String {
    let admitted = &evidence.admitted;
    match &evidence.injected {
        None => format!("no sidecar by the injector; {admitted}"),
        Some(given) if given == admitted => format!("the injector gave it {given}, which stays"),
        Some(given) => format!("the injector gave it {given}; our webhook made that {admitted}"),
    }
}

fn mechanism(about: &About<'_>, evidence: &Evidence) -> String {
    let backend = about.backend.unwrap_or("no backend");
    let took =
        |kind: &str| about.took.iter().find(|(name, _)| name == kind).map(|(_, took)| milliseconds(*took));
    let took = match (took("millrace-cni"), took("bridge")) {
        (Some(ours), Some(bridge)) => format!("ADD took {ours} (bridge {bridge})"),
        _ => "ADD was not reached".to_owned(),
    };
    match evidence.part {
        Part::Mesh if evidence.by == By::Chain => {
            format!("CNI, backend {backend}, {}; {took}", settled(about.rung))
        }
        Part::Mesh | Part::Excluded => {
            format!("init container with NET_ADMIN and NET_RAW, backend {backend}; CNI passed: {took}")
        }
        Part::Outside => format!("none; CNI passed: {took}"),
    }
}

/// The rung of the ladder that settled the pod, in words.
fn settled(rung: &str) -> String {
    match rung {
        "stamp" => "settled by its stamp".to_owned(),
        "agent" => "settled by the agent".to_owned(),
        other => format!("settled by {other}"),
    }
}

fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1e3)
}

fn rules(evidence: &Evidence) -> String {
    match (&evidence.drift, evidence.part) {
        (_, Part::Outside) => format!("none planned, {} live", evidence.live),
        (None, _) => format!("{} planned = {} live, both families", evidence.planned, evidence.live),
        (Some(_), _) => format!("{} planned, {} live, and they differ", evidence.planned, evidence.live),
    }
}

fn direction(rules: Both, proxy: Both, programs: Both, earlier: Both) -> String {
    let earlier = match earlier.all() {
        0 => "none before".to_owned(),
        many => format!("{many} before, subtracted"),
    };
    if rules == proxy && proxy == programs {
        return format!("{rules} by rules = by Envoy = by the programs; {earlier}");
    }
    format!("rule counters {rules}, Envoy {proxy}, programs {programs}; {earlier}")
}

/// Which processes have which sets; all of a verified pod's have the same.
fn privileges(processes: &[Privileges]) -> String {
    let mut sets: Vec<(String, Vec<String>)> = Vec::new();
    for Privileges { name, uid, bounding, effective, no_new } in processes {
        let no_new = if *no_new { " no_new_privs" } else { "" };
        let set = format!("CapBnd {bounding:x} CapEff {effective:x}{no_new}");
        let process = format!("{name} uid {uid}");
        match sets.iter_mut().find(|(known, _)| *known == set) {
            Some((_, owners)) => owners.push(process),
            None => sets.push((set, vec![process])),
        }
    }
    let sets: Vec<String> =
        sets.iter().map(|(set, owners)| format!("{}: {set}", owners.join(", "))).collect();
    sets.join("; ")
}

/// Where things are, for whoever looks inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inside<'a> {
    /// The namespaces of productpage and of the visitor.
    pub(crate) netns: [&'a Path; 2],
    /// Productpage's name.
    pub(crate) productpage: &'a str,
    /// This program and the plugin.
    pub(crate) programs: [&'a Path; 2],
    /// By which kubectl finds the API server.
    pub(crate) kubeconfig: &'a Path,
    /// The node's directories of the agent, on disk and on a tmpfs.
    pub(crate) agent: [&'a Path; 2],
    /// Each pod's files.
    pub(crate) pods: &'a Path,
}

/// How to look inside while everything runs.
pub(crate) fn look(inside: &Inside<'_>) -> String {
    let [pod, visitor] = inside.netns.map(Path::display);
    let [own, cni] = inside.programs.map(Path::display);
    let [data, run] = inside.agent.map(Path::display);
    let kubeconfig = inside.kubeconfig.display();
    let productpage = inside.productpage;
    format!(
        "Everything goes on running. To look inside, from another terminal:\n\
         \x20 export KUBECONFIG={kubeconfig}\n\
         \x20 kubectl --kubeconfig {kubeconfig} get meshcni,pods -A -o wide\n\
         \x20 {own} status                 (and: nodes, plan, exclude add NAMESPACE, disable, enable, migrate)\n\
         \x20 {own} why {productpage} --flight-dir {data} --state-dir {run}\n\
         \x20 nsenter --net={pod} iptables -t nat -L -n -v --line-numbers -x\n\
         \x20 nsenter --net={pod} ip6tables -t nat -L -n -v --line-numbers -x\n\
         \x20 {cni} inspect --netns {pod} --reasons\n\
         \x20 nsenter --net={pod} curl -s localhost:15000/stats?filter=downstream_cx_total\n\
         \x20 nsenter --net={visitor} curl -s localhost:9080/call/productpage/productpage\n\
         \x20 ls {}        (each pod's envoy.json, envoy.log, app.log; the agent's log)\n\
         Ctrl-C takes everything down.\n",
        inside.pods.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::verdict::Witnesses;
    use crate::demo::{pods, verdict};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn both(v4: u64, v6: u64) -> Both {
        Both { v4, v6 }
    }

    /// reviews-v2 as admission leaves it.
    fn reviews() -> Value {
        let proxy = json!({ "name": "istio-proxy", "args": ["proxy", "sidecar"] });
        let app = json!({ "name": "reviews", "image": "docker.io/istio/examples-bookinfo-reviews-v2:1.16.2",
                          "ports": [{ "containerPort": 9080 }], "securityContext": { "runAsUser": 1000 } });
        json!({
            "metadata": { "name": "reviews-v2", "annotations": { "sidecar.istio.io/status": "{}" } },
            "spec": { "containers": [app, proxy] },
        })
    }

    /// The paragraph about reviews-v2, seen by the three witnesses as given.
    fn check(rules: Counts, proxy: Counts, programs: Counts, expected: &[&str]) {
        let member = pods::member(&reviews()).unwrap();
        let evidence = Evidence {
            part: Part::Mesh,
            wanted: By::Chain,
            by: By::Chain,
            injected: Some("istio-init with NET_ADMIN and NET_RAW".to_owned()),
            admitted: verdict::UNPRIVILEGED.to_owned(),
            decided: "redirected".to_owned(),
            done: "redirected".to_owned(),
            v6: true,
            planned: 40,
            live: 40,
            drift: None,
            witnesses: Witnesses { rules, proxy, programs },
            peers: BTreeSet::new(),
            neighbours: BTreeSet::new(),
            processes: vec![Privileges {
                name: "envoy".into(),
                uid: 1337,
                bounding: 0,
                effective: 0,
                no_new: true,
            }],
        };
        let took = [
            ("bridge".to_owned(), Duration::from_millis(20)),
            ("millrace-cni".to_owned(), Duration::from_micros(1500)),
        ];
        let earlier = Counts { inbound: both(1, 1), outbound: both(0, 0) };
        let addresses = ["10.88.7.5".parse().unwrap()];
        let about = About {
            member: &member,
            addresses: &addresses,
            took: &took,
            rung: "stamp",
            backend: Some("iptables"),
            earlier,
        };
        let text = pod(&about, &evidence, &verdict::faults(&evidence));
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        for part in expected {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_verified_pod_is_told_with_its_proofs() {
        let seen = Counts { inbound: both(4, 4), outbound: both(3, 3) };
        let expected = [
            "default/reviews-v2  10.88.7.5\n",
            "redirect: all 11 conditions hold",
            "the injector gave it istio-init with NET_ADMIN and NET_RAW; our webhook made",
            "CNI, backend iptables, settled by its stamp; ADD took 1.5 ms (bridge 20.0 ms)",
            "8 (v4 4, v6 4) by rules = by Envoy = by the programs; 2 before, subtracted",
            "6 (v4 3, v6 3) by rules = by Envoy = by the programs; none before",
            "envoy uid 1337: CapBnd 0 CapEff 0 no_new_privs\n",
            "\n  VERIFIED\n",
        ];
        check(seen, seen, seen, &expected);
    }

    #[test]
    fn a_failed_pod_is_told_with_every_witness() {
        let seen = Counts { inbound: both(4, 4), outbound: both(3, 3) };
        let less = Counts { inbound: both(4, 0), outbound: both(3, 3) };
        check(
            seen,
            less,
            seen,
            &["rule counters 8 (v4 4, v6 4), Envoy 4 (v4 4, v6 0)", "fault ", "\n  FAILED\n"],
        );
    }
}
