//! From a pod to its network namespace: by what its ADD recorded, else by the processes whose control group names the pod.
//!
//! No runtime is asked and no process of a certain kind is needed, neither a pause container nor one of our own users. A
//! process is held by its open folder in `/proc`, which is that process's for ever, so that a number that another
//! process has by now leads nowhere. A namespace that may be another pod's, or the node's, is never returned.

use millrace_host::netns::{self, NetNs};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};

/// The most processes looked at (M10): a node's `pid_max` is mostly less.
const MOST_PROCESSES: usize = 1 << 18;
/// The most namespaces that the processes of one pod may have between them before nobody can tell which is the pod's.
const MOST_NAMESPACES: usize = 16;
/// The most of a process's list of control groups that is read: a line for each hierarchy, of which there are 16 at most.
const LONGEST_CGROUP: u64 = 64 << 10;

/// One pod to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sought {
    /// Its UID as the runtime has it: a static pod's is not its mirror's.
    pub(crate) uid: String,
    /// Its addresses, as far as known.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Why a pod's namespace was not found.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub(crate) enum Error {
    /// There is no process of the pod.
    NoProcess,
    /// Its processes are in the node's own namespace.
    Nodes,
    /// Its processes are in several, and none or more than one of these may be the pod's.
    Ambiguous(usize),
    /// A namespace could not be opened or asked.
    NetNs(netns::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoProcess => f.write_str(
                "no process on this node is in a control group of the pod's; is it the node's /proc that is looked at?",
            ),
            Error::Nodes => f.write_str("its processes are in the node's own network"),
            Error::Ambiguous(count) => {
                write!(f, "its processes are in {count} network namespaces, of which none is certain to be the pod's")
            }
            Error::NetNs(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}

/// The namespace at the path that an ADD recorded, if it is there still. A path in `/proc` says nothing any more: the
/// number in it may be another process's.
pub(crate) fn by_path(path: &Path) -> Option<NetNs> {
    let is_lasting = !path.starts_with("/proc");
    let netns = is_lasting.then(|| NetNs::open(path).ok())??;
    (!netns.is_own().unwrap_or(true)).then_some(netns)
}

/// The namespaces of pods by the processes below `proc`, each pod's under its UID.
pub(crate) fn by_processes(
    proc: &Path,
    sought: &[Sought],
) -> Result<BTreeMap<String, Result<NetNs, Error>>, io::Error> {
    let mut pods: BTreeMap<String, Candidates> =
        sought.iter().map(|pod| (spelled(&pod.uid), Candidates::default())).collect();
    for (count, entry) in fs::read_dir(proc)?.enumerate() {
        if count >= MOST_PROCESSES {
            let message = format!("{} holds more than {MOST_PROCESSES} entries", proc.display());
            return Err(io::Error::other(message));
        }
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        consider(proc, pid, &mut pods);
    }
    let node =
        Held::hold(proc, 1).ok().and_then(|first| first.netns().ok()).and_then(|netns| netns.id().ok());
    let found = sought.iter().map(|pod| {
        let candidates = pods.remove(&spelled(&pod.uid)).unwrap_or_default();
        (pod.uid.clone(), candidates.choose(&pod.addresses, node))
    });
    Ok(found.collect())
}

/// The namespaces that processes of one pod were found in.
#[derive(Debug, Default)]
struct Candidates {
    found: Vec<Candidate>,
    refused: Option<netns::Error>,
}

#[derive(Debug)]
struct Candidate {
    netns: NetNs,
    id: (u64, u64),
    /// How far the nearest of its processes is below the pod's own group: containers within the pod are further away.
    depth: usize,
}

impl Candidates {
    fn add(&mut self, netns: NetNs, depth: usize) -> Result<(), netns::Error> {
        let id = netns.id()?;
        if let Some(known) = self.found.iter_mut().find(|known| known.id == id) {
            known.depth = known.depth.min(depth);
        } else if self.found.len() < MOST_NAMESPACES {
            // With that many nothing is sure any more.
            self.found.push(Candidate { netns, id, depth });
        }
        Ok(())
    }

    /// The one that is the pod's: not the node's, with the pod's address if more than one is left, and nearest to its group.
    fn choose(self, addresses: &[IpAddr], node: Option<(u64, u64)>) -> Result<NetNs, Error> {
        let Candidates { mut found, refused } = self;
        if found.is_empty() {
            return Err(refused.map_or(Error::NoProcess, Error::NetNs));
        }
        found.retain(|one| Some(one.id) != node && !one.netns.is_own().unwrap_or(true));
        let count = found.len();
        if count == 0 {
            return Err(Error::Nodes);
        }
        if count > 1 {
            if count >= MOST_NAMESPACES {
                return Err(Error::Ambiguous(count));
            }
            found.retain(|one| addresses.is_empty() || holds(&one.netns, addresses));
            let nearest = found.iter().map(|one| one.depth).min();
            found.retain(|one| Some(one.depth) == nearest);
        }
        match found.len() {
            1 => Ok(found.remove(0).netns),
            _ => Err(Error::Ambiguous(count)),
        }
    }
}

/// Whether one of the addresses is the namespace's own: only then can it be bound.
fn holds(netns: &NetNs, addresses: &[IpAddr]) -> bool {
    let bound = || addresses.iter().any(|address| UdpSocket::bind((*address, 0)).is_ok());
    netns.within(bound).unwrap_or(false)
}

/// Adds a process to the pod it belongs to, if it is one of those sought.
fn consider(proc: &Path, pid: u32, pods: &mut BTreeMap<String, Candidates>) {
    // One that ends while it is looked at is none.
    let Ok(held) = Held::hold(proc, pid) else { return };
    let Some((uid, depth)) = held.pod(|uid| pods.contains_key(uid)) else { return };
    let Some(candidates) = pods.get_mut(&uid) else { return };
    let opened = held.netns().and_then(|netns| {
        // It may have moved to another group meanwhile, though hardly to another pod's.
        let same = held.pod(|other| other == uid).is_some();
        if same { candidates.add(netns, depth) } else { Ok(()) }
    });
    match opened {
        Ok(()) | Err(netns::Error::Gone(_)) => {}
        Err(error) => candidates.refused = Some(error),
    }
}

/// A process, held by its folder.
struct Held {
    folder: OwnedFd,
    path: PathBuf,
}

impl Held {
    fn hold(proc: &Path, pid: u32) -> Result<Held, Errno> {
        let path = proc.join(pid.to_string());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Held { folder, path })
    }

    /// The first pod that its control groups name among those that `is_sought`, and how far below that pod's group it is.
    fn pod(&self, is_sought: impl Fn(&str) -> bool) -> Option<(String, usize)> {
        let file =
            rustix::fs::openat(&self.folder, "cgroup", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .ok()?;
        let mut text = String::new();
        File::from(file).take(LONGEST_CGROUP).read_to_string(&mut text).ok()?;
        let named = text.lines().flat_map(pods_of).filter(|(uid, _)| is_sought(uid));
        named.min_by_key(|(_, depth)| *depth)
    }

    fn netns(&self) -> Result<NetNs, netns::Error> {
        NetNs::of_process(self.folder.as_fd(), &self.path.join("ns/net"))
    }
}

/// The UIDs that a line of `/proc/PID/cgroup` may be naming, and how far below each the process is: `podUID` by the
/// cgroupfs driver, `…-podUID.slice` by systemd's, which writes `_` for `-`. A container of a pod may hold pods itself.
fn pods_of(line: &str) -> Vec<(String, usize)> {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    if !path.contains(POD) {
        return Vec::new();
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut pods = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        // runc without systemd leaves `SLICE:PREFIX:ID` as it was told to.
        let (slice, below) = part.split_once(':').map_or((*part, 0), |(slice, _)| (slice, 1));
        let name = slice.strip_suffix(".slice").unwrap_or(slice);
        for (start, word) in name.match_indices(POD) {
            let begins = start == 0 || name[..start].ends_with('-');
            let uid = &name[start + word.len()..];
            if begins && !uid.is_empty() {
                pods.push((spelled(uid), parts.len() - at - 1 + below));
            }
        }
    }
    pods
}

/// What every pod's group is called, before its UID.
const POD: &str = "pod";

/// A UID as both drivers' are compared.
fn spelled(uid: &str) -> String {
    uid.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::super::staged::{Proc, runs};
    use super::*;
    use millrace_rig::net::Namespace;
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command, Stdio};

    const UID: &str = "0b6e4c7e-9d1c-4a47-8f0e-2f6f3b1f9a01";
    const STATIC: &str = "5ad2a4f0c9c54b2c8b1d0d8d3b7f1c11";

    fn check(line: &str, expected: &[(&str, usize)]) {
        let found = pods_of(line);
        let found: Vec<(&str, usize)> = found.iter().map(|(uid, depth)| (uid.as_str(), *depth)).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn every_driver_names_the_pod() {
        let under = UID.replace('-', "_");
        let systemd = format!("kubepods-burstable-pod{under}.slice");
        let one = [(UID, 1)];
        for line in [
            format!("0::/kubepods/burstable/pod{UID}/abc"),
            format!("0::/kubepods/pod{UID}/abc"),
            format!("4:memory,hugetlb:/kubepods/besteffort/pod{UID}/abc"),
            format!(
                "1:name=systemd:/kubepods.slice/kubepods-burstable.slice/{systemd}/cri-containerd-abc.scope"
            ),
            format!("0::/kubepods.slice/kubepods-pod{under}.slice/crio-abc.scope"),
            format!("0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{under}.slice/x.scope"),
            format!("0::/../../{systemd}/cri-containerd-abc.scope"),
            format!("0::/system.slice/containerd.service/{systemd}:cri-containerd:abc"),
            format!("0::/docker/9a8b/kubelet/kubepods/pod{UID}/abc"),
        ] {
            check(&line, &one);
        }
        check(&format!("0::/kubepods/burstable/pod{STATIC}/abc"), &[(STATIC, 1)]);
        check(&format!("0::/kubepods/pod{UID}"), &[(UID, 0)]);
        check(&format!("0::/kubepods/pod{UID}/abc/init.scope"), &[(UID, 2)]);
        check(&format!("0::/kubepods/pod{UID}/abc/kubepods/podinner/d"), &[(UID, 4), ("inner", 1)]);
        for line in
            ["0::/", "0::/kubepods", "0::/system.slice/tripod1.service", "0::/pod", "", "garbage", "::"]
        {
            check(line, &[]);
        }
    }

    impl Proc {
        fn find(&self, addresses: &[&str]) -> Result<NetNs, Error> {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let sought = Sought { uid: UID.to_owned(), addresses };
            by_processes(&self.0, &[sought]).unwrap().remove(UID).unwrap()
        }

        fn finds(&self, addresses: &[&str], namespace: &Namespace) {
            let expected = NetNs::open(&namespace.path()).unwrap().id().unwrap();
            assert_eq!(self.find(addresses).unwrap().id().unwrap(), expected);
        }

        fn fails(&self, addresses: &[&str], says: &str) {
            let error = self.find(addresses).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_pods_own_namespace_is_told_from_those_within_it_and_from_the_nodes() {
        if !runs("find::the_pods_own_namespace_is_told_from_those_within_it_and_from_the_nodes") {
            return;
        }
        let (own, nested, other) = (Namespace::new(), Namespace::new(), Namespace::new());
        own.sh("ip addr add 198.51.100.9/32 dev lo; ip -6 addr add 2001:db8::9/128 dev lo nodad");
        let group = format!("0::/kubepods/burstable/pod{UID}");
        let proc = Proc::new("told");
        proc.fails(&[], "no process");
        proc.process(20, &format!("0::/kubepods/pod{STATIC}/c\n"), &other.path());
        proc.fails(&[], "no process");
        proc.process(30, &format!("{group}/c1\n"), Path::new("/proc/self/ns/net"));
        proc.fails(&[], "the node's own network");
        proc.process(31, &format!("{group}/c1/docker/d1\n"), &nested.path());
        proc.process(32, &format!("{group}/c1\n"), &own.path());
        proc.process(33, &format!("{group}/c2\n"), &own.path());
        proc.finds(&[], &own);
        // A container's own process may have made itself a namespace, so that only the address tells.
        proc.process(34, &format!("{group}/c3\n"), &nested.path());
        proc.fails(&[], "2 network namespaces");
        proc.finds(&["198.51.100.9"], &own);
        proc.finds(&["192.0.2.1", "2001:db8::9"], &own);
        proc.fails(&["192.0.2.1"], "2 network namespaces");
        // What stands for the node's first process tells the node's namespace where ours is another.
        proc.process(1, "0::/init.scope\n", &nested.path());
        proc.finds(&[], &own);
        fs::remove_file(proc.0.join("32/ns/net")).unwrap();
        fs::remove_file(proc.0.join("33/ns/net")).unwrap();
        proc.fails(&[], "the node's own network");
    }

    #[test]
    fn a_recorded_path_counts_while_it_is_a_namespace_and_not_of_a_process() {
        if !runs("find::a_recorded_path_counts_while_it_is_a_namespace_and_not_of_a_process") {
            return;
        }
        let pod = Namespace::new();
        let folder = Proc::new("path");
        let link = folder.0.join("cni-1");
        symlink(pod.path(), &link).unwrap();
        assert!(by_path(&link).is_some());
        assert!(by_path(&pod.path()).is_none(), "by now it may be another's");
        assert!(by_path(&folder.0.join("cni-2")).is_none());
        assert!(by_path(Path::new("cni-1")).is_none());
        symlink("/proc/self/ns/net", folder.0.join("own")).unwrap();
        assert!(by_path(&folder.0.join("own")).is_none(), "the node's");
    }

    /// Real processes whose numbers are counted by themselves: a shell, first of its own world, that does as it is told.
    struct World {
        shell: Child,
        first: u32,
    }

    impl World {
        fn new() -> World {
            let mut unshare = Command::new("unshare");
            let shell = unshare
                .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"])
                .arg("echo; while read line; do eval \"$line\"; echo; done")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut shell = shell.spawn().unwrap();
            answer(&mut shell);
            let children = format!("/proc/{0}/task/{0}/children", shell.id());
            let first = fs::read_to_string(children).unwrap().trim().parse().unwrap();
            World { shell, first }
        }

        fn proc(&self) -> PathBuf {
            PathBuf::from(format!("/proc/{}/root/proc", self.first))
        }

        fn run(&mut self, line: &str) {
            use std::io::Write;
            writeln!(self.shell.stdin.as_mut().unwrap(), "{line}").unwrap();
            answer(&mut self.shell);
        }
    }

    fn answer(shell: &mut Child) {
        let mut byte = [0];
        shell.stdout.as_mut().unwrap().read_exact(&mut byte).expect("the shell answers");
    }

    impl Drop for World {
        fn drop(&mut self) {
            drop(self.shell.stdin.take());
            let _ = self.shell.wait();
        }
    }

    #[test]
    fn a_number_that_another_process_has_by_now_leads_nowhere() {
        let name = "find::a_number_that_another_process_has_by_now_leads_nowhere";
        if !runs(name) {
            return;
        }
        let mut world = World::new();
        let start = "echo 70 > /proc/sys/kernel/ns_last_pid; sleep 1000 > /dev/null & held=$!";
        world.run(start);
        let held = Held::hold(&world.proc(), 71).expect("the first to have the number");
        held.netns().expect("it lives");
        world.run("kill -9 71; wait 71 2> /dev/null");
        world.run(start);
        Held::hold(&world.proc(), 71).expect("the second to have it").netns().expect("it lives");
        assert!(matches!(held.netns(), Err(netns::Error::Gone(_))));
        assert_eq!(held.pod(|_| true), None);
        world.run("kill -9 71; wait 71 2> /dev/null");
    }

    /// A control group of this machine's own, with one process in it; gone with it.
    struct Group(PathBuf);

    impl Group {
        /// In whichever hierarchy takes one.
        fn new(uid: &str) -> Option<Group> {
            let places = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
            let path = format!("kubepods-millrace{}/pod{uid}/c1", std::process::id());
            let tried = places.iter().map(|place| Path::new(place).join(&path));
            tried
                .filter(|path| path.ancestors().nth(3).is_some_and(|root| root.join("cgroup.procs").exists()))
                .find_map(|path| fs::create_dir_all(&path).is_ok().then_some(Group(path)))
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            for path in self.0.ancestors().take(3) {
                let _ = fs::remove_dir(path);
            }
        }
    }

    #[test]
    fn real_processes_in_real_control_groups_are_found_also_with_users_of_their_own() {
        let name = "find::real_processes_in_real_control_groups_are_found_also_with_users_of_their_own";
        if !runs(name) {
            return;
        }
        for make in [Namespace::new, Namespace::shifted] {
            let Some(group) = Group::new(UID) else {
                return millrace_rig::absent::not_run(
                    name,
                    "a cgroup hierarchy to write to",
                    "run it as root of a machine",
                );
            };
            let pod = make();
            fs::write(group.0.join("cgroup.procs"), pod.pid().to_string()).unwrap();
            let sought = Sought { uid: UID.to_owned(), addresses: Vec::new() };
            let mut found = by_processes(Path::new("/proc"), &[sought]).unwrap();
            let expected = NetNs::open(&pod.path()).unwrap();
            let found = found.remove(UID).unwrap().unwrap();
            assert_eq!(found.id().unwrap(), expected.id().unwrap());
            // It ends before its group goes.
            drop(pod);
        }
    }
}
