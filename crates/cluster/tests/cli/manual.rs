//! `millrace completion`, `millrace man`, and the program as a plugin of kubectl.

use crate::program::run;
use std::process::Command;

#[test]
fn shells_and_man_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let said = run(&["completion", shell]);
        let knows = ["enable", "status", "report", "migrate", "rollback", "upgrade", "uninstall"]
            .iter()
            .all(|verb| said.out.contains(verb));
        assert!(said.status == Some(0) && knows, "{shell}: {}", said.err);
    }
    assert!(run(&["man"]).out.contains(".TH millrace 1"));
    let folder = std::env::temp_dir().join(format!("millrace-man-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a directory");
    let said = run(&["man", "--into", folder.to_str().expect("a plain path")]);
    let pages: Vec<String> = std::fs::read_dir(&folder)
        .expect("a directory")
        .map(|page| page.expect("a page").file_name().to_string_lossy().into_owned())
        .collect();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(
        said.status == Some(0) && pages.contains(&"millrace-exclude-add.1".to_owned()),
        "{pages:?} {}",
        said.err
    );
}

#[test]
fn as_a_plugin_its_help_is_kubectls() {
    let folder = std::env::temp_dir().join(format!("millrace-plugin-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a directory");
    let plugin = folder.join("kubectl-millrace");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_millrace"), &plugin).expect("a link");
    let output = Command::new(&plugin).arg("--help").output().expect("it runs");
    let _ = std::fs::remove_dir_all(&folder);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("Usage: kubectl millrace <COMMAND>"), "{text}");
}
