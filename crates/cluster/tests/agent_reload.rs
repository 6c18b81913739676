//! When a real containerd loads the node's plugin list again: after what the agent does to it, and after what it does not.
//!
//! The agent installs and uninstalls as it does on a node; its steps are taken singly too, with the functions it takes them with
//! (`millrace_host::files`), and beside them what it must not do. After each the debug log tells whether it was loaded, the CRI's status what, and a pod that starts by which chain.

use millrace_core::cni::Entry;
use millrace_core::conflist::{self, Edit};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_host::files::{self, Like, Staged};
use millrace_rig::containerd::Containerd;
use millrace_rig::node::{Node, outcome, run, text};
use millrace_rig::parts::Parts;
use millrace_rig::wait::until;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LISTS: &str = "/etc/cni/net.d";
const LIST: &str = "/etc/cni/net.d/10-mill.conflist";
const OWN_LIST: &str = "/etc/cni/net.d/02-millrace.conflist";
const BIN: &str = "/opt/cni/bin";
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_machines_containerd_loads_the_list_when_it_must() {
    let mut parts = of("the_machines_containerd_loads_the_list_when_it_must");
    let containerd = parts.program("containerd", "--version");
    let plugins = parts.plugins();
    matrix(parts, &containerd, &plugins, "1.0.0");
}

#[test]
fn containerd_2_loads_the_list_when_it_must() {
    let mut parts = of("containerd_2_loads_the_list_when_it_must");
    let containerd = parts.fetched("containerd-2/usr/bin/containerd", "--version");
    let plugins = parts.newer_plugins();
    matrix(parts, &containerd, &plugins, "1.1.0");
}

fn of(test: &'static str) -> Parts {
    Parts::of(test, kept())
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("callers")
}

fn plugin() -> PathBuf {
    millrace_rig::plugin::plugin(Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("millrace-cni"))
}

/// What a step must bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loads {
    /// The list is loaded again, once or more, and the last time as it is after the step.
    Yes,
    /// It is not.
    No,
}

/// A containerd at work, and what is known of it.
struct Scene<'a> {
    node: &'a Node,
    containerd: Containerd<'a>,
    /// How much of its log was read.
    read: usize,
    steps: u32,
}

fn matrix(mut parts: Parts, containerd: &Path, plugins: &Path, version: &str) {
    parts.cri();
    parts.need(plugin().exists(), "millrace-cni (cargo build -p millrace-host)");
    if !parts.complete() {
        return;
    }
    let node = Node::start();
    for name in ["bridge", "host-local", "loopback"] {
        symlink(plugins.join(name), node.file(&format!("{BIN}/{name}"))).expect("the node's folder is empty");
    }
    node.write(LIST, owners(version));
    let mut scene =
        Scene { node: &node, containerd: Containerd::start_talkative(&node, containerd), read: 0, steps: 0 };
    scene.containerd.import(&kept());
    scene.step("nothing", Loads::No, |_| ());
    scene.pod(false);
    installed(&mut scene);
    upgraded(&mut scene);
    not_how_it_is_done(&mut scene, version);
    uninstalled(&mut scene, version);
    by_the_agent(&mut scene, version);
}

/// The binary first, then the entry.
fn installed(scene: &mut Scene<'_>) {
    scene.step("the binary comes", Loads::No, put_binary);
    scene.pod(false);
    scene.step("the entry is swapped in", Loads::Yes, |node| join(node, &Entry::default()));
    scene.pod(true);
    scene.step("a look that finds all right", Loads::No, |node| {
        let list = fs::read_to_string(node.file(LIST)).expect("the list is there");
        assert_eq!(conflist::insert(&list, &Entry::default().write()), Ok(Edit::Unchanged));
    });
}

/// A newer binary, then another entry.
fn upgraded(scene: &mut Scene<'_>) {
    scene.step("the binary is replaced", Loads::No, put_binary);
    scene.pod(true);
    let entry = Entry { agent_timeout: Duration::from_secs(3), ..Entry::default() };
    scene.step("the entry is another", Loads::Yes, |node| join(node, &entry));
    assert!(scene.loaded().contains("agentTimeout"), "{}", scene.loaded());
    scene.pod(true);
}

