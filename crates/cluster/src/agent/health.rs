//! Whether this agent lives and is ready, and why not: `/livez`, `/readyz` and, with the metrics, `/metrics`.
//!
//! It repeats what the agent's tasks say of themselves; it looks at nothing itself and restarts nothing.

pub(crate) mod probe;
pub(crate) mod serve;

use super::metrics::{CONTENT_TYPE, Metrics};
use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE as KIND};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What has to be well for an agent to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    /// The watch of this node's pods is complete.
    Watch,
    /// The chain has our entry.
    Chain,
    /// The installed plugin answers VERSION.
    Plugin,
    /// An ADD in a scratch namespace was redirected; the audit profile's.
    SelfTest,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::Watch => "watch",
            Check::Chain => "chain",
            Check::Plugin => "plugin",
            Check::SelfTest => "self-test",
        }
    }
}

/// The agent's health. A clone is about the same agent.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    serving: bool,
    checks: BTreeMap<Check, (bool, String)>,
    hearts: BTreeMap<&'static str, Heart>,
}

#[derive(Debug)]
struct Heart {
    limit: Duration,
    last: Instant,
}

/// What is answered to whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    question: &'static str,
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: &'static str,
    ok: bool,
    why: String,
}

impl Health {
    /// A standby of which each of `checks` has yet to turn out well.
    pub(crate) fn new(checks: &[Check]) -> Health {
        let unknown = |check: &Check| (*check, (false, "not looked at yet".to_owned()));
        let known = Known { checks: checks.iter().map(unknown).collect(), ..Known::default() };
        Health(Arc::new(Mutex::new(known)))
    }

    /// A check turned out well, as `why` shows. One that is not asked of this agent is not noted.
    pub(crate) fn ok(&self, check: Check, why: impl Into<String>) {
        self.note(check, true, why.into());
    }

    /// A check did not turn out well.
    pub(crate) fn not_ok(&self, check: Check, why: impl Into<String>) {
        self.note(check, false, why.into());
    }

    /// Says whether this agent holds the node's lock.
    pub(crate) fn serving(&self, serving: bool) {
        self.known().serving = serving;
    }

    /// A task is alive, and says so again within `limit`; else this agent is not live.
    pub(crate) fn beat(&self, task: &'static str, limit: Duration, now: Instant) {
        self.known().hearts.insert(task, Heart { limit, last: now });
    }

    /// A task has come to its end as it should.
    pub(crate) fn rest(&self, task: &'static str) {
        self.known().hearts.remove(task);
    }

    /// Whether its tasks still go on.
    pub(crate) fn live(&self, now: Instant) -> Report {
        let known = self.known();
        let lines = known.hearts.iter().map(|(&name, heart)| {
            let silent = now.saturating_duration_since(heart.last);
            let why =
                format!("said so {} s ago, every {} s are due", silent.as_secs(), heart.limit.as_secs());
            Line { name, ok: silent <= heart.limit, why }
        });
        Report { question: "live", lines: lines.collect() }
    }

    /// Whether the node may rely on it. Of a standby only the watch is asked: the rest is the work of who serves.
    pub(crate) fn ready(&self) -> Report {
        let known = self.known();
        let lock = match known.serving {
            true => "held: this agent serves the node",
            false => "standby: another agent serves the node, or this one is about to",
        };
        let mut lines = vec![Line { name: "lock", ok: true, why: lock.to_owned() }];
        for (&check, (ok, why)) in &known.checks {
            let asked = known.serving || check == Check::Watch;
            let why = if asked { why.clone() } else { "not asked of a standby".to_owned() };
            lines.push(Line { name: check.name(), ok: *ok || !asked, why });
        }
        Report { question: "ready", lines }
    }

    fn note(&self, check: Check, ok: bool, why: String) {
        if let Some(noted) = self.known().checks.get_mut(&check) {
            *noted = (ok, why);
        }
    }

    /// What a task that panicked left is as good as before: every note is one assignment.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// Whether all is well.
    pub(crate) fn is_ok(&self) -> bool {
        self.lines.iter().all(|line| line.ok)
    }

