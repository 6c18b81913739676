//! What requests make of objects.

use super::delete::{Deletion, Options, delete, is_done};
use super::*;
use crate::apiserver::registry::Registry;
use crate::apiserver::store::{Bounds, Store};
use serde_json::json;

fn asked(path: (&str, &str), name: &str) -> Asked {
    let served = Registry::new(std::iter::empty()).find(path.0, "v1", path.1).unwrap();
    let seed = Seed { now: Timestamp::UNIX_EPOCH, uid: "u1".to_owned(), letters: "abcde".to_owned() };
    Asked {
        served,
        namespace: "n".to_owned(),
        name: name.to_owned(),
        subresource: String::new(),
        manager: "test".to_owned(),
        user: String::new(),
        seed,
        validation: Validation::Warn,
        force: false,
        dry_run: false,
    }
}

fn stored(asked: &Asked, body: Value) -> Arc<Stored> {
    let mut draft = create(asked, body).unwrap();
    settle(asked, &mut draft).unwrap();
    let mut store = Store::new(Bounds { objects: 9, history: 9 });
    store.put(&asked.served.kind, draft.new, 0).unwrap()
}

fn pod() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}})
}

fn check(draft: Result<Draft, Refusal>, asked: &Asked, path: &str, expected: Result<Value, (u16, &str)>) {
    let settled = draft.and_then(|mut draft| settle(asked, &mut draft).map(|_| draft.new));
    let found = settled.map(|new| new.pointer(path).cloned().unwrap_or_default());
    let expected = expected.map_err(|(code, words)| (code, words.to_owned()));
    let found = found.map_err(|refusal| (refusal.code, refusal.message));
    assert_eq!(found, expected);
}

#[test]
fn new_objects() {
    let ask = asked(("", "pods"), "");
    check(create(&ask, pod()), &ask, "/metadata/uid", Ok(json!("u1")));
    check(create(&ask, pod()), &ask, "/metadata/creationTimestamp", Ok(json!("1970-01-01T00:00:00Z")));
    check(create(&ask, pod()), &ask, "/metadata/managedFields/0/manager", Ok(json!("test")));
    let mut generated = pod();
    generated["metadata"] = json!({"generateName": "x-"});
    check(create(&ask, generated), &ask, "/metadata/name", Ok(json!("x-abcde")));
    let mut elsewhere = pod();
    elsewhere["metadata"]["namespace"] = json!("m");
    let why = "the namespace of the provided object does not match the namespace sent on the request";
    check(create(&ask, elsewhere), &ask, "", Err((400, why)));
    let strict = Asked { validation: Validation::Strict, ..ask };
    let mut odd = pod();
    odd["spec"]["what"] = json!(1);
    check(
        create(&strict, odd),
        &strict,
        "",
        Err((400, "strict decoding error: unknown field \"spec.what\"")),
    );
}

#[test]
fn changes() {
    let ask = asked(("", "pods"), "a");
    let old = stored(&ask, pod());
    let form = Form::Strategic;
    let change = json!({"spec": {"containers": [{"name": "c", "image": "j"}]}});
    let draft = patch(&ask, Some(&old), form, &change);
    check(draft, &ask, "/spec/containers/0/image", Ok(json!("j")));
    let stale = json!({"metadata": {"resourceVersion": "1"}});
    let words = "Operation cannot be fulfilled on pods \"a\": the object has been modified; please apply your changes to the \
                 latest version and try again";
    check(patch(&ask, Some(&old), form, &stale), &ask, "", Err((409, words)));
    // The status is not written here, and nothing else there.
    let both = json!({"status": {"phase": "Running"}, "spec": {"activeDeadlineSeconds": 5}});
    let draft = patch(&ask, Some(&old), Form::Merge, &both);
    check(draft, &ask, "/status/phase", Ok(json!("Pending")));
    let status = Asked { subresource: "status".to_owned(), ..ask };
    let draft = patch(&status, Some(&old), Form::Merge, &both);
    check(draft.clone(), &status, "/status/phase", Ok(json!("Running")));
    check(draft, &status, "/spec/activeDeadlineSeconds", Ok(Value::Null));
    for form in [form, Form::Apply] {
        check(patch(&status, None, form, &both), &status, "", Err((404, "pods \"a\" not found")));
    }
}

#[test]
fn nothing_new_is_no_change() {
    let ask = asked(("", "pods"), "a");
    let old = stored(&ask, pod());
    let mut draft = patch(&ask, Some(&old), Form::Merge, &json!({"metadata": {"labels": {}}})).unwrap();
    draft.new["metadata"].as_object_mut().unwrap().shift_remove("labels");
    assert!(!settle(&ask, &mut draft).unwrap());
}

#[test]
fn generations_count_specs() {
    let ask = asked(("apps", "deployments"), "a");
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let old = stored(&ask, json!({"metadata": {"name": "a"}, "spec": spec}));
    let generation = |change: Value, expected: i64| {
        let draft = patch(&ask, Some(&old), Form::Merge, &change);
        check(draft, &ask, "/metadata/generation", Ok(json!(expected)));
    };
    generation(json!({"metadata": {"labels": {"x": "y"}}}), 1);
    generation(json!({"spec": {"replicas": 2}}), 2);
    generation(json!({"status": {"replicas": 2}}), 1);
}

#[test]
fn deletions() {
    let ask = asked(("", "pods"), "a");
    let old = stored(&ask, pod());
    let Deletion::Marked(marked) = delete(&ask, &old, &Options::default()).unwrap() else {
        panic!("a pod on a node is given time");
    };
    assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:30Z");
    assert!(!is_done(&marked));
    let now = Options { grace: Some(0), ..Options::default() };
    assert!(matches!(delete(&ask, &old, &now), Ok(Deletion::Gone(_))));
    let other = Options { uid: Some("u2".to_owned()), ..now };
    assert_eq!(delete(&ask, &old, &other).unwrap_err().code, 409);
    let mut held = pod();
    held["metadata"]["finalizers"] = json!(["a.b/c"]);
    held["spec"]["nodeName"] = Value::Null;
    let old = stored(&ask, held);
    let Deletion::Marked(mut marked) = delete(&ask, &old, &Options::default()).unwrap() else {
        panic!("a finalizer holds it");
    };
    assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
    marked["metadata"]["finalizers"] = json!([]);
    assert!(is_done(&marked));
}
