//! Where things are on the nodes of each platform: what is mounted into the agent, at the very same path.
//!
//! The same path inside and outside: what the agent says of a file is then true for whoever looks on the node, and what
//! the runtime's configuration names is found where it says. The agent still reads that configuration before it believes
//! this table.

use crate::agent::platform::{Profile, profile};
use crate::args::print::Platform;

/// The directories of one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Where the runtime, or Multus, looks for lists.
    pub(crate) conf_dir: &'static str,
    /// Where the runtime looks for plugins.
    pub(crate) bin_dir: &'static str,
    /// Where the runtime keeps its configuration.
    pub(crate) runtime_dir: &'static str,
}

/// Where things are on nodes of `platform`: as the agent's own table has them.
pub(crate) fn places(platform: Platform) -> Places {
    let Profile { conf_dir, bin_dir, runtimes, .. } = profile(platform);
    // The runtime that comes first is the usual one; another's directory is given by hand.
    let config = runtimes.first().map_or("/etc/containerd/config.toml", |(_, config, _)| config);
    let runtime_dir = config.rsplit_once('/').map_or(config, |(folder, _)| folder);
    Places { conf_dir, bin_dir, runtime_dir }
}

/// The way into the chain, where the platform leaves no choice; else it is chosen by who owns the list.
pub(crate) fn way(platform: Platform) -> &'static str {
    profile(platform).way.map_or("", |way| way.name())
}

/// The directories of lists and plugins that the agent is told, where the runtime's own configuration would mislead whoever
/// reads it. Elsewhere the agent finds them out.
pub(crate) fn chain(platform: Platform) -> Option<(&'static str, &'static str)> {
    let Profile { conf_dir, bin_dir, through_multus, .. } = profile(platform);
    through_multus.then_some((conf_dir, bin_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_absolute_and_our_two_are_apart() {
        for platform in Platform::ALL {
            let Places { conf_dir, bin_dir, runtime_dir } = places(platform);
            for path in [conf_dir, bin_dir, runtime_dir] {
                assert!(path.starts_with('/') && !path.ends_with('/'), "{platform:?}: {path}");
            }
            assert_ne!(conf_dir, bin_dir, "{platform:?}");
        }
    }
}
