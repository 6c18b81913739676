//! Configuration as runtimes and platforms write it, in folders of the test's own.

use super::*;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

struct Root(PathBuf);

impl Root {
    fn with(files: &[(&str, &str)]) -> Root {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("millrace-runtime-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = Root(std::env::temp_dir().join(name));
        for (path, text) in files {
            let path = below(&root.0, path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        root
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `conf_dir bin_dirs...` as paths of the node, and the notes.
fn check(files: &[(&str, &str)], told: &Told) -> (Platform, String, usize) {
    let root = Root::with(files);
    let places = find(&root.0, told);
    let all = [&places.conf_dir.0].into_iter().chain(&places.bin_dirs.0);
    let node = all.map(|path| path.to_string_lossy().replace(&*root.0.to_string_lossy(), ""));
    (places.platform.0, node.collect::<Vec<_>>().join(" "), places.notes.len())
}

const V2: &str =
    "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/b2\"\nconf_dir = \"/c2\"\n";
const V3: &str = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = [\"/b3\", \"/b4\"]\nconf_dir = \"/c3\"\n";
const MAIN: &str = "/etc/containerd/config.toml";

#[test]
fn what_the_runtime_says_comes_first() {
    let nothing = Told::default();
    for (files, wanted, notes) in [
        (&[][..], "/etc/cni/net.d /opt/cni/bin", 0),
        (&[(MAIN, "version = 2\n")], "/etc/cni/net.d /opt/cni/bin", 0),
        (&[(MAIN, V2)], "/c2 /b2", 0),
        (&[(MAIN, V3)], "/c3 /b3 /b4", 0),
        (&[(MAIN, "[plugins.cri.cni]\nbin_dir = \"/b1\"\n")], "/etc/cni/net.d /b1", 0),
        (&[(MAIN, "version = \n")], "/etc/cni/net.d /opt/cni/bin", 1),
        (
            &[(MAIN, "imports = [\"conf.d/*.toml\"]\n"), ("/etc/containerd/conf.d/x.toml", V3)],
            "/c3 /b3 /b4",
            0,
        ),
        (
            &[(MAIN, "imports = [\"/x/y.toml\", \"/etc/containerd/config.toml\"]\n"), ("/x/y.toml", V2)],
            "/c2 /b2",
            0,
        ),
        (
            &[
                ("/etc/crio/crio.conf", "[crio.network]\nnetwork_dir = \"/n0\"\nplugin_dirs = [\"/p0\"]\n"),
                ("/etc/crio/crio.conf.d/10-x.conf", "[crio.network]\nplugin_dirs = [\"/p1\", \"/p2\"]\n"),
                ("/etc/crio/crio.conf.d/00-y.conf", "[crio.network]\nplugin_dirs = [\"/p3\"]\n"),
            ],
            "/n0 /p1 /p2",
            0,
        ),
    ] {
        let found = check(files, &nothing);
        assert_eq!((found.1.as_str(), found.2), (wanted, notes), "{files:?}");
    }
}

#[test]
fn the_runtime_that_runs_is_the_one_that_is_asked() {
    let crio = ("/etc/crio/crio.conf", "[crio.network]\nnetwork_dir = \"/n0\"\n");
    assert_eq!(check(&[(MAIN, V2), crio], &Told::default()).1, "/c2 /b2");
    let found = check(&[(MAIN, V2), crio, ("/run/crio/crio.sock", "")], &Told::default());
    assert_eq!(found.1, "/n0 /opt/cni/bin");
}

#[test]
fn where_multus_runs_the_chain_its_places_count() {
    let crio = ("/etc/crio/crio.conf", "[crio.network]\nnetwork_dir = \"/n0\"\nplugin_dirs = [\"/p0\"]\n");
    let found = check(&[("/etc/os-release", "ID=rhcos\n"), crio], &Told::default());
    assert_eq!(found.1, "/run/multus/cni/net.d /var/lib/cni/bin");
}

#[test]
fn flags_win() {
    let told = Told { conf_dir: Some("/x".into()), bin_dirs: vec!["/y".into()], ..Told::default() };
    assert_eq!(check(&[(MAIN, V2)], &told).1, "/x /y");
    let told = Told { platform: Some(Platform::Gke), ..Told::default() };
    assert_eq!(check(&[], &told), (Platform::Gke, "/etc/cni/net.d /home/kubernetes/bin".to_owned(), 0));
}

#[test]
fn each_platform_is_told_from_its_files() {
    let k3s = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml";
    let snap = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"${SNAP_DATA}/opt/cni/bin\"\nconf_dir = \"${SNAP_DATA}/args/cni-network\"\n";
    for (file, text, platform, wanted) in [
        (
            "/etc/os-release",
            "NAME=x\nID=\"rhcos\"\n",
            Platform::Openshift,
            "/run/multus/cni/net.d /var/lib/cni/bin",
        ),
        ("/etc/os-release", "ID=bottlerocket\n", Platform::Bottlerocket, "/etc/cni/net.d /opt/cni/bin"),
        ("/etc/os-release", "ID=talos\n", Platform::Talos, "/etc/cni/net.d /opt/cni/bin"),
        ("/etc/os-release", "ID=debian\n", Platform::Kubeadm, "/etc/cni/net.d /opt/cni/bin"),
        (k3s, V3, Platform::K3s, "/c3 /b3 /b4"),
        (
            "/var/lib/rancher/k3s/agent/x",
            "",
            Platform::K3s,
            "/var/lib/rancher/k3s/agent/etc/cni/net.d /var/lib/rancher/k3s/data/cni",
        ),
        ("/var/lib/rancher/rke2/agent/x", "", Platform::Rke2, "/etc/cni/net.d /opt/cni/bin"),
        (
            "/var/snap/microk8s/current/args/containerd.toml",
            snap,
            Platform::Microk8s,
            "/var/snap/microk8s/current/args/cni-network /var/snap/microk8s/current/opt/cni/bin",
        ),
        ("/home/kubernetes/bin/x", "", Platform::Gke, "/etc/cni/net.d /home/kubernetes/bin"),
        ("/etc/eks/x", "", Platform::Eks, "/etc/cni/net.d /opt/cni/bin"),
        ("/etc/kubernetes/azure.json", "", Platform::Aks, "/etc/cni/net.d /opt/cni/bin"),
    ] {
        assert_eq!(check(&[(file, text)], &Told::default()), (platform, wanted.to_owned(), 0), "{file}");
    }
}
