//! The live rules of a network namespace, for people and for programs, each with the reason it exists.
//!
//! It only reads. A namespace is named by path, by a process in it, or by a container's id.

mod args;
pub mod container;
mod report;
pub mod words;

use crate::backend::{self, Survey};
use crate::netns::NetNs;
use crate::outcome::Outcome;
use args::{Args, Form, Target};
use container::Roots;
use millrace_core::dialect::{Backend, listing};
use millrace_core::rules::{Family, Observed, Table};
use std::path::PathBuf;

/// Shows what `args` ask for.
pub fn run(args: &[String]) -> Outcome {
    let args = match Args::read(args) {
        Ok(Some(args)) => args,
        Ok(None) => return Outcome { stdout: args::HELP.to_owned(), ..Outcome::default() },
        Err(error) => return Outcome { notes: vec![error], status: 1, ..Outcome::default() },
    };
    match show(&args) {
        Ok(outcome) => outcome,
        Err(error) => Outcome { notes: vec![error], status: 1, ..Outcome::default() },
    }
}

fn show(args: &Args) -> Result<Outcome, String> {
    let netns = open(args)?;
    let Survey { mut found, mut unread } = backend::survey(&netns).map_err(|error| error.to_string())?;
    if found.is_empty() && !unread.is_empty() {
        return Err(unread.remove(0).to_string());
    }
    let others = found.iter().flat_map(|(_, seen)| &seen.redirectors).map(|table| {
        format!("table {table} redirects as well and is not ours; `nft list table {table}` shows it")
    });
    let notes = unread.iter().map(|error| format!("not shown: {error}")).chain(others).collect();
    // A note says it all of tables that are not read.
    found.retain(|(_, seen)| !seen.chains.is_empty() || !seen.foreign_chains.is_empty());
    let mut outcome = Outcome { notes, ..Outcome::default() };
    if args.form == Form::Json {
        outcome.stdout = report::json(netns.path(), &found, args);
        return Ok(outcome);
    }
    // Looked at by nobody, a namespace shows what an empty one shows.
    let nothing = [(Backend::Iptables, Observed::default())];
    let shown = if found.is_empty() { &nothing[..] } else { &found };
    let many = shown.len() * args.tables.len() * args.families.len() > 1;
    let mut parts = Vec::new();
    for (backend, observed) in shown {
        for family in &args.families {
            for table in &args.tables {
                let text = part(args.form, *backend, observed, *family, *table);
                let title = format!("# {} {}, by {backend}\n", report::family_name(*family), table.name());
                parts.push(if many { title + &text } else { text });
                if args.reasons {
                    parts.push(report::reasons(observed, *family, *table));
                }
            }
        }
    }
    outcome.stdout = parts.join("\n");
    Ok(outcome)
}

fn part(form: Form, backend: Backend, observed: &Observed, family: Family, table: Table) -> String {
    match form {
        Form::Iptables => listing::list(observed, family, table),
        Form::Save => report::save(observed, family, table),
        Form::Nft | Form::Json => words::table(backend, observed, family, table),
    }
}

fn open(args: &Args) -> Result<NetNs, String> {
    let root = args.root.clone().unwrap_or_else(|| PathBuf::from("/"));
    // A namespace is only ever opened by an absolute path.
    let root = std::path::absolute(&root).map_err(|error| format!("--root {}: {error}", root.display()))?;
    let of_process = |pid: u32| root.join(format!("proc/{pid}/ns/net"));
    let path = match &args.target {
        Target::Path(path) => path.clone(),
        Target::Pid(pid) => of_process(*pid),
        Target::Container(id) => {
            let roots = Roots::below(root.clone());
            of_process(container::pid(id, &roots).map_err(|error| error.to_string())?)
        }
    };
    NetNs::open(&path).map_err(|error| error.to_string())
}
