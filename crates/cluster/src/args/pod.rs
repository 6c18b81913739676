//! The flags of the commands about pods: explain, rules, trace, verify, why. What they do is in `cli`.

use super::EXIT;
use super::subject::{Asking, Reach, Subject, What, subject, what};
use clap::{Args as ClapArgs, ValueEnum};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Say whether pods are redirected, by which conditions, by whom now and after a restart, and what is wrong with their
/// settings: pods of the cluster, or of a manifest; or what a code means.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT,
    group = clap::ArgGroup::new("asked").required(true).args(["what", "file", "codes", "all_namespaces"]))]
pub(crate) struct Explain {
    /// A pod, a workload's template or a namespace's pods, read from the API server: POD, deploy/NAME, namespace/NAME; or a code,
    /// such as MR2104: what it means, how it comes about, whom it affects and what to do. A code needs no network.
    #[arg(value_name = "POD|KIND/NAME|MRnnnn", value_parser = what)]
    pub(crate) what: Option<What>,
    /// The manifest, YAML or JSON: pods, or workloads with a pod template; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// List all codes.
    #[arg(long)]
    pub(crate) codes: bool,
    /// A namespace in which istio-init redirects, beside those that the cluster's MeshCNI excludes; may be repeated.
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) exclude_namespace: Vec<String>,
    /// Decide as if an injector had added its sidecar.
    #[arg(long)]
    pub(crate) assume_injected: bool,
    /// Leave out the rules, which are otherwise shown each with its reason.
    #[arg(long)]
    pub(crate) brief: bool,
    /// The families of rules; a pod without an IPv6 address gets 4 only.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) family: Family,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// Print the rules of a pod, of given settings, or of a pod that states none; or those that a live pod holds.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT)]
pub(crate) struct Rules {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) look: Look,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The families of rules.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) family: Family,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t, help_heading = "Printing")]
    pub(crate) output: Form,
}

/// Verify live pods: their rules as planned, none missing, none foreign, and seen at work by probes.
///
/// A network namespace of this machine by --netns, --pid or --container, against the settings that are named, else those that millrace-cni
/// recorded; or pods of a cluster, looked into on this machine if it is their node, else by the agent of their node, else from a debug
/// container. Pods that Istio's own istio-init or CNI redirects are verified too.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Look only, send nothing.
    #[arg(long)]
    pub(crate) no_probes: bool,
    #[command(flatten)]
    pub(crate) node: Handed,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// What is looked at: a network namespace of this machine, a pod of a cluster, or settings.
#[derive(Debug, ClapArgs)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) live: Live,
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) debug: Debug,
    /// Where millrace-cni keeps its records: of each pod of this machine its network namespace and its settings.
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
}

/// A debug container, for nodes on which nothing of ours can look into pods.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Debug {
    /// Where no agent can look, look from a debug container of this image of Millrace in the pod. It ends at once, and stays in the
    /// pod's list until the pod goes.
    #[arg(long, help_heading = "Debugging", value_name = "IMAGE")]
    pub(crate) debug_image: Option<String>,
    /// Instead, from a short-lived privileged pod on the pod's node, in its namespace, deleted afterwards.
    #[arg(long, help_heading = "Debugging", requires = "debug_image")]
    pub(crate) debug_node: bool,
}

/// Looking into a live pod of a cluster.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Look {
    /// What the pod holds now, not what is planned for it: looked into on its node, by the agent there, or from a debug container.
    #[arg(long = "live", id = "look_live", requires = "subject")]
    pub(crate) live: bool,
}

/// What one `millrace` hands over to another that it runs on a node.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Handed {
    /// The settings as a stamp holds them.
    #[arg(long, value_name = "STAMP", hide = true)]
    pub(crate) stamp: Option<String>,
    /// The rules are the work of Istio's own programs: what they differ in is named as theirs where every packet fares as planned, or by
    /// a known bug.
    #[arg(long)]
    pub(crate) stock: bool,
    /// The arguments after -- are those of the pod's own istio-init, whichever they are.
    #[arg(long, hide = true)]
    pub(crate) told: bool,
    /// A variable of the pod's istio-init.
    #[arg(long, value_name = "NAME=VALUE", hide = true)]
    pub(crate) init_env: Vec<String>,
}

impl Handed {
    /// The variables of the pod's istio-init.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let split =
            |one: &String| one.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.init_env.iter().filter_map(split).collect()
    }
}

