//! What a report says of itself: the first page, for people, and the index, for programs. PURE.

use super::bundle::Bundle;
use super::redact::RULES;
use super::section::Section;
use crate::api::mesh::MeshCNI;
use crate::args::output::{Form, Mark, Style};
use crate::cli::findings::{self, Category, amiss};
use crate::cli::status;
use crate::cli::table::Table;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

/// The file of the first page.
pub(super) const PAGE: &str = "README.txt";
/// The file of the index.
pub(super) const INDEX: &str = "index.json";
/// The form of the index: another number where a field changes its meaning.
const FORM: u32 = 1;
/// The most next commands on the first page.
const MOST_NEXT: usize = 10;
/// The most lines of one kind on the first page; the index has all.
pub(super) const MOST_LINES: usize = 20;

/// What is known about a report, beside what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// When it was begun.
    pub(super) made: Timestamp,
    /// As whom the API server was asked.
    pub(super) user: Option<String>,
    /// Where it is.
    pub(super) server: String,
    /// Its version, if it said so.
    pub(super) version: Option<String>,
    /// Where the controller is.
    pub(super) home: String,
    /// How far back logs and events go.
    pub(super) since: Duration,
    /// The pods that were asked about, in words; nothing if none were.
    pub(super) pods: String,
    /// The switch, if it is there and could be read.
    pub(super) mesh: Option<MeshCNI>,
    /// What is well, odd and wrong.
    pub(super) check: Vec<Category>,
    /// What has drifted.
    pub(super) drift: Vec<Category>,
    /// What could not be read, each with its reason.
    pub(super) unread: Vec<String>,
    /// What was not gathered on purpose, such as logs of more agents than are read.
    pub(super) passed: Vec<String>,
    /// How long each part took.
    pub(super) took: Vec<(Section, Duration)>,
}

impl Told {
    /// Notes what could not be read, once.
    pub(super) fn note(&mut self, why: String) {
        if !self.unread.contains(&why) {
            self.unread.push(why);
        }
    }

    /// How long all of it took.
    pub(super) fn whole(&self) -> Duration {
        self.took.iter().map(|(_, took)| *took).sum()
    }
}

/// The index.
pub(super) fn index(told: &Told, bundle: &Bundle) -> Value {
    let seconds = |took: Duration| (took.as_secs_f64() * 1000.0).round() / 1000.0;
    let sections =
        told.took.iter().map(|(section, took)| json!({ "name": section.name(), "seconds": seconds(*took) }));
    json!({
        "form": FORM,
        "made": told.made.to_string(),
        "by": { "program": "millrace", "version": crate::print::words::VERSION, "user": told.user },
        "cluster": { "server": told.server, "version": told.version, "systemNamespace": told.home },
        "asked": { "pods": told.pods, "sinceSeconds": told.since.as_secs() },
        "seconds": seconds(told.whole()),
        "sections": sections.collect::<Vec<_>>(),
        "complete": told.unread.is_empty() && bundle.left_out().is_empty(),
        "unread": told.unread,
        "passedOver": told.passed,
        "leftOut": bundle.left_out(),
        "redacted": RULES.map(|(english, _)| english),
        "members": bundle.contents(),
    })
}

/// The first page.
pub(super) fn write(told: &Told, bundle: &Bundle, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let style = Style { form: Form::Table, color: false, live: false, ..style };
    let page = Page { told, bundle, style };
    page.head(out)?;
    page.mesh(out)?;
    page.found(out, "check", &told.check)?;
    page.found(out, "drift", &told.drift)?;
    page.next(out)?;
    page.missing(out)?;
    page.contents(out)
}

struct Page<'a> {
    told: &'a Told,
    bundle: &'a Bundle,
    style: Style,
}

