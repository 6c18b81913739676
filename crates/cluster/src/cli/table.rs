//! Tables for people: columns as wide as they must be, nothing around them. Decides nothing about what is in them.

use crate::args::output::{Form, Style};
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr;

/// The most rows on one screen.
const MOST_ROWS: usize = 20;

/// How many rows are shown where people read: no more than a screen has; all in the wide form, and for programs.
pub(crate) fn room(style: Style) -> usize {
    if style.form == Form::Table { MOST_ROWS } else { usize::MAX }
}

/// Says that there are more than were `shown`, and how to see them.
pub(crate) fn more(
    count: usize,
    shown: usize,
    style: Style,
    indent: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    match count.saturating_sub(shown) {
        0 => Ok(()),
        more => writeln!(out, "{indent}{} {more} (-o wide)", style.say("and more:", "以及:")),
    }
}

/// A table: its head, and its rows with as many cells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The heads of the columns.
    pub(crate) head: Vec<String>,
    /// The rows.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Writes it, each line behind `indent`.
    pub(crate) fn write(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        let lines = || [&self.head].into_iter().filter(|head| !head.is_empty()).chain(&self.rows);
        let columns = lines().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            lines().filter_map(|cells| cells.get(column)).map(|cell| width(cell)).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for cells in lines() {
            let mut line = indent.to_owned();
            for (cell, width) in cells.iter().zip(&widths) {
                line.push_str(&padded(cell, *width));
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The text with blanks behind it, `width` columns in all. A Chinese letter takes two.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Colours take no column.
fn width(text: &str) -> usize {
    let mut shown = String::new();
    let mut hidden = false;
    for letter in text.chars() {
        match letter {
            '\x1b' => hidden = true,
            'm' if hidden => hidden = false,
            _ if hidden => {}
            _ => shown.push(letter),
        }
    }
    shown.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_letters() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = Table {
            head: row(["节点", "B"]),
            rows: vec![row(["n", "\x1b[32m✓\x1b[0m"]), row(["longer", ""])],
        };
        let mut out = Vec::new();
        table.write(&mut out, " ").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), " 节点    B\n n       \x1b[32m✓\x1b[0m\n longer\n");
    }
}
