//! `millrace explain MRnnnn`, `millrace explain --codes`: the catalogue of codes, for people and for programs.
//!
//! Asks nobody; what it prints is in the program.

use super::{Outcome, form};
use crate::args::output::{Form, Lang};
use crate::codes::{self, Code};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::io::Write;

/// Says what one code means.
pub(super) fn explain(id: &str, lang: Lang, wanted: Form, out: &mut dyn Write) -> Result<Outcome> {
    let Some(code) = Code::from_id(id) else {
        let near: Vec<String> =
            codes::nearest(id).iter().map(|code| format!("{code} {}", code.name())).collect();
        bail!("there is no code {id}; near it are {}; `millrace explain --codes` lists all", near.join(", "));
    };
    if form::data(wanted, &value(code, lang), "", out)? {
        return Ok(Outcome::Well);
    }
    let text = code.text(lang);
    let labels = match lang {
        Lang::En => ["causes  ", "affected", "next    "],
        Lang::Zh => ["原因  ", "影响  ", "下一步"],
    };
    writeln!(out, "{code} {}: {}", code.name(), text.meaning)?;
    for (label, part) in labels.iter().zip([&text.causes, &text.affected, &text.next]) {
        writeln!(out, "  {label}  {part}")?;
    }
    Ok(Outcome::Well)
}

/// Lists all codes, group by group.
pub(super) fn list(lang: Lang, wanted: Form, out: &mut dyn Write) -> Result<Outcome> {
    let all: Vec<Value> = Code::ALL.iter().map(|code| value(*code, lang)).collect();
    if form::data(wanted, &json!({ "codes": all }), "codes", out)? {
        return Ok(Outcome::Well);
    }
    let widest = Code::ALL.iter().map(|code| code.name().len()).max().unwrap_or_default();
    let mut group = "";
    for code in Code::ALL {
        if group != code.group(lang) {
            let gap = if group.is_empty() { "" } else { "\n" };
            group = code.group(lang);
            writeln!(out, "{gap}MR{}xxx {group}", code.number() / 1000)?;
        }
        writeln!(out, "  {code} {:widest$}  {}", code.name(), code.text(lang).meaning)?;
    }
    Ok(Outcome::Well)
}

fn value(code: Code, lang: Lang) -> Value {
    let text = code.text(lang);
    json!({
        "code": code.to_string(),
        "name": code.name(),
        "group": code.group(lang),
        "meaning": text.meaning,
        "causes": text.causes,
        "affected": text.affected,
        "next": text.next,
    })
}
