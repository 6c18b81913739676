//! A real kube-apiserver over a real etcd, on loopback, for tests of whatever speaks to Kubernetes.
//!
//! RBAC is on; there is no controller and no kubelet: an object is what the test makes it. The programs come from
//! `KUBEBUILDER_ASSETS`. Everything is in a temporary folder, and nothing outlives the test, not even one that is killed:
//! the servers die with the thread that holds them, and a janitor at the end of a pipe removes the folder.

pub mod asked;
pub(crate) mod held;
mod identity;
mod store;

use crate::absent;
use crate::kubectl;
use crate::net::missing;
use crate::node::text;
use crate::wait::until;
use held::Held;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How long a server may take to be ready: it takes 4 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Beside what is in `KUBEBUILDER_ASSETS`.
const NEEDS: [(&str, &str); 2] =
    [("openssl", "apt-get install openssl"), ("setpriv", "apt-get install util-linux")];

/// An API server of its own with its store; gone when dropped.
#[derive(Debug)]
pub struct Apiserver {
    kind: Kind,
    assets: PathBuf,
    folder: PathBuf,
    /// Bound, never listening: while the server is away nobody else gets its port.
    place: Socket,
    server: Mutex<Option<Held>>,
    etcd: Option<Held>,
    janitor: Child,
}

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// kube-apiserver.
    Whole,
    /// The same, but more is forbidden, and who asked for what is written down.
    Strict,
    /// The part of one that serves custom resources; see `crdserver`.
    Custom,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Whole | Kind::Strict => "kube-apiserver",
            Kind::Custom => "crdserver",
        }
    }
}

impl Apiserver {
    /// Starts one and waits until it is ready. `None` after saying that `test` is not run where a program is missing.
    pub fn start(test: &str) -> Option<Apiserver> {
        Apiserver::of(Kind::Whole, test)
    }

    /// One that forbids what some clusters forbid beside (OpenShift's: to name an owner that one may not finalize), and writes
    /// down who asked for what; see [`asked::by`].
    pub fn strict(test: &str) -> Option<Apiserver> {
        Apiserver::of(Kind::Strict, test)
    }

    pub(crate) fn of(kind: Kind, test: &str) -> Option<Apiserver> {
        let assets = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS").unwrap_or_default());
        let programs = ["etcd", kind.program(), "kubectl"];
        if let Some(program) = programs.iter().find(|program| !assets.join(program).exists()) {
            let how = "make test does where shared/kube lies beside the clone; elsewhere name a folder of them in \
                       KUBEBUILDER_ASSETS";
            absent::not_run(test, &format!("{program} in KUBEBUILDER_ASSETS"), how);
            return None;
        }
        if let Some((program, how)) = missing(&NEEDS) {
            absent::not_run(test, program, how);
            return None;
        }
        let folder = held::folder();
        let janitor = held::janitor(&folder);
        let mut api = Apiserver {
            kind,
            assets: std::path::absolute(assets).expect("there is a working directory"),
            place: place(),
            server: Mutex::new(None),
            etcd: None,
            janitor,
            folder,
        };
        identity::make(&api.folder, &api.url());
        api.etcd = Some(Held::start(store::command(&api.assets, &api.folder, &api.janitor)));
        api.restart();
        Some(api)
    }

