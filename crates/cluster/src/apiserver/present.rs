//! PURE: in which form objects are told: whole, as rows of a table for people, or their metadata alone.

pub(crate) mod table;

use super::refusal::Refusal;
use super::registry::Served;
use super::store::{Stored, What};
use super::views;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// The forms that `Accept` can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Table,
    Metadata,
}

impl Form {
    /// The first form of an `Accept` header that is known here.
    pub(crate) fn read(accept: &str) -> Result<Form, Refusal> {
        for part in accept.split(',').map(str::trim) {
            let mut words = part.split(';').map(str::trim);
            let media = words.next().unwrap_or_default();
            if !["application/json", "application/*", "*/*", ""].contains(&media) {
                continue;
            }
            match words.find_map(|word| word.strip_prefix("as=")) {
                None => return Ok(Form::Whole),
                Some("Table") => return Ok(Form::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Form::Metadata),
                Some(_) => {}
            }
        }
        let why = "only the following media types are accepted: application/json";
        Err(Refusal::new(406, "NotAcceptable", why))
    }
}

/// One object as JSON.
pub(crate) fn object(form: Form, served: &Served, object: &Arc<Stored>, now: Timestamp) -> Arc<[u8]> {
    match form {
        Form::Whole if served.is_stored() => Arc::clone(&object.bytes),
        _ => value(form, served, object.value(), now).to_string().into_bytes().into(),
    }
}

/// The same of an object that is not kept, such as that of a dry run.
pub(crate) fn value(form: Form, served: &Served, object: Value, now: Timestamp) -> Value {
    let object = views::shown(served, object);
    match form {
        Form::Whole => object,
        Form::Table => table::table(served, &[object], json!({}), now),
        Form::Metadata => metadata(&object),
    }
}

fn metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// A list, in pieces that are sent one after the other.
pub(crate) fn list(
    form: Form,
    served: &Served,
    objects: &[Arc<Stored>],
    meta: Value,
    now: Timestamp,
) -> Vec<Vec<u8>> {
    if form == Form::Table {
        let objects: Vec<Value> = objects.iter().map(|object| views::shown(served, object.value())).collect();
        return vec![table::table(served, &objects, meta, now).to_string().into_bytes()];
    }
    let (kind, version) = match form {
        Form::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
        _ => (served.kind.list_kind.as_str(), served.api_version()),
    };
    let head = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"items\":[");
    let (mut pieces, mut piece) = (Vec::new(), head.into_bytes());
    for (at, one) in objects.iter().enumerate() {
        if at > 0 {
            piece.push(b',');
        }
        piece.extend_from_slice(&object(form, served, one, now));
        if piece.len() > PIECE {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    piece.extend_from_slice(b"]}\n");
    pieces.push(piece);
    pieces
}

/// Bytes that are sent at once.
pub(crate) const PIECE: usize = 64 << 10;

/// One line of a watch.
pub(crate) fn line(form: Form, served: &Served, what: What, one: &Arc<Stored>, now: Timestamp) -> Vec<u8> {
    let what = match what {
        What::Added => "ADDED",
        What::Modified => "MODIFIED",
        What::Deleted => "DELETED",
    };
    let mut line = format!("{{\"type\":\"{what}\",\"object\":").into_bytes();
    line.extend_from_slice(&object(form, served, one, now));
    line.extend_from_slice(b"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: Option<Form>) {
        assert_eq!(Form::read(accept).ok(), expected, "{accept}");
    }

    #[test]
    fn accept() {
        check("", Some(Form::Whole));
        check("application/json, */*", Some(Form::Whole));
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        check(kubectl, Some(Form::Table));
        check("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(Form::Metadata));
        check(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
            Some(Form::Whole),
        );
        check("application/vnd.kubernetes.protobuf", None);
    }
}
