//! The one file put on a node: the CNI verbs by `CNI_COMMAND`, else `init`, `validate`, `inspect` by the first argument.
//!
//! It dispatches and decides nothing. A panic becomes an error that a runtime can show, never a silent death.

use millrace_core::cni::version::Version;
use millrace_host::outcome::Outcome;
use millrace_host::plugin::input::{self, Input};
use millrace_host::{init, inspect, plugin, tombstone};
use std::io::Write;
use std::process::ExitCode;

/// musl's own asks the kernel for nearly every size anew, which is a third of what a pod outside the mesh costs.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match args.split_first() {
        None if variable("CNI_COMMAND").is_some_and(|command| !command.is_empty()) => cni(),
        None => {
            about();
            ExitCode::SUCCESS
        }
        Some((word, rest)) => command(word, rest),
    }
}

fn command(word: &str, rest: &[String]) -> ExitCode {
    let outcome = match word {
        // The second is what the incumbent's image is told to be istio-init.
        "init" | "istio-iptables" => init::run(rest, &variable),
        "validate" => init::validate_only(rest, &variable),
        "inspect" => inspect::run(rest),
        "help" | "--help" | "-h" | "version" | "--version" => {
            about();
            return ExitCode::SUCCESS;
        }
        word => {
            eprintln!("millrace-cni: there is no command {word:?}");
            about();
            return ExitCode::FAILURE;
        }
    };
    finish(&outcome)
}

fn cni() -> ExitCode {
    // The profile `cni` aborts on a panic, which saves a tenth of the file; this comes first, on whichever thread.
    std::panic::set_hook(Box::new(|panic| {
        let place =
            panic.location().map_or(String::new(), |place| format!(" at {}:{}", place.file(), place.line()));
        let what = format!("{}{place}", panic.payload_as_str().unwrap_or("a panic"));
        let outcome = plugin::panicked(variable, &what);
        finish(&outcome);
        std::process::exit(i32::from(outcome.status));
    }));
    let stdin = Input::new(rustix::stdio::stdin(), input::PATIENCE);
    let serve = if tombstone::is_ended() { plugin::pass } else { plugin::run };
    finish(&serve(variable, stdin))
}

fn finish(outcome: &Outcome) -> ExitCode {
    for note in &outcome.notes {
        // A closed standard error is no reason to fail a pod.
        let _ = writeln!(std::io::stderr(), "millrace-cni: {}", note.replace(char::is_control, " "));
    }
    match Output.write_all(outcome.stdout.as_bytes()) {
        Ok(()) => ExitCode::from(outcome.status),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard output without std's buffer, as [`Input`] is without.
struct Output;

impl Write for Output {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), from)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn about() {
    let versions = Version::ALL.map(Version::as_str).join(", ");
    let version = env!("CARGO_PKG_VERSION");
    eprintln!(
        "millrace-cni {version}: a CNI plugin (versions {versions}) that leads a pod's traffic to its sidecar\n\
         \n\
         as a plugin:  a container runtime sets CNI_COMMAND and gives a configuration on standard input\n\
         as a tool:    millrace-cni init|validate|inspect --help"
    );
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.into_string().unwrap_or_else(|value| value.to_string_lossy().into_owned()))
}
