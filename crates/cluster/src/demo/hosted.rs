//! Pods on the node's own network: the agent of a DaemonSet, and the Job that clears the node. What their manifests say is run as a
//! process of this program.
//!
//! The program, its arguments, its variables, its probe and its capabilities are the manifest's. Only what a container's mounts do
//! is done in another way: paths below them are led to the node's root, and a service account's token is a kubeconfig.

use crate::demo::cluster::HOST;
use crate::demo::process::{self, Identity, Running};
use crate::demo::root::{self, DATA, RUN, Root};
use crate::demo::status::Seen;
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a probe may take.
const PROBING: Duration = Duration::from_secs(5);
/// How often a pod that starts is probed.
const STARTING: Duration = Duration::from_millis(250);
/// How often one that is ready is probed, as the manifest has it.
const PERIOD: Duration = Duration::from_secs(5);
/// How long a container that ended by itself waits before it is started again, and how long at most after it did so more often: as
/// a kubelet has it (kubernetes.io, Pod Lifecycle, restart policy).
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// A pod that is there.
#[derive(Debug)]
pub(crate) struct Hosted {
    /// It as the API server held it when it came.
    pub(crate) object: Value,
    /// How far it is.
    pub(crate) seen: Seen,
    /// Whether it is told to end.
    pub(crate) leaving: bool,
    run: Run,
    identity: Identity,
    own: PathBuf,
    running: Running,
    log: PathBuf,
    probed: Instant,
    /// When it is started again.
    again: Option<Instant>,
    /// Where its container leaves its last words.
    words: PathBuf,
}

/// What a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Run {
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    /// What its readiness is asked by, if it is asked.
    probe: Vec<String>,
}

/// What a container sees elsewhere than it is: the paths of its mounts, and where they are.
type Mounts = Vec<(String, PathBuf)>;

/// The programs that a pod's image holds, and the way to the API server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<'a> {
    pub(crate) own: &'a Path,
    pub(crate) cni: &'a Path,
    pub(crate) kubeconfig: &'a Path,
}

/// Whether a pod is one of these.
pub(crate) fn is_hosted(pod: &Value) -> bool {
    pod["spec"]["hostNetwork"] == true
}

impl Hosted {
    /// Starts the pod; `configs` gives the ConfigMaps that it mounts.
    pub(crate) fn start(
        pod: &Value,
        root: &Root,
        image: Image<'_>,
        log: &Path,
        configs: impl Fn(&str) -> anyhow::Result<Value>,
    ) -> anyhow::Result<Hosted> {
        let container = &pod["spec"]["containers"][0];
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            if let Some(name) = volume["configMap"]["name"].as_str() {
                keep(&folder(root, pod, volume), &configs(name)?)?;
            } else if let Some(path) = volume["hostPath"]["path"].as_str() {
                exist(&root.place(path), volume["hostPath"]["type"] == "DirectoryOrCreate")?;
            }
        }
        let words = last_words(root, pod);
        keep_file(&words)?;
        let run = run(pod, container, root, image)?;
        let identity = Identity::of(container)?;
        let running = run.start(pod, image.own, &identity, log)?;
        let seen = Seen { runs: true, addresses: HOST.parse().into_iter().collect(), ..Seen::default() };
        let (object, own) = (pod.clone(), image.own.to_owned());
        let (probed, log) = (Instant::now(), log.to_owned());
        Ok(Hosted {
            object,
            seen,
            leaving: false,
            run,
            identity,
            own,
            running,
            log,
            probed,
            again: None,
            words,
        })
    }

    /// Writes what a ConfigMap says now to where it is mounted.
    pub(crate) fn configure(&self, root: &Root, config: &Value) -> anyhow::Result<()> {
        let volumes = self.object["spec"]["volumes"].as_array().into_iter().flatten();
        let mut mounted = volumes.filter(|volume| volume["configMap"]["name"] == config["metadata"]["name"]);
        mounted.try_for_each(|volume| keep(&folder(root, &self.object, volume), config))
    }

    /// Looks how it is. Whether that is something else than before.
    pub(crate) fn look(&mut self) -> anyhow::Result<bool> {
        if self.seen.over.is_some() {
            return Ok(false);
        }
        if let Some(when) = self.again {
            return self.start_again(when);
        }
        if let Some(code) = self.running.over()? {
            (self.seen.over, self.seen.ready) = (Some(code), false);
            self.seen.words = fs::read_to_string(&self.words).unwrap_or_default();
            return Ok(true);
        }
        let period = if self.seen.ready { PERIOD } else { STARTING };
        if self.run.probe.is_empty() || self.leaving || self.probed.elapsed() < period {
            return Ok(false);
        }
        let mut command = process::confined(&self.own, &self.identity, &self.run.probe);
        let ready = process::run(command.envs(&self.run.variables), None, PROBING)?.status.success();
        self.probed = Instant::now();
        Ok(std::mem::replace(&mut self.seen.ready, ready) != ready)
    }

    /// Has its container started again after a while; gives that while.
    pub(crate) fn back_off(&mut self) -> Duration {
        let wait = wait(self.seen.restarts);
        self.again = Some(Instant::now() + wait);
        self.seen =
            Seen { over: None, backs_off: true, restarts: self.seen.restarts + 1, ..self.seen.clone() };
        wait
    }

    fn start_again(&mut self, when: Instant) -> anyhow::Result<bool> {
        if self.leaving {
            self.seen.over = Some(0);
            return Ok(true);
        }
        if Instant::now() < when {
            return Ok(false);
        }
        self.running = self.run.start(&self.object, &self.own, &self.identity, &self.log)?;
        (self.again, self.seen.backs_off) = (None, false);
        // That it runs is told with the next that is seen of it.
        Ok(false)
    }

    /// Asks it to end.
    pub(crate) fn ask_to_end(&mut self) {
        self.leaving = true;
        self.running.ask_to_end();
    }

    /// Waits until it has ended, or makes it end.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.running.end()
    }

    /// The last it said.
    pub(crate) fn last_words(&self) -> String {
        self.running.last_words()
    }
}

