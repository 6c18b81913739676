//! Every metric of the agent, declared once: its name, its labels and the closed set each label's values come from.
//!
//! It counts what it is told and writes it out. No label ever names a pod, and a word from outside that is not known here
//! becomes `other`, so that nobody can make the number of series grow.

use millrace_core::ask::Event;
use millrace_core::reason::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Duration;

/// The kind of text [`Metrics::write`] returns.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a question of the plugin was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// From the watch's memory, without a request.
    Watch,
    /// By one GET, as ADD had outrun the watch.
    Get,
    /// Not at all: no such pod, or nobody who could say.
    Unknown,
    /// Not at all: who asked is not root, or the question could not be read.
    Refused,
}

/// How a repair of the chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repaired {
    /// The chain is as it should be again.
    Done,
    /// Not tried: somebody keeps rewriting it, and the budget is spent.
    BackedOff,
    /// Tried in vain.
    Failed,
}

/// The agent's metrics. A clone counts into the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    adds: Counts<4>,
    add_duration: Family<Labels<1>, Histogram, fn() -> Histogram>,
    calls: Counts<2>,
    asks: Counts<1>,
    installs: Counts<1>,
    repairs: Counts<1>,
    findings: Counts<1>,
    acts: Counts<2>,
    flight: Counts<1>,
    watch_lag: Histogram,
    watch_synced: Gauge,
    serving: Gauge,
}

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counts<const N: usize> = Family<Labels<N>, Counter>;

/// From a quarter of a millisecond, which an ADD outside the mesh takes, to the ten seconds for which it waits for an agent.
const ADD_BUCKETS: [f64; 15] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 10.0];
const LAG_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// For a word that was not said at all.
const NONE: &str = "none";
/// For a word that is not known here.
const OTHER: &str = "other";

impl Metrics {
    /// All metrics, at zero. `version` is the agent's.
    pub(crate) fn new(version: &'static str) -> Metrics {
        let mut metrics = Metrics {
            registry: Arc::default(),
            adds: Family::default(),
            add_duration: Family::new_with_constructor(|| Histogram::new(ADD_BUCKETS)),
            calls: Family::default(),
            asks: Family::default(),
            installs: Family::default(),
            repairs: Family::default(),
            findings: Family::default(),
            acts: Family::default(),
            flight: Family::default(),
            watch_lag: Histogram::new(LAG_BUCKETS),
            watch_synced: Gauge::default(),
            serving: Gauge::default(),
        };
        metrics.registry = Arc::new(metrics.declared(version));
        metrics.start_at_zero();
        metrics
    }

    fn declared(&self, version: &'static str) -> Registry {
        let mut all = Registry::with_prefix("millrace");
        let build: Labels<2> = [("version", version), ("arch", std::env::consts::ARCH)];
        all.register("build", "The agent that answers", Info::new(build));
        all.register("serving", "Whether this agent holds the node's lock", self.serving.clone());
        all.register("adds", "Pods that came to the plugin, by what was done with them", self.adds.clone());
        all.register_with_unit(
            "add_duration",
            "How long the plugin took for a pod",
            Unit::Seconds,
            self.add_duration.clone(),
        );
        all.register("cni_calls", "Calls of the plugin that it told the agent of", self.calls.clone());
        all.register("asks", "Questions of the plugin, by what answered them", self.asks.clone());
        all.register("watch_synced", "Whether the watch of pods is complete", self.watch_synced.clone());
        all.register_with_unit(
            "watch_lag",
            "How late changes of pods arrived",
            Unit::Seconds,
            self.watch_lag.clone(),
        );
        all.register("installs", "Installations of plugin and chain entry", self.installs.clone());
        all.register("guard_repairs", "Repairs of a chain that somebody changed", self.repairs.clone());
        all.register("audit_findings", "What the audit found wrong with pods", self.findings.clone());
        all.register("audit_acts", "What the audit did about its findings", self.acts.clone());
        all.register("flight_records", "Entries for the flight recorder", self.flight.clone());
        all
    }

    /// A series that is absent until the first event hides that event from `rate()`.
    fn start_at_zero(&self) {
        for asked in [Asked::Watch, Asked::Get, Asked::Unknown, Asked::Refused] {
            drop(self.asks.get_or_create(&[("source", asked.name())]));
        }
        for repaired in [Repaired::Done, Repaired::BackedOff, Repaired::Failed] {
            drop(self.repairs.get_or_create(&[("result", repaired.name())]));
        }
        for ok in [true, false] {
            drop(self.installs.get_or_create(&[("result", result(ok))]));
            drop(self.flight.get_or_create(&[("result", result(ok))]));
        }
        for outcome in OUTCOMES {
            drop(self.add_duration.get_or_create(&[("outcome", outcome)]));
        }
    }

