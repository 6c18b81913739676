//! What a namespace is to be verified against: what the arguments say, else the record of its attachment.

use super::super::live::Opened;
use super::super::{source, stated};
use crate::args::pod::Verify;
use anyhow::{Result, bail};
use millrace_core::complaint::Complaint;
use millrace_core::record::Record;
use millrace_core::settings::{Families, Interface, Settings};
use millrace_core::stamp::{self, Stamp};
use millrace_host::families;
use millrace_host::netns::NetNs;
use millrace_host::records::Records;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The redirection that is expected.
pub(super) struct Wanted {
    pub(super) settings: Settings,
    pub(super) families: Families,
    /// The interface by which the pod is reached.
    pub(super) interface: Interface,
    /// Where all this was found, for people.
    pub(super) from: String,
}

impl Wanted {
    /// These settings, for the families that the namespace has.
    pub(super) fn of(settings: Settings, opened: &Opened, from: String) -> Result<Wanted> {
        let families = opened.netns.within(families::own)??;
        let interface = Interface::new("eth0").expect("eth0 is a name");
        Ok(Wanted { settings, families, interface, from })
    }
}

/// Refuses settings that cannot be used as they are meant.
pub(super) fn refuse(complaints: &[Complaint]) -> Result<()> {
    match complaints.iter().find(|complaint| complaint.fatal) {
        Some(complaint) => bail!("{complaint}"),
        None => Ok(()),
    }
}

/// Finds it.
pub(super) fn of(args: &Verify, opened: &Opened) -> Result<Wanted> {
    let netns = &opened.netns;
    if let Some(stamp) = &args.node.stamp {
        let Stamp::Redirect(settings) = stamp::read(stamp)? else {
            bail!("the stamp that was handed over is a skip");
        };
        return Wanted::of(*settings, opened, "the pod, by the API server".to_owned());
    }
    if args.node.told {
        let flags = source::of_init(&args.target.source.init, &args.node.environment(), opened.pid)?;
        refuse(&flags.complaints)?;
        return Wanted::of(flags.settings, opened, "the arguments of its istio-init".to_owned());
    }
    let eth0 = || Interface::new("eth0").expect("eth0 is a name");
    if source::is_given(&args.target.source) {
        let (settings, complaints) = stated::settings(&args.target.source, &args.asking.reach)?;
        refuse(&complaints)?;
        return Wanted::of(settings, opened, "the arguments".to_owned());
    }
    let Some(record) = recorded(&args.target.state_dir, netns)? else {
        let place = args.target.state_dir.display();
        bail!(
            "no record below {place} is about {}; say the settings by -f, --set or -- ARGUMENTS",
            netns.path().display()
        );
    };
    let Stamp::Redirect(settings) = stamp::read(&record.stamp)? else {
        bail!("the record of {}/{} holds a skip", record.namespace, record.name);
    };
    let interface = Interface::new(&record.key.interface).unwrap_or_else(eth0);
    let from = format!("the record of {}/{}, {}", record.namespace, record.name, record.key.interface);
    Ok(Wanted { settings: *settings, families: record.families, interface, from })
}

/// The record of the attachment whose namespace this is: the same file, by whichever path.
fn recorded(state_dir: &Path, netns: &NetNs) -> Result<Option<Record>> {
    let identity = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let wanted = identity(netns.path());
    let (records, _unreadable) = Records::below(state_dir).all()?;
    Ok(records.into_iter().find(|record| wanted.is_some() && identity(Path::new(&record.netns)) == wanted))
}