/// Say what happened to a pod at each call of the runtime, and why: on its node, also after the pod is gone; from afar, of a pod
/// that is there, by the agent of its node.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT)]
pub(crate) struct Why {
    /// The pod; or POD alone with -n.
    #[arg(value_name = "NAMESPACE/POD", required_unless_present = "uid")]
    pub(crate) pod: Option<String>,
    /// The pod, by its UID.
    #[arg(long, value_name = "UID", conflicts_with = "pod")]
    pub(crate) uid: Option<String>,
    /// Show the rules, each with its reason.
    #[arg(long)]
    pub(crate) rules: bool,
    /// Where the agent keeps its flight recorder.
    #[arg(long, value_name = "DIRECTORY", default_value = FLIGHT_DIR)]
    pub(crate) flight_dir: PathBuf,
    /// Where millrace-cni keeps its records, for a pod of which no agent has heard.
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// Where the agent's flight recorder is unless its configuration says otherwise.
const FLIGHT_DIR: &str = "/var/lib/millrace";

/// Where the plugin keeps its state unless its chain entry says otherwise.
pub(crate) const STATE_DIR: &str = "/run/millrace";

/// A network namespace of this machine. Needs root.
#[derive(Debug, ClapArgs)]
pub(crate) struct Live {
    /// A network namespace by path, such as /var/run/netns/NAME.
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub(crate) netns: Option<PathBuf>,
    /// The network namespace of a process.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// The network namespace of a container, by the beginning of its id.
    #[arg(long, value_name = "ID", conflicts_with_all = ["netns", "pid"])]
    pub(crate) container: Option<String>,
}

/// Follow one packet through the rules, step by step, to where it ends up.
///
/// The rules are those that a live network namespace holds, or those planned for given settings.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) look: Look,
    /// Where it comes from: an address, with or without a port. For a packet that is sent, the pod's own.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = endpoint)]
    pub(crate) from: Option<Endpoint>,
    /// Where it goes to: an address, with or without a port.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = endpoint)]
    pub(crate) to: Endpoint,
    /// Its transport protocol.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) proto: Proto,
    /// The user who sends it.
    #[arg(long, default_value_t = 1000, conflicts_with = "received")]
    pub(crate) uid: u32,
    /// The group that sends it; the user's number if not said.
    #[arg(long, conflicts_with = "received")]
    pub(crate) gid: Option<u32>,
    /// The interface it comes in by; without it, the packet is sent by the pod.
    #[arg(long = "in", id = "received", value_name = "INTERFACE", conflicts_with = "out")]
    pub(crate) received: Option<String>,
    /// The interface it goes out by; lo if it goes to the pod itself, else eth0.
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) out: Option<String>,
    /// Its mark.
    #[arg(long, default_value_t = 0)]
    pub(crate) mark: u32,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// Where settings come from. Without any of it, they are those of an injected pod that states none.
#[derive(Debug, ClapArgs)]
pub(crate) struct Source {
    /// A pod of the cluster, or a workload's template: POD, pod/NAME, deploy/NAME. Its stamp counts, else its istio-init's
    /// arguments, else its annotations.
    #[arg(value_name = "POD|KIND/NAME", value_parser = subject, conflicts_with_all = ["file", "set", "init"])]
    pub(crate) subject: Option<Subject>,
    /// A manifest with the pod, YAML or JSON; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The pod, when the manifest has several: NAME or NAMESPACE/NAME.
    #[arg(long, value_name = "NAME", requires = "file")]
    pub(crate) pod: Option<String>,
    /// One setting, such as excludeInboundPorts=22; may be repeated. `millrace rules -o settings` lists all.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "file")]
    pub(crate) set: Vec<String>,
    /// Arguments as istio-init takes them, after --.
    #[arg(last = true, value_name = "ISTIO-INIT ARGUMENTS", conflicts_with_all = ["file", "set"])]
    pub(crate) init: Vec<String>,
}

/// An address with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<u16>,
}

impl fmt::Display for Endpoint {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    if let Ok(address) = text.parse() {
        return Ok(Endpoint { address, port: None });
    }
    let whole: SocketAddr =
        text.parse().map_err(|_| "write an address, as in 10.0.0.1:80 or [fd00::1]:80".to_owned())?;
    Ok(Endpoint { address: whole.ip(), port: Some(whole.port()) })
}

/// Transport protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Proto {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// Neither, as ICMP.
    Other,
}

/// Address families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    /// IPv4.
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    V6,
    /// IPv4 and IPv6.
    #[default]
    Both,
}

/// Forms of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Each rule with its reason and the setting it comes from.
    #[default]
    #[value(aliases = ["table", "wide"])]
    Reasons,
    /// The table that iptables -L -n -v --line-numbers -x prints.
    Iptables,
    /// What iptables-restore takes and iptables-save prints.
    IptablesSave,
    /// In the words of nft, for reading.
    Nft,
    /// For programs, with reasons.
    Json,
    /// The same for programs and people.
    Yaml,
    /// The same, a line for each rule.
    Jsonl,
    /// The settings instead of rules.
    Settings,
}
