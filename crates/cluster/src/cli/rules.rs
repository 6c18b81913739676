//! `millrace rules`: the rules of given settings, or those that a live pod holds, in the form that is asked for.

use super::afar::{self, Errand};
use super::live::{self, Opened};
use super::{Outcome, form, reasons, source, stated};
use crate::args::output;
use crate::args::pod::{Form, Rules};
use anyhow::{Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use millrace_core::complaint::Complaint;
use millrace_core::dialect::{Backend, listing, text};
use millrace_core::knobs;
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Content, Family, Observed, ObservedRule, Rule, RuleSet, Table};
use millrace_core::settings::Settings;
use millrace_host::backend;
use millrace_host::inspect::words;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Prints the rules. What is wrong with the settings goes to standard error, so that the rules can be piped on.
pub(crate) fn run(args: &Rules, out: &mut dyn Write) -> Result<Outcome> {
    if let Some(opened) = live::open(&args.target.live)? {
        return held(&opened, args, out);
    }
    if let Some(subject) = args.target.source.subject.as_ref().filter(|_| args.look.live) {
        let here = |opened: &Opened, out: &mut dyn Write| held(opened, args, out);
        return afar::pass(subject, &args.reach, &args.target, &errand(args), here, out);
    }
    let (settings, complaints) = stated::settings(&args.target.source, &args.reach)?;
    for complaint in &complaints {
        writeln!(io::stderr(), "millrace: {complaint}")?;
    }
    let (families, _) = source::families(args.family);
    let rules = plan(&settings, families).rules;
    if args.output == Form::Settings {
        write_settings(&settings, out)?;
    } else {
        print(&untouched(&rules), Backend::Nftables, args, out)?;
    }
    Ok(Outcome::when(!complaints.iter().any(|complaint| complaint.fatal)))
}

/// Prints what a live namespace holds, by each backend that would have written it.
fn held(opened: &Opened, args: &Rules, out: &mut dyn Write) -> Result<Outcome> {
    if args.output == Form::Settings {
        bail!("settings are not read back from live rules; leave out what names a live pod");
    }
    let found = backend::inspect(&opened.netns)?;
    if found.is_empty() {
        bail!("{} has no rules at all", opened.netns.path().display());
    }
    for (backend, observed) in &found {
        let foreign = live::foreign(observed);
        let unread =
            if foreign > 0 { format!(", {foreign} of them not ours to read") } else { String::new() };
        writeln!(io::stderr(), "millrace: rules by {backend}{unread}")?;
        print(observed, *backend, args, out)?;
    }
    Ok(Outcome::Well)
}

/// The live rules of a namespace as `iptables` lists them, with what each has counted.
pub(super) fn tell(opened: &Opened, out: &mut dyn Write) -> Result<()> {
    for (backend, observed) in backend::inspect(&opened.netns)? {
        writeln!(out, "by {backend}")?;
        write_tables(out, &observed, &[Family::V4, Family::V6], listing::list)?;
    }
    Ok(())
}

/// The errand of the same.
pub(super) fn told() -> Errand {
    Errand { verb: "rules", rest: vec![live::flag("output", "iptables")] }
}

/// The same, for a program on the pod's node.
fn errand(args: &Rules) -> Errand {
    let name =
        |value: Option<PossibleValue>| value.map_or_else(String::new, |value| value.get_name().to_owned());
    let form = live::flag("output", name(args.output.to_possible_value()));
    let family = live::flag("family", name(args.family.to_possible_value()));
    Errand { verb: "rules", rest: vec![form, family] }
}

fn print(observed: &Observed, backend: Backend, args: &Rules, out: &mut dyn Write) -> Result<()> {
    let (_, shown) = source::families(args.family);
    let rules = observed.known();
    match args.output {
        Form::Reasons => {
            for &family in shown {
                reasons::write(out, &rules, family)?;
            }
        }
        Form::Iptables => write_tables(out, observed, shown, listing::list)?,
        Form::Nft => {
            let words = |observed: &_, family, table| words::table(backend, observed, family, table);
            write_tables(out, observed, shown, words)?;
        }
        Form::IptablesSave => {
            for &family in shown {
                write!(out, "# {}\n{}", reasons::name(family), text::write(&rules, family))?;
            }
        }
        Form::Json => writeln!(out, "{:#}", reasons::json(&rules, shown))?,
        Form::Yaml | Form::Jsonl => {
            let form = if args.output == Form::Yaml { output::Form::Yaml } else { output::Form::Jsonl };
            form::data(form, &json!({ "rules": reasons::json(&rules, shown) }), "rules", out)?;
        }
        Form::Settings => {}
    }
    Ok(())
}

fn write_settings(settings: &Settings, out: &mut dyn Write) -> Result<()> {
    for ((key, value), knob) in knobs::write(settings).iter().zip(knobs::KNOBS) {
        writeln!(out, "{key}={value}\n    {}", knob.doc)?;
        let annotations = knob.annotations.join(", ");
        writeln!(out, "    annotation {annotations}; flag --{}", knob.flag)?;
    }
    Ok(())
}

/// The rules as they are before any packet came.
pub(crate) fn untouched(rules: &RuleSet) -> Observed {
    let untouched =
        |rule: &Rule| ObservedRule { handle: 0, packets: 0, bytes: 0, content: Content::Known(rule.clone()) };
    let chains = rules.iter().map(|(place, rules)| (place, rules.iter().map(untouched).collect()));
    Observed { chains: chains.collect(), ..Observed::default() }
}

fn write_tables(
    out: &mut dyn Write,
    observed: &Observed,
    families: &[Family],
    table_as_text: impl Fn(&Observed, Family, Table) -> String,
) -> Result<()> {
    for (title, text) in tables(observed, families, table_as_text) {
        writeln!(out, "# {title}\n{text}")?;
    }
    Ok(())
}

/// The tables that are not empty: the title and the text of each.
pub(crate) fn tables(
    observed: &Observed,
    families: &[Family],
    table_as_text: impl Fn(&Observed, Family, Table) -> String,
) -> Vec<(String, String)> {
    let is_filled = |family: Family, table: Table| {
        let mut chains =
            observed.chains.iter().filter(|(place, _)| (place.family, place.table) == (family, table));
        chains.any(|(place, rules)| !(place.chain.is_hook() && rules.is_empty()))
    };
    let all = families.iter().flat_map(|family| Table::ALL.map(|table| (*family, table)));
    let filled = all.filter(|(family, table)| is_filled(*family, *table));
    filled
        .map(|(family, table)| {
            let title = format!("{} {}", reasons::name(family), table.name());
            (title, table_as_text(observed, family, table))
        })
        .collect()
}

/// A complaint as JSON.
pub(super) fn complaint(complaint: &Complaint) -> Value {
    json!({
        "what": complaint.what,
        "value": complaint.value,
        "problem": complaint.problem,
        "fix": complaint.fix,
        "fatal": complaint.fatal,
    })
}
