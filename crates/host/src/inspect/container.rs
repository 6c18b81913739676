//! From a container's id to a process in it, by what its runtime leaves on disk: the shim's pid files, else the control
//! groups that `/proc` shows.
//!
//! No runtime is asked, so none need run. An id that fits several containers is refused, never guessed at.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where runtimes keep their state and the kernel its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Of shims of containerd: `NAMESPACE/ID/init.pid` below. Docker's are among them.
    pub shims: Vec<PathBuf>,
    /// Of containers/storage, so of CRI-O and podman: `ID/userdata/pidfile` below.
    pub storage: Vec<PathBuf>,
    /// `/proc`
    pub proc: PathBuf,
}

impl Roots {
    /// The places that runtimes and distributions use, below `root`.
    pub fn below(root: PathBuf) -> Roots {
        let task = "io.containerd.runtime.v2.task";
        let all =
            |places: &[&str], last: &str| places.iter().map(|place| root.join(place).join(last)).collect();
        Roots {
            shims: all(
                &[
                    "run/containerd",
                    "run/docker/containerd/daemon",
                    "run/k3s/containerd",
                    "run/k0s/containerd",
                    "var/snap/microk8s/common/run/containerd",
                ],
                task,
            ),
            storage: all(&["run/containers/storage"], "overlay-containers"),
            proc: root.join("proc"),
        }
    }
}

/// Why no process was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is no container's id.
    Malformed(String),
    /// No running container has it.
    Unknown(String),
    /// Several have it; some of them.
    Ambiguous(String, Vec<String>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(id) => {
                write!(f, "{id:?} is not the id of a container; crictl ps or docker ps shows ids")
            }
            Error::Unknown(id) => write!(
                f,
                "no running container {id} is known to containerd, CRI-O or Docker on this node; \
                 on its own node, crictl ps or docker ps shows it, and --pid names a process in it"
            ),
            Error::Ambiguous(id, some) => {
                write!(f, "{id} may be any of {}; give more of the id", some.join(", "))
            }
        }
    }
}

impl std::error::Error for Error {}

/// A process of the container whose id begins with `id`. A scheme in front, as Kubernetes writes it, is passed over.
pub fn pid(id: &str, roots: &Roots) -> Result<u32, Error> {
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    if id.is_empty()
        || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    {
        return Err(Error::Malformed(id.to_owned()));
    }
    let mut found = BTreeMap::new();
    for shims in &roots.shims {
        for namespace in names(shims) {
            collect(&shims.join(namespace), "init.pid", id, roots, &mut found);
        }
    }
    for storage in &roots.storage {
        collect(storage, "userdata/pidfile", id, roots, &mut found);
    }
    if found.is_empty() {
        by_control_group(id, roots, &mut found);
    }
    if let Some(pid) = found.get(id) {
        return Ok(*pid);
    }
    match found.len() {
        0 => Err(Error::Unknown(id.to_owned())),
        1 => Ok(*found.values().next().expect("there is one")),
        _ => Err(Error::Ambiguous(id.to_owned(), found.into_keys().take(5).collect())),
    }
}

/// Containers below `folder`, a directory each, with their process's number in `file`. A process that is gone does not
/// count: the directory outlives it.
fn collect(folder: &Path, file: &str, id: &str, roots: &Roots, found: &mut BTreeMap<String, u32>) {
    for name in names(folder).into_iter().filter(|name| name.starts_with(id)) {
        let text = fs::read_to_string(folder.join(&name).join(file)).unwrap_or_default();
        if let Ok(pid) = text.trim().parse::<u32>()
            && roots.proc.join(pid.to_string()).exists()
        {
            found.insert(name, pid);
        }
    }
}

/// A runtime names a container's control group after it: `cri-containerd-ID.scope`, `docker-ID.scope`, `crio-ID.scope`,
/// `…/ID`. The lowest process of it is taken.
fn by_control_group(id: &str, roots: &Roots, found: &mut BTreeMap<String, u32>) {
    let mut pids: Vec<u32> = names(&roots.proc).iter().filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        let groups = fs::read_to_string(roots.proc.join(pid.to_string()).join("cgroup")).unwrap_or_default();
        let words = groups.split(|c: char| !c.is_ascii_hexdigit());
        for word in words.filter(|word| word.len() == FULL && word.starts_with(id)) {
            found.entry(word.to_owned()).or_insert(pid);
        }
    }
}

/// Every runtime's ids are 64 hexadecimal digits.
const FULL: usize = 64;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str) -> Machine {
            let path = std::env::temp_dir().join(format!("millrace-container-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Machine(path)
        }

        fn with(self, path: &str, text: &str) -> Machine {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn check(&self, id: &str, wanted: Result<u32, &str>) {
            match (pid(id, &Roots::below(self.0.clone())), wanted) {
                (Ok(pid), Ok(wanted)) => assert_eq!(pid, wanted, "{id}"),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{id}: {error}"),
                (got, wanted) => panic!("{id}: {got:?}, not {wanted:?}"),
            }
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const TASK: &str = "io.containerd.runtime.v2.task";

    #[test]
    fn pid_files_of_every_runtime_are_found() {
        let machine = Machine::new("files")
            .with(&format!("run/containerd/{TASK}/k8s.io/aaa1/init.pid"), "11")
            .with(&format!("run/containerd/{TASK}/k8s.io/aaa2/init.pid"), "12\n")
            .with(&format!("run/docker/containerd/daemon/{TASK}/moby/bbb1/init.pid"), "13")
            .with("run/containers/storage/overlay-containers/ccc1/userdata/pidfile", "14\n")
            .with(&format!("run/containerd/{TASK}/k8s.io/dead/init.pid"), "15")
            .with("proc/11/x", "")
            .with("proc/12/x", "")
            .with("proc/13/x", "")
            .with("proc/14/x", "");
        machine.check("aaa1", Ok(11));
        machine.check("containerd://aaa2", Ok(12));
        machine.check("docker://b", Ok(13));
        machine.check("cri-o://ccc", Ok(14));
        machine.check("aaa", Err("aaa1, aaa2"));
        machine.check("dead", Err("no running container"));
        machine.check("zzz", Err("no running container"));
        for bad in ["", "../x", "a b", "docker://"] {
            machine.check(bad, Err("not the id"));
        }
    }

    #[test]
    fn an_id_that_is_whole_beats_longer_ones() {
        let machine = Machine::new("whole")
            .with(&format!("run/containerd/{TASK}/k8s.io/web/init.pid"), "21")
            .with(&format!("run/containerd/{TASK}/k8s.io/web-2/init.pid"), "22")
            .with("proc/21/x", "")
            .with("proc/22/x", "");
        machine.check("web", Ok(21));
    }

    #[test]
    fn without_pid_files_control_groups_tell() {
        let (one, other) = ("ab".repeat(32), "cd".repeat(32));
        let machine = Machine::new("groups")
            .with("proc/30/cgroup", "0::/init.scope\n")
            .with("proc/32/cgroup", &format!("0::/kubepods.slice/cri-containerd-{one}.scope\n"))
            .with("proc/31/cgroup", &format!("4:memory:/kubepods/{one}\n3:cpu:/kubepods/{one}\n"))
            .with("proc/33/cgroup", &format!("0::/system.slice/docker-{other}.scope\n"))
            .with("proc/self/cgroup", &format!("0::/docker-{}.scope\n", "ef".repeat(32)));
        machine.check("abab", Ok(31));
        machine.check(&other, Ok(33));
        machine.check("ef", Err("no running container"));
    }
}
