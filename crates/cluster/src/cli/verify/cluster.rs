//! `millrace verify pod/NAME|deploy/NAME|namespace/NAME`: pods of a cluster, each looked into by the first way that is open.
//!
//! What a way would need and has not is said for each pod that could not be looked into: such a pod is never called verified.

use super::super::afar::{Afar, Errand, Reached, Unreached, node};
use super::super::connect::{Connection, block_on};
use super::super::expected::{self, Expected, From};
use super::super::pods::Asked;
use super::super::table::Table;
use super::report::Report;
use super::wanted::{self, Wanted};
use super::{form, look, source};
use crate::args::output::{Form, Lang};
use crate::args::pod::{Debug, Verify};
use crate::cli::Outcome;
use anyhow::{Result, bail};
use millrace_core::stamp::{self, Stamp};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use tokio::task::spawn_blocking;

/// The most pods that are looked into in one run (M10).
const MOST_PODS: usize = 1_000;

/// One pod, and what came of it.
struct Looked {
    name: String,
    node: String,
    expected: Expected,
    found: Found,
}

/// What came of a pod.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// There is nothing to look for; why.
    Skipped(Skip),
    /// It was looked into.
    Seen { way: String, report: Box<Report> },
    /// It could not be.
    Missed(Unreached),
}

/// Why there is nothing to look for in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    HostNetwork,
    Outside,
    NotRunning,
}

impl Skip {
    /// In words.
    pub(crate) fn words(self, lang: Lang) -> &'static str {
        match self {
            Skip::HostNetwork => say(lang, "it has its node's network", "使用节点的网络"),
            Skip::Outside => say(lang, "it is outside the mesh, or over", "不在网格内,或已结束"),
            Skip::NotRunning => say(lang, "it does not run yet", "尚未运行"),
        }
    }
}

/// What of a pod is looked at, by whom, in which language the ways are told.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) connection: &'a Connection,
    /// Where records of this machine's attachments are; nothing where this machine is not whoever asks'.
    pub(crate) state_dir: Option<&'a Path>,
    pub(crate) lang: Lang,
    /// Whether probes are sent.
    pub(crate) probes: bool,
}

/// Looks into one pod.
pub(crate) async fn look_into(ask: Ask<'_>, pod: &Value) -> Found {
    let debug = Debug::default();
    let Ask { connection, state_dir, lang, probes } = ask;
    one(!probes, &Afar { connection, debug: &debug, state_dir, lang }, pod).await.found
}

/// Verifies them.
pub(super) fn run(args: &Verify, out: &mut dyn Write) -> Result<Outcome> {
    let scope = &args.asking.reach.scope;
    if args.target.source.subject.is_none() && scope.namespace.is_none() && !scope.all_namespaces {
        bail!(
            "say which pods: pod/NAME, deploy/NAME, namespace/NAME, -n or -A; or a namespace of this machine by --netns, --pid or --container"
        );
    }
    let lang = args.asking.reach.lang();
    let connection = Connection::open(&args.asking.reach.server)?;
    let asked = Asked { subject: args.target.source.subject.as_ref(), scope };
    let afar = Afar {
        connection: &connection,
        debug: &args.target.debug,
        state_dir: Some(&args.target.state_dir),
        lang,
    };
    let looked = block_on(async {
        let pods = asked.pods(&connection).await?;
        if pods.len() > MOST_PODS {
            bail!("{} has more than {MOST_PODS} pods; verify them by workload", asked.words(&connection));
        }
        let mut looked = Vec::new();
        for pod in &pods {
            looked.push(one(args.no_probes, &afar, pod).await);
        }
        Ok(looked)
    })?;
    let outcome = outcome(&looked);
    let value = json!({ "verified": outcome == Outcome::Well, "pods": looked.iter().map(Looked::json).collect::<Vec<_>>() });
    if !form::data(args.asking.output, &value, "pods", out)? {
        write(&looked, args.asking.output, lang, out)?;
    }
    if looked.iter().any(|one| matches!(one.found, Found::Missed(_))) && outcome != Outcome::Wrong {
        out.flush()?;
        bail!("{}", say(lang, "not every pod could be looked into", "并非每个 Pod 都能被查看"));
    }
    Ok(outcome)
}

