//! Installing on folders of files: real files, real renames, and a plugin that is a script. Nothing outside them is touched.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const FLANNEL: &str = r#"{"name":"cbr0","cniVersion":"0.3.1","plugins":[{"type":"flannel","delegate":{"hairpinMode":true}},{"type":"portmap","capabilities":{"portMappings":true}}]}"#;

/// A make-believe node: folders that go with it.
pub(crate) struct Node {
    root: PathBuf,
}

impl Node {
    /// With these lists, and every plugin that they or the tests name.
    pub(crate) fn new(lists: &[(&str, &str)]) -> Node {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("millrace-install-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let node = Node { root: std::env::temp_dir().join(name) };
        for folder in ["net.d", "bin", "data", "image"] {
            fs::create_dir_all(node.root.join(folder)).expect("a folder");
        }
        for (name, text) in lists {
            node.write(name, text);
        }
        for plugin in ["flannel", "portmap", "bridge", "calico", "istio-cni", "cilium-cni"] {
            fs::write(node.root.join("bin").join(plugin), "").expect("a file");
        }
        node.offer("one");
        node
    }

    /// The plugin to install; `release` tells one from another.
    pub(crate) fn offer(&self, release: &str) {
        self.offer_speaking(release, r#""0.3.1","0.4.0","1.0.0""#);
    }

    /// One that speaks these versions.
    pub(crate) fn offer_speaking(&self, release: &str, versions: &str) {
        let script = format!(
            "#!/bin/sh\n# {release}\necho '{{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[{versions}]}}'\n"
        );
        fs::write(self.binary(), script).expect("a file");
    }

    pub(crate) fn binary(&self) -> PathBuf {
        self.root.join("image/millrace-cni")
    }

    pub(crate) fn installed(&self) -> PathBuf {
        plugin_in(&self.root.join("bin"))
    }

    pub(crate) fn list(&self, name: &str) -> PathBuf {
        self.root.join("net.d").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.list(name), text).expect("a file");
        fs::set_permissions(self.list(name), fs::Permissions::from_mode(0o640)).expect("a mode");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.list(name)).expect("a file")
    }

    pub(crate) fn target(&self, installer: &str) -> Target {
        let mut memory = Memory::load(&self.root.join("data")).expect("readable");
        let claim = memory.claim(installer, &[]);
        memory.keep(&self.root.join("data"), &mut |_| Ok(())).expect("writable");
        Target {
            conf_dir: self.root.join("net.d"),
            bin_dirs: vec![self.root.join("bin")],
            data_dir: self.root.join("data"),
            wish: Wish {
                binary: self.binary(),
                entry: Entry::default(),
                way: None,
                list: None,
                auxiliary: None,
                claim,
            },
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[test]
fn a_node_is_brought_there_once_and_then_left_alone() {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let target = node.target("agent");
    let first = converge(&target).expect("installs");
    assert_eq!(first.change, Change { binary: true, list: true });
    assert_eq!(first.place.to_string(), "10-flannel.conflist (in-place, plugin 3 of 3)");
    let text = node.read("10-flannel.conflist");
    let mode = |path: PathBuf| fs::metadata(path).expect("a file").permissions().mode() & 0o7777;
    assert_eq!(mode(node.list("10-flannel.conflist")), 0o640);
    assert_eq!(mode(node.installed()), 0o755);
    let second = converge(&target).expect("is right");
    assert_eq!((second.change, second.place, second.digest), (Change::default(), first.place, first.digest));
    assert_eq!(node.read("10-flannel.conflist"), text);
    node.offer("two");
    let third = converge(&target).expect("installs");
    assert_eq!(third.change, Change { binary: true, list: false });
    assert_eq!(seen::names(&target.conf_dir).expect("a folder"), ["10-flannel.conflist"]);
}

#[test]
fn a_plugin_that_does_not_speak_the_lists_version_replaces_none() {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let target = node.target("agent");
    converge(&target).expect("installs");
    let (before, text) = (fs::read(node.installed()).expect("a file"), node.read("10-flannel.conflist"));
    node.offer_speaking("other", r#""1.0.0""#);
    // The list is right already: putting the plugin there is the only step. Then one is refused, and names us.
    for harm in ["", "linkerd-cni"] {
        let list =
            text.replace("portmap\"", &format!("{}\"", if harm.is_empty() { "portmap" } else { harm }));
        node.write("10-flannel.conflist", &list);
        let error = converge(&target).expect_err("refused");
        assert!(matches!(&error, Error::DoesNotSpeak { version, .. } if version == "0.3.1"), "{error}");
        assert_eq!(fs::read(node.installed()).expect("a file"), before, "{harm}");
        assert_eq!(node.read("10-flannel.conflist"), list);
    }
    assert_eq!(seen::names(&target.bin_dirs[0]).expect("a folder").len(), 7, "nothing is left beside it");
}

#[test]
fn a_directory_of_lists_is_never_made() {
    let node = Node::new(&[]);
    fs::remove_dir(node.list("")).expect("a folder");
    for way in [None, Some(Way::Auxiliary)] {
        let mut target = node.target("agent");
        (target.wish.way, target.wish.auxiliary) = (way, way.map(|_| "chain".to_owned()));
        let error = converge(&target).expect_err("nowhere to install");
        assert!(matches!(&error, Error::Refused(Refusal::NoFolder(_))), "{error}");
        assert!(error.to_string().contains("mount the node's directory there"), "{error}");
        assert!(!target.conf_dir.exists());
    }
}

#[test]
fn the_folder_of_an_auxiliary_chain_goes_only_if_it_is_ours() {
    for ours in [true, false] {
        let node = Node::new(&[]);
        if !ours {
            fs::create_dir(node.list("chain")).expect("a folder");
        }
        let mut target = node.target("agent");
        (target.wish.way, target.wish.auxiliary) = (Some(Way::Auxiliary), Some("chain".to_owned()));
        for status_gating in [false, true] {
            target.wish.entry.status_gating = status_gating;
            assert!(converge(&target).expect("installs").change.list);
        }
        assert!(node.list("chain").join(AUXILIARY_FILE).exists());
        let seen = look(&target).expect("readable");
        let mut memory = seen.memory.clone();
        for step in plan::retire(&seen, None) {
            publish::publish(&target.conf_dir, &target.data_dir, &step, &mut memory, &mut |_| Ok(()))
                .expect("removes");
        }
        assert_eq!(node.list("chain").exists(), !ours);
    }
}

#[test]
fn a_list_that_cannot_be_left_to_its_owner_is_refused_by_name() {
    let node = Node::new(&[("10-flannel.conflist", FLANNEL)]);
    let mut target = node.target("agent");
    // What a process without CAP_CHOWN is told.
    let mut hook = |step| match step {
        millrace_host::files::Step::Owner => Err(std::io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    };
    let error = converge_with(&target, &mut hook).expect_err("refused");
    assert!(matches!(&error, Error::Refused(Refusal::Foreign { .. })), "{error}");
    assert!(
        error.to_string().contains("10-flannel.conflist cannot be joined: it belongs to user"),
        "{error}"
    );
    assert_eq!(node.read("10-flannel.conflist"), FLANNEL);
    target.wish.way = Some(Way::Own);
    converge_with(&target, &mut hook).expect("the way out");
}

mod crash;
mod fights;
