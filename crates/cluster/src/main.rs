//! `millrace`: subcommand to one function each. It holds no logic of its own.

mod agent;
mod api;
mod apiserver;
mod args;
mod cli;
mod codes;
mod console;
mod controller;
mod demo;
mod facts;
mod http;
mod mechanism;
mod print;
mod storm;
mod telemetry;
mod webhook;

use args::output::Lang;
use args::{Args, Command};
use clap::FromArgMatches;
use cli::Outcome;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = cli::manual::command().get_matches();
    let lang = Lang::asked(&matches);
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = match &args.command {
        Command::Enable(args) => cli::switch::enable(args, &mut out),
        Command::Disable(args) => cli::switch::disable(args, &mut out),
        Command::Exclude(args) => cli::switch::exclude(args, &mut out),
        Command::Status(args) => cli::status::run(args, &mut out),
        Command::Nodes(args) => cli::nodes::run(args, &mut out),
        Command::Plan(args) => cli::plan::run(args, &mut out),
        Command::Check(args) => cli::check::run(args, &mut out),
        Command::Drift(args) => cli::drift::run(args, &mut out),
        Command::Report(args) => cli::report::run(args, &mut out),
        Command::Migrate(args) => cli::migrate::run(args, &mut out),
        Command::Rollback(args) => cli::rollback::run(args, &mut out),
        Command::Upgrade(args) => cli::upgrade::run(args, &mut out),
        Command::Uninstall(args) => cli::uninstall::run(args, &mut out),
        Command::Completion(args) => cli::manual::completion(args, &mut out),
        Command::Man(args) => cli::manual::man(args, &mut out),
        Command::Explain(args) => cli::explain::run(args, &mut out),
        Command::Inject(args) => cli::inject::run(args, &mut out),
        Command::Rules(args) => cli::rules::run(args, &mut out),
        Command::Trace(args) => cli::trace::run(args, &mut out),
        Command::Verify(args) => cli::verify::run(args, &mut out),
        Command::Why(args) => cli::why::run(args, &mut out),
        Command::Print(args) => print::run(args, &mut out),
        Command::Agent(args) => agent::run(args, &mut out).map(Outcome::when),
        Command::Apiserver(args) => apiserver::run(args, &mut out),
        Command::Console(args) => console::run(args, &mut out),
        Command::Controller(args) => controller::run(args, console::served::start).map(|()| Outcome::Well),
        Command::Demo(args) => demo::run(args, &mut out),
        Command::Webhook(args) => webhook::alone::run(args, &mut out).map(|()| Outcome::Well),
        Command::DemoApp(args) => demo::app::run(args),
        Command::DemoInjector(args) => demo::injector::run(args),
    };
    let outcome = outcome.and_then(|outcome| out.flush().map(|()| outcome).map_err(Into::into));
    match outcome {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Wrong) => ExitCode::from(1),
        // What a shell says of a program that an interrupt ended.
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) if reader_is_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be gone as well; there is nobody left to tell.
            let _ = writeln!(io::stderr(), "millrace: {}", cli::told(&error, lang));
            ExitCode::from(2)
        }
    }
}

/// Whether whoever read the output has seen enough, as `head` does.
fn reader_is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
