//! One call of the runtime, told for people and as JSON: what was done, who settled it, why, and with which rules.
//!
//! The rules are planned again from the decision that was recorded; nothing live is looked at.

use super::super::reasons;
use super::when;
use crate::agent::flight::entry::Entry;
use anyhow::Result;
use millrace_core::ask::Event;
use millrace_core::knobs;
use millrace_core::reason::Reason;
use millrace_core::rules::plan::{members, plan};
use millrace_core::rules::{Family, RuleSet};
use millrace_core::settings::{Families, Settings};
use millrace_core::stamp::{self, Stamp};
use serde_json::{Value, json};
use std::io::Write;

/// What became of the rules.
enum Rules {
    /// None were put there.
    None,
    /// These.
    Planned { settings: Box<Settings>, families: &'static [Family], rules: RuleSet },
    /// It is not known which.
    Unknown(String),
}

/// Tells one call to people.
pub(super) fn write(out: &mut dyn Write, entry: &Entry, with_rules: bool) -> Result<()> {
    let event = &entry.event;
    let (verb, interface, took) = (&event.verb, &event.interface, when::lasting(event.microseconds));
    let outcome = if event.outcome.is_empty() { "done" } else { &event.outcome };
    writeln!(out, "{}  {verb} {interface}: {outcome}, in {took}", when::utc(entry.at))?;
    match Reason::from_name(&event.reason) {
        Some(reason) => {
            writeln!(out, "  why         {reason}: {}", reason.sentence())?;
            writeln!(out, "  way out     {}", reason.way_out())?;
        }
        None if event.code != 0 => writeln!(out, "  error {:<5} {}", event.code, one_line(&event.message))?,
        None => {}
    }
    if let Some(who) = settled(event) {
        writeln!(out, "  settled by  {who}")?;
    }
    if !entry.conditions.is_empty() {
        writeln!(out, "  conditions")?;
    }
    let widest = Reason::ALL.iter().map(|reason| reason.condition().len()).max().unwrap_or_default();
    for one in &entry.conditions {
        let mark = if one.holds { '✓' } else { '✗' };
        writeln!(out, "    {mark} {:widest$}  {}", one.reason.condition(), one_line(&one.found))?;
    }
    if event.code == 0 && !event.message.is_empty() {
        writeln!(out, "  note        {}", one_line(&event.message))?;
    }
    for complaint in &entry.complaints {
        writeln!(out, "  complaint   {}", one_line(complaint))?;
    }
    write_rules(out, entry, with_rules)?;
    writeln!(out, "  container   {} in network {}", event.container, event.network)?;
    if !event.uid.is_empty() {
        writeln!(out, "  uid         {}", event.uid)?;
    }
    // The rules above are as this release plans them.
    writeln!(out, "  recorded    by release {}", entry.release)?;
    Ok(())
}

fn write_rules(out: &mut dyn Write, entry: &Entry, with_rules: bool) -> Result<()> {
    match planned(entry) {
        Rules::None => {}
        Rules::Unknown(why) => writeln!(out, "  rules       not known: {why}")?,
        Rules::Planned { settings, families, rules } => {
            let counts = families
                .iter()
                .map(|family| format!("{} of {}", rules.family(*family).len(), reasons::name(*family)));
            let counts = counts.collect::<Vec<_>>().join(", ");
            writeln!(out, "  rules       {counts}, by {}", entry.event.backend)?;
            let stated = stated(&settings);
            if stated.is_empty() {
                writeln!(out, "  settings    as for every pod")?;
            }
            for (key, value) in stated {
                writeln!(out, "  settings    {key}={value}")?;
            }
            if with_rules {
                for &family in families {
                    reasons::write(out, &rules, family)?;
                }
            }
        }
    }
    Ok(())
}

/// Tells one call to programs.
pub(super) fn json(entry: &Entry, with_rules: bool) -> Value {
    let event = &entry.event;
    let reason = Reason::from_name(&event.reason);
    let conditions = entry.conditions.iter().map(|one| {
        let condition = one.reason.condition();
        json!({ "condition": condition, "holds": one.holds, "found": one.found, "reason": one.reason.name() })
    });
    let mut object = json!({
        "time": when::utc(entry.at),
        "verb": event.verb,
        "network": event.network,
        "container": event.container,
        "interface": event.interface,
        "namespace": event.namespace,
        "name": event.name,
        "uid": event.uid,
        "outcome": event.outcome,
        "reason": event.reason,
        "sentence": reason.map(Reason::sentence),
        "wayOut": reason.map(Reason::way_out),
        "rung": event.rung,
        "backend": event.backend,
        "microseconds": event.microseconds,
        "code": event.code,
        "message": event.message,
        "complaints": entry.complaints,
        "conditions": conditions.collect::<Vec<_>>(),
        "release": entry.release,
    });
    match planned(entry) {
        Rules::None => {}
        Rules::Unknown(why) => object["rulesUnknown"] = why.into(),
        Rules::Planned { settings, families, rules } => {
            let settings = knobs::write(&settings).into_iter();
            object["settings"] = settings.map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
            let counts = families
                .iter()
                .map(|family| (reasons::name(*family).to_owned(), Value::from(rules.family(*family).len())));
            object["ruleCounts"] = counts.collect();
            if with_rules {
                object["rules"] = reasons::json(&rules, families);
            }
        }
    }
    object
}

fn planned(entry: &Entry) -> Rules {
    if entry.event.outcome != "redirected" {
        return Rules::None;
    }
    let Some(text) = &entry.stamp else {
        return Rules::Unknown("neither the agent nor the plugin's record told the decision".to_owned());
    };
    match stamp::read(text) {
        Ok(Stamp::Redirect(settings)) => {
            let families = entry.families.unwrap_or(Families::Both);
            let rules = plan(&settings, families).rules;
            Rules::Planned { settings, families: members(families), rules }
        }
        Ok(Stamp::Skip(reason)) => Rules::Unknown(format!("the decision was to leave it alone, {reason}")),
        Err(error) => Rules::Unknown(error.to_string()),
    }
}

/// The settings that differ from those of a pod that states none.
fn stated(settings: &Settings) -> Vec<(&'static str, String)> {
    let usual = knobs::write(&Settings::default());
    let own = knobs::write(settings).into_iter();
    own.zip(usual).filter(|(own, usual)| own != usual).map(|(own, _)| own).collect()
}

fn settled(event: &Event) -> Option<&str> {
    match event.rung.as_str() {
        "" => None,
        "stamp" => Some("the pod's stamp, as the runtime handed it over; nobody was asked"),
        "node" => Some("what the runtime handed over and the chain's entry says; nobody was asked"),
        "agent" => Some("the node's agent, which the plugin asked"),
        "policy" => Some("the failure policy, as nobody could say"),
        other => Some(other),
    }
}

/// What comes from outside stays in its line.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