    /// Each check by its name, whether it is well, and why.
    pub(crate) fn checks(&self) -> impl Iterator<Item = (&'static str, bool, &str)> {
        self.lines.iter().map(|line| (line.name, line.ok, line.why.as_str()))
    }

    fn json(&self) -> String {
        let lines =
            self.lines.iter().map(|line| json!({ "check": line.name, "ok": line.ok, "why": line.why }));
        format!("{:#}\n", json!({ self.question: self.is_ok(), "checks": lines.collect::<Vec<_>>() }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let mark = if line.ok { "ok    " } else { "not ok" };
            writeln!(f, "{mark} {}: {}", line.name, line.why)?;
        }
        writeln!(f, "{}{}", if self.is_ok() { "" } else { "not " }, self.question)
    }
}

/// The three pages.
pub(crate) fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(|State((_, metrics)): State<Both>| async move { written(&metrics) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n") })
        .with_state((health, metrics))
}

type Both = (Health, Metrics);

async fn livez(State((health, _)): State<Both>, headers: HeaderMap) -> Response {
    answer(&health.live(Instant::now()), &headers)
}

async fn readyz(State((health, _)): State<Both>, headers: HeaderMap) -> Response {
    answer(&health.ready(), &headers)
}

fn written(metrics: &Metrics) -> Response {
    ([(KIND, CONTENT_TYPE)], metrics.write()).into_response()
}

fn answer(report: &Report, headers: &HeaderMap) -> Response {
    let status = if report.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accepted = headers.get(ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    match accepted.contains("application/json") {
        true => (status, [(KIND, "application/json")], report.json()).into_response(),
        false => (status, report.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: &Report, expected: &str) {
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.is_ok(), !expected.contains("\nnot "));
    }

    #[test]
    fn a_standby_is_ready_when_its_watch_is() {
        let health = Health::new(&[Check::Watch, Check::Chain, Check::Plugin]);
        check(
            &health.ready(),
            "ok     lock: standby: another agent serves the node, or this one is about to\n\
             not ok watch: not looked at yet\n\
             ok     chain: not asked of a standby\n\
             ok     plugin: not asked of a standby\n\
             not ready\n",
        );
        health.ok(Check::Watch, "31 pods");
        health.not_ok(Check::Chain, "no entry");
        assert!(health.ready().is_ok());
    }

    #[test]
    fn who_serves_is_ready_when_everything_is() {
        let health = Health::new(&[Check::Watch, Check::Chain, Check::Plugin]);
        health.serving(true);
        health.ok(Check::Watch, "31 pods");
        health.not_ok(Check::Chain, "10-x.conflist has no entry of ours");
        health.ok(Check::Plugin, "0.1.0");
        health.ok(Check::SelfTest, "not asked of this agent");
        check(
            &health.clone().ready(),
            "ok     lock: held: this agent serves the node\n\
             ok     watch: 31 pods\n\
             not ok chain: 10-x.conflist has no entry of ours\n\
             ok     plugin: 0.1.0\n\
             not ready\n",
        );
        health.ok(Check::Chain, "10-x.conflist");
        check(
            &health.ready(),
            "ok     lock: held: this agent serves the node\n\
             ok     watch: 31 pods\n\
             ok     chain: 10-x.conflist\n\
             ok     plugin: 0.1.0\n\
             ready\n",
        );
        let json: serde_json::Value = serde_json::from_str(&health.ready().json()).unwrap();
        assert_eq!(json["ready"], true);
        assert_eq!(json["checks"][2], json!({ "check": "chain", "ok": true, "why": "10-x.conflist" }));
    }

    #[test]
    fn a_task_that_is_silent_for_too_long_is_not_live() {
        let health = Health::new(&[]);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        check(&health.live(start), "live\n");
        health.beat("guard", Duration::from_secs(60), start);
        check(&health.live(after(60)), "ok     guard: said so 60 s ago, every 60 s are due\nlive\n");
        let late = "not ok guard: said so 61 s ago, every 60 s are due\nnot live\n";
        check(&health.live(after(61)), late);
        health.beat("guard", Duration::from_secs(60), after(61));
        assert!(health.live(after(100)).is_ok());
        health.rest("guard");
        assert!(health.live(after(1000)).is_ok());
    }
}
