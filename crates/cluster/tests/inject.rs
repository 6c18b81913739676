//! `millrace inject`: the built program on manifests, what it prints and says, and its exit status.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

const BOOKINFO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/bookinfo.yaml");

fn millrace(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let pipes = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("millrace runs");
    // It may end before it has read everything; what it says about that is looked at.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    child.wait_with_output().expect("millrace ends")
}

/// What is printed, and what is said, of a run that ends with `status`.
fn check(args: &[&str], stdin: &str, status: i32) -> (String, String) {
    let output = millrace(&[&["inject"], args].concat(), stdin);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (printed, said) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(status), "{args:?}: {printed}{said}");
    (printed, said)
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).expect("YAML")
}

#[test]
fn bookinfo_without_an_injector() {
    let (printed, said) = check(&["-f", BOOKINFO, "--sidecar"], "", 0);
    assert_eq!(said, "");
    let (before, after) = (std::fs::read_to_string(BOOKINFO).expect("bookinfo"), documents(&printed));
    let before = documents(&before);
    let before: Vec<&Value> = before.iter().filter(|one| !one.is_null()).collect();
    assert_eq!(before.len(), after.len());
    let mut pods = 0;
    for (before, after) in before.into_iter().zip(&after) {
        if before["kind"] != "Deployment" {
            assert_eq!(before, after);
            continue;
        }
        pods += 1;
        let pod = &after["spec"]["template"];
        let init = &pod["spec"]["initContainers"][0];
        assert_eq!(init["name"], "istio-validation", "{pod:#}");
        assert_eq!(init["securityContext"]["capabilities"]["add"], Value::Null, "{pod:#}");
        let stamp = pod["metadata"]["annotations"]["millrace.dev/redirect"].as_str();
        assert!(stamp.is_some_and(|stamp| stamp.starts_with(r#"{"v":1,"redirect":{"#)), "{pod:#}");
    }
    assert_eq!(pods, 6);
    // What went through once goes through again unchanged.
    assert_eq!(check(&["-f", "-", "--sidecar"], &printed, 0).0, printed);
    let (json, _) = check(&["-f", BOOKINFO, "--sidecar", "-o", "json"], "", 0);
    let list: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(list["items"].as_array(), Some(&after));
}

#[test]
fn what_is_done_to_each_pod() {
    let (printed, _) =
        check(&["-f", BOOKINFO, "--sidecar", "-o", "patch", "--exclude-namespace=shop", "-n", "shop"], "", 0);
    assert_eq!(printed.matches(": skipped NamespaceExcluded\n").count(), 6, "{printed}");
    let (printed, _) = check(&["-f", BOOKINFO, "-o", "patch", "--set", "profile=asm-1.14"], "", 0);
    assert_eq!(printed.matches(": untouched\n").count(), 6, "{printed}");
}

#[test]
fn what_cannot_work_is_said_and_refused_when_it_shall_be() {
    let pod = "kind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {containers: [{name: app, securityContext: {runAsUser: 1337}}]}\n";
    let args = ["-f", "-", "--sidecar", "-o", "json"];
    let (printed, said) = check(&args, pod, 0);
    assert!(
        said.starts_with("Pod shop/web: warning: MR3001 IdentityClash: container app runAsUser"),
        "{said}"
    );
    assert!(printed.contains("istio-validation"), "{printed}");
    let (_, said) = check(&[&args[..], &["--deny"]].concat(), pod, 1);
    assert!(said.starts_with("Pod shop/web: refused: MR3001 IdentityClash"), "{said}");
}

#[test]
fn a_sidecar_of_ones_own() {
    let folder = std::env::temp_dir().join(format!("millrace-inject-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("sidecar.yaml");
    let sidecar = "spec: {containers: [{name: istio-proxy, image: mine}]}\n";
    std::fs::write(&file, sidecar).expect("a file");
    let with = format!("--sidecar={}", file.display());
    let pods = "kind: List\nitems:\n- {kind: Pod, metadata: {name: a}, spec: {containers: [{name: app}]}}\n\
                - {kind: Pod, metadata: {name: b}, spec: {hostNetwork: true, containers: [{name: app}]}}\n";
    let (printed, said) = check(&["-f", "-", &with, "-o", "patch"], pods, 0);
    assert!(
        printed.starts_with("Pod default/a: stamped\n") && printed.contains("Pod default/b: untouched\n"),
        "{printed}{said}"
    );
    std::fs::write(&file, "a: 1\n---\nb: 2\n").expect("a file");
    let (_, said) = check(&["-f", "-", &with], pods, 2);
    assert!(said.contains("a sidecar is one document"), "{said}");
    std::fs::remove_dir_all(&folder).expect("it was made here");
}

#[test]
fn what_cannot_be_read_is_another_status() {
    assert!(check(&["-f", "/nowhere.yaml"], "", 2).1.contains("read /nowhere.yaml: No such file"));
    assert!(check(&["-f", "-"], "a: [", 2).1.contains("read standard input: it is not YAML"));
    assert!(check(&["-f", "-", "--set", "speed=9"], "", 2).1.contains("there is no such setting"));
    // Nothing in it is a pod: it is passed on.
    assert_eq!(check(&["-f", "-"], "kind: Service\n", 0), ("kind: Service\n".to_owned(), String::new()));
}