    /// Counts a call of the plugin: any verb, and an ADD in full.
    pub(crate) fn added(&self, event: &Event) {
        let outcome = known(&event.outcome, &OUTCOMES);
        let verb = known(&event.verb, &VERBS);
        count(&self.calls, [("verb", verb), ("outcome", outcome)]);
        if verb != "ADD" {
            return;
        }
        let decision = match outcome {
            "redirected" => "redirect",
            "passed" => "skip",
            // A failure does not say what had been decided before it.
            _ => NONE,
        };
        let labels = [
            ("decision", decision),
            ("reason", reason(&event.reason)),
            ("outcome", outcome),
            ("rung", known(&event.rung, &RUNGS)),
        ];
        count(&self.adds, labels);
        let took = Duration::from_micros(event.microseconds).as_secs_f64();
        self.add_duration.get_or_create(&[("outcome", outcome)]).observe(took);
    }

    /// Counts a question of the plugin.
    pub(crate) fn asked(&self, asked: Asked) {
        count(&self.asks, [("source", asked.name())]);
    }

    /// Counts an installation.
    pub(crate) fn installed(&self, ok: bool) {
        count(&self.installs, [("result", result(ok))]);
    }

    /// Counts a repair of the chain.
    pub(crate) fn repaired(&self, repaired: Repaired) {
        count(&self.repairs, [("result", repaired.name())]);
    }

    /// Counts a finding of the audit, by its kind.
    pub(crate) fn found(&self, finding: &'static str) {
        count(&self.findings, [("finding", finding)]);
    }

    /// Counts an act of the audit, by its kind.
    pub(crate) fn acted(&self, act: &'static str, ok: bool) {
        count(&self.acts, [("act", act), ("result", result(ok))]);
    }

    /// Counts an entry of the flight recorder.
    pub(crate) fn recorded(&self, ok: bool) {
        count(&self.flight, [("result", result(ok))]);
    }

    /// Counts a change that the watch brought, and how late it was.
    pub(crate) fn watch_event(&self, lag: Duration) {
        self.watch_lag.observe(lag.as_secs_f64());
    }

    /// Says whether the watch is complete.
    pub(crate) fn synced(&self, synced: bool) {
        self.watch_synced.set(i64::from(synced));
    }

    /// Says whether this agent holds the node's lock.
    pub(crate) fn serving(&self, serving: bool) {
        self.serving.set(i64::from(serving));
    }

    /// All metrics, as OpenMetrics text.
    pub(crate) fn write(&self) -> String {
        let mut text = String::with_capacity(8 << 10);
        encode(&mut text, &self.registry).expect("a string takes what is written");
        text
    }
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Asked::Watch => "watch",
            Asked::Get => "get",
            Asked::Unknown => "unknown",
            Asked::Refused => "refused",
        }
    }
}

impl Repaired {
    fn name(self) -> &'static str {
        match self {
            Repaired::Done => "done",
            Repaired::BackedOff => "backed-off",
            Repaired::Failed => "failed",
        }
    }
}

const VERBS: [&str; 6] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];
const OUTCOMES: [&str; 3] = ["redirected", "passed", "failed"];
const RUNGS: [&str; 4] = ["node", "stamp", "agent", "policy"];
/// What an event says instead of a [`Reason`] when the pod was redirected.
const REDIRECTED: &str = "Redirected";

fn reason(word: &str) -> &'static str {
    Reason::from_name(word).map_or_else(|| known(word, &[REDIRECTED]), Reason::name)
}

