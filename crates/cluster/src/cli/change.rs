//! Changes of the MeshCNI: server-side apply under our name, what others hold, and what came of it.
//!
//! Everything is tried by the server first (dry run), so that what is refused changes nothing. A field that somebody else
//! applied is taken over only when told to.

pub(crate) mod diff;
mod fields;

use super::connect::{Connection, Error};
use crate::api::mesh::MeshCNI;
use crate::args::cluster::Writing;
use crate::codes::Code;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Map, Value, json};

/// The name of the one MeshCNI.
pub(crate) const NAME: &str = "default";
/// Our field manager; the user's name follows after a colon where it is known.
const MANAGER: &str = "millrace-cli";
/// The most bytes of a field manager's name that an API server takes.
const LONGEST_MANAGER: usize = 128;

/// A change, as it was made or tried.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// The specification before; null if there was no object.
    pub(crate) before: Value,
    /// The object after.
    pub(crate) after: Value,
    /// Whether it was only tried.
    pub(crate) tried: bool,
    /// As whom it was made: the field manager, which history names.
    pub(crate) by: String,
}

impl Changed {
    /// Whether anything is another than before.
    pub(crate) fn is_any(&self) -> bool {
        self.before != self.after["spec"]
    }

    /// The generation to wait for.
    pub(crate) fn generation(&self) -> i64 {
        self.after["metadata"]["generation"].as_i64().unwrap_or_default()
    }
}

/// Reads the MeshCNI as it is on the wire; null if there is none.
pub(crate) async fn read(connection: &Connection) -> Result<Value, Error> {
    let found = connection.ask("read MeshCNI default", connection.all::<MeshCNI>().get_opt(NAME)).await;
    match found {
        Ok(found) => Ok(found.map_or(Value::Null, |object| tree(&object))),
        Err(error) => Err(error),
    }
}

/// The same where nothing can be done without one.
pub(crate) async fn present(
    connection: &Connection,
    act: &'static str,
    code: Option<Code>,
) -> Result<Value, Error> {
    let live = read(connection).await?;
    if live.is_null() { Err(Error::NoMesh { act, code }) } else { Ok(live) }
}

/// The change that makes the specification `after` of `before`.
pub(crate) fn between(before: &Value, after: &Value) -> Map<String, Value> {
    fields::between(before, after)
}

/// What of `wanted` the object keeps otherwise because others applied it: each entry or field with its holder.
pub(crate) fn held(object: &Value, wanted: &Map<String, Value>) -> Vec<(String, String)> {
    let held = fields::held(object, wanted).into_iter();
    held.filter(|(_, owner)| !is_ours(owner)).collect()
}

/// Gives the fields of the specification in `wanted` these values; null takes one out.
pub(crate) async fn change(
    connection: &Connection,
    live: &Value,
    wanted: &Map<String, Value>,
    writing: Writing,
) -> Result<Changed, Error> {
    write(connection, live, wanted, writing, false).await
}

/// The same, refused as outdated if the object was changed since `live` was read.
pub(crate) async fn change_as_read(
    connection: &Connection,
    live: &Value,
    wanted: &Map<String, Value>,
    writing: Writing,
) -> Result<Changed, Error> {
    write(connection, live, wanted, writing, true).await
}

async fn write(
    connection: &Connection,
    live: &Value,
    wanted: &Map<String, Value>,
    writing: Writing,
    as_read: bool,
) -> Result<Changed, Error> {
    let writer = Writer { api: connection.all::<MeshCNI>(), manager: manager(connection).await, connection };
    let mut force = writing.force_conflicts;
    let mut body = fields::body(live, wanted, is_ours);
    if as_read && !live.is_null() {
        body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    }
    let tried = match writer.apply(&body, force, true).await {
        // Fields that another user of this program applied are ours.
        Err(Error::Conflict { fields, .. }) if fields.iter().all(|(_, owner)| is_ours(owner)) => {
            force = true;
            writer.apply(&body, force, true).await?
        }
        other => other?,
    };
    let foreign = held(&tried, wanted);
    if !foreign.is_empty() && !writing.force_conflicts {
        return Err(Error::Conflict { act: ACT.to_owned(), fields: foreign });
    }
    let dry = writing.dry_run.is_some();
    let mut after = tried;
    if !dry {
        after = writer.apply(&body, force, false).await?;
    }
    if !fields::is_as(&after["spec"], wanted) {
        // Entries of a set that somebody else holds as well outlive our apply; a merge takes them out for all.
        after = writer.merge(wanted, dry).await?;
    }
    Ok(Changed { before: live["spec"].clone(), after, tried: dry, by: writer.manager })
}

const ACT: &str = "change MeshCNI default";

/// Whether a field manager is this program, whoever uses it.
fn is_ours(manager: &str) -> bool {
    manager == MANAGER || manager.strip_prefix(MANAGER).is_some_and(|rest| rest.starts_with(':'))
}

struct Writer<'a> {
    api: Api<DynamicObject>,
    manager: String,
    connection: &'a Connection,
}

impl Writer<'_> {
    async fn apply(&self, body: &Value, force: bool, dry: bool) -> Result<Value, Error> {
        let params = PatchParams { force, ..self.params(dry) };
        self.patch(&params, &Patch::Apply(body)).await
    }

    async fn merge(&self, wanted: &Map<String, Value>, dry: bool) -> Result<Value, Error> {
        let body = json!({ "spec": wanted });
        self.patch(&self.params(dry), &Patch::Merge(&body)).await
    }

    async fn patch(&self, params: &PatchParams, patch: &Patch<&Value>) -> Result<Value, Error> {
        self.connection.ask(ACT, self.api.patch(NAME, params, patch)).await.map(|object| tree(&object))
    }

    fn params(&self, dry_run: bool) -> PatchParams {
        PatchParams { field_manager: Some(self.manager.clone()), dry_run, ..PatchParams::default() }
    }
}

/// Our name, with the user's: as it was found out before, or as the API server says it (Kubernetes 1.28 and later).
async fn manager(connection: &Connection) -> String {
    match &connection.account {
        Some(account) => named(Some(&account.name)),
        None => named(user(connection).await.as_deref()),
    }
}

/// As whom the API server knows us, where it says so.
pub(crate) async fn user(connection: &Connection) -> Option<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(connection.client.clone());
    let review = SelfSubjectReview::default();
    let review = connection.ask("ask who we are", reviews.create(&PostParams::default(), &review)).await;
    review.ok()?.status?.user_info?.username
}

fn named(user: Option<&str>) -> String {
    let Some(user) = user.filter(|user| !user.is_empty()) else { return MANAGER.to_owned() };
    let letters = user.chars().filter(|letter| letter.is_ascii_graphic());
    letters.fold(format!("{MANAGER}:"), |mut name, letter| {
        if name.len() < LONGEST_MANAGER {
            name.push(letter);
        }
        name
    })
}

/// The object as it is on the wire, its kind included.
pub(crate) fn tree(object: &DynamicObject) -> Value {
    let mut tree = serde_json::to_value(object).expect("an object that was read can be written");
    let kind = ApiResource::erase::<MeshCNI>(&());
    tree["apiVersion"] = kind.api_version.into();
    tree["kind"] = kind.kind.into();
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_name_is_part_of_ours() {
        assert_eq!(named(None), "millrace-cli");
        assert_eq!(named(Some("al ice\n")), "millrace-cli:alice");
        let long = named(Some(&"x".repeat(500)));
        assert!(long.len() == 128 && is_ours(&long));
        assert!(is_ours("millrace-cli") && !is_ours("millrace-client") && !is_ours("kubectl"));
    }
}
