//! The real programs the tests call, where they are, and which version each says it is.
//!
//! Nothing is installed here: a missing one makes its test "not run" with the way to get it.

use crate::absent::not_run;
use crate::node::{outcome, text};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How whatever is missing is had.
const INSTALL: &str = "scripts/install test";

/// The parts one test stands on.
pub struct Parts {
    test: &'static str,
    kept: PathBuf,
    missing: Vec<String>,
    versions: Vec<String>,
}

impl Parts {
    /// None yet, for the test of that name; every one of them needs root. `kept` is where the installer unpacked and built:
    /// `callers` in Cargo's target directory.
    pub fn of(test: &'static str, kept: PathBuf) -> Parts {
        let mut parts = Parts { test, kept, missing: Vec::new(), versions: Vec::new() };
        if !rustix::process::geteuid().is_root() {
            parts.missing.push("root".to_owned());
        }
        parts
    }

    /// A program of the machine, in one of the folders of a root's PATH.
    pub fn program(&mut self, name: &str, version: &str) -> PathBuf {
        let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
        let found = folders.into_iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        self.at(found.unwrap_or_else(|| PathBuf::from(name)), version)
    }

    /// A program that the installer unpacked or built below `target/callers`.
    pub fn fetched(&mut self, path: &str, version: &str) -> PathBuf {
        self.at(self.kept.join(path), version)
    }

    /// A program at a path, asked for its version by that argument.
    fn at(&mut self, path: PathBuf, version: &str) -> PathBuf {
        if let Some(said) = self.ask(&path, version) {
            self.versions.push(said.lines().next().unwrap_or_default().to_owned());
        }
        path
    }

    /// The folder of this release's reference plugins.
    pub fn plugins(&mut self) -> PathBuf {
        self.reference("/usr/lib/cni".into())
    }

    /// The folder of newer ones, which take lists of version 1.1.0.
    pub fn newer_plugins(&mut self) -> PathBuf {
        self.reference(self.kept.join("plugins/usr/lib/cni"))
    }

    /// They know no version of their own but the protocol's.
    fn reference(&mut self, folder: PathBuf) -> PathBuf {
        if let Some(said) = self.ask(&folder.join("bridge"), "--version") {
            let newest = said.split_whitespace().next_back().unwrap_or("no version");
            self.versions.push(format!("bridge up to CNI {newest}"));
        }
        folder
    }

    /// libcni's cnitool, which cannot be asked: the installer wrote down what it was built from.
    pub fn cnitool(&mut self) -> PathBuf {
        let path = self.file("cnitool");
        let source = std::fs::read_to_string(self.file("cnitool.source")).unwrap_or_default();
        self.versions.push(format!("cnitool of {}", source.trim()));
        path
    }

    /// What a program says to an argument; nothing if it is missing or does not run.
    fn ask(&mut self, path: &Path, argument: &str) -> Option<String> {
        if !path.exists() {
            self.missing.push(path.display().to_string());
            return None;
        }
        let output = outcome(Command::new(path).arg(argument));
        let said = text(&output.stdout) + &text(&output.stderr);
        if !output.status.success() {
            self.missing.push(format!("a {} that runs here ({})", path.display(), said.trim()));
            return None;
        }
        Some(said)
    }

    /// A file that the installer made.
    fn file(&mut self, name: &str) -> PathBuf {
        let path = self.kept.join(name);
        self.need(path.exists(), &path.display().to_string());
        path
    }

    /// What a sandbox of containerd's CRI needs: an image, a runtime for it, and a client.
    pub fn cri(&mut self) {
        self.pause();
        self.program("runc", "--version");
        self.program("protoc", "--version");
        let modules = outcome(Command::new("/usr/bin/python3").args(["-c", "import grpc, google.protobuf"]));
        self.need(modules.status.success(), "python3-grpcio and python3-protobuf");
    }

    /// The image of the tests.
    pub fn pause(&mut self) {
        self.file("pause.tar");
    }

    /// Whether a version told so far contains these words.
    pub fn said(&self, words: &str) -> bool {
        self.versions.iter().any(|version| version.contains(words))
    }

    /// Another thing that must hold.
    pub fn need(&mut self, holds: bool, what: &str) {
        if !holds {
            self.missing.push(what.to_owned());
        }
    }

    /// Whether all are there. Says what is missing, or which versions are used: past the harness, which keeps what a
    /// passing test prints to itself.
    pub fn complete(&self) -> bool {
        if self.missing.is_empty() {
            let line = format!("callers: {}: {}\n", self.test, self.versions.join("; "));
            std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
        } else {
            not_run(self.test, &self.missing.join(", "), INSTALL);
        }
        self.missing.is_empty()
    }
}
