//! The plugin's events as lines of the agent's log, and how many of them a storm may fill.
//!
//! Of calls that end alike, some a minute are written one by one and the rest counted: a node whose every pod fails says so
//! in a few lines, and how many more there were. Metrics count all of them. It decides what is written, and writes it.

use crate::storm::Storm;
use millrace_core::ask::Event;
use millrace_core::cni::Code;
use millrace_core::reason::Reason;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tracing::Level;

/// How long calls that end alike are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of them are written.
const EACH: u64 = 20;
/// How many ways to end are told apart; the plugin's codes and reasons are far fewer.
const WAYS: usize = 256;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    level: Level,
    /// What it is about; none when it only says how many were withheld.
    event: Option<Event>,
    text: String,
    /// How many like it were withheld before it.
    withheld: u64,
}

/// Turns events into lines.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    ways: BTreeMap<Way, Count>,
}

/// How a call ended: its verb, its outcome, its error's code, its reason.
type Way = (String, String, u16, String);

#[derive(Debug)]
struct Count {
    level: Level,
    storm: Storm,
}

impl Teller {
    /// The line of an event; none when enough like it were written. A pod that was left alone as it should be is for
    /// whoever debugs, who wants every one of them.
    pub(crate) fn line(&mut self, event: &Event, now: Instant) -> Option<Line> {
        let level = level(event);
        let line = |withheld| Line { level, event: Some(event.clone()), text: text(event), withheld };
        if level == Level::DEBUG {
            return Some(line(0));
        }
        let count =
            self.ways.entry(self.way(event)).or_insert(Count { level, storm: Storm::new(WINDOW, EACH) });
        count.level = level;
        count.storm.happens(now).map(line)
    }

    /// The lines about what was withheld by storms that are over. To be called now and then.
    pub(crate) fn rest(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        for ((verb, outcome, code, reason), count) in &self.ways {
            if count.storm.is_over(now) && count.storm.withheld() > 0 {
                let error = if *code == 0 { reason.clone() } else { format!("error {code}") };
                let text = format!("{verb} {outcome}, {error}: the last of them were not written one by one");
                lines.push(Line { level: count.level, event: None, text, withheld: count.storm.withheld() });
            }
        }
        self.ways.retain(|_, count| !count.storm.is_over(now));
        lines
    }

    /// Words come from outside; when there are too many ways to end, all new ones are one.
    fn way(&self, event: &Event) -> Way {
        let way = (event.verb.clone(), event.outcome.clone(), event.code, event.reason.clone());
        if self.ways.len() < WAYS || self.ways.contains_key(&way) { way } else { Way::default() }
    }
}

impl Line {
    /// Writes it to the log.
    pub(crate) fn write(&self) {
        // The level of a tracing event is fixed where it stands.
        macro_rules! write_at {
            ($level:expr) => {
                match &self.event {
                    None => tracing::event!($level, withheld = self.withheld, "{}", self.text),
                    Some(event) => tracing::event!(
                        $level,
                        pod = (!event.name.is_empty())
                            .then(|| tracing::field::display(format!("{}/{}", event.namespace, event.name))),
                        container = %event.container,
                        interface = %event.interface,
                        network = %event.network,
                        withheld = (self.withheld > 0).then_some(self.withheld),
                        "{}",
                        self.text
                    ),
                }
            };
        }
        match self.level {
            Level::ERROR => write_at!(Level::ERROR),
            Level::WARN => write_at!(Level::WARN),
            Level::INFO => write_at!(Level::INFO),
            _ => write_at!(Level::DEBUG),
        }
    }
}

/// A failure that the runtime will try again is a warning, and so is whatever somebody should look at some day.
fn level(event: &Event) -> Level {
    let unprotected = event.reason == Reason::FailedOpen.name();
    match event.outcome.as_str() {
        "failed" if event.code == Code::TryAgain as u16 => Level::WARN,
        "failed" => Level::ERROR,
        _ if unprotected || !event.message.is_empty() => Level::WARN,
        "redirected" => Level::INFO,
        _ => Level::DEBUG,
    }
}