impl Page<'_> {
    fn title(&self, out: &mut dyn Write, english: &str, chinese: &str) -> io::Result<()> {
        writeln!(out, "\n== {}\n", self.style.say(english, chinese))
    }

    fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        let (told, say) = (self.told, |english, chinese| self.style.say(english, chinese).to_owned());
        writeln!(out, "{} {}\n", say("Millrace report of", "Millrace 报告"), told.made)?;
        let version = told.version.clone().unwrap_or_else(|| say("version unknown", "版本未知"));
        let user = told.user.clone().unwrap_or_else(|| say("an unknown user", "未知用户"));
        let back = match told.since.as_secs() {
            seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
            seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
            seconds => format!("{seconds} s"),
        };
        let took = format!("{:.1} s", told.whole().as_secs_f64());
        let pods = if told.pods.is_empty() { say("none", "无") } else { told.pods.clone() };
        let rows = vec![
            vec![say("cluster", "集群"), format!("{}, Kubernetes {version}", told.server)],
            vec![say("asked as", "请求者"), format!("{user}; millrace {}", crate::print::words::VERSION)],
            vec![say("reaches back", "时间范围"), back],
            vec![say("gathered in", "收集用时"), took],
            vec![say("pods looked into", "查看的 Pod"), pods],
        ];
        Table { head: Vec::new(), rows }.write(out, "  ")
    }

    fn mesh(&self, out: &mut dyn Write) -> io::Result<()> {
        self.title(out, "Where the cluster is", "集群状态")?;
        match &self.told.mesh {
            Some(mesh) => status::screen(mesh, self.told.made, self.style, out),
            None => {
                let words = ("there is no MeshCNI, or it could not be read", "没有 MeshCNI,或无法读取");
                writeln!(out, "{}", self.style.say(words.0, words.1))
            }
        }
    }

    fn found(&self, out: &mut dyn Write, verb: &str, all: &[Category]) -> io::Result<()> {
        self.title(out, &format!("What `millrace {verb}` finds"), &format!("`millrace {verb}` 的发现"))?;
        if all.is_empty() {
            return writeln!(out, "{}", self.style.say("it was not looked at", "未能查看"));
        }
        findings::body(&amiss(all), self.style, out)?;
        findings::sum(all, self.style, out)
    }

    fn next(&self, out: &mut dyn Write) -> io::Result<()> {
        let all = || self.told.check.iter().chain(&self.told.drift).flat_map(|category| &category.lines);
        let mut known = BTreeSet::new();
        let of =
            |mark: Mark| all().filter(move |line| line.mark == mark).filter_map(|line| line.next.as_deref());
        let mut next: Vec<&str> =
            of(Mark::Bad).chain(of(Mark::Odd)).filter(|next| known.insert(*next)).take(MOST_NEXT).collect();
        if self.told.pods.is_empty() {
            next.push("millrace report POD -n NAMESPACE");
        }
        self.title(out, "Next", "下一步")?;
        next.iter().try_for_each(|next| writeln!(out, "  {next}"))
    }

    /// What is not in it, though it was wanted.
    fn missing(&self, out: &mut dyn Write) -> io::Result<()> {
        let cut: Vec<String> = self.bundle.cut().map(|(name, cut)| format!("{name}: {cut}")).collect();
        self.lines(out, "Could not be read", "未能读取", &self.told.unread)?;
        self.lines(out, "Not gathered", "未收集", &self.told.passed)?;
        self.lines(out, "No room was left for", "因空间所限未收入", self.bundle.left_out())?;
        self.lines(out, "Cut, and what is there of it", "已截断,仅保留", &cut)
    }

    fn lines(&self, out: &mut dyn Write, english: &str, chinese: &str, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.title(out, english, chinese)?;
        lines.iter().take(MOST_LINES).try_for_each(|line| writeln!(out, "  {line}"))?;
        match lines.len().saturating_sub(MOST_LINES) {
            0 => Ok(()),
            more => writeln!(out, "  {} {more}: {INDEX}", self.style.say("and more:", "以及:")),
        }
    }

    fn contents(&self, out: &mut dyn Write) -> io::Result<()> {
        self.title(out, "What is in here", "内容")?;
        let say = |english: &str, chinese: &str| self.style.say(english, chinese).to_owned();
        let mut rows = vec![
            vec![PAGE.to_owned(), say("this page", "本页")],
            vec![
                INDEX.to_owned(),
                say("every file, what was cut, and what could not be read", "所有文件、截断与未能读取的内容"),
            ],
        ];
        let there = Section::ALL.iter().filter(|one| self.bundle.has(one.name()));
        rows.extend(there.map(|one| vec![format!("{}/", one.name()), one.words(self.style).to_owned()]));
        Table { head: Vec::new(), rows }.write(out, "  ")?;
        let words =
            ("Left out of everything, and marked <redacted>", "已从所有内容中去除,以 <redacted> 标记");
        writeln!(out, "\n{}:", self.style.say(words.0, words.1))?;
        RULES
            .iter()
            .try_for_each(|(english, chinese)| writeln!(out, "  - {}", self.style.say(english, chinese)))
    }
}

#[cfg(test)]
mod tests;
