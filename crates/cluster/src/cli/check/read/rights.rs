//! What whoever asks may do, asked of the API server itself.

use crate::cli::check::facts::Right;
use crate::cli::reader::Reader;
use crate::cli::rights;
use k8s_openapi::api::authorization::v1::ResourceAttributes;

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
        let answer = rights::may(self.connection, asked).await;
        self.noted(answer)
    }
}
