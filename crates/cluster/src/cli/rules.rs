//! `millrace rules`: the rules of given settings, in the form that is asked for.

use super::{Outcome, form, reasons, source, stated};
use crate::args::output;
use crate::args::pod::{Form, Rules};
use anyhow::Result;
use millrace_core::complaint::Complaint;
use millrace_core::dialect::{Backend, listing, text};
use millrace_core::knobs;
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Content, Family, Observed, ObservedRule, Rule, RuleSet, Table};
use millrace_host::inspect::words;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Prints the rules. What is wrong with the settings goes to standard error, so that the rules can be piped on.
pub(crate) fn run(args: &Rules, out: &mut dyn Write) -> Result<Outcome> {
    let (settings, complaints) = stated::settings(&args.source, &args.reach)?;
    for complaint in &complaints {
        writeln!(io::stderr(), "millrace: {complaint}")?;
    }
    let (families, shown) = source::families(args.family);
    let rules = plan(&settings, families).rules;
    match args.output {
        Form::Reasons => {
            for &family in shown {
                reasons::write(out, &rules, family)?;
            }
        }
        Form::Iptables => write_tables(out, &rules, shown, listing::list)?,
        Form::Nft => {
            let words =
                |observed: &_, family, table| words::table(Backend::Nftables, observed, family, table);
            write_tables(out, &rules, shown, words)?;
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
        Form::Settings => {
            for ((key, value), knob) in knobs::write(&settings).iter().zip(knobs::KNOBS) {
                writeln!(out, "{key}={value}\n    {}", knob.doc)?;
                let annotations = knob.annotations.join(", ");
                writeln!(out, "    annotation {annotations}; flag --{}", knob.flag)?;
            }
        }
    }
    Ok(Outcome::when(!complaints.iter().any(|complaint| complaint.fatal)))
}

/// The tables that are not empty, as they are before any packet came.
fn write_tables(
    out: &mut dyn Write,
    rules: &RuleSet,
    families: &[Family],
    table_as_text: impl Fn(&Observed, Family, Table) -> String,
) -> Result<()> {
    let untouched =
        |rule: &Rule| ObservedRule { handle: 0, packets: 0, bytes: 0, content: Content::Known(rule.clone()) };
    let chains = rules.iter().map(|(place, rules)| (place, rules.iter().map(untouched).collect()));
    let observed = Observed { chains: chains.collect(), ..Observed::default() };
    for &family in families {
        for table in Table::ALL {
            if rules.iter().any(|(place, _)| (place.family, place.table) == (family, table)) {
                let text = table_as_text(&observed, family, table);
                writeln!(out, "# {} {}\n{text}", reasons::name(family), table.name())?;
            }
        }
    }
    Ok(())
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
