//! What the container `istio-init` does, for the namespace we live in: same arguments, same environment, same exit codes.
//!
//! It runs in a pod, so it looks at nothing but its own namespace and its own files, and it reads everything before it
//! changes anything. Exit status 1 stands for configuration, rules and routes, 126 for a failed validation.
//! Complaints about values go to standard error; a fatal one stops it.

mod accounts;

use crate::backend::{self, Applied, How, Variant};
use crate::netns::NetNs;
use crate::outcome::Outcome;
use crate::{families, validate};
use millrace_core::dialect::{Backend, Choice, text};
use millrace_core::knobs::{self, Flags, InitOptions, IptablesBinary, Surroundings, Usage};
use millrace_core::rules::Family;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use std::path::Path;

/// Applies, prints, clears or validates, as `args` and the environment say.
pub fn run(args: &[String], env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    let flags = match read(args, env) {
        Ok(flags) => flags,
        Err(outcome) => return outcome,
    };
    let mut outcome =
        Outcome { notes: flags.complaints.iter().map(ToString::to_string).collect(), ..Outcome::default() };
    match act(&flags, &mut outcome) {
        Ok(()) => {}
        Err(error) => {
            outcome.notes.push(error);
            outcome.status = 1;
        }
    }
    if outcome.status == 0 && flags.options.run_validation && !flags.options.dry_run {
        validate_after(&flags, &mut outcome);
    }
    outcome
}

/// Only validates, as `istio-validation` does; everything else its arguments say is passed over.
pub fn validate_only(args: &[String], env: &dyn Fn(&str) -> Option<String>) -> Outcome {
    // Not told, `init` captures nothing outbound; a pod that is to be validated usually captures all.
    let ranges = env("ISTIO_SERVICE_CIDR").unwrap_or_else(|| "*".to_owned());
    let args = [&["-i".to_owned(), ranges], args].concat();
    let flags = match read(&args, env) {
        Ok(flags) => flags,
        Err(outcome) => return outcome,
    };
    let mut outcome =
        Outcome { notes: flags.complaints.iter().map(ToString::to_string).collect(), ..Outcome::default() };
    validate_after(&flags, &mut outcome);
    outcome
}

