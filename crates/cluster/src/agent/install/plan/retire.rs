//! Our entry out of lists: to the bytes from before our first edit where nobody else wrote since, else by meaning.

use super::super::seen::List;
use super::super::{AUXILIARY_FILE, OWN_LIST, Seen};
use super::{REPLACED, Step};
use millrace_core::conflist::{self, Edit};

/// What takes us out of every list but `but`.
pub(crate) fn retire(seen: &Seen, but: Option<&str>) -> Vec<Step> {
    let mut steps = Vec::new();
    for list in seen.lists.iter().filter(|list| Some(list.name.as_str()) != but) {
        let text = list.text.as_deref().unwrap_or_default();
        if list.name == OWN_LIST {
            steps.push(Step::Remove { file: OWN_LIST.to_owned(), from: text.to_owned() });
        } else if let Some(to) = without_us(seen, list) {
            steps.push(Step::Restore { list: list.name.clone(), from: text.to_owned(), to });
        }
    }
    if let Some((chain, Some(text))) = &seen.auxiliary {
        let file = format!("{chain}/{AUXILIARY_FILE}");
        if Some(file.as_str()) != but {
            steps.push(Step::Remove { file, from: text.clone() });
        }
    }
    steps
}

/// The list as it is without us; nothing if it has nothing of ours, or nothing that could be taken out.
fn without_us(seen: &Seen, list: &List) -> Option<String> {
    let text = list.text.as_ref().ok()?;
    let removed = match conflist::remove(text) {
        Ok(Edit::Changed(removed)) => removed,
        Ok(Edit::Unchanged) | Err(_) => return None,
    };
    let original = seen.memory.original(&list.name, text).filter(|original| can_run(seen, original));
    Some(original.map_or(removed, str::to_owned))
}

/// An original with istio-cni's entry needs istio-cni: it may have been removed from the node since.
fn can_run(seen: &Seen, original: &str) -> bool {
    conflist::read(original).is_ok_and(|chain| {
        chain.types.iter().all(|plugin| !REPLACED.contains(&plugin.as_str()) || seen.plugins.contains(plugin))
    })
}
