//! What is well, odd and wrong with an installation, out of what was read of it. PURE.
//!
//! What is in the way of a MeshCNI is judged as the controller judges it, and nodes as it counts them; this puts it into
//! categories, in words for people, each with its code and the next command.

mod cluster;
mod control;
mod nodes;
mod rights;

use super::facts::Facts;
use crate::api::mesh::MeshCNISpec;
use crate::args::output::{Lang, Mark};
use crate::cli::findings::{Category, Line, say};
use crate::codes::Code;
use crate::controller::preconditions;

/// The most lines of one kind.
const MOST_LINES: usize = 10;

/// Judges all of it; for `pre` what there is before an installation.
pub(super) fn judge(facts: &Facts, pre: bool, lang: Lang) -> Vec<Category> {
    // Before there is a MeshCNI the cluster is judged by the one that `millrace enable` would make.
    let default = || serde_json::from_str(r#"{"mode":"CNI"}"#).expect("every other field has a default");
    let spec: MeshCNISpec = facts.mesh.as_ref().map_or_else(default, |mesh| mesh.spec.clone());
    let found = preconditions::find(&spec, &facts.cluster, &facts.observed.nodes);
    let words = Words { facts, spec: &spec, found: &found, pre, lang };
    let mut all = vec![
        words.category("api", "API", "API", words.api()),
        words.category("versions", "versions", "版本", words.versions()),
        words.category("injection", "injection", "注入", words.injection()),
        words.category("network", "network and other meshes", "网络与其他网格", words.network()),
    ];
    if !pre {
        all.push(words.category("nodes", "nodes", "节点", words.nodes()));
        all.push(words.category("webhook", "webhook", "Webhook", words.webhook()));
        all.push(words.category("control-plane", "control plane", "控制面", words.control_plane()));
    }
    all.push(words.category("rights", "rights", "权限", words.rights()));
    let unread = facts.unread.iter().take(MOST_LINES).map(|why| Line::odd(None, why.clone(), None));
    let unread = unread.chain(words.more(facts.unread.len())).collect();
    all.push(words.category("unread", "what could not be looked at", "未能查看", unread));
    all.retain(|category| !category.lines.is_empty());
    all
}

/// Whoever puts it into words.
struct Words<'a> {
    facts: &'a Facts,
    spec: &'a MeshCNISpec,
    found: &'a preconditions::Found,
    pre: bool,
    lang: Lang,
}

impl Words<'_> {
    fn category(
        &self,
        name: &'static str,
        english: &'static str,
        chinese: &'static str,
        lines: Vec<Line>,
    ) -> Category {
        let title = match self.lang {
            Lang::En => english,
            Lang::Zh => chinese,
        };
        Category { name, title, lines }
    }

    fn coded(&self, mark: Mark, code: Code, text: String) -> Line {
        Line::coded(mark, code, text, self.lang)
    }

    /// That there are more than were listed.
    fn more(&self, count: usize) -> Option<Line> {
        Line::more(count, MOST_LINES, self.lang)
    }

    /// What is in the way, of these codes.
    fn findings(&self, of: &[Code]) -> Vec<Line> {
        let found = self.found.findings.iter().filter(|finding| of.contains(&finding.code));
        let line = |finding: &preconditions::Finding| {
            let code = finding.code;
            let text = match (self.lang, finding.about.as_str()) {
                (Lang::En, _) => finding.text.clone(),
                (Lang::Zh, "") => code.text(Lang::Zh).meaning.clone(),
                (Lang::Zh, about) => format!("{}:{about}", code.text(Lang::Zh).meaning),
            };
            self.coded(weight(finding), code, text)
        };
        found.map(line).collect()
    }
}

/// How bad a finding is: wrong is what leaves pods unprotected, refused or misled; odd what costs something, or may be meant.
fn weight(finding: &preconditions::Finding) -> Mark {
    match finding.code {
        _ if finding.latent => Mark::Odd,
        Code::RuntimeHidesAnnotations
        | Code::NodeUnsupported
        | Code::NoInjector
        | Code::InjectorInValidationMode
        | Code::OtherMeshInChain
        | Code::MultusPresent => Mark::Odd,
        _ => Mark::Bad,
    }
}

#[cfg(test)]
mod tests;
