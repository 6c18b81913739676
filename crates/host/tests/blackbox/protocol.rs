//! The built binary, called as a runtime calls it: every verb, every version, malformed everything.
//!
//! No namespace is entered here and no rule applied; `redirect` does that.

use crate::call::{Call, Node, Said, previous, text};
use millrace_core::ask::{Answer, Event, Failure};
use millrace_core::policy::Reason;
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// A namespace that is not there: who opens it fails.
const NOWHERE: &str = "/nonexistent/netns";

fn outside() -> Value {
    json!({ "kubernetes.io/config.source": "api" })
}

fn injected() -> Value {
    json!({ "sidecar.istio.io/status": r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"]}"# })
}

fn add(node: &Node, version: &str, annotations: Option<&Value>) -> Call {
    let config = node.config(version);
    let mut call = node.call("ADD", Path::new(NOWHERE), &config);
    call.stdin = text(&config, Some(&previous(version)), annotations);
    call
}

#[test]
fn version_answers_without_reading_its_input() {
    let call = Call { env: vec![("CNI_COMMAND".into(), "VERSION".into())], stdin: vec![] };
    let mut child = call.spawn();
    let mut stdout = String::new();
    // Its standard input stays open all the while.
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(child.wait().unwrap().success());
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(value, json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS }));
}

#[test]
fn nothing_asked_is_answered_on_standard_error_only() {
    for call in [
        Call { env: vec![], stdin: vec![] },
        Call { env: vec![("CNI_COMMAND".into(), String::new())], stdin: vec![] },
    ] {
        let said = call.run();
        assert_eq!((said.status, said.stdout.as_str()), (Some(0), ""));
        assert!(VERSIONS.iter().all(|version| said.stderr.contains(version)), "{}", said.stderr);
    }
}

#[test]
fn every_verb_succeeds_from_the_version_that_brought_it() {
    let node = Node::new();
    for version in VERSIONS {
        for (verb, since) in [("DEL", "0.3.0"), ("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")] {
            let call = node.call(verb, Path::new(NOWHERE), &node.config(version));
            let said = call.run();
            if version >= since {
                assert_eq!(said.ok(), "", "{verb} {version}");
            } else {
                let wanted = format!("config version does not allow {verb}");
                let (code, message) = said.error(version);
                assert!(code == 1 && message.contains(&wanted), "{verb} {version}: {code} {message}");
            }
        }
    }
}

