//! The flags of `millrace migrate`. What it does is in `cli::migrate`.

use super::cluster::{Cluster, duration};
use clap::{ArgAction, Args};
use std::time::Duration;

/// Restart the workloads whose pods still owe a restart, in waves, within their disruption budgets.
///
/// As `kubectl rollout restart` does it; the next wave begins when the last is ready again, and no two workloads of one budget are
/// in the same. Bare pods and Jobs are named, not touched. What is done owes nothing any more, so the same command goes on.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT_MIGRATE)]
pub(crate) struct Migrate {
    /// Only the workloads of this namespace; else of all.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// List the workloads in their order, a screen of them or with -o wide all, and restart none.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Pause every migration of this cluster before its next workload.
    #[arg(long, conflicts_with_all = ["dry_run", "resume"])]
    pub(crate) pause: bool,
    /// How many workloads restart at once: a number of at least 1, or a percentage of those that owe a restart, as in 10%.
    #[arg(long, value_name = "N|N%", default_value = "1", value_parser = share)]
    pub(crate) max_unavailable: Share,
    /// Restart one wave and stop; the same command goes on with the next.
    #[arg(long)]
    pub(crate) wave: bool,
    /// Pause every migration of this cluster when a workload does not get ready; with false, go on with the others.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) pause_on_failure: bool,
    /// Let migrations go on.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) resume: bool,
    /// How long one workload may take, its budgets included, as in 10m.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

const EXIT_MIGRATE: &str = "\
Exit status: 0 what was restarted is ready; 1 a workload was not ready in time, or migrations are paused; 2 it could not be done; \
130 it was interrupted. The same command goes on.";

/// How many of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// So many.
    Number(usize),
    /// So many of a hundred.
    Percent(usize),
}

impl Share {
    /// How many of `all`, one at least.
    pub(crate) fn of(self, all: usize) -> usize {
        match self {
            Share::Number(number) => number,
            Share::Percent(percent) => (all * percent / 100).max(1),
        }
    }
}

fn share(text: &str) -> Result<Share, String> {
    let (digits, percent) = text.strip_suffix('%').map_or((text, false), |digits| (digits, true));
    let most = if percent { 100 } else { 1000 };
    let number = digits.parse::<usize>().ok().filter(|number| (1..=most).contains(number));
    let number = number.ok_or("write a number from 1 to 1000, or a percentage from 1% to 100%")?;
    Ok(if percent { Share::Percent(number) } else { Share::Number(number) })
}

#[cfg(test)]
mod tests {
    use super::{Share, share};

    #[test]
    fn a_share_is_one_at_least() {
        let check = |text: &str, of_ten: Option<usize>| {
            assert_eq!(share(text).ok().map(|share: Share| share.of(10)), of_ten, "{text}");
        };
        check("3", Some(3));
        check("25%", Some(2));
        check("1%", Some(1));
        for wrong in ["", "0", "0%", "101%", "-1", "1001", "x"] {
            check(wrong, None);
        }
    }
}
