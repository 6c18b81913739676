//! kubectl, run with a kubeconfig of its own and nothing of the user's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The one of `KUBEBUILDER_ASSETS`, else the machine's.
pub(crate) fn program() -> PathBuf {
    let assets = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS").unwrap_or_default());
    let program = Some(assets.join("kubectl")).filter(|program| program.is_absolute() && program.exists());
    program.unwrap_or_else(|| PathBuf::from("kubectl"))
}

/// Runs `program`; `home` is where it may keep what it learns.
pub(crate) fn run(program: &Path, kubeconfig: &Path, home: &Path, args: &[&str], stdin: &str) -> Output {
    // It keeps what it learnt below its home, and must not once the janitor was there.
    let mut kubectl = Command::new("setpriv");
    kubectl.args(["--pdeathsig", "KILL", "--"]).arg(program);
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(args);
    kubectl.env("HOME", home).env_remove("KUBECONFIG");
    let pipes = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("kubectl runs");
    let mut input = child.stdin.take().expect("stdin is a pipe");
    let text = stdin.to_owned();
    // It may end before it has read everything; what it says about that is in its output.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("kubectl is waited for");
    let _ = writer.join();
    output
}

/// What it printed, if it succeeded.
pub(crate) fn done(output: Output, args: &[&str]) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {args:?}: {said}");
    String::from_utf8(output.stdout).expect("kubectl prints text")
}
