//! Pod in, patch out: each pod in the shape in which its injector leaves it, in `tests/webhook`. `UPDATE_GOLDEN=1` writes the goldens.

use super::*;
use json_patch::PatchOperation;
use millrace_core::knobs::Defaults;
use proptest::prelude::*;
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/webhook").join(name)
}

fn pod(name: &str) -> Value {
    let text = std::fs::read_to_string(file(&format!("{name}.yaml"))).expect("the pod is there");
    serde_saphyr::from_str(&text).expect("YAML")
}

fn wishes() -> Wishes {
    Wishes { exclude_namespaces: vec!["out".to_owned()], ..Wishes::default() }
}

fn created(object: &Value, namespace: &str, wishes: &Wishes) -> Answer {
    admit(&Request { operation: Operation::Create, namespace, object }, wishes)
}

fn applied(object: &Value, answer: &Answer) -> Value {
    let mut object = object.clone();
    json_patch::patch(&mut object, &answer.patch).expect("the patch fits its pod");
    object
}

fn shown(answer: &Answer) -> String {
    let (what, why) = answer.outcome.words();
    let mut text = format!("{what} {why}").trim_end().to_owned() + "\n";
    if let Some(refusal) = &answer.refusal {
        writeln!(text, "refused: {refusal}").expect("a string takes it");
    }
    for line in answer.words() {
        writeln!(text, "warning: {line}").expect("a string takes it");
    }
    for step in answer.patch.iter() {
        writeln!(text, "{step}").expect("a string takes it");
    }
    text
}

/// What M1 demands of whatever comes out, and that a second round finds nothing to do.
fn holds(before: &Value, answer: &Answer, namespace: &str, wishes: &Wishes) {
    let after = applied(before, answer);
    let again = created(&after, namespace, wishes);
    assert_eq!(again.patch.to_string(), "[]", "a second round changes it again: {after:#}");
    let inits = |object: &Value, name: &str| {
        let list = object["spec"]["initContainers"].as_array().into_iter().flatten();
        list.filter(|one| one["name"] == name).count()
    };
    let stamp = after["metadata"]["annotations"][STAMP_ANNOTATION].as_str().map(stamp::read);
    let handed_over = matches!(stamp, Some(Ok(Stamp::Redirect(_)))) && inits(&after, VALIDATION) == 1;
    if inits(before, INIT) > 0 {
        let kept = inits(&after, INIT) == inits(before, INIT);
        assert!(handed_over != kept, "neither redirected from outside nor by itself: {after:#}");
    }
    let restored = inits(&after, INIT) == 1;
    assert!(inits(before, VALIDATION) == inits(&after, VALIDATION) || handed_over || restored, "{after:#}");
}

/// A pod of the folder, created with these wishes, comes out as its golden says.
fn check(golden: &str, name: &str, namespace: &str, wishes: &Wishes) {
    let object = pod(name);
    let answer = created(&object, namespace, wishes);
    compare(golden, &answer);
    holds(&object, &answer, namespace, wishes);
}

fn compare(golden: &str, answer: &Answer) {
    let (path, text) = (file(&format!("{golden}.txt")), shown(answer));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
    assert_eq!(text, expected, "{golden}");
}

#[test]
fn golden_pods_that_are_handed_over() {
    for name in [
        "regular",
        "native",
        "tproxy",
        "dns",
        "dual-stack",
        "hold",
        "validation",
        "reinjected",
        "listed",
        "init-as-proxy",
        "cut-off",
        "uid-clash",
        "uid-excluded",
        "openshift",
        "forged",
        "either-node",
        "old-command",
        "millrace-image",
        "millrace-validation",
        "seccomp",
    ] {
        check(name, name, "shop", &wishes());
    }
}

#[test]
fn golden_pods_that_keep_their_init_container() {
    for name in [
        "init-containers",
        "injected-late",
        "bad-setting",
        "fargate",
        "virtual",
        "affinity",
        "own-init",
        "unknown-init",
        "odd-command",
        "root-proxy",
    ] {
        check(name, name, "shop", &wishes());
    }
}

/// Where agents are on some nodes only: a pod that selects others keeps its own container, one that may land anywhere is
/// converted.
#[test]
fn golden_pods_of_nodes_with_and_without_agents() {
    let spec = json!({ "install": { "nodeSelector": { "pool": "mesh" } } });
    let (wishes, _) = Wishes::of(&serde_json::from_value(spec).expect("it is a specification"));
    for name in ["other-pool", "other-pools", "either-pool"] {
        check(name, name, "shop", &wishes);
    }
    check("regular", "regular", "shop", &wishes);
}

