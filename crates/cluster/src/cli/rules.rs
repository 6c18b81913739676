//! `millrace rules`: the rules of given settings, in the form that is asked for.

use super::{Outcome, reasons, source};
use crate::args::{Form, Rules};
use anyhow::Result;
use millrace_core::complaint::Complaint;
use millrace_core::dialect::{listing, text};
use millrace_core::knobs;
use millrace_core::rules::plan::plan;
use millrace_core::rules::{Content, Family, Observed, ObservedRule, Rule, RuleSet, Table};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Prints the rules. What is wrong with the settings goes to standard error, so that the rules can be piped on.
pub(crate) fn run(args: &Rules, out: &mut dyn Write) -> Result<Outcome> {
    let (settings, complaints) = source::settings(&args.source)?;
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
        Form::Iptables => {
            for &family in shown {
                write_listing(out, &rules, family)?;
            }
        }
        Form::IptablesSave => {
            for &family in shown {
                write!(out, "# {}\n{}", reasons::name(family), text::write(&rules, family))?;
            }
        }
        Form::Json => writeln!(out, "{:#}", reasons::json(&rules, shown))?,
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

/// The tables that are not empty, as `iptables -t TABLE -L -n -v --line-numbers -x` lists them before any packet came.
fn write_listing(out: &mut dyn Write, rules: &RuleSet, family: Family) -> Result<()> {
    let untouched =
        |rule: &Rule| ObservedRule { handle: 0, packets: 0, bytes: 0, content: Content::Known(rule.clone()) };
    let chains = rules.iter().map(|(place, rules)| (place, rules.iter().map(untouched).collect()));
    let observed = Observed { chains: chains.collect(), ..Observed::default() };
    for table in Table::ALL {
        if observed.chains.keys().any(|place| (place.family, place.table) == (family, table)) {
            writeln!(
                out,
                "# {} {}\n{}",
                reasons::name(family),
                table.name(),
                listing::list(&observed, family, table)
            )?;
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