    /// One for all tests of a program that leave it running and keep to objects of their own. It goes with the program.
    pub fn shared(test: &str) -> Option<&'static Apiserver> {
        static SHARED: OnceLock<Option<Apiserver>> = OnceLock::new();
        let mut first = false;
        let shared = SHARED.get_or_init(|| {
            first = true;
            Apiserver::start(test)
        });
        if shared.is_none() && !first {
            // Each test says for itself that it is not run.
            drop(Apiserver::start(test));
        }
        shared.as_ref()
    }

    /// Where it is: `https://127.0.0.1:PORT`, also while it is stopped.
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The same as an address.
    pub fn address(&self) -> SocketAddr {
        let address = self.place.local_addr().expect("it is bound");
        address.as_socket().expect("it is of IPv4")
    }

    /// A folder of its own that goes with it, for what a test wants to keep.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The certificate that its own is signed with.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// The kubeconfig of a user with a client certificate, made now; such a user may do what RBAC says.
    pub fn user(&self, name: &str, groups: &[&str]) -> PathBuf {
        identity::user(&self.folder, &self.url(), name, groups)
    }

    /// A token of a service account, which is made when it is not there; good for an hour, and until the account goes.
    pub fn token(&self, namespace: &str, account: &str) -> String {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let found = self.kubectl(&["get", "--raw", &format!("{accounts}/{account}")], "");
        if !found.status.success() {
            self.done(&["create", "serviceaccount", "-n", namespace, account], "");
        }
        let request = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}"#;
        let reply =
            self.done(&["create", "--raw", &format!("{accounts}/{account}/token"), "-f", "-"], request);
        let reply: serde_json::Value = serde_json::from_str(&reply).expect("a TokenRequest is JSON");
        reply["status"]["token"].as_str().expect("a TokenRequest has a token").to_owned()
    }

    /// Lets `user` use `verbs` on `resources` (lists with commas) in every namespace; returns once the server does.
    pub fn allow(&self, user: &str, verbs: &str, resources: &str) {
        let name = format!("rig:{user}:{resources}");
        let role = [format!("--verb={verbs}"), format!("--resource={resources}")];
        self.done(&["create", "clusterrole", &name, &role[0], &role[1]], "");
        let binding = [format!("--clusterrole={name}"), format!("--user={user}")];
        self.done(&["create", "clusterrolebinding", &name, &binding[0], &binding[1]], "");
        let last = resources.rsplit(',').next().unwrap_or_default();
        let asked = ["auth", "can-i", verbs.split(',').next().unwrap_or_default(), last, "-A", "--as", user];
        // The authorizer learns of it by a watch of its own.
        until(&format!("{user} may {verbs} {resources}"), PATIENCE, || {
            let output = self.kubectl(&asked, "");
            output.status.success().then_some(()).ok_or_else(|| text(&output.stdout))
        });
    }

    /// A kubeconfig whose user has the token that is in `file`, each time it is read.
    pub fn with_token_file(&self, file: &Path) -> PathBuf {
        identity::token_user(&self.folder, &self.url(), file)
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        kubectl::run(&self.assets.join("kubectl"), &self.kubeconfig(), &self.folder, args, stdin)
    }

    /// Runs kubectl as the administrator, which must succeed; what it prints.
    pub fn done(&self, args: &[&str], stdin: &str) -> String {
        kubectl::done(self.kubectl(args, stdin), args)
    }

    /// Kills the server, at once and unasked (with watches open it would not end otherwise). Its data and port stay.
    pub fn stop(&self) {
        *self.held() = None;
    }

    /// Starts the server again, on the same data and port, and waits until it is ready.
    pub fn restart(&self) {
        self.stop();
        *self.held() = Some(Held::start(self.command()));
        until("the API server is ready", PATIENCE, || {
            let log = std::fs::read_to_string(self.folder.join("apiserver.log")).unwrap_or_default();
            let over = self.held().as_ref().is_none_or(Held::is_over);
            assert!(!over, "the API server has ended:\n{}", tail(&log, 30));
            self.is_ready().then_some(()).ok_or_else(|| tail(&log, 30))
        });
    }

    /// Makes it hang: connections stay open and nobody answers. `thaw` ends it.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Moves etcd's revision on and compacts it: a watch that begins again at an older one is told 410 Gone, by a server
    /// that started after this (one that runs may still remember).
    pub fn compact(&self) {
        store::compact(&self.folder);
    }

    /// Takes an object's key out of etcd, behind the back of a server that is stopped: `/registry/pods/NAMESPACE/NAME`.
    pub fn remove(&self, key: &str) {
        store::remove(&self.folder, key);
    }

    fn command(&self) -> Command {
        let mut command = held::command(
            &self.assets.join(self.kind.program()),
            &self.folder,
            "apiserver.log",
            &self.janitor,
        );
        command.arg(format!("--secure-port={}", self.address().port()));
        command.args([
            "--etcd-servers=unix://client:0",
            "--bind-address=127.0.0.1",
            "--permit-port-sharing",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            "--client-ca-file=ca.crt",
        ]);
        if self.kind == Kind::Custom {
            return command;
        }
        command.args([
            // What the service "kubernetes" would lead to; loopback is refused, and nobody asks.
            "--advertise-address=192.0.2.1",
            "--service-account-key-file=accounts.pub",
            "--service-account-signing-key-file=accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            // Nobody makes a namespace's account "default", which it wants every pod to have.
            "--disable-admission-plugins=ServiceAccount",
        ]);
        if self.kind == Kind::Strict {
            command.arg("--enable-admission-plugins=OwnerReferencesPermissionEnforcement");
            command.args(asked::flags(&self.folder));
        }
        command
    }

    fn is_ready(&self) -> bool {
        let ready =
            |path| self.kubectl(&["get", "--raw", path, "--request-timeout=10s"], "").status.success();
        ready("/readyz") && (self.kind == Kind::Custom || ready("/api/v1/namespaces/default"))
    }

    fn signal(&self, signal: Signal) {
        let held = self.held();
        let done = held.as_ref().expect("the API server was started").signal(signal);
        done.unwrap_or_else(|cause| panic!("{signal:?} to the API server: {cause}"));
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Apiserver {
    fn drop(&mut self) {
        self.stop();
        self.etcd = None;
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// A port that is ours. The server shares it by SO_REUSEPORT, so that there is no moment in which it is free.
fn place() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket is to be had");
    socket.set_reuse_port(true).expect("Linux has SO_REUSEPORT");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("loopback has a free port");
    socket
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Apiserver, PATIENCE, until};
    use std::path::Path;
    use std::process::{Command, Stdio};

    const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"one","namespace":"default"},
        "spec":{"nodeName":"n1","containers":[{"name":"app","image":"none"}]}}"#;

    #[test]
    fn it_keeps_what_it_is_told_and_knows_who_asks() {
        let test = "apiserver::it_keeps_what_it_is_told_and_knows_who_asks";
        let Some(api) = Apiserver::start(test) else { return };
        api.done(&["create", "-f", "-"], POD);
        let file = api.folder().join("token");
        std::fs::write(&file, api.token("default", "agent")).unwrap();
        api.allow("system:serviceaccount:default:agent", "get,list,watch", "pods,namespaces");
        let account = api.with_token_file(&file).into_os_string().into_string().unwrap();
        let stranger = api.user("eve", &["others"]).into_os_string().into_string().unwrap();
        let get = |config: &str| {
            let output = api.kubectl(&["--kubeconfig", config, "get", "pod", "one", "-o", "name"], "");
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        assert_eq!(get(&account), (true, String::new()));
        let (allowed, said) = get(&stranger);
        assert!(!allowed && said.contains("\"eve\""), "{said}");

        let url = api.url();
        api.stop();
        assert!(!get(&account).0, "it is stopped");
        api.remove("/registry/pods/default/one");
        api.compact();
        api.restart();
        assert_eq!(api.url(), url);
        let (found, said) = get(&account);
        assert!(!found && said.contains("NotFound"), "{said}");
        let old = ["get", "--raw", "/api/v1/pods?watch=1&resourceVersion=2&timeoutSeconds=20"];
        let watched = api.kubectl(&old, "");
        let said = String::from_utf8_lossy(&watched.stdout);
        assert!(said.contains("410"), "{said} {}", String::from_utf8_lossy(&watched.stderr));

        let folder = api.folder().to_owned();
        drop(api);
        assert!(!folder.exists());
    }

    /// Runs one in a process of its own, kills that, and looks for what is left.
    #[test]
    fn a_killed_test_leaves_nothing() {
        if std::env::var_os("MILLRACE_RIG_VICTIM").is_some() {
            let api = Apiserver::start("apiserver::victim").unwrap();
            println!("\nfolder {}", api.folder().display());
            // Until it is killed: nobody writes.
            let _ = std::io::stdin().read_line(&mut String::new());
            return;
        }
        let test = "apiserver::a_killed_test_leaves_nothing";
        let Some(_) = std::env::var_os("KUBEBUILDER_ASSETS") else { return drop(Apiserver::start(test)) };
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "apiserver::tests::a_killed_test_leaves_nothing", "--nocapture"])
            .env("MILLRACE_RIG_VICTIM", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(victim.stdout.take().unwrap());
        let folder = std::io::BufRead::lines(out)
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("folder ").map(str::to_owned))
            .expect("the victim started");
        victim.kill().unwrap();
        victim.wait().unwrap();
        until("nothing of it is left", PATIENCE, || {
            let (there, left) = (Path::new(&folder).exists(), inside(&folder));
            (!there && left.is_empty()).then_some(()).ok_or_else(|| format!("{folder}: {there}, {left:?}"))
        });
    }

    /// The processes that work in `folder`.
    fn inside(folder: &str) -> Vec<String> {
        let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let there = all.filter(|entry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        });
        there.map(|entry| entry.path().display().to_string()).collect()
    }
}
