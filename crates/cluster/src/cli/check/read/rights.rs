//! What whoever asks may do, asked of the API server itself.

use crate::cli::check::facts::Right;
use crate::cli::reader::Reader;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

impl Reader<'_> {
    /// Each of these, and whether it is given. What nobody answered is left out.
    pub(super) async fn rights(&self, wanted: &[Right]) -> Vec<(Right, bool)> {
        let mut found = Vec::new();
        for right in wanted {
            match self.may(right).await {
                Some(may) => found.push((*right, may)),
                // The reason is the same for all.
                None => break,
            }
        }
        found
    }

    async fn may(&self, right: &Right) -> Option<bool> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.connection.client.clone());
        let (resource, part) = right.resource.split_once('/').unwrap_or((right.resource, ""));
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let asked = ResourceAttributes {
            group: some(right.group),
            resource: some(resource),
            subresource: some(part),
            verb: some(right.verb),
            namespace: right.at_home.then(|| self.home.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(asked),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer =
            self.connection.ask("ask what we may do", api.create(&PostParams::default(), &review)).await;
        let answer = self.noted(answer)?;
        Some(answer.status.is_some_and(|status| status.allowed))
    }
}
