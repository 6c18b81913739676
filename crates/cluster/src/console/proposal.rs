//! What somebody proposes: as data, out of a form, and into one again. PURE.
//!
//! A form is read whole or refused. It carries what its page showed, so that nothing is overwritten that nobody saw.

use crate::api::mesh::Mode;
use crate::api::names::is_dns_label;
use anyhow::{Context, Result, ensure};

/// The most namespaces that a form may name; the API server takes no more.
const MOST_NAMED: usize = 1000;

/// What somebody proposes in the form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// The mode.
    pub(crate) mode: Mode,
    /// The excluded namespaces.
    pub(crate) excluded: Vec<String>,
    /// Whether it takes over what somebody else applied.
    pub(crate) takes_over: bool,
    /// What it was made on top of: generation, mode and excluded namespaces, as the form showed them.
    pub(crate) base: Base,
}

/// What a form showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// The generation; 0 without an object.
    pub(crate) generation: i64,
    /// The mode.
    pub(crate) mode: Mode,
    /// The excluded namespaces.
    pub(crate) excluded: Vec<String>,
}

/// Why a proposal cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In words.
    pub(crate) text: String,
    /// Whether it could be, if what others applied were taken over.
    pub(crate) is_held: bool,
}

/// A form, as a browser sends it.
pub(crate) type Form = Vec<(String, String)>;

/// The first value of a field.
pub(crate) fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// What a form proposes; nothing if it names no mode.
pub(crate) fn read(form: &Form) -> Result<Option<Proposal>> {
    let Some(mode) = field(form, "mode") else { return Ok(None) };
    let mode =
        mode_of(mode).with_context(|| format!("mode {mode:?}: it is CNI, InitContainer or Disabled"))?;
    let was = field(form, "was-mode").and_then(mode_of).unwrap_or(mode);
    let generation = field(form, "base").and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut excluded: Vec<String> = Vec::new();
    for (_, name) in form.iter().filter(|(key, _)| key == "exclude") {
        ensure!(is_dns_label(name) && name.len() <= 63, "namespace {name:?}: no namespace can be called so");
        if !excluded.contains(name) {
            excluded.push(name.clone());
        }
    }
    ensure!(excluded.len() <= MOST_NAMED, "more than {MOST_NAMED} namespaces are named");
    let shown = field(form, "was-exclude").unwrap_or_default();
    let seen: Vec<String> = shown.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    // What was there stays in its place, so that an order that means nothing is no change.
    let place = |name: &String| seen.iter().position(|known| known == name).unwrap_or(usize::MAX);
    excluded.sort_by_key(|name| (place(name), name.clone()));
    let takes_over = field(form, "take-over") == Some("yes");
    Ok(Some(Proposal { mode, excluded, takes_over, base: Base { generation, mode: was, excluded: seen } }))
}

/// A proposal, as a form sends it.
pub(crate) fn sent(proposal: &Proposal) -> Vec<(&'static str, String)> {
    let Base { generation, mode, excluded } = &proposal.base;
    let mut pairs = vec![
        ("base", generation.to_string()),
        ("was-mode", mode_name(*mode).to_owned()),
        ("was-exclude", excluded.join(",")),
        ("mode", mode_name(proposal.mode).to_owned()),
    ];
    pairs.extend(proposal.takes_over.then(|| ("take-over", "yes".to_owned())));
    pairs.extend(proposal.excluded.iter().map(|name| ("exclude", name.clone())));
    pairs
}

/// A mode, as the MeshCNI spells it.
pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Cni => "CNI",
        Mode::InitContainer => "InitContainer",
        Mode::Disabled => "Disabled",
    }
}

/// The mode that is spelled so.
pub(crate) fn mode_of(name: &str) -> Option<Mode> {
    [Mode::Cni, Mode::InitContainer, Mode::Disabled].into_iter().find(|mode| mode_name(*mode) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Form {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_is_read_or_refused_whole() {
        let sent = [("base", "7"), ("was-mode", "Disabled"), ("was-exclude", "b,a"), ("mode", "CNI")];
        let names = [("exclude", "a"), ("exclude", "c"), ("exclude", "b"), ("exclude", "a")];
        let found = read(&form(&[&sent[..], &names[..]].concat())).unwrap().unwrap();
        assert_eq!((found.mode, found.base.mode, found.base.generation), (Mode::Cni, Mode::Disabled, 7));
        assert_eq!((found.excluded, found.base.excluded), (form_names("b,a,c"), form_names("b,a")));
        assert!(read(&form(&[("q", "x")])).unwrap().is_none());
        let refused = |pairs: &[(&str, &str)]| read(&form(pairs)).unwrap_err().to_string();
        assert!(refused(&[("mode", "Off")]).starts_with("mode \"Off\": it is CNI"));
        assert!(refused(&[("mode", "CNI"), ("exclude", "$(rm)")]).starts_with("namespace \"$(rm)\""));
    }

    fn form_names(names: &str) -> Vec<String> {
        names.split(',').map(str::to_owned).collect()
    }
}