/// Says of one pod what came of it, no probe being sent; whether it was looked into, if there was anything to look for.
pub(in crate::cli) async fn tell(afar: &Afar<'_>, pod: &Value, out: &mut dyn Write) -> Result<Option<bool>> {
    let looked = one(true, afar, pod).await;
    looked.write(afar.lang, out)?;
    Ok(match looked.found {
        Found::Skipped(_) => None,
        Found::Seen { .. } => Some(true),
        Found::Missed(_) => Some(false),
    })
}

async fn one(no_probes: bool, afar: &Afar<'_>, pod: &Value) -> Looked {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let expected = expected::of(pod, text("namespace"));
    let found = match skipped(pod, &expected) {
        Some(why) => Found::Skipped(why),
        None => reach(no_probes, afar, pod, &expected).await.unwrap_or_else(Found::Missed),
    };
    let name = format!("{}/{}", text("namespace"), text("name"));
    Looked { name, node: node(pod).to_owned(), expected, found }
}

fn skipped(pod: &Value, expected: &Expected) -> Option<Skip> {
    if pod["spec"]["hostNetwork"] == true {
        return Some(Skip::HostNetwork);
    }
    if expected.mechanism.is_none() {
        return Some(Skip::Outside);
    }
    (pod["status"]["phase"] != "Running").then_some(Skip::NotRunning)
}

async fn reach(
    no_probes: bool,
    afar: &Afar<'_>,
    pod: &Value,
    expected: &Expected,
) -> Result<Found, Unreached> {
    let failed = |way: String, why: &str| {
        let why = why.trim().trim_start_matches("millrace: ");
        Unreached { ways: vec![format!("{way}: {why}")], ..Unreached::default() }
    };
    match afar.reach(pod, &errand(no_probes, expected)).await? {
        Reached::Here { way, opened } => {
            let (asked, stock) = (expected.clone(), expected.is_stock());
            // Probes are waited for, and whoever serves others meanwhile is not to wait with them.
            let seen = spawn_blocking(move || look(&opened, wanted_here(&asked, &opened)?, stock, no_probes));
            match seen.await {
                Ok(Ok(report)) => Ok(Found::Seen { way, report: Box::new(report) }),
                Ok(Err(error)) => Err(failed(way, &format!("{error:#}"))),
                Err(error) => Err(failed(way, &error.to_string())),
            }
        }
        Reached::There { way, ran } => match serde_json::from_str(&ran.out) {
            Ok(report) => Ok(Found::Seen { way, report: Box::new(report) }),
            Err(_) if ran.err.is_empty() => {
                Err(failed(way, &format!("the program there ended with status {} and no report", ran.status)))
            }
            Err(_) => Err(failed(way, &ran.err)),
        },
    }
}

fn wanted_here(expected: &Expected, opened: &super::Opened) -> Result<Wanted> {
    let (settings, complaints) = match &expected.told {
        Some(told) => {
            let flags = source::of_init(&told.flags, &told.env, opened.pid)?;
            (flags.settings, flags.complaints)
        }
        None => (expected.settings.clone(), expected.complaints.clone()),
    };
    wanted::refuse(&complaints)?;
    Wanted::of(settings, opened, expected.from.words().to_owned())
}

/// The same as a command line.
fn errand(no_probes: bool, expected: &Expected) -> Errand {
    let mut rest = vec!["-o".to_owned(), "json".to_owned()];
    if expected.is_stock() {
        rest.push("--stock".to_owned());
    }
    if no_probes {
        rest.push("--no-probes".to_owned());
    }
    match &expected.told {
        Some(told) => {
            rest.push("--told".to_owned());
            rest.extend(told.env.iter().map(|(name, value)| format!("--init-env={name}={value}")));
            rest.push("--".to_owned());
            rest.extend(told.flags.iter().cloned());
        }
        None => {
            let stamp = stamp::write(&Stamp::Redirect(Box::new(expected.settings.clone())));
            rest.push(format!("--stamp={stamp}"));
        }
    }
    Errand { verb: "verify", rest }
}

/// It is wrong with a pod that was looked into and is not as planned.
fn outcome(looked: &[Looked]) -> Outcome {
    let wrong = |one: &Looked| matches!(&one.found, Found::Seen { report, .. } if !report.verified);
    Outcome::when(!looked.iter().any(wrong))
}

