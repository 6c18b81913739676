//! What a live pod holds, as its page shows it: the tables with their counters, whether they are as planned, and what probes
//! showed. PURE.
//!
//! It judges nothing: `verify` did. What could not be looked into is said with its code and the next command.

use super::frame::Sign;
use super::words::Words;
use crate::args::output::{Lang, Mark};
use crate::cli::verify::{Counted, Found, Held, Probed, Report};
use crate::codes::Code;

/// The most rules that a page shows (M10); a pod of the mesh has some forty.
const MOST_RULES: usize = 200;
/// The most letters of tables.
const MOST_LETTERS: usize = 40 << 10;

/// What came of looking into a pod.
#[derive(Clone, Debug, Default)]
pub(crate) enum Looking {
    /// Nobody asked.
    #[default]
    Not,
    /// It was looked at.
    Looked(Found),
    /// It was probed.
    Probed(Found),
    /// It was to be probed, and had no turn.
    Busy(Busy),
    /// It took longer than so many seconds; whether it was to be probed.
    Late { probe: bool, seconds: u64 },
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// That pod is being probed.
    Pod,
    /// Enough others are.
    Others,
}

/// What is said of it.
#[derive(Debug)]
pub(crate) struct Said {
    /// How good it is.
    pub(crate) sign: Sign,
    /// The verdict.
    pub(crate) title: String,
    /// By which way it was seen.
    pub(crate) way: String,
    /// As `millrace explain` knows it, and what it means.
    pub(crate) code: Option<Code>,
    pub(crate) meaning: String,
    /// Each difference, each way that could not be gone.
    pub(crate) lines: Vec<String>,
    /// The next command.
    pub(crate) next: String,
}

/// A counter of a probe: the rule that counted, before and after.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) sign: Sign,
    pub(crate) probe: &'a Probed,
    pub(crate) counted: &'a Counted,
    /// The rule, where it is known.
    pub(crate) rule: &'a str,
    pub(crate) why: &'a str,
}

impl Looking {
    /// What was found out, if anything.
    pub(crate) fn report(&self) -> Option<&Report> {
        match self {
            Looking::Looked(Found::Seen { report, .. }) | Looking::Probed(Found::Seen { report, .. }) => {
                Some(report)
            }
            _ => None,
        }
    }

    /// Whether looking once more may show more: not where nobody could look, or there was nothing to look for.
    pub(crate) fn goes_on(&self) -> bool {
        !matches!(
            self,
            Looking::Looked(Found::Missed(_) | Found::Skipped(_))
                | Looking::Probed(Found::Missed(_) | Found::Skipped(_))
        )
    }

    /// The verdict of a probe, for scripts and tests.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.report() {
            Some(report) if report.verified => "verified",
            Some(_) => "failed",
            None => "refused",
        }
    }

    /// Of the rules that are there: whether they are as planned. Nothing if nobody asked for them.
    pub(crate) fn rules(&self, lang: Lang) -> Option<Said> {
        let words = Words::of(lang);
        match self {
            Looking::Not | Looking::Busy(_) => None,
            Looking::Looked(found) | Looking::Probed(found) => match found {
                Found::Seen { way, report } => Some(planned(way, report, words, lang)),
                other => Some(unseen(other, words.live_unseen, lang)),
            },
            Looking::Late { probe: true, .. } => None,
            Looking::Late { seconds, .. } => Some(late(words.live_unseen, *seconds, lang)),
        }
    }

    /// Of the probe, if one was asked for.
    pub(crate) fn probe(&self, lang: Lang) -> Option<Said> {
        let words = Words::of(lang);
        match self {
            Looking::Not | Looking::Looked(_) | Looking::Late { probe: false, .. } => None,
            Looking::Probed(Found::Seen { way, report }) => Some(witnessed(way, report, lang)),
            Looking::Probed(other) => Some(unseen(other, words.probe_refused, lang)),
            Looking::Busy(busy) => {
                let why = if *busy == Busy::Pod { words.probe_busy_pod } else { words.probe_busy };
                Some(said(Mark::Odd, words.probe_refused, "", vec![why.to_owned()], None, lang))
            }
            Looking::Late { seconds, .. } => Some(late(words.probe_refused, *seconds, lang)),
        }
    }

    /// The tables, as `iptables` prints them, as many as a page takes.
    pub(crate) fn tables(&self) -> Vec<(&str, &str)> {
        let mut left = MOST_LETTERS;
        let tables = self.report().map_or(&[][..], |report| &report.tables);
        let mut fits = |text: &str| left.checked_sub(text.len()).map(|rest| left = rest).is_some();
        let taken = tables.iter().take_while(|table| fits(&table.text));
        taken.map(|table| (table.title.as_str(), table.text.as_str())).collect()
    }

    /// The rules, each with its count and its reason; and how many more there are.
    pub(crate) fn held(&self) -> (&[Held], usize) {
        let all = self.report().map_or(&[][..], |report| &report.rules);
        (&all[..all.len().min(MOST_RULES)], all.len().saturating_sub(MOST_RULES))
    }

    /// Every counter of every probe.
    pub(crate) fn counters(&self) -> Vec<Row<'_>> {
        let Looking::Probed(Found::Seen { report, .. }) = self else { return Vec::new() };
        let rows = report.probes.iter().filter(|probe| probe.sent).flat_map(|probe| {
            probe.counters.iter().map(move |counted| {
                let is_it = |held: &&Held| {
                    (&held.family, &held.chain, held.number)
                        == (&counted.family, &counted.chain, counted.number)
                        && held.table == "nat"
                };
                let held = report.rules.iter().find(is_it);
                let (rule, why) = held.map_or(("", ""), |held| (&held.rule, &held.why));
                Row { sign: seen(probe), probe, counted, rule, why }
            })
        });
        rows.take(MOST_RULES).collect()
    }

    /// Probes that were not sent, each with its cause.
    pub(crate) fn unsent(&self) -> Vec<&Probed> {
        let probes = self.report().map_or(&[][..], |report| &report.probes);
        probes.iter().filter(|probe| !probe.sent).collect()
    }

    /// How many connections were led to a port, before the probes and after; nothing if nobody looked.
    pub(crate) fn led_to(&self, port: u16) -> Option<String> {
        let report = self.report()?;
        let there = || report.traffic.iter().filter(|one| one.port == port);
        let before: u64 = there().map(|one| one.connections_before).sum();
        let after = there().filter_map(|one| one.connections_after).reduce(|one, other| one + other);
        Some(after.map_or_else(|| before.to_string(), |after| format!("{before} → {after}")))
    }
}

