//! Whether the user may do what a way needs, asked of the API server beforehand, so that a refusal names the right that is missing.

use super::super::connect::{Connection, Error};
use super::super::rights::may;
use k8s_openapi::api::authorization::v1::ResourceAttributes;

/// A right: the verb, the part of pods, and the namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Right<'a> {
    pub(super) verb: &'a str,
    /// Empty for pods themselves.
    pub(super) part: &'a str,
    pub(super) namespace: &'a str,
}

/// An error that names the first of the rights that the user has not.
pub(super) async fn need(connection: &Connection, act: &str, rights: &[Right<'_>]) -> Result<(), Error> {
    for right in rights {
        let part = (!right.part.is_empty()).then(|| right.part.to_owned());
        let attributes = ResourceAttributes {
            namespace: Some(right.namespace.to_owned()),
            verb: Some(right.verb.to_owned()),
            resource: Some("pods".to_owned()),
            subresource: part,
            ..ResourceAttributes::default()
        };
        if !may(connection, attributes).await? {
            let resource =
                if right.part.is_empty() { "pods".to_owned() } else { format!("pods/{}", right.part) };
            let why =
                format!("the right to {} {resource} in namespace {} is missing", right.verb, right.namespace);
            return Err(Error::Forbidden { act: act.to_owned(), why });
        }
    }
    Ok(())
}
