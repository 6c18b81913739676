//! `millrace explain MRnnnn` and `millrace explain --codes`.

use crate::program::{command, golden, run};

fn check(name: &str, args: &[&str]) {
    let said = run(args);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{name}");
    golden(name, &said.out);
}

#[test]
fn golden_codes() {
    check("explain-MR2104", &["explain", "MR2104"]);
    check("explain-MR2104-zh", &["explain", "mr2104", "--lang", "zh"]);
    check("explain-MR0006-json", &["explain", "MR0006", "-o", "json"]);
    check("explain-codes", &["explain", "--codes"]);
    check("explain-codes-zh", &["explain", "--codes", "--lang=zh"]);
}

#[test]
fn the_locale_chooses_the_language_unless_a_flag_does() {
    let first = |variables: &[(&str, &str)], args: &[&str]| {
        let mut explain = command(&["explain", "MR2001"]);
        let output = explain.envs(variables.iter().copied()).args(args).output().expect("millrace runs");
        String::from_utf8(output.stdout).expect("text").lines().next().unwrap_or_default().to_owned()
    };
    let (english, chinese) =
        ("MR2001 NodeNotReady: the node itself is not Ready", "MR2001 NodeNotReady: 节点本身未就绪");
    assert_eq!(first(&[], &[]), english);
    assert_eq!(first(&[("LANG", "zh_CN.UTF-8")], &[]), chinese);
    assert_eq!(first(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")], &[]), english);
    assert_eq!(first(&[("LANG", "zh_CN.UTF-8")], &["--lang", "en"]), english);
}

#[test]
fn an_unknown_code_names_near_ones() {
    let said = run(&["explain", "MR2105x"]);
    assert_eq!((said.status, said.out.as_str()), (Some(2), ""));
    assert!(
        said.err.starts_with("millrace: there is no code MR2105x; near it are MR2105 OtherRedirector, "),
        "{}",
        said.err
    );
    assert_eq!(run(&["explain"]).status, Some(2));
    assert_eq!(run(&["explain", "MR2104", "-f", "x"]).status, Some(2));
}
