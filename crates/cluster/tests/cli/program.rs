//! Runs the built program as a user does, with nothing of this machine's environment that changes what it prints.

use std::path::Path;
use std::process::{Command, Output};

/// The program with these arguments and an environment of its own.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    for name in ["LANG", "LC_ALL", "LC_MESSAGES", "NO_COLOR", "KUBECONFIG", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// What came of it: status, standard output, standard error.
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Said {
    command(args).output().expect("millrace runs").into()
}

/// Compares a text with a golden file; `UPDATE_GOLDEN=1` rewrites it.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file is writable");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
    assert!(text == expected, "{name}: UPDATE_GOLDEN=1 rewrites it; found:\n{text}");
}

/// Ages depend on the day, and how wide their column is; all else is what it was said to be.
pub(crate) fn ageless(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = &rest[..rest.bytes().take_while(u8::is_ascii_alphanumeric).count()];
        let digits = word.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let behind = rest[word.len()..].trim_start_matches(' ');
            let blanks = (rest.len() - word.len() - behind.len()).min(2);
            shown.push_str(&format!("AGE{}", " ".repeat(blanks)));
            rest = behind;
            continue;
        }
        let end = word.len().max(first.len_utf8());
        shown.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    shown
}