fn text(event: &Event) -> String {
    let Event { verb, outcome, reason, rung, backend, code, .. } = event;
    let took = Duration::from_micros(event.microseconds).as_secs_f64() * 1e3;
    let mut text = match outcome.as_str() {
        "redirected" => format!("{verb}: redirected by {backend}, settled by the {rung}, in {took:.1} ms"),
        "failed" => format!("{verb}: failed in {took:.1} ms with error {code}"),
        "" => format!("{verb}: done in {took:.1} ms"),
        _ => format!("{verb}: {outcome}, {reason}, settled by the {rung}, in {took:.1} ms"),
    };
    if !event.message.is_empty() {
        text.push_str(": ");
        text.push_str(&event.message);
    }
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    fn event(outcome: &str, reason: &str, code: u16, message: &str) -> Event {
        Event {
            verb: "ADD".into(),
            network: "net".into(),
            container: "c0ffee".into(),
            interface: "eth0".into(),
            namespace: "default".into(),
            name: "reviews".into(),
            outcome: outcome.into(),
            reason: reason.into(),
            rung: "stamp".into(),
            backend: "iptables".into(),
            microseconds: 1_234,
            code,
            message: message.into(),
            ..Event::default()
        }
    }

    fn check(event: &Event, level: Level, expected: &str) {
        let line = Teller::default().line(event, Instant::now()).unwrap();
        assert_eq!((line.level, line.text.as_str(), line.withheld), (level, expected, 0));
    }

    #[test]
    fn every_end_has_its_level_and_its_words() {
        check(
            &event("redirected", "Redirected", 0, ""),
            Level::INFO,
            "ADD: redirected by iptables, settled by the stamp, in 1.2 ms",
        );
        check(
            &event("redirected", "Redirected", 0, "CHECK will\nknow nothing"),
            Level::WARN,
            "ADD: redirected by iptables, settled by the stamp, in 1.2 ms: CHECK will know nothing",
        );
        check(
            &event("passed", "NotInjected", 0, ""),
            Level::DEBUG,
            "ADD: passed, NotInjected, settled by the stamp, in 1.2 ms",
        );
        check(
            &event("passed", "FailedOpen", 0, ""),
            Level::WARN,
            "ADD: passed, FailedOpen, settled by the stamp, in 1.2 ms",
        );
        check(
            &event("failed", "", 11, "no agent"),
            Level::WARN,
            "ADD: failed in 1.2 ms with error 11: no agent",
        );
        check(
            &event("failed", "", 101, "refused"),
            Level::ERROR,
            "ADD: failed in 1.2 ms with error 101: refused",
        );
        check(&event("", "", 0, ""), Level::DEBUG, "ADD: done in 1.2 ms");
    }

    #[test]
    fn a_storm_is_some_lines_and_a_number() {
        let mut teller = Teller::default();
        let start = Instant::now();
        let failed =
            |pod: u32| Event { name: format!("pod-{pod}"), ..event("failed", "", 11, &format!("pod {pod}")) };
        let written = (0..1_000).filter_map(|pod| teller.line(&failed(pod), start)).count();
        assert_eq!(written as u64, EACH);
        let other = teller.line(&event("failed", "", 101, "another way to fail"), start);
        assert_eq!(other.map(|line| line.withheld), Some(0));
        assert_eq!(teller.rest(start + WINDOW / 2), []);
        let later = start + WINDOW;
        assert_eq!(teller.line(&failed(0), later).map(|line| line.withheld), Some(1_000 - EACH));
        let written = (0..100).filter_map(|pod| teller.line(&failed(pod), later)).count();
        assert_eq!(written as u64, EACH - 1);
        let rest = teller.rest(later + WINDOW);
        assert_eq!(rest.len(), 1);
        assert_eq!((rest[0].level, rest[0].withheld), (Level::WARN, 101 - EACH));
        assert_eq!(rest[0].text, "ADD failed, error 11: the last of them were not written one by one");
        assert_eq!(teller.rest(later + WINDOW * 3), []);
    }

    #[test]
    fn words_from_outside_do_not_make_it_grow() {
        let mut teller = Teller::default();
        let start = Instant::now();
        for number in 0..10_000 {
            teller.line(&event("failed", &format!("Reason{number}"), 7, ""), start);
        }
        assert!(teller.ways.len() <= WAYS + 1, "{}", teller.ways.len());
        teller.rest(start + WINDOW);
        assert!(teller.ways.is_empty());
    }

    /// What a subscriber wrote.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_names_pod_and_container() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).without_time();
        let lines = lines.with_max_level(Level::DEBUG).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(lines, || {
            let line = Teller::default().line(&event("failed", "", 101, "refused"), Instant::now()).unwrap();
            line.write();
            Line { withheld: 7, ..line.clone() }.write();
            Line { event: None, withheld: 9, ..line }.write();
        });
        let bytes = written.0.lock().unwrap().clone();
        let lines: Vec<serde_json::Value> = String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[0]["pod"], "default/reviews");
        assert_eq!(lines[0]["container"], "c0ffee");
        assert_eq!(lines[0]["message"], "ADD: failed in 1.2 ms with error 101: refused");
        assert_eq!((&lines[0]["withheld"], &lines[1]["withheld"]), (&serde_json::Value::Null, &7.into()));
        assert_eq!((&lines[2]["withheld"], &lines[2]["pod"]), (&9.into(), &serde_json::Value::Null));
    }
}
