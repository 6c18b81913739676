//! The flags of `millrace inject`.

use super::EXIT;
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;

/// Do to the pods of a manifest what the webhook does to pods that are created: no privileged container, and the stamp.
///
/// Pods and the templates of workloads are changed, everything else is passed on. Warnings go to standard error.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXIT)]
pub(crate) struct Inject {
    /// The manifest, YAML or JSON; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The namespace of objects that state none.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// A namespace in which istio-init redirects; may be repeated.
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub(crate) exclude_namespace: Vec<String>,
    /// Add a sidecar first, where there is none: FILE has the parts of a pod to add. The one that is built in is Istio's in
    /// outline, and wants istiod at run time.
    #[arg(long, value_name = "FILE", require_equals = true)]
    pub(crate) sidecar: Option<Option<PathBuf>>,
    /// A setting of pods that do not state it, such as excludeOutboundPorts=3306; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Refuse pods that cannot work, instead of warning.
    #[arg(long)]
    pub(crate) deny: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Injected,
}

/// Forms of an injected manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Injected {
    /// The manifest, as YAML.
    #[default]
    Yaml,
    /// The manifest, as JSON.
    Json,
    /// For each pod what is done, said and changed, instead of the manifest.
    Patch,
}
