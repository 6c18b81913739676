//! A node with one pod in a real namespace, as the audit of its node comes upon it. Part of the tests only.

use super::super::api::{Error, Requests, Target};
use super::super::staged::Proc;
use super::super::*;
use crate::agent::events::Note;
use millrace_core::dialect::Backend;
use millrace_core::pod::Container;
use millrace_core::record::{Key, Record};
use millrace_core::repair::{Act, Finding, Limits};
use millrace_core::rules::compare::compare;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, Stamp};
use millrace_core::status::STATUS_ANNOTATION;
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_rig::net::lab::Lab;
use millrace_rig::net::{Namespace, Who};
use std::cell::OnceCell;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

pub(super) const UID: &str = "0b6e4c7e-9d1c-4a47-8f0e-2f6f3b1f9a01";
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A node with one pod, whose API server remembers what it was asked.
#[derive(Clone, Default)]
pub(super) struct Stage {
    pub(super) pod: Arc<Mutex<Option<Known>>>,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) refuses: Option<Error>,
    pub(super) idle: bool,
    pub(super) told: Option<mpsc::UnboundedSender<Note>>,
}

impl Node for Stage {
    fn uids(&self) -> Vec<String> {
        self.pod.lock().unwrap().iter().map(|pod| pod.uid.clone()).collect()
    }
    fn known(&self, uid: &str) -> Option<Known> {
        self.pod.lock().unwrap().clone().filter(|pod| pod.uid == uid)
    }
    fn mesh(&self) -> Mesh {
        Mesh { excluded_namespaces: vec!["kube-system".to_owned()], ..Mesh::default() }
    }
    fn is_serving(&self) -> bool {
        !self.idle
    }
}

impl Stage {
    fn asked(&self, what: String) -> Result<(), Error> {
        self.asked.lock().unwrap().push(what);
        self.refuses.clone().map_or(Ok(()), Err)
    }
}

impl Requests for Stage {
    async fn evict(&self, pod: &Target) -> Result<(), Error> {
        self.asked(format!("evict {}", pod.uid))
    }
    async fn label(&self, pod: &Target) -> Result<(), Error> {
        self.asked(format!("label {}", pod.uid))
    }
    async fn tell(&self, _: &Target, note: &Note) -> Result<(), Error> {
        let kind = if note.warning { "Warning" } else { "Normal" };
        self.asked.lock().unwrap().push(format!("{kind} {} {}: {}", note.reason, note.action, note.text));
        self.told.as_ref().map_or(Ok(()), |told| told.send(note.clone()).map_err(|_| Error::Gone))
    }
}

pub(super) fn meshed() -> Known {
    let container = |name: &str| Container { name: name.to_owned(), ..Container::default() };
    let pod = Pod {
        namespace: "default".to_owned(),
        name: "reviews".to_owned(),
        uid: Some(UID.to_owned()),
        annotations: [(STATUS_ANNOTATION.to_owned(), "{}".to_owned())].into(),
        containers: vec![container("app"), container("istio-proxy")],
        ..Pod::default()
    };
    let uid = UID.to_owned();
    Known { pod, node_uid: uid.clone(), uid, life: Life::Started, controlled: true, ..Known::default() }
}

/// A pod in a real namespace, as the audit of its node comes upon it.
pub(super) struct Scene {
    pub(super) lab: Lab,
    pub(super) proc: Proc,
    pub(super) stage: Stage,
    proxy: OnceCell<TcpListener>,
}

impl Scene {
    pub(super) fn new(name: &str, pod: Namespace) -> Scene {
        let scene = Scene {
            lab: Lab::around(pod),
            proc: Proc::new(name),
            stage: Stage::default(),
            proxy: OnceCell::new(),
        };
        *scene.stage.pod.lock().unwrap() = Some(meshed());
        scene
    }

    /// Its processes are to be found by their control group, and by nothing else.
    pub(super) fn with_process(self) -> Scene {
        self.proc.process(77, &format!("0::/kubepods/burstable/pod{UID}/c1\n"), &self.lab.pod.path());
        self
    }

    pub(super) fn netns(&self) -> NetNs {
        NetNs::open(&self.lab.pod.path()).unwrap()
    }

    pub(super) fn records(&self) -> Records {
        Records::below(&self.proc.0)
    }

    /// As an ADD leaves it.
    pub(super) fn add(&self, settings: &Settings, backend: Backend, release: &str) {
        let how = Choice::Only(backend);
        backend::apply(&self.netns(), &plan(settings, Families::Both), how, None).unwrap();
        let mount = self.proc.0.join("cni-1");
        symlink(self.lab.pod.path(), &mount).unwrap();
        let text = |text: &str| text.to_owned();
        let record = Record {
            key: Key { network: text("net"), container: text("c1"), interface: text("eth0") },
            netns: mount.to_string_lossy().into_owned(),
            namespace: text("default"),
            name: text("reviews"),
            uid: Some(text(UID)),
            stamp: stamp::write(&Stamp::Redirect(Box::new(settings.clone()))),
            families: Families::Both,
            backend,
            release: Some(text(release)),
        };
        self.records().keep(&record).unwrap();
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Known)) {
        change(self.stage.pod.lock().unwrap().as_mut().unwrap());
    }

    pub(super) fn audit(&self, act: Act) -> Audit<Stage, Stage> {
        Audit::new(self.stage.clone(), self.options(act), Some(self.stage.clone()), Metrics::new("0"))
    }

    pub(super) fn options(&self, act: Act) -> Options {
        let limits = Limits { confirmed_after: Duration::ZERO, ..Limits::default() };
        Options {
            policy: Policy::of(act, &Finding::ALL, limits),
            every: PATIENCE * 60,
            settle: Duration::ZERO,
            longest: PATIENCE,
            at_once: 2,
            proc: self.proc.0.clone(),
            records: self.records(),
            backend: Choice::Auto,
            memory: None,
        }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.stage.asked.lock().unwrap())
    }

    /// What one sweep finds and does.
    pub(super) fn check(
        &self,
        audit: &mut Audit<Stage, Stage>,
        what: &str,
        looked: usize,
        found: usize,
        acted: usize,
    ) {
        let report = block_on(audit.sweep(&CancellationToken::new()));
        let expected = Report { looked, found, acted, ..Report::default() };
        assert_eq!(report, expected, "{what}: {:?}", self.stage.asked.lock().unwrap());
    }

    pub(super) fn is_planned(&self, settings: &Settings) -> bool {
        let (netns, plan) = (self.netns(), plan(settings, Families::Both));
        let found = backend::inspect(&netns).unwrap();
        let intact = found.iter().any(|(_, seen)| compare(&plan.rules, seen).is_clean());
        intact && backend::missing_routes(&netns, &plan).unwrap().is_empty()
    }

    /// Whether what the application sends into the world comes to the proxy.
    pub(super) fn is_captured(&self, world: IpAddr) -> bool {
        // One socket for both families and all the while: a program started meanwhile may hold a closed one until it runs.
        let any: SocketAddr = "[::]:15001".parse().unwrap();
        let bind = || self.lab.pod.within_as(Who::PROXY, || TcpListener::bind(any)).unwrap();
        let proxy = self.proxy.get_or_init(bind);
        let connect = || TcpStream::connect_timeout(&(world, 80).into(), millrace_rig::net::PATIENCE);
        let connected = self.lab.pod.within_as(Who::APP, connect);
        let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        connected.is_ok_and(|stream| {
            let (_, peer) = proxy.accept().unwrap();
            canonical(peer) == canonical(stream.local_addr().unwrap())
        })
    }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
