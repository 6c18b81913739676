//! What every role starts with: where its log lines go, in which form and how many, and how it is told to stop.
//!
//! Log lines go to standard error; standard output belongs to commands. Nothing is sent anywhere.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The environment variable that says which lines are written, where no flag does.
pub(crate) const VARIABLE: &str = "MILLRACE_LOG";

/// How a role logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Log {
    /// Which lines: error, warn, info, debug, trace, or directives such as info,kube=debug; else MILLRACE_LOG, else info.
    #[arg(long = "log-level", value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// The form of a line.
    #[arg(long = "log-format", value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Forms of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging, once a process. `get` answers for a variable of the environment.
pub(crate) fn start(log: &Log, get: impl Fn(&str) -> Option<String>) -> Result<()> {
    let said = log.level.clone().map(|level| ("--log-level", level));
    // A manifest that leaves the variable empty means the same as one without it.
    let variable = || get(VARIABLE).filter(|level| !level.is_empty()).map(|level| (VARIABLE, level));
    let (who, level) = said.or_else(variable).unwrap_or(("info", "info".to_owned()));
    let filter = filter(&level).with_context(|| format!("read {who}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|cause| anyhow::anyhow!("start logging: {cause}"))
}

/// A token that is cancelled by the first SIGTERM or SIGINT. Runs on the runtime it is called on.
pub(crate) fn stop() -> Result<CancellationToken> {
    let heard = |kind| signal(kind).context("listen for signals");
    let (mut terminate, mut interrupt) = (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let which = first(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = which, "told to stop");
        token.cancel();
    });
    Ok(stop)
}

async fn first(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// A bare level is about our own lines; of the packages below us only what is wrong is of interest.
fn filter(level: &str) -> Result<EnvFilter> {
    let level = level.trim();
    let words = ["error", "warn", "info", "debug", "trace", "off"];
    let directives = match level.to_ascii_lowercase() {
        word if words.contains(&word.as_str()) => format!("warn,millrace={word}"),
        _ if level.contains(['=', ',']) => level.to_owned(),
        _ => bail!(
            "{level:?} is no level; write one of {}, or directives such as info,kube=debug",
            words.join(", ")
        ),
    };
    directives.parse().with_context(|| format!("{level:?} is no list of directives such as info,kube=debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(level: &str, expected: &str) {
        let found = match filter(level) {
            Ok(filter) => filter.to_string(),
            Err(error) => format!("{error:#}"),
        };
        assert_eq!(found, expected, "{level}");
    }

    #[test]
    fn a_level_is_about_our_own_lines() {
        check("info", "millrace=info,warn");
        check(" Debug ", "millrace=debug,warn");
        check("off", "millrace=off,warn");
        check("info,kube=debug", "kube=debug,info");
        let words =
            "write one of error, warn, info, debug, trace, off, or directives such as info,kube=debug";
        check("loud", &format!("\"loud\" is no level; {words}"));
        check("", &format!("\"\" is no level; {words}"));
    }

    #[test]
    fn who_said_it_is_named() {
        let said = |level: Option<&str>, variable: Option<&str>| {
            let log = Log { level: level.map(str::to_owned), ..Log::default() };
            format!("{:#}", start(&log, |_| variable.map(str::to_owned)).unwrap_err())
        };
        assert!(said(Some("loud"), Some("info")).starts_with("read --log-level: \"loud\" is no level"));
        assert!(said(None, Some("loud")).starts_with("read MILLRACE_LOG: \"loud\" is no level"));
    }
}