#[test]
fn a_pod_outside_the_mesh_gets_its_result_back_byte_for_byte() {
    let node = Node::new();
    for version in VERSIONS {
        for call in [
            add(&node, version, Some(&outside())),
            add(&node, version, None).without("CNI_ARGS"),
            add(&node, version, None).with("CNI_ARGS", "K8S_POD_NAME=only"),
            add(
                &node,
                version,
                Some(&json!({ STAMP_ANNOTATION: stamp::write(&Stamp::Skip(Reason::NotInjected)) })),
            ),
            add(
                &node,
                version,
                Some(&json!({ "sidecar.istio.io/status": r#"{"initContainers":["istio-init"]}"# })),
            ),
        ] {
            assert_eq!(call.run().ok(), format!("{}\n", previous(version)), "{version}");
        }
    }
    assert_eq!(node.records(), Vec::<String>::new());
}

#[test]
fn a_result_in_another_version_is_restated_in_the_lists() {
    let node = Node::new();
    for (theirs, ours) in [("0.3.1", "1.0.0"), ("1.0.0", "0.3.0"), ("1.0.0", "1.1.0"), ("0.3.0", "0.4.0")] {
        let config = node.config(ours);
        let mut call = node.call("ADD", Path::new(NOWHERE), &config);
        call.stdin = text(&config, Some(&previous(theirs)), Some(&outside()));
        assert_eq!(call.run().ok(), format!("{}\n", previous(ours)), "{theirs} to {ours}");
    }
}

#[test]
fn without_a_result_before_us_ours_says_only_its_version() {
    let node = Node::new();
    for before in [None, Some("null")] {
        let config = node.config("1.0.0");
        let mut call = node.call("ADD", Path::new(NOWHERE), &config);
        call.stdin = text(&config, before, Some(&outside()));
        assert_eq!(call.run().ok(), "{\"cniVersion\":\"1.0.0\"}\n");
    }
}

/// What is wrong with a call, and the code and word that name it.
fn malformed(node: &Node) -> Vec<(&'static str, Call, u64, &'static str)> {
    let good = add(node, "1.0.0", Some(&outside()));
    let input = |bytes: &[u8]| Call { stdin: bytes.to_vec(), ..good.clone() };
    let config = |key: &str, value: Value| {
        let mut config = node.config("1.0.0");
        config[key] = value;
        input(config.to_string().as_bytes())
    };
    let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(5 << 20));
    vec![
        ("no id", good.clone().without("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
        ("empty id", good.clone().with("CNI_CONTAINERID", ""), 4, "CNI_CONTAINERID"),
        ("bad id", good.clone().with("CNI_CONTAINERID", "../c"), 4, "CNI_CONTAINERID"),
        ("long id", good.clone().with("CNI_CONTAINERID", &"c".repeat(300)), 4, "CNI_CONTAINERID"),
        ("no interface", good.clone().without("CNI_IFNAME"), 4, "CNI_IFNAME"),
        ("bad interface", good.clone().with("CNI_IFNAME", "eth0/x"), 4, "CNI_IFNAME"),
        ("relative namespace", good.clone().with("CNI_NETNS", "netns"), 4, "CNI_NETNS"),
        ("nothing", input(b""), 6, "network config"),
        ("half", input(br#"{"cniVersion":"1.0.0","na"#), 6, "network config"),
        ("list", input(b"[]"), 6, "object"),
        ("two", input(b"{} {}"), 6, "network config"),
        ("not text", input(b"\xff\xfe"), 6, "network config"),
        ("deep", input("[".repeat(1 << 20).as_bytes()), 6, "network config"),
        ("huge", input(huge.as_bytes()), 5, "longer"),
        ("no name", config("name", json!(null)), 7, "name"),
        ("bad name", config("name", json!("a b")), 7, "name"),
        ("name of another kind", config("name", json!({})), 6, "name"),
        ("version of another kind", config("cniVersion", json!(1.0)), 6, "cniVersion"),
        ("old version", config("cniVersion", json!("0.2.0")), 1, "0.2.0"),
        ("new version", config("cniVersion", json!("2.0.0")), 1, "2.0.0"),
        ("no version", config("cniVersion", json!(null)), 1, "0.1.0"),
        ("result of another kind", config("prevResult", json!([])), 6, "prevResult"),
    ]
}

#[test]
fn malformed_calls_end_in_one_error_and_status_1() {
    let node = Node::new();
    for (what, call, code, word) in malformed(&node) {
        let said = call.run();
        let known = said.stdout.contains(r#""cniVersion":"1.0.0""#);
        let (got, message) = said.error(if known { "1.0.0" } else { "1.1.0" });
        assert!(got == code && message.contains(word), "{what}: {got} {message}");
    }
    for verb in ["add", "ADDD", "\u{fffd}"] {
        let (code, message) = add(&node, "1.0.0", None).with("CNI_COMMAND", verb).run().error("1.1.0");
        assert!(code == 4 && message.contains("unknown CNI_COMMAND"), "{verb}: {message}");
    }
    for verb in ["ADD", "CHECK"] {
        let (code, message) =
            add(&node, "1.0.0", None).with("CNI_COMMAND", verb).without("CNI_NETNS").run().error("1.1.0");
        assert!(code == 4 && message.contains("CNI_NETNS"), "{verb}: {message}");
    }
}

#[test]
fn del_never_fails() {
    let node = Node::new();
    for (what, call, ..) in malformed(&node) {
        let said = call.with("CNI_COMMAND", "DEL").run();
        assert_eq!((said.status, said.stdout.as_str()), (Some(0), ""), "{what}: {said:?}");
    }
    for call in [
        node.call("DEL", Path::new(NOWHERE), &node.config("0.3.1")),
        node.call("DEL", Path::new(""), &node.config("1.0.0")),
        node.call("DEL", Path::new(""), &node.config("1.0.0")).without("CNI_NETNS"),
        node.call("DEL", Path::new("/proc/self/ns/net"), &node.config("1.0.0")),
    ] {
        for _ in 0..2 {
            assert_eq!(call.run().ok(), "");
        }
    }
}

#[test]
fn the_runtimes_own_namespace_is_refused_before_anything() {
    let node = Node::new();
    let stamped = json!({ STAMP_ANNOTATION: stamp::write(&Stamp::Redirect(Box::default())) });
    let call = add(&node, "1.0.0", Some(&stamped)).with("CNI_NETNS", "/proc/self/ns/net");
    for not_allowed in ["", "0", "yes"] {
        let (code, message) = call.clone().with("CNI_NETNS_OVERRIDE", not_allowed).run().error("1.0.0");
        assert!(code == 8 && message.contains("/proc/self/ns/net"), "{code} {message}");
    }
    assert_eq!(node.records(), Vec::<String>::new());
    // Nothing is touched for a pod that is left alone, so its start does not depend on it (M2).
    add(&node, "1.0.0", Some(&outside())).with("CNI_NETNS", "/proc/self/ns/net").run().ok();
}

#[test]
fn a_missing_agent_stops_mesh_pods_only_and_says_what_to_do() {
    let node = Node::new();
    for annotations in [Some(injected()), None] {
        let (code, message) = add(&node, "1.0.0", annotations.as_ref()).run().error("1.0.0");
        assert_eq!(code, 11, "{message}");
        for word in
            ["default/reviews", "agent.sock", "did not answer", "failurePolicy", "exclude the namespace"]
        {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    let mut hinted = node.config("1.0.0");
    hinted["enrolledNamespaces"] = json!(["elsewhere"]);
    let mut call = node.call("ADD", Path::new(NOWHERE), &hinted);
    call.stdin = text(&hinted, Some(&previous("1.0.0")), None);
    assert_eq!(call.run().ok(), format!("{}\n", previous("1.0.0")), "nobody there is in the mesh");
    let mut excluded = node.config("1.0.0");
    excluded["excludeNamespaces"] = json!(["kube-system", "default"]);
    call.stdin = text(&excluded, Some(&previous("1.0.0")), Some(&injected()));
    assert_eq!(call.run().ok(), format!("{}\n", previous("1.0.0")), "excluded");
}

#[test]
fn an_open_failure_policy_lets_the_pod_start_and_tells() {
    let node = Node::new();
    let listener = UnixDatagram::bind(node.path("events.sock")).unwrap();
    let mut config = node.config("1.0.0");
    config["failurePolicy"] = json!("Open");
    let mut call = node.call("ADD", Path::new(NOWHERE), &config);
    call.stdin = text(&config, Some(&previous("1.0.0")), Some(&injected()));
    let said = call.run();
    assert!(said.stderr.contains("unprotected"), "{}", said.stderr);
    assert_eq!(said.ok(), format!("{}\n", previous("1.0.0")));
    let event = heard(&listener);
    assert_eq!(
        (event.outcome.as_str(), event.reason.as_str(), event.rung.as_str()),
        ("passed", "FailedOpen", "policy")
    );
    assert!(event.message.contains("did not answer"), "{}", event.message);
}

fn heard(listener: &UnixDatagram) -> Event {
    let mut buffer = vec![0; 64 << 10];
    listener.set_nonblocking(true).expect("a socket of ours");
    // The plugin has ended, so what it told is there.
    let length = listener.recv(&mut buffer).expect("an event was told");
    Event::read(&buffer[..length]).expect("an event")
}

#[test]
fn every_add_is_told_with_its_reason() {
    let node = Node::new();
    let listener = UnixDatagram::bind(node.path("events.sock")).unwrap();
    add(&node, "1.0.0", Some(&outside())).run().ok();
    let event = heard(&listener);
    assert_eq!(
        (event.outcome.as_str(), event.reason.as_str(), event.rung.as_str()),
        ("passed", "NotInjected", "node")
    );
    assert_eq!(
        (event.namespace.as_str(), event.name.as_str(), event.uid.as_str()),
        ("default", "reviews", "u-1")
    );
    assert!(event.microseconds > 0);
    add(&node, "1.0.0", Some(&injected())).run().error("1.0.0");
    let event = heard(&listener);
    assert_eq!((event.outcome.as_str(), event.code), ("failed", 11));
}

#[test]
fn the_agent_is_asked_by_name_and_its_skip_is_followed() {
    let node = Node::new();
    let agent = node.agent(Answer::Decided(stamp::write(&Stamp::Skip(Reason::SingleContainer))));
    assert_eq!(add(&node, "1.0.0", Some(&injected())).run().ok(), format!("{}\n", previous("1.0.0")));
    let question = agent.join().unwrap();
    assert_eq!((question.namespace.as_str(), question.name.as_str()), ("default", "reviews"));
    assert_eq!((question.uid.as_deref(), question.container.as_str()), (Some("u-1"), "c0ffee"));
    assert_eq!((question.interface.as_str(), question.netns.as_str()), ("eth0", NOWHERE));
}

#[test]
fn what_the_agent_cannot_say_is_an_error_with_its_words() {
    for (answer, wanted, word) in [
        (
            Answer::Failed(Failure { code: 11, message: "the API server is away".into() }),
            11,
            "the API server is away",
        ),
        (
            Answer::Failed(Failure { code: 7, message: "another pod has that name".into() }),
            102,
            "another pod",
        ),
        (Answer::Decided("nonsense".into()), 102, "not JSON"),
        (Answer::Decided(r#"{"v":99}"#.into()), 102, "99"),
    ] {
        let node = Node::new();
        let agent = node.agent(answer);
        let (code, message) = add(&node, "1.0.0", Some(&injected())).run().error("1.0.0");
        assert!(code == wanted && message.contains(word), "{code} {message}");
        agent.join().unwrap();
    }
}

#[test]
fn a_stamp_we_cannot_follow_goes_to_the_agent() {
    let node = Node::new();
    let agent = node.agent(Answer::Decided(stamp::write(&Stamp::Skip(Reason::NotSidecar))));
    let stamped = json!({ STAMP_ANNOTATION: r#"{"v":99,"redirect":{}}"# });
    add(&node, "1.0.0", Some(&stamped)).run().ok();
    agent.join().unwrap();
}

#[test]
fn a_mesh_pod_whose_namespace_cannot_be_opened_does_not_start() {
    let node = Node::new();
    let stamped = json!({ STAMP_ANNOTATION: stamp::write(&Stamp::Redirect(Box::default())) });
    let (code, message) = add(&node, "1.0.0", Some(&stamped)).run().error("1.0.0");
    assert!(code == 5 && message.contains(NOWHERE), "{code} {message}");
    assert_eq!(node.records(), Vec::<String>::new());
}

#[test]
fn status_fails_only_where_nodes_are_gated() {
    let node = Node::new();
    let mut config = node.config("1.1.0");
    let status = |config: &Value| node.call("STATUS", Path::new(""), config).run();
    assert_eq!(status(&config).ok(), "");
    config["statusGating"] = json!(true);
    let (code, message) = status(&config).error("1.1.0");
    assert!(code == 50 && message.contains("agent"), "{code} {message}");
    let _agent = UnixListener::bind(node.path("agent.sock")).unwrap();
    assert_eq!(status(&config).ok(), "");
}

#[test]
fn our_own_malformed_keys_stop_nobody_and_are_named() {
    let node = Node::new();
    let mut config = node.config("1.0.0");
    config["backend"] = json!("ebpf");
    config["shiny"] = json!({ "new": true });
    let mut call = node.call("ADD", Path::new(NOWHERE), &config);
    call.stdin = text(&config, Some(&previous("1.0.0")), Some(&outside()));
    let Said { status, stderr, .. } = call.run();
    assert_eq!(status, Some(0));
    assert!(stderr.contains("backend") && !stderr.contains("shiny"), "{stderr}");
}

#[test]
fn gc_answers_every_form_of_its_list() {
    let node = Node::new();
    for (key, value) in [
        ("x", json!(null)),
        ("cni.dev/valid-attachments", json!(null)),
        ("cni.dev/valid-attachments", json!([])),
        ("cni.dev/attachments", json!([{ "containerID": "c", "ifname": "eth0" }])),
    ] {
        let mut config = node.config("1.1.0");
        config[key] = value;
        assert_eq!(node.call("GC", Path::new(""), &config).run().ok(), "");
    }
    let mut config = node.config("1.1.0");
    config["cni.dev/valid-attachments"] = json!("all");
    assert_eq!(node.call("GC", Path::new(""), &config).run().error("1.1.0").0, 7);
}
