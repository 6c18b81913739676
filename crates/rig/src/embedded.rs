//! The product's own API server in memory (`millrace apiserver`), for tests: a process of its own, on loopback, gone when dropped.

use crate::apiserver::Apiserver;
use crate::apiserver::held::{self, Held};
use crate::kubectl;
use crate::wait::until_in;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::Duration;

/// How long it may take to listen: milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API server in memory.
#[derive(Debug)]
pub struct Embedded {
    folder: PathBuf,
    url: String,
    server: Option<Held>,
    janitor: Child,
}

impl Embedded {
    /// Starts `program`, which is `env!("CARGO_BIN_EXE_millrace")`, with more flags of `millrace apiserver`.
    pub fn start(program: impl AsRef<Path>, flags: &[&str]) -> Embedded {
        let folder = held::folder();
        let janitor = held::janitor(&folder);
        let mut command = held::command(program.as_ref(), &folder, "apiserver.log", &janitor);
        let kubeconfig = folder.join("admin.kubeconfig");
        command.args(["apiserver", "--kubeconfig"]).arg(&kubeconfig).args(flags);
        let server = Held::start(command);
        // The file is there once it listens.
        until_in(&folder, "the API server in memory listens", PATIENCE, || {
            let log = || std::fs::read_to_string(folder.join("apiserver.log")).unwrap_or_default();
            assert!(!server.is_over(), "the API server in memory has ended:\n{}", log());
            if kubeconfig.exists() { Ok(()) } else { Err(log()) }
        });
        let text = std::fs::read_to_string(&kubeconfig).expect("it is there");
        let url =
            text.lines().find_map(|line| line.trim().strip_prefix("server: ")).expect("it names the server");
        Embedded { url: url.to_owned(), folder, server: Some(server), janitor }
    }

    /// Where it is: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder of its own that goes with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A kubeconfig without a credential.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// Runs kubectl, of `KUBEBUILDER_ASSETS` or else the machine's.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        kubectl::run(&kubectl::program(), &self.kubeconfig(), &self.folder, args, stdin)
    }

    /// Runs kubectl, which must succeed; what it prints.
    pub fn done(&self, args: &[&str], stdin: &str) -> String {
        kubectl::done(self.kubectl(args, stdin), args)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.server = None;
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// What a test asks of an API server, whichever it is.
pub trait Api {
    /// The kubeconfig of who may do everything.
    fn kubeconfig(&self) -> PathBuf;
    /// A folder that goes with the server, for what a test wants to keep.
    fn folder(&self) -> &Path;
    /// Runs kubectl as who may do everything.
    fn kubectl(&self, args: &[&str], stdin: &str) -> Output;
    /// Runs kubectl, which must succeed; what it prints.
    fn done(&self, args: &[&str], stdin: &str) -> String {
        kubectl::done(self.kubectl(args, stdin), args)
    }
    /// kubectl, for who runs it by himself.
    fn program(&self) -> PathBuf {
        kubectl::program()
    }
}

/// An API server that a test asks the same of, whichever it is.
#[derive(Debug)]
pub enum Server {
    /// In memory.
    Embedded(Embedded),
    /// kube-apiserver with etcd, which other tests use too.
    Real(&'static Apiserver),
    /// The same, for one test alone.
    Own(Box<Apiserver>),
}

impl Server {
    /// The one in memory, without controllers as the real one is, and that where it can be had; `test` is said not to run
    /// against it where it cannot.
    /// The real one is shared by all tests of a program: keep to objects of your own.
    pub fn each(test: &str, program: impl AsRef<Path>) -> Vec<Server> {
        let mut servers = vec![Server::Embedded(Embedded::start(program, &["--no-controllers"]))];
        servers.extend(Apiserver::shared(&format!("{test} (against kube-apiserver)")).map(Server::Real));
        servers
    }

    /// The same, each for this test alone: what it makes of the whole cluster is nobody else's.
    pub fn each_alone(test: &str, program: impl AsRef<Path>) -> Vec<Server> {
        let mut servers = vec![Server::Embedded(Embedded::start(program, &["--no-controllers"]))];
        servers.extend(
            Apiserver::start(&format!("{test} (against kube-apiserver)")).map(Box::new).map(Server::Own),
        );
        servers
    }

    /// How messages name it.
    pub fn name(&self) -> &'static str {
        match self {
            Server::Embedded(_) => "millrace apiserver",
            Server::Real(_) | Server::Own(_) => "kube-apiserver",
        }
    }

    /// The kubeconfig of who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Server::Embedded(server) => server.kubeconfig(),
            Server::Real(server) => server.kubeconfig(),
            Server::Own(server) => server.kubeconfig(),
        }
    }

    /// Runs kubectl as that one.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        match self {
            Server::Embedded(server) => server.kubectl(args, stdin),
            Server::Real(server) => server.kubectl(args, stdin),
            Server::Own(server) => server.kubectl(args, stdin),
        }
    }

    /// Runs kubectl, which must succeed; what it prints.
    pub fn done(&self, args: &[&str], stdin: &str) -> String {
        kubectl::done(self.kubectl(args, stdin), args)
    }
}

impl Api for Server {
    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig()
    }

    fn folder(&self) -> &Path {
        match self {
            Server::Embedded(server) => server.folder(),
            Server::Real(server) => server.folder(),
            Server::Own(server) => server.folder(),
        }
    }

    fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        self.kubectl(args, stdin)
    }
}

impl Api for Apiserver {
    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig()
    }

    fn folder(&self) -> &Path {
        self.folder()
    }

    fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        self.kubectl(args, stdin)
    }
}
