//! By which specification a cluster is run: the one that is written, or the last that could be accepted where that one cannot. PURE.
//!
//! The webhook refuses what is wrong before it is written; while no webhook answers, anything may get through. Nothing is done
//! about a specification that is wrong: what was wanted before goes on, and the status says why.

use super::children::Release;
use crate::api::check::check;
use crate::api::mesh::{MeshCNI, MeshCNISpec};
use crate::codes::Code;
use millrace_core::complaint::Complaint;

/// The most complaints that are told; the last says how many there are beyond (M10).
const MOST: usize = 3;

/// What is wrong with the specification, as a sentence; nothing of one that is accepted.
pub(crate) fn refused(mesh: &MeshCNI) -> Option<String> {
    let name = mesh.metadata.name.as_deref().unwrap_or_default();
    let complaints = check(name, &mesh.spec);
    if complaints.is_empty() {
        return None;
    }
    let mut words: Vec<String> = complaints.iter().take(MOST).map(Complaint::to_string).collect();
    if complaints.len() > MOST {
        words.push(format!("{} more; millrace print config -f FILE tells all", complaints.len() - MOST));
    }
    Some(format!("the specification cannot be accepted: {} ({})", words.join("; "), Code::SpecRefused))
}

/// The specification that says nothing: every field has its default.
pub(crate) fn plain() -> MeshCNISpec {
    serde_json::from_str("{}").expect("every field has a default")
}

/// The last specification of these, the latest first, that is accepted now.
pub(crate) fn last<'a>(name: &str, kept: impl Iterator<Item = &'a Release>) -> Option<MeshCNISpec> {
    kept.map(|release| &release.spec).find(|spec| check(name, spec).is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn mesh(spec: Value) -> MeshCNI {
        let mesh = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default" }, "spec": spec,
        });
        serde_json::from_value(mesh).expect("it is a MeshCNI")
    }

    fn release(spec: Value) -> Release {
        Release { spec: mesh(spec).spec, image: "i".to_owned() }
    }

    #[test]
    fn what_is_wrong_is_told_and_what_was_right_is_kept() {
        assert_eq!(refused(&mesh(json!({}))), None);
        let wrong = refused(&mesh(json!({ "install": { "image": "No Image" } }))).expect("it is wrong");
        assert!(wrong.contains("spec.install.image") && wrong.ends_with("(MR1101)"), "{wrong}");
        let many: Vec<String> = (0..9).map(|count| format!("A{count}")).collect();
        let many = refused(&mesh(json!({ "excludeNamespaces": many }))).expect("it is wrong");
        assert!(many.contains("6 more; millrace print config"), "{many}");
        let kept = [
            release(json!({ "install": { "image": "No Image" } })),
            release(json!({ "excludeNamespaces": ["a"] })),
            release(json!({})),
        ];
        let found = last("default", kept.iter()).expect("there is one");
        assert_eq!(found.exclude_namespaces, ["a"]);
        assert_eq!(last("default", kept[..1].iter()), None);
    }
}
