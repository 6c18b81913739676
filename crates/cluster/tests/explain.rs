//! `millrace explain`, `millrace rules`: the built program, its output and its exit status.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain").join(format!("{name}.yaml"))
}

fn millrace(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millrace")).args(args).output().expect("millrace runs")
}

/// Runs `millrace explain` on a manifest and compares what it prints with the golden file; `UPDATE_GOLDEN=1` rewrites it.
fn check(golden: &str, name: &str, args: &[&str], status: i32) {
    let file = manifest(name);
    let mut all = vec!["explain", "-f", file.to_str().expect("a plain path")];
    all.extend(args);
    let output = millrace(&all);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(
        output.status.code(),
        Some(status),
        "{golden}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = file.with_file_name(format!("{golden}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
    let differs = text.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert_eq!(differs, None, "{golden}: the first line that differs: found, expected");
    assert_eq!(text.len(), expected.len(), "{golden}: one goes on where the other ends");
}

#[test]
fn golden_decisions() {
    check("bookinfo", "bookinfo", &[], 0);
    check("bookinfo-injected", "bookinfo", &["--assume-injected"], 0);
    check(
        "bookinfo-excluded",
        "bookinfo",
        &["--assume-injected", "--exclude-namespace=kube-system,default"],
        0,
    );
    check("meshed", "meshed", &["--family=4"], 0);
    check("left-alone", "left-alone", &["--exclude-namespace=default"], 0);
    check("stamped", "stamped", &["--exclude-namespace=legacy", "--brief"], 0);
}

#[test]
fn golden_complaints() {
    check("bad-port", "bad-port", &[], 1);
    check("bad-cidr", "bad-cidr", &[], 1);
    check("star", "star", &[], 1);
    check("trailing-comma", "trailing-comma", &["--brief"], 0);
    check("uid-clash", "uid-clash", &["--brief"], 0);
    check("slips", "slips", &[], 1);
}

#[test]
fn golden_json() {
    check("meshed-json", "meshed", &["--family=6", "-o", "json"], 0);
}

#[test]
fn the_demos_own_manifest_is_fit_for_the_mesh() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/bookinfo.yaml");
    let output = millrace(&["explain", "-f", file, "--assume-injected"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && !text.contains("complaints"), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with(": redirected")).count(), 6, "{text}");
}

#[test]
fn rules_in_the_words_of_each_tool() {
    let check = |form: &str, says: &str| {
        let output = millrace(&["rules", "--family=6", "-o", form]);
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success() && text.contains(says), "{form}: {text}");
    };
    check("iptables", "redir ports 15006");
    check("iptables-save", "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006");
    check("nft", "redirect to :15006");
    check("json", "\"origin\": \"R2\"");
    check("reasons", "R2: captured inbound TCP goes to the proxy's inbound listener");
    check("settings", "inboundPort=15006");
}

#[test]
fn reads_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["explain", "-f", "-", "-n", "elsewhere"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("millrace runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"kind: Pod\nmetadata: {name: web}\nspec: {}\n").expect("millrace reads");
    drop(input);
    let output = child.wait_with_output().expect("millrace ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("Pod elsewhere/web: left alone, NoProxyContainer: "), "{text}");
}

#[test]
fn what_cannot_be_looked_at_is_another_status() {
    let check = |args: &[&str], says: &str| {
        let output = millrace(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    };
    check(&["explain", "-f", "/nowhere.yaml"], "read pods from /nowhere.yaml: No such file");
    check(&["explain"], "--file");
    check(&["rules", "--", "--nonsense"], "there is no flag \"--nonsense\"");
    check(&["rules", "--set", "speed=9"], "there is no such setting");
    check(
        &["rules", "-f", manifest("bookinfo").to_str().expect("a plain path")],
        "say --pod with one of default/details-v1",
    );
}

#[test]
fn rules_of_flags_of_settings_and_of_a_pod_are_the_same() {
    let rules = |args: &[&str]| {
        let output = millrace(&[&["rules", "-o", "iptables-save"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let file = manifest("trailing-comma");
    let of_pod = rules(&["-f", file.to_str().expect("a plain path")]);
    let set =
        ["--set", "excludeInboundPorts=22,15020,15021,15090", "--set", "excludeOutboundIPRanges=10.0.0.0/8"];
    let flags = "-- -i * -b * -u 1337 -d 22,15020,15021,15090 -x 10.0.0.0/8 -o 15020";
    assert_eq!(of_pod, rules(&set));
    assert_eq!(of_pod, rules(&flags.split(' ').collect::<Vec<_>>()));
    assert!(of_pod.contains("-A ISTIO_INBOUND -p tcp -m tcp --dport 22 -j RETURN"));
}
