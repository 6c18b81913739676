//! `millrace why`: the built program on a recorder's file of version 1, its output and its exit status.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/why")
}

fn why(flight: &Path, state: &Path, args: &[&str]) -> Output {
    let mut why = Command::new(env!("CARGO_BIN_EXE_millrace"));
    why.arg("why").arg("--flight-dir").arg(flight).arg("--state-dir").arg(state).args(args);
    why.output().expect("millrace runs")
}

/// Asks and compares the answer with the golden file; `UPDATE_GOLDEN=1` rewrites it.
fn check(golden: &str, args: &[&str], status: i32) {
    let output = why(&folder(), Path::new("/nonexistent"), args);
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{golden}: {text}{errors}");
    let path = folder().join(format!("{golden}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
    assert_eq!(text, expected, "{golden}: UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn golden_answers() {
    check("redirected", &["default/reviews-v1"], 0);
    check("rules", &["default/late", "--rules"], 0);
    check("passed", &["--uid", "uid-of-plain"], 0);
    check("failed-open", &["default/open"], 1);
    check("untold", &["default/untold"], 0);
    check("late-json", &["default/late", "-o", "json"], 0);
}

/// Standard error of a question that has no answer.
fn refused(flight: &Path, state: &Path, args: &[&str]) -> String {
    let output = why(flight, state, args);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn what_is_not_known_says_how_far_back_the_record_goes() {
    let nowhere = Path::new("/nonexistent");
    let flight = folder();
    let place = flight.display();
    assert_eq!(
        refused(&flight, nowhere, &["default/other"]),
        format!(
            "millrace: nothing is known of default/other on this node: {place} holds 7 calls and goes back to \
             2026-11-22 16:05:19.123 UTC, and no record below /nonexistent names it\n"
        )
    );
    assert_eq!(
        refused(nowhere, nowhere, &["--uid", "u"]),
        "millrace: nothing is known of UID u on this node: /nonexistent holds no calls; an agent of this node may keep \
         them elsewhere, see --flight-dir, and no record below /nonexistent names it\n"
    );
    assert!(
        refused(nowhere, nowhere, &["reviews"]).contains("write NAMESPACE/POD, as in default/reviews-v1")
    );
    assert!(refused(nowhere, nowhere, &[]).contains("NAMESPACE/POD"));
}

/// A directory that ends with its test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_pod_of_which_no_agent_heard_is_found_in_the_plugins_own_record() {
    let state = Folder(std::env::temp_dir().join(format!("millrace-why-{}", std::process::id())));
    std::fs::create_dir_all(state.0.join("attachments")).expect("a directory");
    let record = r#"{"v":1,"network":"net","container":"c1","interface":"eth0","netns":"/run/netns/x","namespace":"default",
        "name":"quiet","uid":"u-q","stamp":"{}","families":"both","backend":"nftables","release":"0.1.0"}"#;
    std::fs::write(state.0.join("attachments/net:c1:eth0"), record).expect("a record");
    for args in [["default/quiet", "--rules"], ["--uid=u-q", "--rules"]] {
        let output = why(&folder(), &state.0, &args);
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let expected =
            "the plugin's own record says: eth0 redirected by nftables\n  container   c1 in network net\n";
        assert!(text.contains(expected) && text.contains("goes back to 2026-11-22"), "{text}");
    }
}

#[test]
fn a_recorder_that_cannot_be_read_is_an_error() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let said = refused(&file, Path::new("/nonexistent"), &["default/x"]);
    assert!(
        said.starts_with(&format!("millrace: read the flight recorder: cannot read {}", file.display())),
        "{said}"
    );
}
