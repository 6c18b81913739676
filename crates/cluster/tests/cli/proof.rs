//! The proof behind the switch: the console's page of a pod, of which the rules and the counters are those of a real network namespace,
//! looked into by exec into the agent of its node, or on this machine.

use crate::cluster::until;
use crate::console::Console;
use crate::reach::Scene;

const POD: &str = "/pods/reach/stock";

/// The texts of cells with this attribute, in order.
fn cells(html: &str, attribute: &str) -> Vec<u64> {
    let start = format!("{attribute}>");
    let cells = html.split(&start).skip(1);
    cells.map(|rest| rest.split('<').next().and_then(|text| text.parse().ok()).expect("a number")).collect()
}

fn probed(console: &Console, pod: &str) -> (u16, String) {
    let csrf = console.csrf_of(POD);
    let answer = console.post(&format!("{pod}/probe"), &format!("csrf={csrf}&act=probe"));
    (answer.status, answer.body)
}

#[test]
fn a_pod_is_seen_live_and_probed() {
    let Some(scene) = Scene::new("cli::a_pod_is_seen_live_and_probed") else { return };
    let console = Console::start(&scene.cluster.kubeconfig(), &[]);
    let plain = console.get(POD).body;
    assert!(plain.contains("data-act=\"probe\"") && !plain.contains("data-seen="), "{plain}");
    assert_eq!(scene.kubelet.last(), Vec::<String>::new(), "a page that nobody asked to look does not look");
    let live = console.get(&format!("{POD}?live=yes")).body;
    assert!(
        live.contains("data-seen=\"same\"") && live.contains("by exec into reach/agent on node reach-1"),
        "{live}"
    );
    assert!(live.contains("Chain ISTIO_IN_REDIRECT (") && live.contains("tcp dpt:3306"), "{live}");

    let (status, page) = probed(&console, POD);
    assert_eq!((status, page.contains("data-probe=\"verified\"")), (200, true), "{page}");
    let (before, after) = (cells(&page, "data-counter=\"before\""), cells(&page, "data-counter=\"after\""));
    assert!(before.len() == 12 && before.iter().zip(&after).all(|(before, after)| before < after), "{page}");
    // What a probe left in the counters is there afterwards.
    let again = console.get(&format!("{POD}?live=yes")).body;
    assert!(again.contains("data-path=\"inbound\">redirected 2<"), "{again}");

    scene.lab.pod.sh("nft delete chain ip nat ISTIO_INBOUND || nft flush chain ip nat PREROUTING");
    let (status, page) = probed(&console, POD);
    let named = ["data-probe=\"failed\"", "data-seen=\"differs\"", "MR6002 RulesMissing", "PREROUTING"];
    assert!(status == 200 && named.iter().all(|part| page.contains(part)), "{page}");
    assert_eq!(
        cells(&page, "data-counter=\"before\""),
        Vec::<u64>::new(),
        "what is not as planned is not probed"
    );

    let (status, page) = probed(&console, "/pods/reach/agent");
    let words = "it is outside the mesh, or over";
    assert!(status == 422 && page.contains("data-probe=\"refused\"") && page.contains(words), "{page}");
    assert_eq!(probed(&console, "/pods/reach/none").0, 404);
    assert_eq!(console.post(&format!("{POD}/probe"), "csrf=0&act=probe").status, 403);
}

#[test]
fn who_may_not_look_is_told_why_and_sees_the_rest() {
    let Some(scene) = Scene::new("cli::who_may_not_look_is_told_why_and_sees_the_rest") else { return };
    let cluster = &scene.cluster;
    let viewer = cluster.api().user("proof-eve", &["others"]);
    cluster.api().allow("proof-eve", "get,list,watch", "meshcnis.millrace.dev,pods,namespaces");
    let console = Console::start(&viewer, &["--lang=zh"]);
    let live = console.get(&format!("{POD}?live=yes")).body;
    let named = ["data-seen=\"unseen\"", "MR1105", "MR6005 NotVerifiable", "规划的规则"];
    assert!(named.iter().all(|part| live.contains(part)), "{live}");
    let (status, page) = probed(&console, POD);
    assert!(status == 422 && page.contains("data-probe=\"refused\"") && page.contains("MR1105"), "{page}");
    assert_eq!(scene.kubelet.last(), Vec::<String>::new());

    // Who serves for looking alone sends nothing.
    let console = Console::start(&cluster.kubeconfig(), &["--read-only"]);
    assert!(console.get(&format!("{POD}?live=yes")).body.contains("data-seen=\"same\""));
    assert!(!console.get(POD).body.contains("data-act=\"probe\""));
    cluster.run(&["enable"]);
    until("the page has seen the MeshCNI", || console.get("/").body.contains("name=\"csrf\""));
    let sent = console.post(&format!("{POD}/probe"), &format!("csrf={}", console.csrf_of("/")));
    assert!(sent.status == 403 && sent.body.contains("a probe sends traffic"), "{}", sent.body);
}

#[test]
fn a_pod_of_this_machine_needs_nobodys_help() {
    let Some(scene) = Scene::new("cli::a_pod_of_this_machine_needs_nobodys_help") else { return };
    let state = scene.recorded("proof");
    let console =
        Console::start(&scene.cluster.kubeconfig(), &["--state-dir", state.to_str().expect("text")]);
    let (status, page) = probed(&console, POD);
    std::fs::remove_dir_all(&state).expect("it goes");
    assert!(
        status == 200 && page.contains("data-probe=\"verified\"") && page.contains("on this node"),
        "{page}"
    );
    assert_eq!(scene.kubelet.last(), Vec::<String>::new());
}