fn known(word: &str, words: &[&'static str]) -> &'static str {
    match word {
        "" => NONE,
        _ => words.iter().find(|known| **known == word).unwrap_or(&OTHER),
    }
}

fn result(ok: bool) -> &'static str {
    if ok { "ok" } else { "failed" }
}

fn count<const N: usize>(counts: &Counts<N>, labels: Labels<N>)
where
    Labels<N>: EncodeLabelSet,
{
    counts.get_or_create(&labels).inc();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn event(verb: &str, outcome: &str, reason: &str, rung: &str) -> Event {
        let word = str::to_owned;
        Event {
            verb: word(verb),
            outcome: word(outcome),
            reason: word(reason),
            rung: word(rung),
            microseconds: 1_200,
            ..Event::default()
        }
    }

    /// The lines of an event in what is written, without those of buckets.
    fn check(event: &Event, expected: &[&str]) {
        let metrics = Metrics::new("0.0.0");
        let before = metrics.write();
        metrics.added(event);
        let written = metrics.write();
        let new = written.lines().filter(|line| !before.lines().any(|old| old == *line));
        let mut new: Vec<&str> =
            new.filter(|line| !line.contains("_bucket") && !line.starts_with('#')).collect();
        new.sort_unstable();
        assert_eq!(new, expected);
    }

    #[test]
    fn an_event_counts_by_words_of_closed_sets() {
        check(
            &event("ADD", "passed", "NotInjected", "node"),
            &[
                r#"millrace_add_duration_seconds_count{outcome="passed"} 1"#,
                r#"millrace_add_duration_seconds_sum{outcome="passed"} 0.0012"#,
                r#"millrace_adds_total{decision="skip",reason="NotInjected",outcome="passed",rung="node"} 1"#,
                r#"millrace_cni_calls_total{verb="ADD",outcome="passed"} 1"#,
            ],
        );
        check(
            &event("ADD", "failed", "", ""),
            &[
                r#"millrace_add_duration_seconds_count{outcome="failed"} 1"#,
                r#"millrace_add_duration_seconds_sum{outcome="failed"} 0.0012"#,
                r#"millrace_adds_total{decision="none",reason="none",outcome="failed",rung="none"} 1"#,
                r#"millrace_cni_calls_total{verb="ADD",outcome="failed"} 1"#,
            ],
        );
        check(
            &event("ADD", "redirected", "Because\"} 1", "ladder"),
            &[
                r#"millrace_add_duration_seconds_count{outcome="redirected"} 1"#,
                r#"millrace_add_duration_seconds_sum{outcome="redirected"} 0.0012"#,
                r#"millrace_adds_total{decision="redirect",reason="other",outcome="redirected",rung="other"} 1"#,
                r#"millrace_cni_calls_total{verb="ADD",outcome="redirected"} 1"#,
            ],
        );
        check(&event("DEL", "", "", ""), &[r#"millrace_cni_calls_total{verb="DEL",outcome="none"} 1"#]);
        check(&event("add", "x", "", ""), &[r#"millrace_cni_calls_total{verb="other",outcome="other"} 1"#]);
    }

    #[test]
    fn words_from_outside_make_no_more_series_than_the_sets_have() {
        let metrics = Metrics::new("0.0.0");
        let lines = |metrics: &Metrics| metrics.write().lines().count();
        let word = |number: i32| format!("word-{number}");
        metrics.added(&event("ADD", "a", "b", "c"));
        metrics.added(&event("a", "b", "c", "d"));
        let before = lines(&metrics);
        for number in 0..1_000 {
            let word = word(number);
            metrics.added(&event("ADD", &word, &word, &word));
            metrics.added(&event(&word, &word, &word, &word));
        }
        assert_eq!(lines(&metrics), before);
    }

    #[test]
    fn golden_metrics() {
        let metrics = Metrics::new("0.1.0");
        let clone = metrics.clone();
        metrics.added(&event("ADD", "redirected", REDIRECTED, "stamp"));
        metrics.added(&event("ADD", "passed", "NotInjected", "node"));
        metrics.added(&Event { microseconds: 10_500_000, ..event("ADD", "failed", "", "") });
        metrics.added(&event("CHECK", "passed", "", ""));
        clone.asked(Asked::Watch);
        clone.installed(true);
        clone.repaired(Repaired::BackedOff);
        clone.found("bypass");
        clone.acted("repair", false);
        clone.recorded(true);
        clone.watch_event(Duration::from_millis(7));
        clone.synced(true);
        clone.serving(true);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent/metrics.txt");
        let text = in_order(&metrics.write()).replace(std::env::consts::ARCH, "ARCH");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("the golden file is writable");
        }
        let golden = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
        assert_eq!(text, golden, "UPDATE_GOLDEN=1 rewrites it");
    }

    /// The series of one metric come in any order; the buckets of one series keep theirs.
    fn in_order(text: &str) -> String {
        let mut lines: Vec<(usize, &str, &str)> = Vec::new();
        let mut metric = 0;
        for line in text.lines() {
            metric += usize::from(line.starts_with("# HELP"));
            let labels = line.split_once('{').map_or("", |(_, rest)| rest);
            let labels = labels.rsplit_once('}').map_or(labels, |(labels, _)| labels);
            let labels = match labels.split_once(',') {
                Some((first, rest)) if first.starts_with("le=") => rest,
                _ if labels.starts_with("le=") => "",
                _ => labels,
            };
            lines.push((metric, if line.starts_with('#') { "" } else { labels }, line));
        }
        // `# EOF` is of no metric and comes last.
        let end = lines.pop().map(|(.., line)| line);
        lines.sort_by_key(|(metric, labels, _)| (*metric, *labels));
        lines.iter().map(|(.., line)| *line).chain(end).map(|line| format!("{line}\n")).collect()
    }
}
