//! The programs the demo needs, found before anything is started, or named with the way to get them.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// Where `scripts/envoy` puts Envoy.
const ENVOY_PLACE: &str = "/usr/local/lib/millrace";
/// Where Debian, and where everybody else, keeps the reference CNI plugins.
const PLUGIN_PLACES: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// What was found.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Envoy.
    pub(crate) envoy: PathBuf,
    /// `millrace-cni`.
    pub(crate) cni: PathBuf,
    /// This program.
    pub(crate) own: PathBuf,
    /// The directory of the reference CNI plugins.
    pub(crate) plugins: PathBuf,
}

/// What the command line and the environment say of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// `--envoy`, else `MILLRACE_ENVOY`.
    pub(crate) envoy: Option<PathBuf>,
    /// `--cni-bin`, else `MILLRACE_CNI`.
    pub(crate) cni: Option<PathBuf>,
}

impl Tools {
    /// Finds them all, or says everything that is missing at once.
    pub(crate) fn find(wishes: &Wishes) -> anyhow::Result<Tools> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "it makes network namespaces and puts rules into them, so it needs root: run 'sudo make demo'"
            );
        }
        let own = std::env::current_exe().context("cannot find out where this program lies")?;
        let mut missing = Vec::new();
        let mut need = |found: Option<PathBuf>, what: &str| {
            if found.is_none() {
                missing.push(what.to_owned());
            }
            found.unwrap_or_default()
        };
        let search = std::env::var_os("PATH").unwrap_or_default();
        let search: Vec<PathBuf> = std::env::split_paths(&search).collect();
        for (program, package) in [("ip", "iproute2"), ("nsenter", "util-linux"), ("setpriv", "util-linux")] {
            need(
                first(search.iter().map(|directory| directory.join(program))),
                &format!("{program} (Debian: {package})"),
            );
        }
        let envoy = wishes.envoy.clone().map_or_else(|| first(envoys(&search)), |path| first([path]));
        let envoy = need(envoy, "Envoy (scripts/envoy installs it, or name one by --envoy)");
        let cni = wishes.cni.clone().map_or_else(|| first(ours(&own)), |path| first([path]));
        let cni = need(cni, "millrace-cni (cargo build -p millrace-host, or name one by --cni-bin)");
        let has_all = |place: &PathBuf| PLUGINS.iter().all(|plugin| place.join(plugin).is_file());
        let plugins = PLUGIN_PLACES.iter().map(PathBuf::from).find(has_all);
        let plugins = need(
            plugins,
            "the CNI plugins bridge, host-local, loopback (Debian: containernetworking-plugins)",
        );
        if !missing.is_empty() {
            bail!("missing: {}; 'make demo' installs what it needs", missing.join("; "));
        }
        if cni.file_name().is_none_or(|name| name != millrace_core::cni::entry::TYPE) {
            bail!("{} must be called millrace-cni: a CNI plugin is found by its type's name", cni.display());
        }
        Ok(Tools { envoy, cni, own, plugins })
    }
}

const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

fn first(candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    candidates.into_iter().find(|path| path.is_file()).and_then(|path| path.canonicalize().ok())
}

fn envoys(search: &[PathBuf]) -> Vec<PathBuf> {
    let versions = std::fs::read_dir(ENVOY_PLACE).into_iter().flatten().flatten();
    let mut placed: Vec<PathBuf> = versions.map(|version| version.path().join("envoy")).collect();
    // The newest by name first; scripts/envoy keeps one.
    placed.sort();
    placed.reverse();
    placed.extend(search.iter().map(|directory| directory.join("envoy")));
    placed
}

/// Beside this program, else where cargo puts the other profiles' builds.
fn ours(own: &Path) -> Vec<PathBuf> {
    let beside = own.with_file_name("millrace-cni");
    let target = own.parent().and_then(Path::parent);
    let profiles = ["cni", "release", "debug"].into_iter();
    let others = profiles.filter_map(|profile| Some(target?.join(profile).join("millrace-cni")));
    [beside].into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_plugin_is_looked_for_beside_us_first() {
        let candidates = ours(Path::new("/b/target/debug/millrace"));
        let expected =
            ["debug", "cni", "release", "debug"].map(|profile| format!("/b/target/{profile}/millrace-cni"));
        assert_eq!(candidates, expected.map(PathBuf::from));
    }
}
