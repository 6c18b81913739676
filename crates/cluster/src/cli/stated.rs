//! The settings that a command's arguments name: those of a pod of the cluster, else what `source` reads.
//!
//! Asks the API server for what is named, and for nothing else.

use super::connect::{Connection, block_on};
use super::pods::Asked;
use super::{expected, source};
use crate::args::pod::Source;
use crate::args::subject::Reach;
use crate::facts;
use anyhow::{Result, bail};
use millrace_core::complaint::Complaint;
use millrace_core::settings::Settings;

/// The settings, and what is wrong with them.
pub(super) fn settings(source: &Source, reach: &Reach) -> Result<(Settings, Vec<Complaint>)> {
    let Some(subject) = &source.subject else { return source::settings(source) };
    let connection = Connection::open(&reach.server)?;
    let asked = Asked { subject: Some(subject), scope: &reach.scope };
    let objects = block_on(asked.objects(&connection))?;
    let [object] = objects.as_slice() else {
        bail!("{} has several pods; name one, or a workload", asked.words(&connection));
    };
    let place = facts::template_of(object["kind"].as_str().unwrap_or_default()).unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let expected = expected::of(object.pointer(place).unwrap_or(object), namespace);
    Ok((expected.settings, expected.complaints))
}