fn seen(probe: &Probed) -> Sign {
    Sign(match (probe.sent, probe.seen) {
        (false, _) => Mark::Odd,
        (true, true) => Mark::Good,
        (true, false) => Mark::Bad,
    })
}

pub(super) fn said(
    mark: Mark,
    title: &str,
    way: &str,
    lines: Vec<String>,
    code: Option<Code>,
    lang: Lang,
) -> Said {
    let text = code.map(|code| code.text(lang));
    let (meaning, next) = text.map(|text| (text.meaning.clone(), text.next.clone())).unwrap_or_default();
    Said { sign: Sign(mark), title: title.to_owned(), way: way.to_owned(), code, meaning, lines, next }
}

fn planned(way: &str, report: &Report, words: &Words, lang: Lang) -> Said {
    let also =
        report.also_in.iter().map(|other| format!("{other}: {}", Code::TwoBackends.text(lang).meaning));
    let all = report.findings.iter().cloned().chain(also);
    if report.rules_as_planned && report.also_in.is_empty() {
        let title = if report.theirs.is_empty() { words.live_same } else { words.live_theirs };
        return said(Mark::Good, title, way, all.chain(report.theirs.iter().cloned()).collect(), None, lang);
    }
    let code = match report.rules_as_planned {
        true => Code::TwoBackends,
        false if report.findings.iter().any(|finding| finding.contains("missing")) => Code::RulesMissing,
        false => Code::RulesForeign,
    };
    said(Mark::Bad, words.live_differs, way, all.collect(), Some(code), lang)
}

fn witnessed(way: &str, report: &Report, lang: Lang) -> Said {
    let words = Words::of(lang);
    if report.verified {
        return said(Mark::Good, words.probe_verified, way, Vec::new(), None, lang);
    }
    let rules = planned(way, report, words, lang);
    if rules.code.is_some() {
        let lines = [vec![words.probe_not_sent.to_owned()], rules.lines].concat();
        return said(Mark::Bad, words.probe_failed, way, lines, rules.code, lang);
    }
    let unseen = report.probes.iter().filter(|probe| probe.sent && !probe.seen);
    let lines: Vec<String> =
        unseen.map(|probe| format!("{}: {}, {}", probe.name, probe.planned, probe.fate)).collect();
    // Where none could be sent, nothing is known of how connections fare.
    let code = if lines.is_empty() { Code::NotVerifiable } else { Code::NotIntercepted };
    said(Mark::Bad, words.probe_failed, way, lines, Some(code), lang)
}

fn unseen(found: &Found, title: &str, lang: Lang) -> Said {
    match found {
        Found::Missed(missed) => {
            let known = missed.known.iter().map(|line| format!("{}: {line}", Words::of(lang).remembered));
            let lines = missed.ways.iter().cloned().chain(known).collect();
            said(Mark::Odd, title, "", lines, Some(Code::NotVerifiable), lang)
        }
        Found::Skipped(why) => said(Mark::Odd, title, "", vec![why.words(lang).to_owned()], None, lang),
        Found::Seen { way, .. } => said(Mark::Odd, title, way, Vec::new(), None, lang),
    }
}

fn late(title: &str, seconds: u64, lang: Lang) -> Said {
    let line = format!("{} {seconds} s", Words::of(lang).too_late);
    said(Mark::Odd, title, "", vec![line], Some(Code::NotVerifiable), lang)
}
