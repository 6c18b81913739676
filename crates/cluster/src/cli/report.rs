//! `millrace report`: one file with what somebody needs who helps without access to the cluster.
//!
//! It changes nothing in the cluster, asks for no Secret, and leaves secrets out of what it gathers. The file is whole or is not
//! there, replaces nothing, and is its owner's alone.

mod bundle;
mod gather;
mod page;
mod place;
mod redact;
mod section;

use super::connect::{Connection, block_on};
use super::{Outcome, form, wait};
use crate::args::output::{Lang, Style};
use crate::args::report::Report;
use crate::args::subject::Subject;
use anyhow::{Context, Result};
use bundle::Bundle;
use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use page::Told;
use place::{Draft, Place};
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Gathers and writes it, or says what would be gathered.
pub(crate) fn run(args: &Report, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    if args.dry_run {
        section::list(&asked(args), style, out)?;
        return Ok(Outcome::Well);
    }
    let made = Timestamp::from_second(Timestamp::now().as_second())?;
    let folder = format!("millrace-report-{}", made.strftime("%Y%m%dT%H%M%SZ"));
    let connection = Connection::open(&args.cluster.server)?;
    block_on(async {
        // Before there is anything that an interrupt would leave.
        let mut stopped = Box::pin(stopped()?);
        let place = place::of(args.to.as_deref(), &format!("{folder}.tar.gz"), io::stdout().is_terminal())?;
        let (told, mut bundle) = tokio::select! {
            gathered = gather::gather(&connection, args, made, style) => gathered?,
            () = &mut stopped => return interrupted(style),
        };
        put_pages(&told, &mut bundle, style);
        let whole = Arc::new(Whole { bundle, folder, made, stop: AtomicBool::new(false) });
        let wrote = match place {
            Place::Out => {
                let mut bytes = Vec::new();
                whole.write(&mut bytes)?;
                out.write_all(&bytes).context("cannot write to standard output")?;
                None
            }
            Place::File(draft) => {
                let mut filled = Box::pin(fill(draft, Arc::clone(&whole)));
                tokio::select! {
                    filled = &mut filled => Some(filled?),
                    () = &mut stopped => {
                        whole.stop.store(true, Ordering::Relaxed);
                        // What was written by then is gone once this has ended.
                        return filled.await.map_or_else(|_| interrupted(style), |path| say(&told, &whole.bundle, Some(path), style, out));
                    }
                }
            }
        };
        say(&told, &whole.bundle, wrote, style, out)
    })
}

/// A word once somebody wants it to stop: an interrupt, or the end of the session.
fn stopped() -> Result<impl Future<Output = ()>> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals = kinds.map(signal).into_iter().collect::<io::Result<Vec<_>>>()?;
    let heard = signals.into_iter().map(|mut signal| {
        async move {
            signal.recv().await;
        }
        .boxed()
    });
    Ok(futures::future::select_all(heard).map(drop))
}

fn interrupted(style: Style) -> Result<Outcome> {
    wait::Line { live: style.live }.clear();
    writeln!(
        io::stderr(),
        "millrace: {}",
        style.say("interrupted: nothing is written", "已中断:未写入任何内容")
    )?;
    Ok(Outcome::Interrupted)
}

/// The pods that are asked about, in words.
fn asked(args: &Report) -> String {
    let scope = &args.scope;
    let named = |subject: &Subject| match subject {
        Subject::Pod { namespace: Some(namespace), name } => format!("{namespace}/{name}"),
        Subject::Pod { namespace: None, name } => name.clone(),
        Subject::Workload { kind, name } => format!("{} {name}", kind.name()),
        Subject::Namespace(name) => format!("namespace {name}"),
    };
    let mut words = args.subjects.iter().map(named).collect::<Vec<_>>().join(", ");
    match (&scope.namespace, scope.all_namespaces) {
        (Some(namespace), _) if words.is_empty() => words = format!("namespace {namespace}"),
        (None, true) if words.is_empty() => words = "all namespaces".to_owned(),
        (Some(namespace), _) => words.push_str(&format!(" in namespace {namespace}")),
        (None, true) => words.push_str(" in all namespaces"),
        (None, false) => {}
    }
    words
}

/// What a report says of itself goes in last, when it is known.
fn put_pages(told: &Told, bundle: &mut Bundle, style: Style) {
    let mut text = Vec::new();
    page::write(told, bundle, style, &mut text).expect("a vector takes it");
    let index = format!("{:#}\n", page::index(told, bundle));
    bundle.page(page::PAGE, &String::from_utf8_lossy(&text));
    bundle.page(page::INDEX, &index);
}

/// All that is to be written.
struct Whole {
    bundle: Bundle,
    folder: String,
    made: Timestamp,
    /// Whether somebody wants it to stop.
    stop: AtomicBool,
}

impl Whole {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.bundle.write(&self.folder, self.made, Stoppable { out, stop: &self.stop })
    }
}

/// Packing takes seconds: it is done beside, so that an interrupt is heard meanwhile.
async fn fill(draft: Draft, whole: Arc<Whole>) -> Result<PathBuf> {
    let filled = tokio::task::spawn_blocking(move || draft.fill(|out| whole.write(out)));
    filled.await.context("packing the report failed")?
}

struct Stoppable<'a> {
    out: &'a mut dyn Write,
    stop: &'a AtomicBool,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says what came of it: for people and programs on standard output, unless the report itself is there.
fn say(
    told: &Told,
    bundle: &Bundle,
    file: Option<PathBuf>,
    style: Style,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let missing = told.unread.len() + bundle.left_out().len();
    for why in told.unread.iter().take(page::MOST_LINES) {
        writeln!(io::stderr(), "millrace: {why}")?;
    }
    let more = told.unread.len().saturating_sub(page::MOST_LINES);
    if more > 0 {
        let words = style.say("things more could not be read:", "项也未能读取:");
        writeln!(io::stderr(), "millrace: {more} {words} {}", page::INDEX)?;
    }
    let outcome = Outcome::when(missing == 0);
    let Some(file) = file else { return Ok(outcome) };
    let value = json!({
        "file": file.display().to_string(),
        "bytes": file.metadata().map_or(0, |found| found.len()),
        "members": bundle.count(),
        "seconds": told.whole().as_secs_f64(),
        "unread": told.unread,
        "leftOut": bundle.left_out(),
    });
    if !form::data(style.form, &value, "", out)? {
        writeln!(out, "{}", file.display())?;
        let (count, size) = (bundle.count(), size(value["bytes"].as_u64().unwrap_or_default()));
        let lack = match (style.lang, missing) {
            (_, 0) => String::new(),
            (Lang::En, 1) => "one thing could not be gathered; ".to_owned(),
            (Lang::En, _) => format!("{missing} things could not be gathered; "),
            (Lang::Zh, _) => format!("{missing} 项未能收集;"),
        };
        let words = match style.lang {
            Lang::En => format!("{count} files, {size}; {lack}{} says what is wrong", page::PAGE),
            Lang::Zh => format!("{count} 个文件,{size};{lack}问题见其中的 {}", page::PAGE),
        };
        writeln!(out, "{words}")?;
    }
    Ok(outcome)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
