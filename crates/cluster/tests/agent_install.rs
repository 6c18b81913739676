//! `millrace agent --once` and `millrace agent uninstall` on make-believe nodes of each platform: the built program and the
//! real plugin, on files that are as each platform has them. Nothing outside the test's own folder is touched.

use millrace_rig::wait::until_in;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// A make-believe node, gone with the test.
struct Node {
    folder: PathBuf,
}

impl Node {
    /// The node of `tests/agent_install/<sample>`: its files, and its plugins as empty ones.
    fn of(sample: &str) -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("millrace-node-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let node = Node { folder: std::env::temp_dir().join(name) };
        copy(&samples().join(sample).join("node"), &node.root());
        let plugins =
            fs::read_to_string(samples().join(sample).join("plugins")).expect("a sample names plugins");
        for line in plugins.lines() {
            let (folder, names) = line.split_once(": ").expect("a folder and the names in it");
            fs::create_dir_all(node.root().join(folder)).expect("a folder");
            for name in names.split(' ') {
                fs::write(node.root().join(folder).join(name), "").expect("a file");
            }
        }
        fs::create_dir_all(node.results()).expect("a folder");
        node
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn results(&self) -> PathBuf {
        self.root().join("var/lib/cni/results")
    }

    /// `millrace agent` with `arguments`, its output with the node's folder called NODE.
    fn agent(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().expect("millrace runs");
        self.said(&output)
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("millrace runs")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.arg("agent").args(arguments);
        let path = |name: &str| self.folder.join(name);
        command.arg("--host-root").arg(self.root()).arg("--state-dir").arg(path("run"));
        command.arg("--data-dir").arg(path("data"));
        if !arguments.contains(&"--binary") {
            command.arg("--binary").arg(plugin());
        }
        command
    }

    fn said(&self, output: &Output) -> (Option<i32>, String) {
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8(text).expect("text").replace(&*self.folder.to_string_lossy(), "NODE");
        (output.status.code(), text.replace(&*plugin().to_string_lossy(), "PLUGIN"))
    }

    /// Every file of the node with its mode, owner and bytes.
    fn files(&self) -> BTreeMap<String, (u32, u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        visit(&self.root(), &mut |path| {
            let found = fs::metadata(path).expect("a file");
            let name = path.strip_prefix(self.root()).expect("below").to_string_lossy().into_owned();
            files.insert(name, (found.mode(), found.uid(), fs::read(path).expect("a file")));
        });
        files
    }

    fn list(&self, name: &str) -> PathBuf {
        self.root().join("etc/cni/net.d").join(name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn golden_platforms_get_the_entry_and_every_byte_back() {
    if missing("golden_platforms_get_the_entry_and_every_byte_back") {
        return;
    }
    for sample in [
        "kubeadm",
        "gke",
        "eks",
        "aks",
        "k3s",
        "rke2",
        "microk8s",
        "openshift",
        "bottlerocket",
        "talos",
        "istio",
        "single",
    ] {
        let node = Node::of(sample);
        let lists =
            node.files().into_keys().filter(|name| name.contains("net.d/") || name.contains("cni-network/"));
        // Modes that are kept are modes that are not what a new file would get.
        for list in lists {
            fs::set_permissions(node.root().join(list), fs::Permissions::from_mode(0o640)).expect("a mode");
        }
        let before = node.files();
        let (status, dry) = node.agent(&["--dry-run"]);
        assert_eq!(status, Some(0), "{sample}: {dry}");
        assert_eq!(node.files(), before, "{sample}: a dry run changes nothing");
        assert!(!node.folder.join("run").exists() && !node.folder.join("data").exists(), "{sample}");
        let (status, once) = node.agent(&["--once"]);
        assert_eq!(status, Some(0), "{sample}: {once}");
        let after = node.files();
        golden(sample, &[("dry-run", &dry), ("once", &once), ("after", &changed(&before, &after, &node))]);
        let (status, again) = node.agent(&["--once"]);
        assert!(status == Some(0) && again.contains("entry is right"), "{sample}: {again}");
        assert_eq!(node.files(), after, "{sample}: a second time changes nothing");
        let (status, proof) = node.agent(&["uninstall", "--reload-wait", "0"]);
        assert_eq!(status, Some(0), "{sample}: {proof}");
        assert!(proof.ends_with("this node is clean\n"), "{sample}: {proof}");
        assert_eq!(node.files(), before, "{sample}: every byte is back");
    }
}

#[test]
fn folders_that_are_named_win_over_what_is_found() {
    if missing("folders_that_are_named_win_over_what_is_found") {
        return;
    }
    let node = Node::of("kubeadm");
    let (lists, plugins) = (node.folder.join("l"), node.folder.join("p"));
    copy(&node.root().join("etc/cni/net.d"), &lists);
    copy(&node.root().join("opt/cni/bin"), &plugins);
    let before = node.files();
    let folders = ["--conf-dir", lists.to_str().expect("text"), "--bin-dir", plugins.to_str().expect("text")];
    let (status, said) = node.agent(&[&["--once"], &folders[..]].concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(fs::read_to_string(lists.join("10-flannel.conflist")).expect("a list").contains("millrace-cni"));
    assert!(plugins.join("millrace-cni").exists());
    assert_eq!(node.files(), before);
    // Off again by the configuration that the agent had.
    let file = node.folder.join("agent.yaml");
    let text =
        format!("install:\n  platform: kubeadm\n  confDir: {}\n  binDir: {}\n", folders[1], folders[3]);
    fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("text");
    let (status, proof) = node.agent(&["uninstall", "--reload-wait", "0", "--config", file]);
    assert_eq!(status, Some(0), "{proof}");
    assert!(!plugins.join("millrace-cni").exists(), "{proof}");
}

/// As `millrace print` writes it: what is left to the platform is there, and empty.
#[test]
fn what_the_configuration_leaves_empty_is_found_at_uninstalling_too() {
    if missing("what_the_configuration_leaves_empty_is_found_at_uninstalling_too") {
        return;
    }
    let node = Node::of("kubeadm");
    let file = node.folder.join("agent.yaml");
    fs::write(&file, "install:\n  platform: kubeadm\n  confDir: \"\"\n  binDir: \"\"\n  list: \"\"\n")
        .expect("a file");
    let file = file.to_str().expect("text");
    let before = node.files();
    assert_eq!(node.agent(&["--once", "--config", file]).0, Some(0));
    assert_ne!(node.files(), before);
    let (status, proof) = node.agent(&["uninstall", "--reload-wait", "0", "--config", file]);
    assert_eq!((status, node.files()), (Some(0), before), "{proof}");
}

#[test]
fn while_an_attachment_names_it_the_plugin_passes_everything_through() {
    if missing("while_an_attachment_names_it_the_plugin_passes_everything_through") {
        return;
    }
    let node = Node::of("kubeadm");
    assert_eq!(node.agent(&["--once"]).0, Some(0));
    let attachment = node.results().join("cbr0-c1-eth0");
    // {"plugins":[{"type":"millrace-cni"}]}
    let cached = r#"{"kind":"cniCacheV1","config":"eyJwbHVnaW5zIjpbeyJ0eXBlIjoibWlsbHJhY2UtY25pIn1dfQ=="}"#;
    fs::write(&attachment, cached).expect("a file");
    let uninstall = ["uninstall", "--reload-wait", "0"];
    let (status, proof) = node.agent(&uninstall);
    assert_eq!(status, Some(0), "{proof}");
    assert!(proof.contains("1 of 1 attachments name the plugin"), "{proof}");
    let left = node.root().join("opt/cni/bin/millrace-cni");
    let configuration = r#"{"cniVersion":"1.0.0","name":"cbr0","type":"millrace-cni","agentSocket":"/nowhere","prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24","odd":1.0}]}}"#;
    for (verb, wanted) in [
        ("ADD", r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24","odd":1.0}]}"#),
        ("CHECK", ""),
        ("DEL", ""),
    ] {
        // A pod of the mesh as far as anybody knows: the plugin at work would ask, and refuse it.
        let environment = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/nowhere"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/nowhere"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=p"),
        ];
        let mut child = Command::new(&left)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let written =
            std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), configuration.as_bytes());
        // What passes without reading may be gone before all is written.
        drop(written);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{verb}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), wanted, "{verb}");
    }
    // Twice is once, and it comes alive again by being installed.
    assert_eq!(node.agent(&uninstall).0, Some(0));
    assert_eq!(node.agent(&["--once"]).0, Some(0));
    assert_eq!(fs::read(&left).expect("a file"), fs::read(plugin()).expect("a file"));
    assert_eq!(node.agent(&uninstall).0, Some(0));
    fs::remove_file(attachment).expect("a file");
    let (status, proof) = node.agent(&uninstall);
    assert_eq!((status, left.exists()), (Some(0), false), "{proof}");
}

#[test]
fn agents_that_overlap_leave_the_later_ones_work() {
    if missing("agents_that_overlap_leave_the_later_ones_work") {
        return;
    }
    let node = Node::of("kubeadm");
    let list = node.list("10-flannel.conflist");
    let once = |installer: &str| node.agent(&["--once", "--installer", installer]);
    assert_eq!(once("old").0, Some(0));
    let plain = fs::read(&list).expect("a list");
    assert_eq!(once("new").0, Some(0));
    assert_eq!(fs::read(&list).expect("a list"), plain, "who installs is no reason to write");
    // The old one's container starts again after the new one served: in neither order does it undo anything.
    let (status, said) = once("old");
    assert!(status == Some(2) && said.contains("new (generation 2) has installed here"), "{said}");
    let (status, said) = node.agent(&["uninstall", "--installer", "old", "--reload-wait", "0"]);
    assert!(status == Some(1) && said.contains("new (generation 2) has installed here"), "{said}");
    assert_eq!(fs::read(&list).expect("a list"), plain);
    assert_eq!(once("new").0, Some(0));
    // Many at once, each waiting for the lock.
    let children: Vec<Child> =
        (0..6).map(|number| node.start(&["--once", "--installer", &format!("late-{number}")])).collect();
    for child in children {
        let (_, said) = node.said(&child.wait_with_output().expect("it ends"));
        let fine = said.contains("entry is right")
            || said.contains("has installed here")
            || said.contains("is held by");
        assert!(fine, "{said}");
    }
    assert_eq!(fs::read(&list).expect("a list"), plain);
    let (status, proof) = node.agent(&["uninstall", "--installer", "new", "--reload-wait", "0"]);
    assert_eq!(status, Some(1), "a later one has been here: {proof}");
    let (status, proof) = node.agent(&["uninstall", "--reload-wait", "0"]);
    assert_eq!(status, Some(0), "{proof}");
}

#[test]
fn what_cannot_be_undone_is_told_and_the_rest_is_done() {
    if missing("what_cannot_be_undone_is_told_and_the_rest_is_done") {
        return;
    }
    let node = Node::of("kubeadm");
    assert_eq!(node.agent(&["--once"]).0, Some(0));
    fs::write(node.list("20-broken.conflist"), "{\"plugins\":[{\"type\":\"millrace-cni\"").expect("a file");
    let (status, proof) = node.agent(&["uninstall", "--reload-wait", "0"]);
    assert_eq!(status, Some(1), "{proof}");
    assert!(proof.contains("20-broken.conflist: names the plugin in what is no list we can edit"), "{proof}");
    assert!(proof.contains("took our entry out of 10-flannel.conflist"), "{proof}");
}

#[test]
fn the_runtimes_next_look_is_seen() {
    if missing("the_runtimes_next_look_is_seen") {
        return;
    }
    let node = Node::of("kubeadm");
    assert_eq!(node.agent(&["--once"]).0, Some(0));
    let list = node.list("10-flannel.conflist");
    let uninstalling = node.start(&["uninstall", "--reload-wait", "60"]);
    // As a runtime does: look whenever the list is another.
    let folder = list.parent().expect("it is in a folder");
    until_in(folder, "the entry is gone", Duration::from_secs(60), || {
        let text = fs::read_to_string(&list).map_err(|error| error.to_string())?;
        if text.contains("millrace-cni") { Err(text) } else { Ok(()) }
    });
    let (status, proof) = node.said(&uninstalling.wait_with_output().expect("it ends"));
    assert_eq!(status, Some(0), "{proof}");
    assert!(proof.contains("10-flannel.conflist was read again after"), "{proof}");
}

#[test]
fn a_directory_that_cannot_be_used_says_so_and_nothing_is_half_done() {
    let test = "a_directory_that_cannot_be_used_says_so_and_nothing_is_half_done";
    if missing(test) {
        return;
    }
    let mounts = Command::new("unshare").args(["--mount", "true"]).status();
    if !mounts.is_ok_and(|status| status.success()) {
        return millrace_rig::absent::not_run(test, "mount namespaces", "running as root, with util-linux");
    }
    let bin = "opt/cni/bin";
    let lists = "etc/cni/net.d";
    for (folder, prepare, wanted) in [
        (
            bin,
            "mount -t tmpfs -o size=64k x F",
            "No space left on device (os error 28); free some space there",
        ),
        (bin, "mount -t tmpfs -o ro x F", "Read-only file system (os error 30); mount it writable"),
        (bin, "mount -t tmpfs -o noexec x F", "it does not run in NODE/root/opt/cni/bin: Permission denied"),
        (
            lists,
            "mount -t tmpfs -o size=8k x F",
            "No space left on device (os error 28); free some space there",
        ),
        (
            lists,
            "mount --bind F/10-flannel.conflist F/10-flannel.conflist",
            "mount the directory into the container",
        ),
        (
            lists,
            "mount --bind F F; mount -o remount,bind,ro F",
            "Read-only file system (os error 30); mount it writable",
        ),
    ] {
        let node = Node::of("kubeadm");
        let path = node.root().join(folder);
        let prepare = prepare.replace('F', &path.to_string_lossy());
        let keep = node.folder.join("keep");
        // What is mounted over the folder gets its files; afterwards both folders are as they were, but for the plugin.
        let script = format!(
            "set -e; cp -r {path} {keep}; {prepare}; cp -r {keep}/. {path}/ 2>/dev/null || :; \
             before=$(cat {root}/{lists}/*); status=0; \"$@\" || status=$?; \
             [ \"$before\" = \"$(cat {root}/{lists}/*)\" ] || echo a list changed; \
             ls -A {root}/{lists} {root}/{bin}; exit $status",
            path = path.display(),
            keep = keep.display(),
            root = node.root().display(),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        let agent = node.command(&["--once"]);
        command.arg(agent.get_program()).args(agent.get_args());
        let (status, said) = node.said(&command.output().expect("util-linux has unshare"));
        assert_eq!(status, Some(2), "{prepare}: {said}");
        assert!(said.contains(wanted), "{prepare}: {said}");
        assert!(!said.contains("a list changed") && !said.contains("\n.millrace"), "{prepare}: {said}");
        assert_eq!(said.lines().filter(|line| *line == "millrace-cni").count(), usize::from(folder == lists));
    }
}

#[test]
fn without_any_capability_a_list_of_anothers_says_the_way_out() {
    let test = "without_any_capability_a_list_of_anothers_says_the_way_out";
    if missing(test) {
        return;
    }
    let none = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"];
    let node = Node::of("kubeadm");
    let list = node.list("10-flannel.conflist");
    let given = std::os::unix::fs::chown(&list, Some(65_534), Some(65_534));
    let drops = Command::new("setpriv").args(none).arg("true").status();
    if given.is_err() || !drops.is_ok_and(|status| status.success()) {
        return millrace_rig::absent::not_run(test, "setpriv", "running as root, with util-linux");
    }
    let before = fs::read(&list).expect("a list");
    let run = |arguments: &[&str]| {
        let agent = node.command(arguments);
        let mut command = Command::new("setpriv");
        command.args(none).arg(agent.get_program()).args(agent.get_args());
        node.said(&command.output().expect("util-linux has setpriv"))
    };
    let (status, said) = run(&["--once"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("it belongs to user 65534, group 65534") && said.contains("chown it to root"),
        "{said}"
    );
    assert_eq!(fs::read(&list).expect("a list"), before);
    let (status, said) = run(&["--once", "--way", "own-list"]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(fs::read(&list).expect("a list"), before);
    assert!(node.list("02-millrace.conflist").exists());
}

/// For whoever cannot read its log: also why it could not begin.
#[test]
fn a_container_says_at_its_end_how_it_went() {
    if missing("a_container_says_at_its_end_how_it_went") {
        return;
    }
    let node = Node::of("kubeadm");
    assert_eq!(node.agent(&["--once"]).0, Some(0));
    let words = node.folder.join("termination-log");
    let uninstall = || {
        fs::write(&words, "what was there before").expect("a file");
        let mut command = node.command(&["uninstall", "--reload-wait", "0"]);
        let output = command.env("MILLRACE_LAST_WORDS", &words).env("NODE_NAME", "n1").output();
        let said: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&words).expect("a file")).expect("they are JSON");
        assert_eq!((&said["v"], &said["node"]), (&1.into(), &"n1".into()));
        (output.expect("millrace runs").status.code(), said)
    };
    let run = node.folder.join("run");
    fs::create_dir_all(&run).expect("a folder");
    let held = fs::File::create(run.join("agent.lock")).expect("a file");
    held.try_lock().expect("free");
    let (status, said) = uninstall();
    assert!(status == Some(2) && said["clean"] == false, "{said}");
    assert!(said["wrong"][0].to_string().contains("delete the DaemonSet first"), "{said}");
    drop(held);
    let (status, said) = uninstall();
    assert!(status == Some(0) && said["clean"] == true && said["wrong"] == serde_json::json!([]), "{said}");
    assert!(said["places"].as_u64() > Some(2), "{said}");
}

#[test]
fn an_agent_that_serves_is_to_be_ended_first_and_a_directory_to_be_there() {
    let test = "an_agent_that_serves_is_to_be_ended_first_and_a_directory_to_be_there";
    if missing(test) {
        return;
    }
    let node = Node::of("kubeadm");
    let run = node.folder.join("run");
    fs::create_dir_all(&run).expect("a folder");
    let held = fs::File::create(run.join("agent.lock")).expect("a file");
    held.try_lock().expect("free");
    let (status, said) = node.agent(&["uninstall", "--reload-wait", "0"]);
    assert!(status == Some(2) && said.contains("delete the DaemonSet first"), "{said}");
    drop(held);
    // A configuration that is wrong anywhere is refused, as by the agent.
    let file = node.folder.join("agent.yaml");
    fs::write(&file, "audit: {policy: never}\n").expect("a file");
    let (status, said) = node.agent(&["uninstall", "--config", file.to_str().expect("text")]);
    assert!(status == Some(2) && said.contains("leave out --config"), "{said}");
    assert!(said.contains("audit.policy is"), "{said}");
    // As in a container into which the node's directory is not mounted.
    let lists = node.root().join("etc/cni/net.d");
    fs::remove_dir_all(&lists).expect("a folder");
    for argument in ["--dry-run", "--once"] {
        let (status, said) = node.agent(&[argument]);
        assert!(status == Some(2) && said.contains("mount the node's directory there"), "{said}");
        assert!(!lists.exists());
    }
}

#[test]
fn the_plugin_is_replaced_under_those_who_run_it() {
    if missing("the_plugin_is_replaced_under_those_who_run_it") {
        return;
    }
    let node = Node::of("kubeadm");
    // A later release: what follows an ELF file's last section is nobody's.
    let later = node.folder.join("later");
    let mut bytes = fs::read(plugin()).expect("a file");
    bytes.extend(b"later");
    fs::write(&later, bytes).expect("a file");
    fs::set_permissions(&later, fs::Permissions::from_mode(0o755)).expect("a mode");
    assert_eq!(node.agent(&["--once"]).0, Some(0));
    let (path, over) = (node.root().join("opt/cni/bin/millrace-cni"), &AtomicBool::new(false));
    let ran = std::thread::scope(|scope| {
        let run = || {
            let mut ran = 0;
            while !over.load(Ordering::SeqCst) {
                let output = Command::new(&path)
                    .env("CNI_COMMAND", "VERSION")
                    .output()
                    .expect("never busy, never half");
                assert!(
                    output.status.success() && output.stdout.starts_with(b"{\"cniVersion\""),
                    "{output:?}"
                );
                ran += 1;
            }
            ran
        };
        let runners = [scope.spawn(run), scope.spawn(run)];
        for round in 0..20 {
            let release = if round % 2 == 0 { later.clone() } else { plugin() };
            let (status, said) = node.agent(&["--once", "--binary", release.to_str().expect("text")]);
            assert!(status == Some(0) && said.contains("plugin written"), "{said}");
        }
        over.store(true, Ordering::SeqCst);
        runners.map(|runner| runner.join().expect("a runner")).iter().sum::<u32>()
    });
    assert!(ran > 0);
}

/// Compares each text with `tests/agent_install/<sample>/<name>.txt`; `UPDATE_GOLDEN=1` rewrites them.
fn golden(sample: &str, texts: &[(&str, &str)]) {
    for (name, text) in texts {
        let path = samples().join(sample).join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, text).expect("the golden file is writable");
        }
        let wanted = fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
        assert_eq!(*text, wanted, "{sample}/{name}");
    }
}