fn write(looked: &[Looked], form: Form, lang: Lang, out: &mut dyn Write) -> Result<()> {
    let whole = looked.len() == 1 || form == Form::Wide;
    if !whole {
        let head = ["POD", "NODE", "REDIRECTED BY", "VERDICT", "SEEN"].map(str::to_owned).to_vec();
        Table { head, rows: looked.iter().map(|one| one.row(lang)).collect() }.write(out, "")?;
    }
    for one in looked.iter().filter(|one| whole || !one.is_quiet()) {
        one.write(lang, out)?;
    }
    let meant = looked.iter().filter(|one| !matches!(one.found, Found::Skipped(_))).count();
    let well = looked.iter().filter(|one| one.is_well()).count();
    writeln!(out, "VERIFIED {well}/{meant} pods")?;
    Ok(())
}

impl Looked {
    fn is_well(&self) -> bool {
        matches!(&self.found, Found::Seen { report, .. } if report.verified)
    }

    fn is_quiet(&self) -> bool {
        self.is_well() || matches!(self.found, Found::Skipped(_))
    }

    fn verdict(&self) -> &'static str {
        match &self.found {
            Found::Skipped(_) => "skipped",
            Found::Seen { report, .. } if report.verified => "VERIFIED",
            Found::Seen { .. } => "NOT VERIFIED",
            Found::Missed(_) => "NOT LOOKED INTO",
        }
    }

    fn by(&self) -> &'static str {
        self.expected.mechanism.map_or("nobody", crate::mechanism::Mechanism::words)
    }

    fn row(&self, lang: Lang) -> Vec<String> {
        let seen = match &self.found {
            Found::Skipped(why) => why.words(lang).to_owned(),
            Found::Seen { way, .. } => way.clone(),
            Found::Missed(_) => say(lang, "see below", "见下文").to_owned(),
        };
        vec![self.name.clone(), self.node.clone(), self.by().to_owned(), self.verdict().to_owned(), seen]
    }

    fn write(&self, lang: Lang, out: &mut dyn Write) -> Result<()> {
        let (name, verdict) = (&self.name, self.verdict());
        match &self.found {
            Found::Skipped(why) => writeln!(out, "{name}: {verdict}, {}", why.words(lang))?,
            Found::Seen { way, report } => {
                writeln!(out, "{name}: {verdict}, {way}")?;
                self.write_expected(lang, out)?;
                report.write(out, "  ")?;
            }
            Found::Missed(missed) => {
                writeln!(out, "{name}: {verdict}")?;
                self.write_expected(lang, out)?;
                for way in &missed.ways {
                    writeln!(out, "  ✗ {way}")?;
                }
                for known in &missed.known {
                    writeln!(out, "  {} {known}", say(lang, "its agent remembers:", "其 Agent 的记录:"))?;
                }
            }
        }
        Ok(())
    }

    fn write_expected(&self, lang: Lang, out: &mut dyn Write) -> Result<()> {
        let (by, from) = (self.by(), self.expected.from.words());
        match lang {
            Lang::En => writeln!(out, "  redirected by {by}; expected by {from}")?,
            Lang::Zh => writeln!(out, "  由 {by} 重定向;期望依据:{from}")?,
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "pod": self.name,
            "node": self.node,
            "verdict": self.verdict(),
            "mechanism": self.expected.mechanism.map(crate::mechanism::Mechanism::words),
            "expectedBy": self.expected.from.words(),
            "stamped": self.expected.from == From::Stamp,
        });
        match &self.found {
            Found::Skipped(why) => value["skipped"] = json!(why.words(Lang::En)),
            Found::Seen { way, report } => {
                value["way"] = json!(way);
                // Of many pods that would be many rules; `rules --live` tells those of one.
                let plain = Report { tables: Vec::new(), rules: Vec::new(), ..(**report).clone() };
                value["report"] = json!(plain);
            }
            Found::Missed(missed) => {
                value["ways"] = json!(missed.ways);
                value["remembered"] = json!(missed.known);
            }
        }
        value
    }
}

fn say<'t>(lang: Lang, english: &'t str, chinese: &'t str) -> &'t str {
    if lang == Lang::En { english } else { chinese }
}
