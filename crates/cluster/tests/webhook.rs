//! `millrace webhook`: the built program standing alone, its folder, its file of wishes, and what it prints at its end.

use millrace_rig::wait::until;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own and what runs in it; both go with it.
struct Scene {
    folder: PathBuf,
    server: Option<(Child, String)>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let folder = std::env::temp_dir().join(format!("millrace-webhook-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Scene { folder, server: None }
    }

    fn wish(&self, text: &str) {
        std::fs::write(self.folder.join("wishes.yaml"), text).expect("a file");
    }

    fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(["webhook", "--listen", "127.0.0.1:0", "--certs"]).arg(&self.folder);
        command.arg("--wishes").arg(self.folder.join("wishes.yaml"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("millrace runs");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut lines = lines.map_while(Result::ok);
        let address =
            lines.find_map(|line| Some(line.split_once("https://")?.1.split_once('/')?.0.to_owned()));
        // What it says further is of no interest, but must be read.
        std::thread::spawn(move || lines.for_each(drop));
        self.server = Some((child, address.expect("it says where it serves")));
    }

    /// Ends it as Kubernetes does; what it prints.
    fn end(&mut self) -> String {
        let (mut child, _) = self.server.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let mut printed = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut printed).expect("text");
        assert!(child.wait().expect("it is waited for").success());
        printed
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).expect("the file is there")
    }

    /// Whether the stamp is put on a pod, asked as an API server asks.
    fn stamps(&self) -> bool {
        let mut roots = RootCertStore::empty();
        let bundle = self.read("ca.crt");
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (_, address) = self.server.as_ref().expect("it runs");
        let socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut stream = StreamOwned::new(client, socket);
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "7", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": "CREATE", "namespace": "shop",
            "object": { "metadata": { "annotations": { "sidecar.istio.io/status": "{}" } },
                "spec": { "containers": [{ "name": "app" }, { "name": "istio-proxy" }] } } } })
        .to_string();
        let head = format!(
            "POST /inject HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: {}",
            review.len()
        );
        write!(stream, "{head}\r\n\r\n{review}").expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["response"]["uid"], "7", "{body}");
        body["response"]["patch"].is_string()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("the file is there").permissions().mode() & 0o777
}

#[test]
fn it_follows_its_file_and_keeps_its_certificates() {
    let mut scene = Scene::new("follows");
    scene.wish("mode: CNI\n");
    scene.start();
    assert!(scene.stamps());
    assert_eq!(mode(&scene.folder.join("secret.json")), 0o600, "it holds keys");
    scene.wish("mode: Disabled\n");
    // It looks each second.
    until("the changed wishes are followed", PATIENCE, || {
        (!scene.stamps()).then_some(()).ok_or("pods are still stamped".to_owned())
    });
    // Nonsense changes nothing.
    scene.wish("mode: Sideways\n");
    assert!(!scene.stamps());
    let authority = scene.read("ca.crt");
    let counted = scene.end();
    assert!(counted.contains("millrace_admissions_total{outcome=\"stamped\",reason=\"none\"}"), "{counted}");

    scene.wish("{}");
    scene.start();
    assert!(scene.stamps());
    assert_eq!(scene.read("ca.crt"), authority, "what was kept is served again");
    scene.end();
    let broken = scene.read("secret.json").replace("BEGIN PRIVATE", "BEGIN BROKEN");
    std::fs::write(scene.folder.join("secret.json"), broken).expect("a file");
    scene.start();
    assert!(scene.stamps(), "what cannot be used is made anew");
    assert_ne!(scene.read("ca.crt"), authority);
}

#[test]
fn it_says_what_it_cannot_begin_with() {
    let check = |args: &[&str], says: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("webhook").args(args).output();
        let output = output.expect("millrace runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    };
    let scene = Scene::new("begins");
    let folder = scene.folder.to_str().expect("a plain path");
    scene.wish("mode: Sideways\n");
    let wishes = scene.folder.join("wishes.yaml");
    let listen = ["--certs", folder, "--listen", "127.0.0.1:0"];
    check(
        &[&listen[..], &["--wishes", wishes.to_str().expect("a plain path")]].concat(),
        "read the wishes in ",
    );
    check(&[&listen[..], &["--name", "ümlaut"]].concat(), "make the webhook's certificate: ");
    check(
        &["--certs", "/nowhere/at/all", "--listen", "127.0.0.1:0"],
        "keep the certificates in /nowhere/at/all: ",
    );
    check(&["--certs", folder, "--listen", "192.0.2.1:1"], "give --listen an address of this machine");
}
