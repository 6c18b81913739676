//! A running console, and a browser that it let in; and the console of a controller, which lets nobody in unasked.

use crate::cluster::Cluster;
use crate::program::command;
use crate::sound::WIDE;
use millrace_rig::browser::Browser;
use millrace_rig::wait::until;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// `millrace console` of a cluster; ended when dropped.
pub(crate) struct Served {
    child: Child,
    /// Where it is: `http://127.0.0.1:PORT`.
    pub(crate) home: String,
    /// The address that lets in, as it was printed.
    pub(crate) entrance: String,
}

impl Served {
    /// Starts one with more flags.
    pub(crate) fn start(cluster: &Cluster, flags: &[&str]) -> Served {
        Served::with(&cluster.kubeconfig(), flags)
    }

    /// The same, of the cluster that a file names.
    pub(crate) fn with(kubeconfig: &Path, flags: &[&str]) -> Served {
        let mut command = command(&[&["console"], flags].concat());
        command.env("KUBECONFIG", kubeconfig).stdout(Stdio::piped());
        let mut child = command.spawn().expect("millrace runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("it says where it is");
        let entrance = line.trim().to_owned();
        let (home, _) = entrance.split_once("/login?").expect("an address and a token");
        Served { child, home: home.to_owned(), entrance }
    }

    /// Lets a browser in, as whoever follows the printed address gets in.
    pub(crate) fn admit(&self, browser: &Browser) {
        browser.go(&self.entrance);
        browser.look(WIDE.0, WIDE.1, false);
        browser.until("it is let in", "document.body.dataset.state && location.pathname === '/'");
    }

    /// Goes to a page of it.
    pub(crate) fn go(&self, browser: &Browser, path: &str) {
        browser.go(&format!("{}{path}", self.home));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It keeps nothing that an end could spoil.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `millrace controller` with a console; ended when dropped.
pub(crate) struct Controller {
    child: Child,
    /// Where its console is: `http://127.0.0.1:PORT`.
    pub(crate) home: String,
}

impl Controller {
    /// Starts one for a cluster that has none.
    pub(crate) fn start(cluster: &Cluster) -> Controller {
        let held = TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr());
        let address = held.expect("loopback has a free port").to_string();
        let flags = ["--webhook-address=none", "--metrics-address=none", "--linger-seconds=1"];
        let mut command = command(&[&["controller"], &flags[..], &["--console-address", &address]].concat());
        command.arg("--kubeconfig").arg(cluster.kubeconfig()).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("millrace runs");
        until("the console of the controller listens", Duration::from_secs(60), || {
            TcpStream::connect(&address).map(drop).map_err(|why| why.to_string())
        });
        Controller { child, home: format!("http://{address}") }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // What it leaves is in an API server that ends with the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