#[test]
fn golden_pods_that_are_left_alone() {
    for name in [
        "gateway",
        "plain",
        "plain-forged",
        "host-network",
        "none",
        "disabled",
        "bad-validation",
        "no-init",
        "mirror",
        "other-proxy",
    ] {
        check(name, name, "shop", &wishes());
    }
}

#[test]
fn golden_excluded_namespaces() {
    for name in ["regular", "validation", "reinjected", "plain-forged", "no-init", "millrace-validation"] {
        check(&format!("excluded-{name}"), name, "out", &wishes());
    }
    let none = Wishes { excluded: Excluded::None, ..wishes() };
    check("excluded-none", "validation", "out", &none);
    check("excluded-none-forged", "forged", "out", &none);
}

#[test]
fn golden_refusals() {
    let deny = Wishes { invalid_pods: Invalid::Deny, ..wishes() };
    for name in ["uid-clash", "bad-setting", "bad-validation", "uid-excluded"] {
        check(&format!("denied-{name}"), name, "shop", &deny);
    }
    check("denied-no-init", "no-init", "out", &deny);
}

#[test]
fn golden_wishes() {
    let defaults =
        [("excludeOutboundIPRanges", "192.168.0.1/32"), ("dnsCapture", "all"), ("profile", "asm-1.14")];
    let defaults = Defaults::read(defaults).expect("they can be used");
    let wishes_of_defaults = Wishes { defaults, ..wishes() };
    check("defaults", "regular", "shop", &wishes_of_defaults);
    check("defaults-stated", "listed", "shop", &wishes_of_defaults);
    let proxy = Wishes { proxy_container: "mesh-proxy".to_owned(), min_containers: 1, ..wishes() };
    check("selected", "other-proxy", "shop", &proxy);
    check("unselected", "regular", "shop", &proxy);
    for mode in [Mode::InitContainer, Mode::Disabled] {
        check("off", "forged", "shop", &Wishes { mode, ..wishes() });
        check("off-excluded", "validation", "out", &Wishes { mode, ..wishes() });
    }
    let waiting = Wishes { serving: false, ..wishes() };
    check("waiting", "regular", "shop", &waiting);
    check("waiting-excluded", "validation", "out", &waiting);
}