/// What containerd passes over, so that the installer must not do it, and what it would read half of.
fn not_how_it_is_done(scene: &mut Scene<'_>, version: &str) {
    let before = scene.loaded();
    scene.step("a list is moved in from another folder", Loads::No, |node| {
        node.write("/etc/cni/owners.conflist", owners(version));
        fs::rename(node.file("/etc/cni/owners.conflist"), node.file(LIST)).expect("one file system");
    });
    assert_eq!(scene.loaded(), before, "the node goes on with the chain it had");
    scene.step("a hard link", Loads::No, |node| {
        fs::hard_link(node.file(LIST), node.file(&format!("{LISTS}/05-link.conflist")))
            .expect("one file system");
    });
    scene.step("a folder with a file", Loads::No, |node| {
        node.write(&format!("{LISTS}/vendor/50-x.conf"), "{}")
    });
    scene.step("a mode", Loads::No, |node| {
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(node.file(LIST), mode).expect("a file of the node");
    });
    assert_eq!(scene.loaded(), before);
    scene.step("a removal", Loads::Yes, |node| {
        fs::remove_file(node.file(&format!("{LISTS}/05-link.conflist"))).expect("it is there");
    });
    scene.pod(false);
    scene.step("any other file that is written", Loads::Yes, |node| {
        node.write(&format!("{LISTS}/.poke"), "x")
    });
    scene.step("the guard's repair", Loads::Yes, |node| join(node, &Entry::default()));
    scene.pod(true);
}

/// The entry first, the binary last.
fn uninstalled(scene: &mut Scene<'_>, version: &str) {
    scene.step("the entry is swapped out", Loads::Yes, |node| {
        let Ok(Edit::Changed(without)) = conflist::remove(&list(node)) else { panic!("we are in it") };
        swap(node, &without);
    });
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(read(&list(scene.node)), read(&owners(version)));
    scene.pod(false);
    scene.step("a list of our own comes first", Loads::Yes, |node| {
        let Ok(Edit::Changed(with)) = conflist::insert(&list(node), &Entry::default().write()) else {
            panic!("we are not in it")
        };
        let staged = stage(node, LISTS, &mut with.as_bytes(), 0o600);
        staged.put(&node.file(OWN_LIST), &mut |_| Ok(())).expect("it can be put in place");
    });
    scene.pod(true);
    scene.step("it goes", Loads::Yes, |node| {
        files::remove(&node.file(OWN_LIST), &mut |_| Ok(())).expect("it can be removed");
    });
    scene.pod(false);
    scene.step("the binary goes", Loads::No, |node| {
        files::remove(&node.file(&format!("{BIN}/millrace-cni")), &mut |_| Ok(()))
            .expect("it can be removed");
    });
    scene.pod(false);
}

/// The program itself, which finds its places in containerd's configuration.
fn by_the_agent(scene: &mut Scene<'_>, version: &str) {
    scene.step("the agent installs", Loads::Yes, |node| agent(node, &["--once"]));
    scene.pod(true);
    scene.step("it does so again", Loads::No, |node| agent(node, &["--once"]));
    scene.step("the owner starts again", Loads::Yes, |node| swap(node, &owners(version)));
    scene.pod(false);
    scene.step("the agent repairs", Loads::Yes, |node| agent(node, &["--once"]));
    scene.pod(true);
    scene.step("the agent uninstalls", Loads::Yes, |node| agent(node, &["uninstall", "--purge"]));
    assert_eq!(list(scene.node), owners(version), "every byte is back");
    scene.pod(false);
}

fn agent(node: &Node, arguments: &[&str]) {
    let binary = plugin();
    let mut command = node.command(env!("CARGO_BIN_EXE_millrace"));
    run(command.arg("agent").args(arguments).arg("--binary").arg(binary));
}

