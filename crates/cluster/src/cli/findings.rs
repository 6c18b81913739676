//! What was found of a cluster, in categories, for people and for programs. PURE.
//!
//! Each line is well, odd or wrong, and has its code where there is one, and the next command.

use crate::args::output::{Form, Lang, Mark, Style};
use crate::cli::form;
use crate::cli::table::more;
use crate::codes::Code;
use serde_json::{Value, json};
use std::io::{self, Write};

/// What belongs together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Category {
    /// Its name for programs.
    pub(crate) name: &'static str,
    /// Its title for people.
    pub(crate) title: &'static str,
    /// What was found.
    pub(crate) lines: Vec<Line>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// How it is.
    pub(crate) mark: Mark,
    /// As `millrace explain` knows it.
    pub(crate) code: Option<Code>,
    /// What it is.
    pub(crate) text: String,
    /// More of it, such as the fields that differ.
    pub(crate) detail: Vec<String>,
    /// The next command or act.
    pub(crate) next: Option<String>,
}

/// Words in one language or the other, with what is in scope.
macro_rules! say {
    ($lang:expr, $english:literal, $chinese:literal) => {
        match $lang {
            $crate::args::output::Lang::En => format!($english),
            $crate::args::output::Lang::Zh => format!($chinese),
        }
    };
}
pub(crate) use say;

/// The most details of one line where people read; the wide form has all.
const MOST_DETAILS: usize = 8;

impl Line {
    /// One that is well.
    pub(crate) fn good(text: String) -> Line {
        Line { mark: Mark::Good, code: None, text, detail: Vec::new(), next: None }
    }

    /// One that is odd.
    pub(crate) fn odd(code: Option<Code>, text: String, next: Option<String>) -> Line {
        Line { mark: Mark::Odd, code, next, ..Line::good(text) }
    }

    /// One with a code; what to do next is what the catalogue says.
    pub(crate) fn coded(mark: Mark, code: Code, text: String, lang: Lang) -> Line {
        Line { mark, code: Some(code), next: Some(code.text(lang).next.clone()), ..Line::good(text) }
    }

    /// The same, with the name of what it is about in the next command.
    pub(crate) fn naming(self, word: &str, name: &str) -> Line {
        Line { next: self.next.map(|next| next.replace(word, name)), ..self }
    }

    /// That there are more than the `listed`.
    pub(crate) fn more(count: usize, listed: usize, lang: Lang) -> Option<Line> {
        let more = count.saturating_sub(listed);
        (more > 0).then(|| Line::odd(None, say!(lang, "and {more} more", "以及其他 {more} 项"), None))
    }
}

/// How much of each mark there is: well, odd, wrong.
pub(crate) fn counts(categories: &[Category]) -> [usize; 3] {
    let count = |mark: Mark| {
        categories.iter().flat_map(|category| &category.lines).filter(|line| line.mark == mark).count()
    };
    [Mark::Good, Mark::Odd, Mark::Bad].map(count)
}

/// Only what is not well.
pub(crate) fn amiss(categories: &[Category]) -> Vec<Category> {
    let lines = |lines: &[Line]| lines.iter().filter(|line| line.mark != Mark::Good).cloned().collect();
    let kept =
        categories.iter().map(|category| Category { lines: lines(&category.lines), ..category.clone() });
    kept.filter(|category| !category.lines.is_empty()).collect()
}

/// Writes each line.
pub(crate) fn body(categories: &[Category], style: Style, out: &mut dyn Write) -> io::Result<()> {
    for category in categories {
        writeln!(out, "{}", category.title)?;
        for line in &category.lines {
            let code = line.code.map(|code| format!("{code} ")).unwrap_or_default();
            writeln!(out, "  {} {code}{}", style.mark(line.mark), line.text)?;
            let shown = if style.form == Form::Wide { usize::MAX } else { MOST_DETAILS };
            for detail in line.detail.iter().take(shown) {
                writeln!(out, "      {detail}")?;
            }
            more(line.detail.len(), shown, style, "      ", out)?;
            if let Some(next) = &line.next {
                writeln!(out, "      {}: {next}", style.say("next", "下一步"))?;
            }
        }
    }
    Ok(())
}

/// How many lines there are of each kind, and where to go on.
pub(crate) fn sum(categories: &[Category], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let [good, odd, bad] = counts(categories);
    let words = match style.lang {
        Lang::En => format!("{good} well, {odd} odd, {bad} wrong"),
        Lang::Zh => format!("{good} 项正常,{odd} 项可疑,{bad} 项有误"),
    };
    let first = |mark: Mark| {
        let mut lines =
            categories.iter().flat_map(|category| &category.lines).filter(|line| line.mark == mark);
        lines.find_map(|line| line.code)
    };
    match first(Mark::Bad).or_else(|| first(Mark::Odd)) {
        Some(code) => writeln!(out, "{words}; millrace explain {code}"),
        None => writeln!(out, "{words}"),
    }
}

/// The same for programs.
fn value(categories: &[Category]) -> Value {
    let result = |mark: Mark| match mark {
        Mark::Good => "ok",
        Mark::Odd => "warning",
        Mark::Bad => "failed",
    };
    let shown = categories.iter().map(|category| {
        let lines = category.lines.iter().map(|line| {
            json!({
                "result": result(line.mark),
                "code": line.code.map(|code| code.to_string()),
                "message": line.text,
                "detail": line.detail,
                "next": line.next,
            })
        });
        json!({ "name": category.name, "checks": lines.collect::<Vec<_>>() })
    });
    let [good, odd, bad] = counts(categories);
    json!({ "ok": good, "warnings": odd, "failed": bad, "categories": shown.collect::<Vec<_>>() })
}

/// Writes it in the form that is wanted.
pub(crate) fn print(categories: &[Category], style: Style, out: &mut dyn Write) -> io::Result<()> {
    if form::data(style.form, &value(categories), "categories", out)? {
        return Ok(());
    }
    body(categories, style, out)?;
    sum(categories, style, out)
}

/// Compares what is printed with a golden file; `UPDATE_GOLDEN=1` rewrites it.
#[cfg(test)]
pub(crate) fn golden(name: &str, categories: &[Category], style: Style) {
    let mut out = Vec::new();
    print(categories, style, &mut out).expect("a vector takes it");
    crate::cli::golden::check(name, &String::from_utf8(out).expect("it is text"));
}