fn read(args: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<Flags, Outcome> {
    let around = Surroundings {
        env,
        user: &|name| accounts::number(Path::new("/etc/passwd"), name),
        group: &|name| accounts::number(Path::new("/etc/group"), name),
        resolv_conf: &|| std::fs::read_to_string("/etc/resolv.conf").map_err(|error| error.to_string()),
    };
    match knobs::settings_from_flags(args, &around) {
        Ok(flags) if flags.complaints.iter().any(|complaint| complaint.fatal) => {
            let notes = flags.complaints.iter().map(ToString::to_string).collect();
            Err(Outcome { notes, status: 1, ..Outcome::default() })
        }
        Ok(flags) => Ok(flags),
        Err(Usage::Help) => Err(Outcome { stdout: help(), ..Outcome::default() }),
        Err(usage) => Err(Outcome { notes: vec![usage.to_string()], status: 1, ..Outcome::default() }),
    }
}

fn help() -> String {
    format!("millrace-cni init [flags], millrace-cni validate [flags]\n\n{}", knobs::help())
}

fn act(flags: &Flags, outcome: &mut Outcome) -> Result<(), String> {
    let options = &flags.options;
    if options.dry_run {
        let text = dry_run(&flags.settings, options)?;
        return match &options.dry_run_file {
            Some(path) => std::fs::write(path, text).map_err(|error| format!("cannot write {path}: {error}")),
            None => {
                outcome.stdout = text;
                Ok(())
            }
        };
    }
    let netns = netns(options)?;
    if options.cleanup_only {
        // Whatever families it has now, it may have had the other.
        let cleared = backend::clear(&netns, &plan(&flags.settings, Families::Both));
        let notes = cleared.map_err(|error| error.to_string())?;
        outcome.notes.extend(notes.iter().map(|error| format!("not looked at: {error}")));
        return Ok(());
    }
    if options.skip_rule_apply {
        return Ok(());
    }
    apply(flags, &netns, outcome)
}

/// The namespace that everything is done in: the one that was named, or our own.
fn netns(options: &InitOptions) -> Result<NetNs, String> {
    let netns = match &options.network_namespace {
        Some(path) => NetNs::open(Path::new(path)),
        None => NetNs::own(),
    };
    netns.map_err(|error| error.to_string())
}

fn apply(flags: &Flags, netns: &NetNs, outcome: &mut Outcome) -> Result<(), String> {
    let (choice, programs) = choice(&flags.options)?;
    let families = families_of(netns)?;
    let plan = plan(&flags.settings, families);
    // What an earlier run was told is kept nowhere; that it was told the same is the best guess.
    let how = How { choice, programs, earlier: Some(&plan), ..How::default() };
    let applied = netns.within(|| backend::apply_here(netns, &plan, &how));
    let Applied { backend, left } =
        applied.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    outcome.notes.push(format!("{} rules applied by {backend}", plan.rules.len()));
    outcome.notes.extend(left.iter().map(|error| format!("rules of an earlier run may be left: {error}")));
    Ok(())
}

fn families_of(netns: &NetNs) -> Result<Families, String> {
    let found = netns.within(families::own).map_err(|error| error.to_string())?;
    found.map_err(unknown_families)
}

fn unknown_families(error: std::io::Error) -> String {
    format!("cannot tell the namespace's addresses: {error}")
}

/// Looks at the namespace that everything is done in, which needs no right if it is our own.
fn inside<T: Send>(options: &InitOptions, act: impl FnOnce() -> T + Send) -> Result<T, String> {
    match &options.network_namespace {
        Some(_) => netns(options)?.within(act).map_err(|error| error.to_string()),
        None => Ok(act()),
    }
}

/// One family as it was asked for; else those of the namespace, each told apart by a comment.
fn dry_run(settings: &Settings, options: &InitOptions) -> Result<String, String> {
    let both = plan(settings, Families::Both).rules;
    match options.family {
        Some(4) => Ok(text::write(&both, Family::V4)),
        Some(_) => Ok(text::write(&both, Family::V6)),
        None => {
            let mut all = format!("# for iptables-restore --noflush\n{}", text::write(&both, Family::V4));
            if inside(options, families::own)?.map_err(unknown_families)? == Families::Both {
                all.push_str(&format!(
                    "# for ip6tables-restore --noflush\n{}",
                    text::write(&both, Family::V6)
                ));
            }
            Ok(all)
        }
    }
}

/// `--backend` says it in our words; the incumbent's two flags say parts of it. Who names a binary means no other.
fn choice(options: &InitOptions) -> Result<(Choice, Option<Variant>), String> {
    if let Some(name) = &options.backend {
        let choice = Choice::from_name(name)
            .ok_or_else(|| format!("--backend: {name:?} is not auto, iptables, nftables or iptables-text"))?;
        return Ok((choice, None));
    }
    Ok(match options.force_iptables_binary {
        _ if options.native_nftables => (Choice::Only(Backend::Nftables), None),
        Some(IptablesBinary::Legacy) => (Choice::Only(Backend::Text), Some(Variant::Legacy)),
        Some(IptablesBinary::Nft) => (Choice::Only(Backend::Iptables), None),
        None => (Choice::Auto, None),
    })
}

fn validate_after(flags: &Flags, outcome: &mut Outcome) {
    let wanted = validate::Wanted {
        settings: &flags.settings,
        probe_port: flags.options.probe_port,
        patience: flags.options.probe_timeout,
    };
    let validated = inside(&flags.options, || validate::validate(&wanted));
    match validated.and_then(|validated| validated.map_err(|error| error.to_string())) {
        Ok(found) => outcome.notes.extend(found),
        Err(error) => {
            outcome.notes.push(error);
            outcome.status = 126;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(args: &str) -> Outcome {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        run(&args, &|_| None)
    }

    #[test]
    fn a_dry_run_prints_one_restore_text_a_family() {
        for (family, address) in [("4", "127.0.0.6/32"), ("6", "::6/128")] {
            let outcome = init(&format!(
                "--dry-run --family {family} -p 15001 -z 15006 -u 1337 -g 1337 -m REDIRECT -i * -b *"
            ));
            assert_eq!((outcome.status, outcome.notes.len()), (0, 0), "{outcome:?}");
            assert!(
                outcome.stdout.contains(address) && outcome.stdout.ends_with("COMMIT\n"),
                "{}",
                outcome.stdout
            );
        }
        let both = init("--dry-run");
        assert!(both.stdout.starts_with("# for iptables-restore"), "{both:?}");
    }

    #[test]
    fn what_cannot_be_meant_ends_with_status_1_and_changes_nothing() {
        for (args, word) in [
            ("--dry-run -p x", "-p"),
            ("--dry-run -i 10.0.0.0/33", "10.0.0.0/33"),
            ("--dry-run --family 5", "--family"),
            ("--nonsense", "--nonsense"),
            ("stray", "stray"),
        ] {
            let outcome = init(args);
            assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{args}");
            let notes = outcome.notes.join("\n");
            assert!(notes.contains(word) || notes.contains("envoy-port"), "{args}: {notes}");
        }
    }

    #[test]
    fn help_is_no_failure() {
        let outcome = init("--help");
        assert!(outcome.status == 0 && outcome.stdout.contains("--envoy-port"), "{outcome:?}");
    }

    #[test]
    fn backends_are_chosen_by_our_flag_or_the_incumbents() {
        let choice_of = |options: InitOptions| choice(&options);
        let base = InitOptions::default;
        assert_eq!(choice_of(base()), Ok((Choice::Auto, None)));
        let named =
            |name: &str| InitOptions { backend: Some(name.to_owned()), native_nftables: true, ..base() };
        assert_eq!(choice_of(named("iptables")), Ok((Choice::Only(Backend::Iptables), None)));
        assert!(choice_of(named("ebpf")).unwrap_err().contains("ebpf"));
        let binary = |binary| InitOptions { force_iptables_binary: Some(binary), ..base() };
        assert_eq!(
            choice_of(binary(IptablesBinary::Legacy)),
            Ok((Choice::Only(Backend::Text), Some(Variant::Legacy)))
        );
        assert_eq!(choice_of(binary(IptablesBinary::Nft)), Ok((Choice::Only(Backend::Iptables), None)));
        assert_eq!(
            choice_of(InitOptions { native_nftables: true, ..base() }),
            Ok((Choice::Only(Backend::Nftables), None))
        );
    }
}
