//! The revisions that a controller keeps of what was wanted: read, in their order. It writes none.

use super::connect::{Connection, Error};
use crate::api::ours::{GENERATION, MANAGED_BY, MANAGER, Release};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;

/// What was wanted once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Revision {
    /// Its number; a higher one is later.
    pub(crate) number: i64,
    /// The generation of the MeshCNI that it was made of, if that is written down.
    pub(crate) generation: Option<i64>,
    /// Since when it is kept.
    pub(crate) at: Option<Timestamp>,
    /// What was wanted.
    pub(crate) release: Release,
}

/// A controller keeps ten beside those in use.
const MOST: u32 = 500;

/// Reads them, the first first. One that this program cannot read is left out: no controller of its version could use it.
pub(crate) async fn read(connection: &Connection) -> Result<Vec<Revision>, Error> {
    const ACT: &str = "list ControllerRevisions";
    let api: Api<ControllerRevision> = Api::all(connection.client.clone());
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGER}")).limit(MOST);
    let all = connection.ask(ACT, api.list(&ours)).await?;
    if all.metadata.continue_.is_some_and(|token| !token.is_empty()) {
        let why = format!("there are more than {MOST} of a controller that keeps ten; delete old ones");
        return Err(Error::Other { act: ACT.to_owned(), why });
    }
    let mut kept: Vec<Revision> = all.items.into_iter().filter_map(revision).collect();
    kept.sort_by_key(|revision| revision.number);
    Ok(kept)
}

fn revision(object: ControllerRevision) -> Option<Revision> {
    let generation = object.metadata.annotations.as_ref().and_then(|all| all.get(GENERATION)?.parse().ok());
    Some(Revision {
        number: object.revision,
        generation,
        at: object.metadata.creation_timestamp.map(|time| time.0),
        release: serde_json::from_value(object.data?.0).ok()?,
    })
}
