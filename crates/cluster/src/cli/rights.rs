//! Whether the user may do something, asked of the API server itself.

use super::connect::{Connection, Error};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

/// Asks.
pub(crate) async fn may(connection: &Connection, asked: ResourceAttributes) -> Result<bool, Error> {
    let api: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(asked),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = connection.ask("ask what we may do", api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
