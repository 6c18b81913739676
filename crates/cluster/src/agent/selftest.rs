//! The proof that a pod which starts now would be redirected: the installed plugin is given one, as a runtime would give it.
//!
//! The pod is a network namespace that nobody else is in and nobody ever will be. What the plugin puts there is compared
//! with the plan, then it is told to take the pod out again. Nothing is left behind, the node's own records and sockets
//! are not touched, and everything together ends by a deadline.

use crate::agent::program::{ends, unless_busy};
use millrace_core::cni::entry::{ANNOTATIONS, Entry};
use millrace_core::dialect::{Backend, Choice};
use millrace_core::rules::compare::{Drift, compare};
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_host::backend;
use millrace_host::netns::{self, NetNs};
use millrace_host::records::Records;
use rustix::fd::{AsFd, AsRawFd};
use serde_json::{Value, json};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// What is tried, and how.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// The installed plugin.
    pub(crate) plugin: PathBuf,
    /// A directory, on a tmpfs of ours, in which one may be made for a moment.
    pub(crate) below: PathBuf,
    /// The backend that the node's entry names.
    pub(crate) backend: Choice,
    /// How long it may take in all.
    pub(crate) patience: Duration,
}

/// What was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Who took the rules.
    pub(crate) backend: Backend,
    /// The families that they are for.
    pub(crate) families: Families,
    /// How many rules.
    pub(crate) rules: usize,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = match self.families {
            Families::V4 => "IPv4",
            Families::Both => "IPv4 and IPv6",
        };
        write!(f, "{} rules for {families} by {}, as planned", self.rules, self.backend)
    }
}

