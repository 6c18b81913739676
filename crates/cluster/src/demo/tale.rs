//! What is told while the demo runs: a line for each thing that happens, with the time since the beginning.
//!
//! It decides nothing, and keeps nothing back.

use std::io::{self, Write};
use std::time::Instant;

/// Who is told, and since when.
pub(crate) struct Tale<'a> {
    out: &'a mut dyn Write,
    from: Instant,
}

impl<'a> Tale<'a> {
    /// Begins now.
    pub(crate) fn new(out: &'a mut dyn Write) -> Tale<'a> {
        Tale { out, from: Instant::now() }
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.from
    }

    /// One line, seen at once.
    pub(crate) fn line(&mut self, name: &str, what: &str) -> io::Result<()> {
        writeln!(self.out, "{name:<9} {:>6.2} s  {what}", self.from.elapsed().as_secs_f64())?;
        self.out.flush()
    }

    /// More than a line.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }
}