/// The files that differ, with their modes; of the plugin only that it is there.
fn changed(
    before: &BTreeMap<String, (u32, u32, Vec<u8>)>,
    after: &BTreeMap<String, (u32, u32, Vec<u8>)>,
    node: &Node,
) -> String {
    let mut text = String::new();
    for (name, (mode, _, bytes)) in after.iter().filter(|(name, file)| before.get(*name) != Some(file)) {
        text.push_str(&format!("== {name} {:o}\n", mode & 0o7777));
        if !name.ends_with("/millrace-cni") {
            let held = String::from_utf8(bytes.clone()).expect("a list is text");
            text.push_str(&held.replace(&*node.folder.to_string_lossy(), "NODE"));
        }
    }
    assert!(before.keys().all(|name| after.contains_key(name)), "no file goes");
    text
}

fn missing(test: &str) -> bool {
    let there = plugin().exists();
    if !there {
        millrace_rig::absent::not_run(test, "millrace-cni", "cargo build -p millrace-host");
    }
    !there
}

fn plugin() -> PathBuf {
    millrace_rig::plugin::plugin(Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("millrace-cni"))
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent_install")
}

fn copy(from: &Path, to: &Path) {
    visit(from, &mut |path| {
        let target = to.join(path.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(path, target).expect("a file");
    });
}

fn visit(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { visit(&path, found) } else { found(&path) }
    }
}