/// Why it is not proved, by whose fault.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub(crate) enum Error {
    /// There was no place to try it in.
    Scratch { path: PathBuf, cause: io::Error },
    /// There was no namespace to try it in.
    NetNs(netns::Error),
    /// The file does not run.
    Binary { path: PathBuf, cause: io::Error },
    /// It did not end in time, and was killed.
    Slow { verb: &'static str, patience: Duration },
    /// It ran and refused: the kernel or the backend.
    Refused { verb: &'static str, status: ExitStatus, said: String },
    /// It succeeded, and kept no record.
    NoRecord(String),
    /// What is there cannot be read.
    Unread(backend::Error),
    /// It succeeded, and what is there is not what was planned.
    Differs { backend: Backend, how: String },
    /// DEL left something.
    Left(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("self-test: ")?;
        match self {
            Error::Scratch { path, cause } => {
                write!(f, "cannot use {}: {cause}; it must be writable for the agent", path.display())
            }
            Error::NetNs(error) => write!(f, "{error}"),
            Error::Binary { path, cause } => write!(
                f,
                "the installed {} does not run: {cause}; install it again, and see that its file system allows to execute",
                path.display()
            ),
            Error::Slow { verb, patience } => {
                write!(
                    f,
                    "{verb} did not end within {} s; look for a node that is overloaded",
                    patience.as_secs()
                )
            }
            Error::Refused { verb, status, said } => {
                write!(f, "the plugin refused {verb} ({status}): {said}")
            }
            Error::NoRecord(why) => write!(f, "the plugin kept no record of what it did: {why}"),
            Error::Unread(error) => write!(f, "the rules cannot be read back: {error}"),
            Error::Differs { backend, how } => {
                write!(
                    f,
                    "the rules that {backend} took are not as planned: {how}; bring plugin and agent to one release"
                )
            }
            Error::Left(what) => write!(f, "DEL left {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Tries it. It blocks, for as long as the trial may take.
pub(crate) fn prove(trial: &Trial) -> Result<Proof, Error> {
    let deadline = Instant::now() + trial.patience;
    let netns = NetNs::scratch().map_err(Error::NetNs)?;
    let scratch = Scratch::new(&trial.below)?;
    let families = if Path::new("/proc/net/if_inet6").exists() { Families::Both } else { Families::V4 };
    let settings = Settings::default();
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
    let config = config(&scratch.0, &path, trial.backend, &settings, families).to_string();
    let call = Call { trial, netns: &path, folder: &scratch.0, config: &config, deadline };
    call.run("ADD")?;
    let records = Records::below(&scratch.0);
    let (mut kept, unread) = records.all().map_err(|error| Error::NoRecord(error.to_string()))?;
    let Some(record) = kept.pop() else {
        let why = unread.first().map_or_else(|| "there is none".to_owned(), ToString::to_string);
        return Err(Error::NoRecord(why));
    };
    let rules = is_as_planned(&netns, record.backend, &settings, families)?;
    call.run("DEL")?;
    match records.all() {
        Ok((kept, unread)) if kept.is_empty() && unread.is_empty() => {}
        Ok(_) => return Err(Error::Left("its record".to_owned())),
        Err(error) => return Err(Error::Left(error.to_string())),
    }
    Ok(Proof { backend: record.backend, families, rules })
}

/// How many rules there are, if they are as planned.
fn is_as_planned(
    netns: &NetNs,
    backend: Backend,
    settings: &Settings,
    families: Families,
) -> Result<usize, Error> {
    let plan = plan(settings, families);
    let survey = backend::survey(netns).map_err(Error::Unread)?;
    let drifts: Vec<Drift> = survey.found.iter().map(|(_, seen)| compare(&plan.rules, seen)).collect();
    let missing = backend::missing_routes(netns, &plan).map_err(Error::Unread)?;
    if let Some(route) = missing.first() {
        return Err(Error::Differs { backend, how: format!("missing: {route}") });
    }
    if drifts.iter().any(Drift::is_clean) {
        return Ok(plan.rules.len());
    }
    let least = drifts.iter().flat_map(|drift| drift.findings.first()).next();
    let how = least.map_or_else(|| "there are none".to_owned(), ToString::to_string);
    Err(Error::Differs { backend, how })
}

/// The entry as a runtime hands it over, for a pod that is stamped and has addresses of both families.
fn config(folder: &Path, netns: &str, backend: Choice, settings: &Settings, families: Families) -> Value {
    let inside = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let entry = Entry {
        // Nobody listens there: what is tried is no pod of the node's, and is not counted as one.
        agent_socket: inside("agent.sock"),
        event_socket: inside("events.sock"),
        state_dir: folder.to_string_lossy().into_owned(),
        backend,
        ..Entry::default()
    };
    // Documentation addresses (RFC 5737, RFC 3849), which no interface has. Without a sandbox they would be the node's.
    let mut ips = vec![json!({ "address": "198.51.100.2/24", "interface": 0 })];
    if families == Families::Both {
        ips.push(json!({ "address": "2001:db8::2/64", "interface": 0 }));
    }
    let stamp = stamp::write(&Stamp::Redirect(Box::new(settings.clone())));
    let mut config = entry.write();
    for (key, value) in [
        ("cniVersion", json!("1.0.0")),
        ("name", json!(NETWORK)),
        ("runtimeConfig", json!({ ANNOTATIONS: { STAMP_ANNOTATION: stamp } })),
        (
            "prevResult",
            json!({ "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0", "sandbox": netns }], "ips": ips, "dns": {} }),
        ),
    ] {
        config.insert(key.to_owned(), value);
    }
    Value::Object(config)
}

const NETWORK: &str = "millrace-selftest";

/// One call after another for the same pod.
struct Call<'a> {
    trial: &'a Trial,
    netns: &'a str,
    folder: &'a Path,
    config: &'a str,
    deadline: Instant,
}

impl Call<'_> {
    fn run(&self, verb: &'static str) -> Result<(), Error> {
        let scratch = |cause| Error::Scratch { path: self.folder.to_owned(), cause };
        let (input, output) = (self.folder.join("stdin"), self.folder.join("output"));
        fs::write(&input, self.config).map_err(scratch)?;
        // By file, not by pipe: a program that a backend runs may outlive it and hold the pipe open.
        let said = File::create(&output).map_err(scratch)?;
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=millrace;K8S_POD_NAME={NETWORK};K8S_POD_UID={NETWORK}"
        );
        let path = std::env::var_os("PATH").unwrap_or_default();
        let start = || {
            let mut command = Command::new(&self.trial.plugin);
            command.env_clear().env("PATH", &path).env("CNI_COMMAND", verb).env("CNI_CONTAINERID", NETWORK);
            command.env("CNI_NETNS", self.netns).env("CNI_IFNAME", "eth0").env("CNI_ARGS", &args);
            command.env("CNI_PATH", self.trial.plugin.parent().unwrap_or(Path::new("/")));
            command.stdin(File::open(&input)?).stdout(said.try_clone()?).stderr(said.try_clone()?);
            command.spawn()
        };
        let binary = |cause| Error::Binary { path: self.trial.plugin.clone(), cause };
        let mut child = unless_busy(start, self.deadline).map_err(binary)?;
        let ended = ends(&mut child, self.deadline);
        if !matches!(ended, Ok(true)) {
            // It may have ended just now; then there is nothing to kill.
            let _ = child.kill();
        }
        let status = child.wait().map_err(binary)?;
        if !ended.map_err(binary)? {
            return Err(Error::Slow { verb, patience: self.trial.patience });
        }
        if status.success() {
            return Ok(());
        }
        let mut text = Vec::new();
        File::open(&output).and_then(|file| file.take(LONGEST).read_to_end(&mut text)).map_err(scratch)?;
        let text = String::from_utf8_lossy(&text);
        Err(Error::Refused { verb, status, said: text.split_whitespace().collect::<Vec<_>>().join(" ") })
    }
}

