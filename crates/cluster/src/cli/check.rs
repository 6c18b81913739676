//! `millrace check`: what is well, odd and wrong with an installation, or with a cluster before one.
//!
//! It changes nothing. Reading is apart from judging, and judging is pure.

mod facts;
mod judge;
mod read;

use super::Outcome;
use super::connect::{Connection, Error, block_on};
use super::findings::{Category, counts, print};
use super::wait::Line;
use crate::args::check::Check;
use crate::args::output::Style;
use anyhow::Result;
use std::io::Write;

/// Checks.
pub(crate) fn run(args: &Check, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    let found = block_on(check(&connection, &args.home.namespace, args.pre, style))?;
    print(&found, style, out)?;
    let [_, odd, bad] = counts(&found);
    Ok(Outcome::when(bad == 0 && !(args.strict && odd > 0)))
}

/// What is well, odd and wrong. Fails if the API server does not answer at all.
pub(crate) async fn check(
    connection: &Connection,
    home: &str,
    pre: bool,
    style: Style,
) -> Result<Vec<Category>, Error> {
    let facts = read::read(connection, home, pre, Line { live: style.live }).await?;
    Ok(judge::judge(&facts, pre, style.lang))
}