impl Run {
    fn start(&self, pod: &Value, own: &Path, identity: &Identity, log: &Path) -> anyhow::Result<Running> {
        let mut command = process::confined(own, identity, &self.arguments);
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        Running::start(name, command.envs(&self.variables), log)
    }
}

/// How long one waits that was started again so often.
fn wait(restarts: u32) -> Duration {
    let (first, most) = BACK_OFF;
    first.saturating_mul(1_u32.checked_shl(restarts).unwrap_or(u32::MAX)).min(most)
}

/// Where a volume of a pod is that is no directory of the node.
fn folder(root: &Root, pod: &Value, volume: &Value) -> PathBuf {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let volumes = root.place("/var/lib/kubelet/pods").join(text(&pod["metadata"]["uid"]));
    volumes.join(text(&volume["name"]))
}

/// Where a kubelet keeps what a container says at its end.
fn last_words(root: &Root, pod: &Value) -> PathBuf {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    root.place("/var/lib/kubelet/pods").join(uid).join("termination-log")
}

fn keep_file(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))
}

fn keep(folder: &Path, config: &Value) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in config["data"].as_object().into_iter().flatten() {
        // Beside and renamed: the agent may be reading it.
        let (file, beside) = (folder.join(name), folder.join(format!(".{name}")));
        let written = fs::write(&beside, text.as_str().unwrap_or_default());
        written
            .and_then(|()| fs::rename(&beside, &file))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn exist(directory: &Path, create: bool) -> anyhow::Result<()> {
    if !create && !directory.is_dir() {
        bail!("the node has no {}, which the pod wants to mount", directory.display());
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// What a container runs, its paths led to where its mounts are.
fn run(pod: &Value, container: &Value, root: &Root, image: Image<'_>) -> anyhow::Result<Run> {
    let mounts = mounts(pod, container, root);
    let variables = variables(pod, container);
    let led = |word: &str| lead(&expand(word, &variables), &mounts);
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().into_iter().flatten();
        words.filter_map(Value::as_str).map(led).collect()
    };
    anyhow::ensure!(
        container["command"][0] == "/millrace",
        "the demo's node runs millrace only, not {}",
        container["command"]
    );
    let mut arguments = words(&container["args"]);
    for (flag, place) in [
        ("--host-root", root.path().to_owned()),
        ("--state-dir", root.place(RUN)),
        ("--data-dir", root.place(DATA)),
        ("--binary", image.cni.to_owned()),
    ] {
        arguments.push(format!("{flag}={}", place.display()));
    }
    if pod["spec"]["automountServiceAccountToken"] == true {
        arguments.push(format!("--kubeconfig={}", image.kubeconfig.display()));
    }
    // What listens on the node's addresses listens on the one that it has here.
    let arguments = arguments.iter().map(|word| word.replace("=0.0.0.0:", &format!("={HOST}:"))).collect();
    let probe = words(&container["readinessProbe"]["exec"]["command"]).into_iter().skip(1).collect();
    let variables = variables.iter().map(|(name, text)| (name.clone(), led(text))).collect();
    Ok(Run { arguments, variables, probe })
}

fn mounts(pod: &Value, container: &Value, root: &Root) -> Mounts {
    let volumes = pod["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
    let mounted = container["volumeMounts"].as_array().into_iter().flatten();
    let place = |mount: &Value| {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"])?;
        let place = volume["hostPath"]["path"].as_str().map(|path| root.place(path));
        Some((mount["mountPath"].as_str()?.to_owned(), place.unwrap_or_else(|| folder(root, pod, volume))))
    };
    let said = container["terminationMessagePath"].as_str();
    let said = said.map(|path| (path.to_owned(), last_words(root, pod)));
    mounted.filter_map(place).chain(said).collect()
}

fn variables(pod: &Value, container: &Value) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        let path = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().unwrap_or_default();
        let field = pod.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str);
        let text = variable["value"].as_str().map(|text| expand(text, &known));
        let text = text.or_else(|| field.map(str::to_owned)).unwrap_or_default();
        known.insert(variable["name"].as_str().unwrap_or_default().to_owned(), text);
    }
    known
}

