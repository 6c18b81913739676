//! What `scripts/tally` counts of what `cargo test` says.

use std::io::Write;
use std::process::{Command, Stdio};

fn check(log: &str, expected: &str) {
    let tally = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/tally");
    let mut tally =
        Command::new(tally).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut input = tally.stdin.take().expect("a pipe");
    input.write_all(log.as_bytes()).expect("it reads");
    drop(input);
    let output = tally.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{log}");
}

const WELL: &str = "     Running tests/well.rs (target/well)\n\nrunning 3 tests\ntest a ... ok\ntest b - should panic ... ok\n\
                    test c ... ignored, too slow\n\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n";

#[test]
fn programs_are_added_up() {
    check(WELL, "2 0 1\n");
    let bad = "     Running tests/bad.rs (target/bad)\n\nrunning 2 tests\ntest d ... ok\ntest e ... FAILED\n\n\
               test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured\n";
    let empty = "   Doc-tests core\n\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured\n";
    check(&format!("{WELL}{bad}{empty}"), "3 1 1\ne\n");
    check("error: could not compile\n", "0 0 0\n");
}

#[test]
fn what_a_killed_program_did_not_pass_has_failed() {
    let killed = |lines: &str| {
        format!(
            "     Running tests/killed.rs (target/k)\n\nrunning 5 tests\n{lines}error: test failed\n\nCaused by: (signal: 9)\n"
        )
    };
    let named = |ok: u32| {
        format!(
            "Running tests/killed.rs (target/k): ended without its summary; {ok} of its 5 tests had passed\n"
        )
    };
    check(
        &format!("{}{WELL}", killed("test f ... FAILED\ntest g ... ok\n")),
        &format!("3 4 1\nf\n{}", named(1)),
    );
    check(&format!("{WELL}{}", killed("")), &format!("2 5 1\n{}", named(0)));
    let all = ["f", "g", "h", "i", "j"].map(|name| format!("test {name} ... ok\n")).concat();
    check(&killed(&all), &format!("5 1 0\n{}", named(5)));
}

#[test]
fn a_program_that_never_began_has_failed() {
    let dead = "     Running tests/dead.rs (target/d)\nerror: test failed\n";
    check(&format!("{dead}{WELL}"), "2 1 1\nRunning tests/dead.rs (target/d): ended before its first test\n");
}
