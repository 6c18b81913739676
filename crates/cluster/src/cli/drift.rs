//! `millrace drift`: what differs between what should be and what is, over the cluster.
//!
//! It changes nothing: what the controller would write is tried by the server alone. What somebody else wrote is named with who
//! it was.

mod fields;
mod judge;
mod objects;
mod read;

use super::Outcome;
use super::connect::{Connection, block_on};
use super::findings::{Category, counts, print};
use super::wait::Line;
use crate::args::check::Drift;
use crate::args::output::Style;
use anyhow::Result;
use std::io::Write;

/// Looks for it.
pub(crate) fn run(args: &Drift, out: &mut dyn Write) -> Result<Outcome> {
    let style = args.cluster.output.style();
    let connection = Connection::open(&args.cluster.server)?;
    let found = block_on(drift(&connection, &args.home.namespace, style))?;
    print(&found, style, out)?;
    let [_, _, bad] = counts(&found);
    Ok(Outcome::when(bad == 0))
}

/// What differs. Fails if the MeshCNI cannot be read.
pub(crate) async fn drift(connection: &Connection, home: &str, style: Style) -> Result<Vec<Category>> {
    let facts = read::read(connection, home, Line { live: style.live }).await?;
    Ok(judge::judge(&facts, style.lang))
}
