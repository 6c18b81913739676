//! Whether the user may do what a way needs, asked of the API server beforehand, so that a refusal names the right that is missing.

use super::super::connect::{Connection, Error};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

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
    let api: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    for right in rights {
        let part = (!right.part.is_empty()).then(|| right.part.to_owned());
        let attributes = ResourceAttributes {
            namespace: Some(right.namespace.to_owned()),
            verb: Some(right.verb.to_owned()),
            resource: Some("pods".to_owned()),
            subresource: part,
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let params = PostParams::default();
        let answer = connection.ask("ask which rights there are", api.create(&params, &review)).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            let resource =
                if right.part.is_empty() { "pods".to_owned() } else { format!("pods/{}", right.part) };
            let why =
                format!("the right to {} {resource} in namespace {} is missing", right.verb, right.namespace);
            return Err(Error::Forbidden { act: act.to_owned(), why });
        }
    }
    Ok(())
}
