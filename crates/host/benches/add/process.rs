//! A program run as a container runtime runs a plugin: pipes, an environment, standard input written, standard output read to its end.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

/// What a program is given.
#[derive(Clone, Default)]
pub(crate) struct Call {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// Its whole environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Its standard input.
    pub(crate) input: Vec<u8>,
}

impl Call {
    /// A program with input.
    pub(crate) fn new(words: &[&str], input: impl Into<Vec<u8>>) -> Call {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Call { words, environment: Vec::new(), input: input.into() }
    }

    /// Starts it and hands over its input.
    pub(crate) fn start(&self) -> Running<'_> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap_or_else(|cause| panic!("{}: {cause}", self.words[0]));
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // Less than a pipe holds, so that writing never waits for the program.
        assert!(self.input.len() < 60_000, "the input fits a pipe");
        let written = stdin.write_all(&self.input).is_ok();
        Running { call: self, child, written }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) {
        self.start().finish();
    }
}

/// A program at work.
pub(crate) struct Running<'a> {
    call: &'a Call,
    child: Child,
    written: bool,
}

impl Running<'_> {
    /// Reads its output to the end and waits for it. Panics with what it said if it failed.
    pub(crate) fn finish(mut self) {
        let mut said = Vec::new();
        let mut stdout = self.child.stdout.take().expect("stdout is a pipe");
        stdout.read_to_end(&mut said).expect("a pipe can be read");
        let status = self.child.wait().expect("a child can be waited for");
        if !status.success() || !self.written {
            let mut stderr = self.child.stderr.take().expect("stderr is a pipe");
            stderr.read_to_end(&mut said).expect("a pipe can be read");
            panic!("{:?} ended with {status}: {}", self.call.words, String::from_utf8_lossy(&said));
        }
    }
}
