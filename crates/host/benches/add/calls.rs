//! What is run: requests as containerd gives them, and the programs that others would use for the same rules.

use crate::process::Call;
use crate::space::Space;
use crate::{agent, batch};
use millrace_core::cni::Entry;
use millrace_core::dialect::{iptables, text};
use millrace_core::rules::plan::plan;
use millrace_core::rules::removal::Removal;
use millrace_core::rules::{Family, Plan, RuleSet};
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Everything that is run.
pub(crate) struct Calls {
    /// The floor: a process that gives back what it is given.
    pub(crate) echo: Call,
    /// A pod without a sidecar.
    pub(crate) outside: Call,
    /// A pod of the mesh whose stamp says all.
    pub(crate) stamped: Call,
    /// A pod of the mesh that the agent must be asked about.
    pub(crate) through_agent: Call,
    /// The routes and rules of a stamped pod.
    pub(crate) plan: Plan,
    /// The batch that a stamped pod's ADD sends.
    pub(crate) batch: Vec<u8>,
    /// The programs others use, for the same rules, both families.
    pub(crate) beside: Vec<(&'static str, Vec<Call>)>,
    /// Gone at the end.
    _folder: Folder,
}

impl Calls {
    /// Prepares them; starts the stub agent.
    pub(crate) fn new() -> Calls {
        let folder = Folder::new();
        let settings = Settings::default();
        let stamp = stamp::write(&Stamp::Redirect(Box::new(settings.clone())));
        let socket = agent::start(&folder.0, stamp.clone());
        let plan = plan(&settings, Families::Both);
        let request = |annotations: Value| request(&folder.0, &socket, annotations);
        let stamped = add(request(json!({ STAMP_ANNOTATION: stamp, STATUS: STATUS_VALUE })));
        Calls {
            echo: Call::new(&[&program("MILLRACE_ECHO")], stamped.input.clone()),
            outside: add(request(json!({ "kubernetes.io/config.source": "api" }))),
            through_agent: add(request(json!({ STATUS: STATUS_VALUE }))),
            stamped,
            batch: iptables::write(&plan.rules, &Removal::default()).bytes,
            beside: vec![
                ("iptables-legacy-restore", restore("legacy", &plan.rules)),
                ("iptables-nft-restore", restore("nft", &plan.rules)),
                ("nft -f", vec![Call::new(&["/usr/sbin/nft", "-f", "-"], batch::NFT)]),
            ],
            plan,
            _folder: folder,
        }
    }
}

/// What an injector leaves on a pod of the mesh.
const STATUS: &str = "sidecar.istio.io/status";
const STATUS_VALUE: &str = r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"],"volumes":["istio-envoy"],"revision":"default"}"#;

/// The call for this namespace.
pub(crate) fn on(call: &Call, space: &Space) -> Call {
    let mut call = call.clone();
    let path = space.path().to_str().expect("a path of ours is text").to_owned();
    // One container for each namespace, as a runtime has it.
    let container = format!("{:0>64}", path.rsplit('/').next().unwrap_or_default());
    call.environment.push(("CNI_CONTAINERID", container));
    call.environment.push(("CNI_NETNS", path));
    call
}

fn add(input: Vec<u8>) -> Call {
    let mut call = Call::new(&[&program("MILLRACE_CNI")], input);
    let pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=reviews-v1-5b9c4f7d8-x2x7q;\
               K8S_POD_UID=0d1f6a3e-7c2b-4d7e-9a55-2f1f0c9b8e11";
    call.environment = vec![
        ("CNI_COMMAND", "ADD".to_owned()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_PATH", "/opt/cni/bin".to_owned()),
        ("CNI_ARGS", pod.to_owned()),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
    ];
    call
}

fn request(folder: &Path, socket: &Path, annotations: Value) -> Vec<u8> {
    let text = |path: &Path| path.to_str().expect("a path of ours is text").to_owned();
    let entry = Entry {
        agent_socket: text(socket),
        event_socket: text(&folder.join("events.sock")),
        state_dir: text(folder),
        ..Entry::default()
    };
    let mut request = entry.write();
    let mut put = |key: &str, value: Value| drop(request.insert(key.to_owned(), value));
    put("cniVersion", json!("1.0.0"));
    put("name", json!("bench"));
    put("runtimeConfig", json!({ "io.kubernetes.cri.pod-annotations": annotations }));
    put(
        "prevResult",
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": "cni0", "mac": "3e:17:88:1d:de:01" },
                { "name": "veth9f2c61d4", "mac": "7a:5e:3a:0c:11:02" },
                { "name": "eth0", "mac": "ce:60:4c:b4:4a:03", "sandbox": "/run/netns/cni-1" }
            ],
            "ips": [
                { "interface": 2, "address": "198.51.100.7/24", "gateway": "198.51.100.1" },
                { "interface": 2, "address": "2001:db8::7/64", "gateway": "2001:db8::1" }
            ],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
            "dns": {}
        }),
    );
    serde_json::to_vec(&request).expect("a map can be written")
}

fn restore(variant: &str, rules: &RuleSet) -> Vec<Call> {
    let families = [("iptables", Family::V4), ("ip6tables", Family::V6)];
    let call = |(name, family)| {
        let program = format!("/usr/sbin/{name}-{variant}-restore");
        Call::new(&[&program], text::write(rules, family))
    };
    families.map(call).into()
}

fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run scripts/bench"))
}

/// A folder on a tmpfs, as on a node, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let path = PathBuf::from(format!("/dev/shm/millrace-bench-{}", std::process::id()));
        std::fs::create_dir(&path).expect("/dev/shm takes a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