impl Scene<'_> {
    /// Takes a step and says whether the list was loaded for it.
    fn step(&mut self, what: &str, loads: Loads, act: impl FnOnce(&Node)) {
        self.steps += 1;
        act(self.node);
        let told = self.told();
        let loads_of = |words: &str| told.lines().filter(|line| line.contains(words)).count();
        let taken =
            if loads_of("receiving change event from cni conf dir") > 0 { Loads::Yes } else { Loads::No };
        assert_eq!(taken, loads, "{what}:\n{told}");
        assert_eq!(loads_of("failed to reload cni configuration"), 0, "{what}:\n{told}");
    }

    /// What its log says of the folder of lists since it was last asked. containerd takes events in their order, and says so
    /// when it passes over one, as over a new folder: then it has taken all before.
    fn told(&mut self) -> String {
        let mark = format!("{LISTS}/mark-{}", self.steps);
        fs::create_dir(self.node.file(&mark)).expect("the node's folders are writable");
        let passed = format!("{mark}\\\"");
        let told = until("containerd tells of the mark", PATIENCE, || {
            let log = self.node.log_of("containerd");
            let new = log.get(self.read..).unwrap_or_default();
            let last = new.lines().find(|line| line.contains("ignore event") && line.contains(&passed));
            let end = last.and_then(|last| Some(new.find(last)? + last.len()));
            let told = end.map(|end| new[..end].to_owned());
            told.ok_or_else(|| format!("nothing of {mark} in\n{}", self.node.said("containerd")))
        });
        self.read += told.len();
        let lines: Vec<&str> =
            told.lines().filter(|line| line.contains("cni conf") || line.contains("reload")).collect();
        lines.join("\n")
    }

    /// The chain that containerd has, as it tells it.
    fn loaded(&self) -> String {
        let status = self.containerd.call("Status", &json!({"verbose": true})).expect("it has a status");
        let info = status["info"].as_object().expect("a verbose status has its info");
        assert_eq!(info.get("lastCNILoadStatus").and_then(Value::as_str), Some("OK"), "{status}");
        info["cniconfig"].as_str().expect("the chain is told").to_owned()
    }

    /// A pod of the mesh starts, redirected if we are in the chain.
    fn pod(&self, ours: bool) {
        assert_eq!(self.loaded().contains("millrace-cni"), ours);
        let stamp = stamp::write(&Stamp::Redirect(Box::default()));
        let annotations = Map::from_iter([(STAMP_ANNOTATION.to_owned(), Value::from(stamp))]);
        let pod = self.containerd.pod("bookinfo", &format!("pod-{}", self.steps), &annotations);
        let sandbox = self.containerd.run_pod(&pod).expect("the pod starts");
        let found = outcome(self.node.command("grep").args(["-rlF", &sandbox, &Entry::default().state_dir]));
        assert_eq!(!text(&found.stdout).is_empty(), ours, "a redirection is recorded");
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            self.containerd.call(method, &json!({"pod_sandbox_id": sandbox})).expect("the pod ends");
        }
    }
}

/// An owner's list.
fn owners(version: &str) -> String {
    let ranges = json!([[{"subnet": "10.88.0.0/22"}]]);
    let bridge = json!({"type": "bridge", "bridge": "mill0", "isGateway": true, "ipam": {"type": "host-local", "ranges": ranges}});
    json!({"cniVersion": version, "name": "mill", "plugins": [bridge]}).to_string()
}

fn list(node: &Node) -> String {
    fs::read_to_string(node.file(LIST)).expect("the list is there")
}

fn put_binary(node: &Node) {
    let mut source = fs::File::open(plugin()).expect("the plugin is there");
    let staged = stage(node, BIN, &mut source, 0o755);
    staged.put(&node.file(&format!("{BIN}/millrace-cni")), &mut |_| Ok(())).expect("it can be put in place");
}

fn stage(node: &Node, folder: &str, content: &mut dyn Read, mode: u32) -> Staged {
    files::stage(&node.file(folder), content, &Like::new(mode), &mut |_| Ok(())).expect("it can be staged")
}

fn join(node: &Node, entry: &Entry) {
    let Ok(Edit::Changed(with)) = conflist::insert(&list(node), &entry.write()) else {
        panic!("it is to be changed")
    };
    swap(node, &with);
}

/// As the installer does it: swapped with what is there, which is then discarded.
fn swap(node: &Node, new: &str) {
    let mode = fs::metadata(node.file(LIST)).expect("it is there").permissions().mode();
    let staged = stage(node, LISTS, &mut new.as_bytes(), mode & 0o7777);
    let out = staged.exchange(&node.file(LIST), &mut |_| Ok(())).expect("it can be swapped");
    out.discard();
}
