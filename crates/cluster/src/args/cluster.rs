//! Which cluster a command is about, how it writes there and how long it waits: as kubectl has it. Flags only.

use super::output::Output;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What every command that talks to a cluster takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Cluster {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What every command that changes the MeshCNI takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) writing: Writing,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

/// Where the API server is. Without a kubeconfig, the one of the pod this runs in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// The kubeconfig; else KUBECONFIG, else ~/.kube/config.
    #[arg(long, help_heading = "Cluster", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; else its current one.
    #[arg(long, help_heading = "Cluster", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// How long one request may take, as in 30s.
    #[arg(long, help_heading = "Cluster", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) request_timeout: Duration,
}

/// Which namespaces are meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct Scope {
    /// The namespace; else that of the kubeconfig's context.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
}

/// How something is written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Writing {
    /// Let the server check the change and change nothing.
    #[arg(long, help_heading = "Writing", value_enum, value_name = "WHERE")]
    pub(crate) dry_run: Option<DryRun>,
    /// Show what changes, line by line.
    #[arg(long, help_heading = "Writing")]
    pub(crate) diff: bool,
    /// Take over fields that somebody else applied.
    #[arg(long, help_heading = "Writing")]
    pub(crate) force_conflicts: bool,
}

/// Where a change is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// By the API server, with everything it checks.
    Server,
}

/// How long is waited.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Waiting {
    /// Wait until it is done on the whole cluster; an interrupt ends the waiting, not the change.
    #[arg(long, help_heading = "Waiting")]
    pub(crate) wait: bool,
    /// How long at most, as in 90s, 10m or 1h.
    #[arg(long, help_heading = "Waiting", value_name = "TIME", default_value = "15m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// A time as kubectl reads it: `90s`, `10m`, `1h30m`; from a second to a day.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    within(text, 24)
}

/// A time that lies behind: the same, up to thirty days.
pub(super) fn past(text: &str) -> Result<Duration, String> {
    within(text, 720)
}

fn within(text: &str, hours: u64) -> Result<Duration, String> {
    let wrong = || format!("{text}: write a time from 1s to {hours}h, as in 90s, 10m or 1h30m");
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit = match rest[end..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            _ => return Err(wrong()),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        rest = &rest[end + 1..];
    }
    if (1..=hours * 3600).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::{duration, past};

    #[test]
    fn times_as_kubectl_reads_them() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(duration(text).ok().map(|time| time.as_secs()), seconds, "{text}");
        };
        check("90s", Some(90));
        check("1h30m", Some(5400));
        check("24h", Some(86_400));
        for wrong in ["", "0s", "25h", "10", "m", "5d", "99999999999999999999s", "-1s"] {
            check(wrong, None);
        }
        assert_eq!(past("720h").map(|time| time.as_secs()), Ok(2_592_000));
        assert_eq!(
            past("721h"),
            Err("721h: write a time from 1s to 720h, as in 90s, 10m or 1h30m".to_owned())
        );
    }
}
