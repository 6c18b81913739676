//! What whoever asks may do, in words: what is missing, and which commands need it. PURE.

use super::{Line, Words, say};
use crate::args::output::Mark;
use crate::cli::check::facts::Right;
use crate::codes::Code;
use crate::controller::preconditions::list;
use std::collections::BTreeMap;

impl Words<'_> {
    pub(super) fn rights(&self) -> Vec<Line> {
        let lang = self.lang;
        let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (right, _) in self.facts.rights.iter().filter(|(_, given)| !given) {
            missing.entry(right.needed_by).or_default().push(named(right));
        }
        if self.facts.rights.is_empty() {
            return Vec::new();
        }
        if missing.is_empty() {
            let text = match self.pre {
                true => say!(lang, "you may install it", "您有权安装"),
                false => say!(lang, "you may do all that this program does", "您有权执行本程序的全部操作"),
            };
            return vec![Line::good(text)];
        }
        // Whoever installs needs all of it; whoever looks may be meant to do no more.
        let mark = if self.pre { Mark::Bad } else { Mark::Odd };
        let lines = missing.into_iter().map(|(needed_by, rights)| {
            let first = rights[0].clone();
            let rights = list(rights.into_iter());
            let text = say!(lang, "{needed_by} needs: {rights}", "{needed_by} 需要:{rights}");
            let line = self.coded(mark, Code::RightsMissing, text);
            Line { next: Some(format!("kubectl auth can-i {first}")), ..line }
        });
        lines.collect()
    }
}

/// As `kubectl auth can-i` takes it.
fn named(right: &Right) -> String {
    let (resource, part) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
    let part = if part.is_empty() { String::new() } else { format!(" --subresource={part}") };
    let everywhere = if right.at_home { "" } else { " -A" };
    format!("{} {resource}{group}{part}{everywhere}", right.verb)
}
