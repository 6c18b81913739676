//! A test whose component is missing says so in one line and is counted; it never passes silently.
//!
//! `scripts/test` gives the file to write to in `MILLRACE_NOT_RUN` and moves these tests from "passed" to "skipped".

use std::io::Write;

/// Says that the test `name` was not run because `what` is missing, and how to get it.
///
/// Call it and return from the test. With `CI` set it panics instead: there, everything this machine can
/// install is installed, so a missing component is a failure.
pub fn not_run(name: &str, what: &str, how: &str) {
    let line = format!("not run: {name}: needs {what}; get it by: {how}\n");
    assert!(std::env::var_os("CI").is_none(), "{line}");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("MILLRACE_NOT_RUN") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of tests not run is writable");
    }
}
