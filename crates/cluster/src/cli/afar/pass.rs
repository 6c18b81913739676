//! One pod looked into by a command line whose words are passed on as they are: live rules, a packet through live rules.

use super::super::connect::{Connection, block_on};
use super::super::live::Opened;
use super::super::pods::Asked;
use super::{Afar, Errand, Reached};
use crate::args::pod::Target;
use crate::args::subject::{Reach, Subject};
use crate::cli::Outcome;
use anyhow::{Result, bail};
use std::io::{self, Write};

/// Looks into the one pod that is named: by `here` if this machine is its node, else by the errand.
pub(in crate::cli) fn pass(
    subject: &Subject,
    reach: &Reach,
    target: &Target,
    errand: &Errand,
    here: impl FnOnce(&Opened, &mut dyn Write) -> Result<Outcome>,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let lang = reach.lang();
    let connection = Connection::open(&reach.server)?;
    let asked = Asked { subject: Some(subject), scope: &reach.scope };
    let afar =
        Afar { connection: &connection, debug: &target.debug, state_dir: Some(&target.state_dir), lang };
    let reached = block_on(async {
        let pods = asked.pods(&connection).await?;
        let [pod] = pods.as_slice() else {
            bail!("{} has several pods; name one", asked.words(&connection));
        };
        afar.reach(pod, errand).await.map_err(|missed| anyhow::anyhow!("{}", missed.ways.join("\n  ")))
    })?;
    let (way, ran) = match reached {
        Reached::Here { way, opened } => {
            writeln!(io::stderr(), "millrace: {way}")?;
            return here(&opened, out);
        }
        Reached::There { way, ran } => (way, ran),
    };
    writeln!(io::stderr(), "millrace: {way}")?;
    write!(out, "{}", ran.out)?;
    let said = ran.err.trim();
    if ran.status > 1 {
        out.flush()?;
        bail!("{}", said.trim_start_matches("millrace: "));
    }
    if !said.is_empty() {
        writeln!(io::stderr(), "{said}")?;
    }
    Ok(Outcome::when(ran.status == 0))
}
