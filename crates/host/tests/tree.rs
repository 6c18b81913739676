//! The packages linked into millrace-cni, as a list a person can read: a new one is a visible diff in `tree.txt`.

use std::process::Command;

/// What runs as root on every node: at most this many packages, ours included (architecture.md §9).
const MOST: usize = 20;

#[test]
fn golden_of_the_linked_packages() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal,no-proc-macro",
            "--package",
            "millrace-host",
        ])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p} {l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo, which runs this test, can be run again");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let mut packages: Vec<String> = text.lines().map(package).collect();
    packages.sort();
    packages.dedup();

    assert!(packages.len() > 3, "too short to be true: {packages:?}");
    assert!(
        packages.len() <= MOST,
        "{} packages are linked, more than {MOST}:\n{}",
        packages.len(),
        packages.join("\n")
    );
    let refused = ["tokio", "kube", "k8s-openapi", "clap", "rustls", "hyper", "axum", "tonic", "tracing"];
    for name in refused {
        let found = packages.iter().find(|package| package.split(':').next() == Some(name));
        assert_eq!(found, None, "{name} never belongs into the file that runs as root on every node");
    }

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tree.txt");
    let found = packages.join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &found).expect("the golden is writable");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, golden, "the linked packages changed; `make golden` rewrites {path}");
}

/// `serde_json v1.0.154 MIT OR Apache-2.0` without the version, whose every change would be noise; Cargo.lock holds it.
fn package(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').filter(|word| !word.starts_with('(')).collect();
    let (name, licence) = (words[0], words[2..].join(" "));
    format!("{name}: {licence}")
}
