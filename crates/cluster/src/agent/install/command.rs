//! `millrace agent --once` and `--dry-run`: install on this node, or say what that would change, and end.

use super::plan::Step;
use super::{Claim, Converged, Memory, Target, Way, Wish, converge, look, plan, plugin_in, seen};
use crate::agent::lock::Lock;
use crate::agent::platform;
use crate::agent::runtime::{self, Places, Told};
use crate::args::agent as args;
use anyhow::Context;
use millrace_core::cni::Entry;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long `--once` waits for an agent that serves to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Installs, or says what that would change.
pub(crate) fn run(args: &args::Agent, entry: &Entry, out: &mut impl Write) -> anyhow::Result<bool> {
    if args.dry_run {
        return dry_run(args, entry, out);
    }
    let who = &installer(&args.install);
    let _lock = Lock::take(&args.places.state_dir, who, PATIENCE)?;
    let (places, mut target) = target(&args.places, &args.install, entry)?;
    target.wish.claim = take_ticket(&target, who)?;
    tell_places(&places, out)?;
    let converged = converge(&target)?;
    tell(&converged, &target, out)?;
    Ok(true)
}

/// The node's places, and what is wanted there by these flags, with what `said` says of the plugin. The claim is still to be
/// made: [`take_ticket`].
pub(crate) fn target(
    places: &args::Places,
    install: &args::Install,
    said: &Entry,
) -> anyhow::Result<(Places, Target)> {
    let found = find(places);
    let profile = platform::profile(found.platform.0);
    if let Some(chain) = install.auxiliary_chain.as_deref().filter(|chain| !seen::is_plain(chain)) {
        anyhow::bail!(
            "the auxiliary chain {chain:?} is no name of a folder; give a plain one, such as vendor-cni-chain"
        );
    }
    let way = install.way.map(|way| match way {
        args::Way::InPlace => Way::InPlace,
        args::Way::OwnList => Way::Own,
        args::Way::Auxiliary => Way::Auxiliary,
    });
    let way = way.or(profile.way);
    let auxiliary = install.auxiliary_chain.clone();
    let auxiliary =
        auxiliary.or_else(|| profile.auxiliary.filter(|_| way == Some(Way::Auxiliary)).map(str::to_owned));
    let wish = Wish {
        binary: binary(install.binary.as_deref())?,
        entry: entry(
            &std::path::absolute(&places.state_dir).context("name --state-dir as an absolute path")?,
            said,
        ),
        way,
        list: install.list.clone(),
        auxiliary,
        claim: Claim::default(),
    };
    let target = Target {
        conf_dir: found.conf_dir.0.clone(),
        bin_dirs: found.bin_dirs.0.clone(),
        data_dir: places.data_dir.clone(),
        wish,
    };
    Ok((found, target))
}

/// The node's places, as flags and the node's own files say.
pub(crate) fn find(places: &args::Places) -> Places {
    let told = Told {
        platform: places.platform,
        conf_dir: places.conf_dir.clone(),
        bin_dirs: places.bin_dir.clone(),
    };
    runtime::find(&places.host_root, &told)
}

/// The place of `installer` in the order of this node's installers; kept, so that it stays the same. Needs the lock.
pub(crate) fn take_ticket(target: &Target, installer: &str) -> anyhow::Result<Claim> {
    let (memory, claim) = ticket(target, installer)?;
    memory.keep(&target.data_dir, &mut |_| Ok(()))?;
    Ok(claim)
}

/// Who installs: whoever says nothing is a person at this machine.
pub(crate) fn installer(install: &args::Install) -> String {
    install.installer.clone().unwrap_or_else(|| "by-hand".to_owned())
}

/// The plugin to install: the one that is named, else the one beside this program.
pub(crate) fn binary(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => {
            let program =
                std::env::current_exe().context("cannot tell where this program is; name --binary")?;
            Ok(plugin_in(program.parent().unwrap_or(Path::new("/"))))
        }
    }
}