/// `$(NAME)` as Kubernetes fills it in, with variables that stand before.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

/// A path, or a flag's path, below a mount is where the mount is.
fn lead(word: &str, mounts: &Mounts) -> String {
    let (flag, path) = word.find("=/").map_or(("", word), |at| word.split_at(at + 1));
    let found = mounts.iter().find_map(|(mount, place)| {
        let rest = path.strip_prefix(mount.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| root::below(place, rest))
    });
    found.map_or_else(
        || word.to_owned(),
        |path| format!("{flag}{}", path.display()).trim_end_matches('/').to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: &str) {
        let mounts = [("/etc/millrace", "/n/volumes/config"), ("/run/millrace", "/n/run/millrace")];
        let mounts = mounts.map(|(mount, place)| (mount.to_owned(), PathBuf::from(place))).to_vec();
        assert_eq!(lead(word, &mounts), expected);
    }

    #[test]
    fn paths_below_mounts_are_led_to_the_nodes_root() {
        check("--config=/etc/millrace/agent.yaml", "--config=/n/volumes/config/agent.yaml");
        check("/run/millrace/agents/a.sock", "/n/run/millrace/agents/a.sock");
        check("/run/millrace", "/n/run/millrace");
        check("/run/millracer/x", "/run/millracer/x");
        check("agent", "agent");
        check("--metrics-address=0.0.0.0:1", "--metrics-address=0.0.0.0:1");
    }

    #[test]
    fn who_ends_again_and_again_waits_longer() {
        let waits: Vec<u64> = [0, 1, 2, 4, 5, 31, 32, 1000].map(|restarts| wait(restarts).as_secs()).to_vec();
        assert_eq!(waits, [10, 20, 40, 160, 300, 300, 300, 300]);
    }

    #[test]
    fn variables_are_filled_in_in_their_order() {
        let field = serde_json::json!({ "fieldRef": { "fieldPath": "metadata.name" } });
        let pod = serde_json::json!({ "metadata": { "name": "a-1" } });
        let container = serde_json::json!({ "env": [
            { "name": "POD_NAME", "valueFrom": field }, { "name": "SOCKET", "value": "/run/$(POD_NAME).sock" } ] });
        assert_eq!(variables(&pod, &container)["SOCKET"], "/run/a-1.sock");
    }
}
