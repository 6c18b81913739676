//! `millrace why` from afar: what the agent of the pod's node has recorded, by exec into it.
//!
//! It needs no more than the files of the agent's own container, so that an agent without any capability can answer.

use super::super::afar::Afar;
use super::super::connect::{Connection, Error, block_on};
use super::super::pods::Asked;
use crate::agent::flight::Wanted;
use crate::args::output::Form;
use crate::args::pod::{Debug, Why};
use crate::args::subject::Subject;
use crate::cli::Outcome;
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::io::{self, Write};

/// Asks the pod's node. `nothing` says what this machine knows.
pub(super) fn run(args: &Why, wanted: &Wanted, nothing: &str, out: &mut dyn Write) -> Result<Outcome> {
    let Wanted::Pod { namespace, name } = wanted else { bail!("{nothing}") };
    let lang = args.asking.reach.lang();
    let connection = match Connection::open(&args.asking.reach.server) {
        Err(Error::NoConfig) => bail!("{nothing}"),
        connection => connection?,
    };
    let subject = Subject::Pod { namespace: Some(namespace.clone()), name: name.clone() };
    let asked = Asked { subject: Some(&subject), scope: &args.asking.reach.scope };
    let afar =
        Afar { connection: &connection, debug: &Debug::default(), state_dir: Some(&args.state_dir), lang };
    let (way, ran) = block_on(async {
        let found = asked.pods(&connection).await.map_err(|error| match error {
            Error::Absent { .. } => anyhow::anyhow!(
                "{nothing}; the cluster has no such pod either: on the node it was on, its recorder may know it still"
            ),
            error => error.into(),
        })?;
        let pod = &found[0];
        let form = args.asking.output.to_possible_value().map(|value| value.get_name().to_owned());
        let mut words = vec!["why".to_owned(), "--uid".to_owned()];
        words.push(pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        words.extend(["-o".to_owned(), form.unwrap_or_default()]);
        words.extend(args.rules.then(|| "--rules".to_owned()));
        let asked = afar.ask_agent(pod, &words).await;
        asked.map_err(|why| anyhow::anyhow!("{nothing}; its node's agent: {why}"))
    })?;
    // What programs read stays what the agent printed.
    match args.asking.output {
        Form::Table | Form::Wide => writeln!(out, "{way}")?,
        Form::Json | Form::Yaml | Form::Jsonl => writeln!(io::stderr(), "millrace: {way}")?,
    }
    write!(out, "{}", ran.out)?;
    if ran.status > 1 {
        out.flush()?;
        bail!("{}", ran.err.trim().trim_start_matches("millrace: "));
    }
    Ok(Outcome::when(ran.status == 0))
}