/// An entry that says what `said` says, and whose sockets and records are in `state_dir`.
pub(crate) fn entry(state_dir: &Path, said: &Entry) -> Entry {
    let path = |name: &str| state_dir.join(name).to_string_lossy().into_owned();
    Entry {
        agent_socket: path("agent.sock"),
        event_socket: path("events.sock"),
        state_dir: state_dir.to_string_lossy().into_owned(),
        ..said.clone()
    }
}

fn ticket(target: &Target, installer: &str) -> anyhow::Result<(Memory, Claim)> {
    let seen = look(target)?;
    let mut memory = seen.memory.clone();
    let claim = memory.claim(installer, &plan::claims(&seen));
    Ok((memory, claim))
}

fn dry_run(args: &args::Agent, entry: &Entry, out: &mut impl Write) -> anyhow::Result<bool> {
    let (places, mut target) = target(&args.places, &args.install, entry)?;
    target.wish.claim = ticket(&target, &installer(&args.install))?.1;
    tell_places(&places, out)?;
    let seen = look(&target)?;
    let plan = plan(&seen, &target.wish);
    for note in &plan.notes {
        writeln!(out, "note: {note}")?;
    }
    for step in &plan.steps {
        let name = |file: &str| target.conf_dir.join(file).display().to_string();
        match step {
            Step::Binary => {
                let to = plugin_in(&seen.bin_dir);
                let word = if to.exists() { "replace" } else { "install" };
                let from = target.wish.binary.display();
                writeln!(out, "would {word} the plugin {} from {from}", to.display())?;
            }
            Step::Edit { list, from, to, .. } | Step::Restore { list, from, to } => {
                out.write_all(super::diff::unified(&name(list), from, &name(list), to).as_bytes())?;
            }
            Step::Write { file, from, to, .. } => {
                let before = from.as_ref().map_or("/dev/null".to_owned(), |_| name(file));
                let from = from.as_deref().unwrap_or_default();
                out.write_all(super::diff::unified(&before, from, &name(file), to).as_bytes())?;
            }
            Step::Remove { file, from } => {
                out.write_all(super::diff::unified(&name(file), from, "/dev/null", "").as_bytes())?;
            }
        }
    }
    if !plan.steps.contains(&Step::Binary) {
        writeln!(out, "plugin is right: {}", plugin_in(&seen.bin_dir).display())?;
    }
    let place = plan
        .place
        .map_err(super::Error::Refused)
        .context("this was a dry run, nothing was changed; our entry would be in no list")?;
    let word = if plan.steps.is_empty() { "nothing to do; our entry is in" } else { "our entry would be in" };
    writeln!(out, "{word} {place}")?;
    writeln!(out, "nothing was changed: this was a dry run")?;
    Ok(true)
}

fn tell_places(places: &Places, out: &mut impl Write) -> std::io::Result<()> {
    let (platform, why) = &places.platform;
    let platform = clap::ValueEnum::to_possible_value(platform);
    let platform = platform.as_ref().map_or("", |value| value.get_name());
    writeln!(out, "platform: {platform} ({why})")?;
    writeln!(out, "lists: {} ({})", places.conf_dir.0.display(), places.conf_dir.1)?;
    let folders: Vec<String> = places.bin_dirs.0.iter().map(|folder| folder.display().to_string()).collect();
    writeln!(out, "plugins: {} ({})", folders.join(", "), places.bin_dirs.1)?;
    places.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
}

fn tell(converged: &Converged, target: &Target, out: &mut impl Write) -> std::io::Result<()> {
    for note in &converged.notes {
        writeln!(out, "note: {note}")?;
    }
    let word = |changed: bool| if changed { "written" } else { "is right" };
    let folder = target.bin_dirs.iter().find(|folder| folder.is_dir());
    let plugin = folder.map(|folder| plugin_in(folder)).unwrap_or_default();
    writeln!(out, "plugin {}: {}", word(converged.change.binary), plugin.display())?;
    writeln!(out, "entry {}: {}", word(converged.change.list), converged.place)
}
