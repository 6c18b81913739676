//! One container of a played node: the program's own process, in a root of its own that holds what the manifest mounts.
//!
//! It sees the node's directories at the manifest's paths and of the machine nothing but its libraries. All of its mounts end with
//! its processes.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What a container is started with.
pub(super) struct Start<'a> {
    /// The container, as the pod's template has it, and the template's volumes.
    pub(super) container: &'a Value,
    pub(super) volumes: &'a Value,
    /// What its environment may name: the fields of the pod.
    pub(super) fields: &'a [(&'a str, &'a str)],
    /// Where the node's files are, where its configuration maps are, and where the account's token is.
    pub(super) host: &'a Path,
    pub(super) maps: &'a Path,
    pub(super) account: &'a Path,
    /// An empty folder to be its root, and a file for what it says.
    pub(super) root: &'a Path,
    pub(super) log: &'a Path,
    /// The node's address, which stands for all of the node's addresses; and the API server's.
    pub(super) address: &'a str,
    pub(super) server: std::net::SocketAddr,
}

/// A container that was started.
pub(super) struct Container {
    child: Child,
    environment: Vec<(String, String)>,
}

/// Makes a root of the machine's programs and of pairs of folders, and becomes the program in it.
const ENTER: &str = r#"
set -e
root=$1 program=$2 plugin=$3; shift 3
mount -t tmpfs -o mode=755 tmpfs "$root"
for part in usr lib lib64 bin sbin proc dev; do
    if [ -L "/$part" ]; then cp -P "/$part" "$root/$part"
    elif [ -d "/$part" ]; then mkdir "$root/$part"; mount --rbind "/$part" "$root/$part"; fi
done
touch "$root/millrace" "$root/millrace-cni"
mount --bind "$program" "$root/millrace"
mount --bind "$plugin" "$root/millrace-cni"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"; mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o remount,ro,bind "$root$2"
    shift 3
done
shift
exec chroot "$root" "$@"
"#;

/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Container {
    /// Starts one.
    pub(super) fn start(start: &Start<'_>) -> Container {
        std::fs::create_dir_all(start.root).expect("the node's folder is ours");
        let environment = start.environment();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private"]);
        command
            .args(["sh", "-c", ENTER, "sh"])
            .arg(start.root)
            .arg(env!("CARGO_BIN_EXE_millrace"))
            .arg(plugin());
        for (from, to, read_only) in start.mounts() {
            command.arg(from).arg(to).arg(if read_only { "ro" } else { "rw" });
        }
        command.arg("--").args(words(&start.container["command"]));
        // One address of loopback for each node: all of them are on this machine.
        command.args(
            words(&start.container["args"])
                .map(|word| word.replace("0.0.0.0:", &format!("{}:", start.address))),
        );
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment.iter().cloned());
        let log =
            File::options().append(true).create(true).open(start.log).expect("the node's folder is ours");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        Container { child: command.spawn().expect("setpriv(1) runs"), environment }
    }

    /// Whether `command` succeeds inside, as a kubelet asks a probe.
    pub(super) fn probe(&self, command: &Value) -> bool {
        let pid = self.child.id().to_string();
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &pid, "--mount", "--root", "--"]).args(words(command));
        inside.env_clear().envs(self.environment.iter().cloned());
        inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        inside.status().is_ok_and(|status| status.success())
    }

    /// How it ended, if it has: whether well.
    pub(super) fn ended(&mut self) -> Option<bool> {
        self.child.try_wait().expect("it is a child of ours").map(|status| status.success())
    }

    /// Ends it as a kubelet does, or as a machine that goes dark.
    pub(super) fn end(mut self, signal: Signal) {
        if self.ended().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
        let well = millrace_rig::end::within(super::PATIENCE, &mut self.child);
        assert!(well.is_some(), "it ends at {signal:?}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Start<'_> {
    fn environment(&self) -> Vec<(String, String)> {
        let mut all = vec![
            ("KUBERNETES_SERVICE_HOST".to_owned(), self.server.ip().to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), self.server.port().to_string()),
        ];
        for variable in self.container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().expect("a variable has a name").to_owned();
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some(field) => {
                    let found = self.fields.iter().find(|(path, _)| *path == field);
                    found.unwrap_or_else(|| panic!("nobody plays the field {field}")).1.to_owned()
                }
                None => {
                    let value = variable["value"].as_str().unwrap_or_default().to_owned();
                    all.iter().fold(value, |value, (name, is)| value.replace(&format!("$({name})"), is))
                }
            };
            all.push((name, value));
        }
        all
    }

    /// What is mounted: from where, to where, and whether only for reading.
    fn mounts(&self) -> Vec<(PathBuf, String, bool)> {
        let volumes = self.volumes.as_array().map(Vec::as_slice).unwrap_or_default();
        let mounts = self.container["volumeMounts"].as_array().into_iter().flatten();
        let mut all: Vec<(PathBuf, String, bool)> = mounts
            .map(|mount| {
                let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
                let volume = volume.unwrap_or_else(|| panic!("{mount} is of no volume"));
                let to = mount["mountPath"].as_str().expect("a mount has a path").to_owned();
                (self.source(volume), to, mount["readOnly"] == true)
            })
            .collect();
        all.push((self.account.to_owned(), ACCOUNT.to_owned(), true));
        all
    }

    fn source(&self, volume: &Value) -> PathBuf {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            return self.maps.join(name);
        }
        let path = volume["hostPath"]["path"].as_str().unwrap_or_else(|| panic!("nobody plays {volume}"));
        let path = self.host.join(path.trim_start_matches('/'));
        if volume["hostPath"]["type"] == "DirectoryOrCreate" {
            std::fs::create_dir_all(&path).expect("the node's folder is ours");
        }
        assert!(path.is_dir(), "a kubelet would not start it without {}", path.display());
        path
    }
}

fn words(list: &Value) -> impl Iterator<Item = String> {
    let words = list.as_array().into_iter().flatten();
    words.map(|word| word.as_str().expect("a command is of words").to_owned())
}

fn plugin() -> PathBuf {
    millrace_rig::plugin::plugin(Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("millrace-cni"))
}