/// The most of what the plugin says that is repeated.
const LONGEST: u64 = 4 << 10;

/// A directory for one trial, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(below: &Path) -> Result<Scratch, Error> {
        let path = below.join(format!("selftest.{}", std::process::id()));
        // What an agent left that was killed meanwhile and had our number.
        let _ = fs::remove_dir_all(&path);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|cause| Error::Scratch { path: path.clone(), cause })?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_rig::absent;
    use std::os::unix::fs::PermissionsExt;

    /// A node with whatever is installed as the plugin on it.
    struct Node(PathBuf);

    impl Node {
        fn new(name: &str) -> Node {
            let path = std::env::temp_dir().join(format!("millrace-selftest-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Node(path)
        }

        fn prove(&self, plugin: &Path, backend: Choice, patience: Duration) -> Result<Proof, Error> {
            let trial = Trial { plugin: plugin.to_owned(), below: self.0.clone(), backend, patience };
            let proof = prove(&trial);
            let left: Vec<_> =
                fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| name == "plugin"), "{left:?}");
            proof
        }

        fn fails(&self, script: &str, patience: Duration, says: &str) {
            let plugin = self.0.join("plugin");
            fs::write(&plugin, script).unwrap();
            fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
            let error = self.prove(&plugin, Choice::Auto, patience).expect_err(script).to_string();
            assert!(error.starts_with("self-test: ") && error.contains(says), "{script}: {error}");
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The built plugin, if it is there and namespaces may be made.
    fn plugin(name: &str) -> Option<PathBuf> {
        let test = std::env::current_exe().unwrap();
        let built = test.ancestors().nth(2).unwrap().join("millrace-cni");
        let plugin = millrace_rig::plugin::plugin(built);
        if !rustix::process::geteuid().is_root() {
            absent::not_run(name, "root", "sudo make test");
        } else if !plugin.exists() {
            absent::not_run(name, "the built millrace-cni", "cargo build -p millrace-host");
        } else {
            return Some(plugin);
        }
        None
    }

    #[test]
    fn the_built_plugin_is_proved_by_each_backend() {
        let Some(plugin) = plugin("selftest::the_built_plugin_is_proved_by_each_backend") else { return };
        let node = Node::new("proved");
        let ours = |proof: &Proof| proof.rules == plan(&Settings::default(), proof.families).rules.len();
        for (choice, backend) in [
            (Choice::Auto, Backend::Iptables),
            (Choice::Only(Backend::Iptables), Backend::Iptables),
            (Choice::Only(Backend::Nftables), Backend::Nftables),
        ] {
            let proof = node.prove(&plugin, choice, PATIENCE).unwrap();
            assert!(proof.backend == backend && ours(&proof), "{proof}");
        }
    }

    #[test]
    fn whatever_is_broken_is_named() {
        if plugin("selftest::whatever_is_broken_is_named").is_none() {
            return;
        }
        let node = Node::new("broken");
        node.fails("#!/nowhere/at/all\n", PATIENCE, "does not run");
        node.fails("not a program", PATIENCE, "does not run");
        node.fails(
            "#!/bin/sh\necho '{\"code\":105}'; exit 1\n",
            PATIENCE,
            "refused ADD (exit status: 1): {\"code\":105}",
        );
        node.fails("#!/bin/sh\nexit 0\n", PATIENCE, "kept no record");
        node.fails("#!/bin/sh\nkill -9 $$\n", PATIENCE, "signal: 9");
        node.fails("#!/bin/sh\nexec sleep 1000\n", Duration::from_millis(200), "did not end");
        let nowhere = node.prove(&node.0.join("absent"), Choice::Auto, PATIENCE).unwrap_err();
        assert!(matches!(nowhere, Error::Binary { .. }), "{nowhere}");
        let trial = Trial {
            plugin: "/bin/true".into(),
            below: node.0.join("no"),
            backend: Choice::Auto,
            patience: PATIENCE,
        };
        assert!(matches!(prove(&trial), Err(Error::Scratch { .. })));
    }

    #[test]
    fn a_plugin_that_does_half_its_work_is_found_out() {
        let Some(plugin) = plugin("selftest::a_plugin_that_does_half_its_work_is_found_out") else { return };
        let node = Node::new("half");
        let plugin = plugin.display();
        let other = "s/outboundPort[^,]*,/outboundPort\\\\\":\\\\\"15101\\\\\",/";
        node.fails(&format!("#!/bin/sh\nsed '{other}' | {plugin}\n"), PATIENCE, "not as planned");
        let lazy = format!("#!/bin/sh\ntest $CNI_COMMAND = DEL || exec {plugin}\n");
        node.fails(&lazy, PATIENCE, "DEL left its record");
    }
}