#[test]
fn golden_updates() {
    let stamp = |text: Option<&str>| {
        let mut pod = pod("plain");
        pod["metadata"]["annotations"] = json!({ "note": "mine" });
        if let Some(text) = text {
            pod["metadata"]["annotations"][STAMP_ANNOTATION] = json!(text);
        }
        pod
    };
    let (own, forged) = (r#"{"v":1,"redirect":{}}"#, r#"{"v":1,"skip":"NotSidecar"}"#);
    for (golden, old, new) in [
        ("update-changed", Some(own), Some(forged)),
        ("update-removed", Some(own), None),
        ("update-added", None, Some(forged)),
        ("update-other", Some(own), Some(own)),
    ] {
        let (old, new) = (stamp(old), stamp(new));
        let request = Request { operation: Operation::Update { old: &old }, namespace: "shop", object: &new };
        let answer = admit(&request, &Wishes { mode: Mode::Disabled, ..wishes() });
        compare(golden, &answer);
        assert_eq!(applied(&new, &answer), old, "{golden}");
    }
}

#[test]
fn an_injector_that_runs_again_changes_nothing() {
    for name in ["regular", "tproxy", "dns", "hold", "listed"] {
        let injected = pod(name);
        let once = applied(&injected, &created(&injected, "shop", &wishes()));
        // It takes out what its status lists and puts in its own, at the same place; or it puts it beside.
        let mut replaced = once.clone();
        replaced["spec"]["initContainers"] = injected["spec"]["initContainers"].clone();
        replaced["metadata"]["annotations"][STATUS_ANNOTATION] =
            injected["metadata"]["annotations"][STATUS_ANNOTATION].clone();
        let mut beside = replaced.clone();
        let own = injected["spec"]["initContainers"][0].clone();
        beside["spec"]["initContainers"] = json!([once["spec"]["initContainers"][0].clone(), own]);
        for again in [replaced, beside] {
            assert_eq!(applied(&again, &created(&again, "shop", &wishes())), once, "{name}");
        }
    }
}

#[test]
fn whatever_is_no_pod_is_left_to_the_api_server() {
    for object in
        [json!(null), json!({}), json!({"spec": 1}), json!({"metadata": [], "spec": {"initContainers": {}}})]
    {
        assert_eq!(created(&object, "shop", &wishes()), Answer::default(), "{object}");
    }
}

/// Init containers, containers, annotations and wishes in any mixture.
fn mixtures() -> impl Strategy<Value = (Value, Wishes)> {
    let names =
        ["regular", "validation", "listed", "tproxy", "cut-off", "init-containers", "native", "own-init"];
    let parts = (0..names.len(), 0..names.len(), 0..names.len());
    let flags = (any::<[bool; 6]>(), 0..3_u8, 0..4_usize);
    (parts, flags).prop_map(move |((inits, containers, notes), (flags, mode, drop))| {
        let mut object = pod(names[inits]);
        object["spec"]["containers"] = pod(names[containers])["spec"]["containers"].clone();
        object["metadata"]["annotations"] = pod(names[notes])["metadata"]["annotations"].clone();
        let [excluded, serving, deny, forged, none, both] = flags;
        if both {
            let more = pod(names[containers])["spec"]["initContainers"].clone();
            let list = object["spec"]["initContainers"].as_array_mut().expect("a list");
            for one in more.as_array().into_iter().flatten() {
                if !list.iter().any(|held| held["name"] == one["name"]) {
                    list.push(one.clone());
                }
            }
            list.drain(..drop.min(list.len() - 1));
        }
        if forged {
            object["metadata"]["annotations"][STAMP_ANNOTATION] = json!(r#"{"v":1,"redirect":{}}"#);
        }
        let wishes = Wishes {
            mode: [Mode::Cni, Mode::InitContainer, Mode::Disabled][usize::from(mode)],
            serving,
            exclude_namespaces: if excluded { vec!["shop".to_owned()] } else { vec![] },
            excluded: if none { Excluded::None } else { Excluded::InitContainer },
            invalid_pods: if deny { Invalid::Deny } else { Invalid::Warn },
            ..Wishes::default()
        };
        (object, wishes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn twice_is_once_and_nobody_is_left_unprotected((object, wishes) in mixtures()) {
        holds(&object, &created(&object, "shop", &wishes), "shop", &wishes);
    }

    #[test]
    fn what_is_not_named_stays_as_it_is((object, wishes) in mixtures()) {
        let answer = created(&object, "shop", &wishes);
        let (mut before, mut after) = (object.clone(), applied(&object, &answer));
        for step in answer.patch.iter() {
            let path = step.path().to_string();
            let stamp = path.starts_with("/metadata/annotations");
            let container = path.starts_with("/spec/initContainers/");
            prop_assert!(stamp || container, "{}", step);
            let whole = path.split('/').count() == 4;
            prop_assert!(stamp || !whole || matches!(step, PatchOperation::Remove(_)), "{}", step);
        }
        for object in [&mut before, &mut after] {
            for name in [STAMP_ANNOTATION, STATUS_ANNOTATION] {
                object["metadata"]["annotations"].as_object_mut().expect("a map").remove(name);
            }
            let list = object["spec"]["initContainers"].as_array_mut().expect("a list");
            list.retain(|one| one["name"] != INIT && one["name"] != VALIDATION);
        }
        prop_assert_eq!(before, after);
    }

    #[test]
    fn any_object_is_survived(object in any_json()) {
        let old = object.clone();
        for operation in [Operation::Create, Operation::Update { old: &old }] {
            let answer = admit(&Request { operation, namespace: "shop", object: &object }, &wishes());
            applied(&object, &answer);
        }
    }
}

/// JSON in which the words that matter are likely.
fn any_json() -> impl Strategy<Value = Value> {
    let words = ["istio-init", "istio-validation", "istio-proxy", "istio-iptables", "{}", "Always", ""];
    let keys = [
        "metadata",
        "spec",
        "annotations",
        "initContainers",
        "containers",
        "name",
        "args",
        "command",
        "securityContext",
        STAMP_ANNOTATION,
        STATUS_ANNOTATION,
        "affinity",
        "tolerations",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (0..words.len()).prop_map(move |word| json!(words[word])),
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        let entries = prop::collection::vec((0..keys.len(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            entries.prop_map(move |all| all
                .into_iter()
                .map(|(key, value)| (keys[key].to_owned(), value))
                .collect()),
        ]
    })
}
