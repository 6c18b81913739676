//! PURE: what a URL's query says.

use crate::apiserver::draft::Validation;
use crate::apiserver::refusal::Refusal;
use crate::apiserver::registry::Kind;
use crate::apiserver::select::{FieldSelector, LabelSelector};
use crate::apiserver::store::Wanted;

/// A query's names and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Query {
        Query(pairs)
    }

    /// The first value that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True"))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let parsed = self.get(name).map(|text| {
            text.parse().map_err(|_| Refusal::bad_request(format!("{name}: Invalid value: {text:?}")))
        });
        parsed.transpose()
    }

    pub(crate) fn dry_run(&self) -> Result<bool, Refusal> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                let words = format!("dryRun: Unsupported value: {other:?}: supported values: \"All\"");
                Err(Refusal::bad_request(words))
            }
        }
    }

    pub(crate) fn validation(&self) -> Result<Validation, Refusal> {
        match self.get("fieldValidation") {
            None | Some("Warn") => Ok(Validation::Warn),
            Some("Ignore") => Ok(Validation::Ignore),
            Some("Strict") => Ok(Validation::Strict),
            Some(other) => Err(Refusal::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }

    /// What a list or a watch is of.
    pub(crate) fn wanted(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Wanted, Refusal> {
        let mut fields = self.get("fieldSelector").unwrap_or_default().to_owned();
        if !name.is_empty() {
            fields = format!("metadata.name={name},{fields}");
        }
        Ok(Wanted {
            namespace: namespace.to_owned(),
            labels: LabelSelector::read(self.get("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::read(&fields, &kind.selectable())?,
        })
    }
}
