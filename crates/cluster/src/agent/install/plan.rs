//! What is to be done on a node, from what is seen there and what is wanted. It decides and touches nothing.
//!
//! It chooses the list as the runtime does, and leaves everything alone where our entry would do harm: a list that is
//! malformed, that names plugins which are not there, that has another mesh's redirector, or that a later installer has.

mod refusal;
mod retire;

pub(crate) use refusal::Refusal;
pub(crate) use retire::retire;

use super::seen::{List, digest};
use super::{AUXILIARY_FILE, Claim, OWN_LIST, Place, Seen, Way, Wish};
use millrace_core::cni::entry::TYPE;
use millrace_core::conflist::{self, Edit};
use serde_json::{Map, Value};

/// What is to be done, in this order, and how the node stands then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What is to be done; nothing if all is right.
    pub(crate) steps: Vec<Step>,
    /// Where our entry is then, or why it may not be anywhere.
    pub(crate) place: Result<Place, Refusal>,
    /// The digest of the file that then holds it.
    pub(crate) digest: String,
    /// The versions that the list may be used as; where it is refused, those of lists that name us already.
    pub(crate) versions: Vec<String>,
    /// What somebody should know.
    pub(crate) notes: Vec<String>,
}

/// One thing to do. Files are named relative to the lists' directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Put the plugin into its directory.
    Binary,
    /// Our entry into an owner's list, which holds `from`.
    Edit { list: String, from: String, to: String, has_ours: bool },
    /// Our entry out of an owner's list, which holds `from`.
    Restore { list: String, from: String, to: String },
    /// A file of our own, with the mode and label of `like`.
    Write { file: String, from: Option<String>, to: String, like: Option<String> },
    /// A file of our own goes.
    Remove { file: String, from: String },
}

/// Plugins whose work is ours: their entry is replaced by ours in one write.
const REPLACED: [&str; 1] = ["istio-cni"];
/// Plugins that do what we do for other meshes: two of a kind would redirect what is redirected.
const REDIRECTORS: [&str; 3] = ["linkerd-cni", "kuma-cni", "consul-cni"];
/// Plugins whose agents write their list anew whenever they start, so that an entry in it is lost at each reboot.
const REWRITTEN: [&str; 4] = ["cilium-cni", "calico", "aws-cni", "azure-vnet"];

/// What is to be done on this node.
pub(crate) fn plan(seen: &Seen, wish: &Wish) -> Plan {
    let mut plan = Plan {
        steps: Vec::new(),
        place: Err(Refusal::NoList),
        digest: String::new(),
        versions: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(newer) = newer(seen, wish) {
        plan.place = Err(Refusal::Newer(newer));
        return plan;
    }
    // Also where the list is refused: it may name us already, and without the plugin no pod starts or ends.
    if !seen.plugin_is_right {
        plan.steps.push(Step::Binary);
    }
    match join(seen, wish, &mut plan) {
        Ok(place) => {
            plan.steps.extend(retire(seen, Some(&place.file)));
            plan.place = Ok(place);
        }
        Err(refusal) => {
            // Owners say "not ready" by taking their list away; ours would say otherwise.
            if refusal == Refusal::NoList {
                plan.steps.extend(
                    own(seen).map(|(_, text)| Step::Remove { file: OWN_LIST.into(), from: text.into() }),
                );
            }
            plan.versions = named(seen);
            plan.place = Err(refusal);
        }
    }
    plan
}

/// The versions of the lists that name us.
fn named(seen: &Seen) -> Vec<String> {
    let chains = seen.lists.iter().filter_map(|list| conflist::read(list.text.as_ref().ok()?).ok());
    chains.filter(|chain| !chain.ours.is_empty()).flat_map(|chain| chain.versions).collect()
}

/// A later installer's claim to this node, if there is one.
fn newer(seen: &Seen, wish: &Wish) -> Option<Claim> {
    let claims = claims(seen).into_iter().chain([seen.memory.last.clone()]);
    claims.filter(|claim| claim.generation > wish.claim.generation).max_by_key(|claim| claim.generation)
}

/// The claims in all entries of ours.
pub(crate) fn claims(seen: &Seen) -> Vec<Claim> {
    let chains = seen.lists.iter().filter_map(|list| conflist::read(list.text.as_ref().ok()?).ok());
    let mut claims: Vec<Claim> = chains.flat_map(|chain| chain.ours).map(|entry| Claim::of(&entry)).collect();
    let auxiliary = seen.auxiliary.as_ref().and_then(|(_, text)| object(text.as_ref()?));
    claims.extend(auxiliary.map(|entry| Claim::of(&entry)));
    claims
}

fn join(seen: &Seen, wish: &Wish, plan: &mut Plan) -> Result<Place, Refusal> {
    if let Some(folder) = &seen.no_conf_dir {
        return Err(Refusal::NoFolder(folder.clone()));
    }
    if wish.way == Some(Way::Auxiliary) || (wish.way.is_none() && seen.auxiliary.is_some()) {
        return auxiliary(seen, wish, plan);
    }
    let list = primary(seen, wish, &mut plan.notes)?;
    let broken = |why: String| Refusal::Broken { list: list.name.clone(), why };
    let text = list.text.as_deref().map_err(|why| broken(why.clone()))?;
    let single = match conflist::read(text) {
        Err(conflist::Error::Single) => true,
        Err(error) => return Err(broken(error.to_string())),
        Ok(_) => false,
    };
    match way(seen, wish, list, text, single, &mut plan.notes)? {
        Way::Own => own_list(seen, wish, list, text, single, plan),
        _ => in_place(seen, wish, list, text, plan),
    }
}

/// The list the runtime would use were we not there.
fn primary<'a>(seen: &'a Seen, wish: &Wish, notes: &mut Vec<String>) -> Result<&'a List, Refusal> {
    let first = seen.lists.iter().find(|list| list.name != OWN_LIST && !is_multus(&list.name));
    let Some(wanted) = &wish.list else { return first.ok_or(Refusal::NoList) };
    let twin = match wanted.strip_suffix(".conflist") {
        Some(stem) => format!("{stem}.conf"),
        None => wanted.replace(".conf", ".conflist"),
    };
    let named = |name: &str| seen.lists.iter().find(|list| list.name == name);
    let list = named(wanted).or_else(|| named(&twin)).ok_or(Refusal::NotThere(wanted.clone()))?;
    if let Some(first) = first.filter(|first| first.name != list.name) {
        notes.push(format!(
            "the runtime uses {}, which comes before the configured {}; pods are not redirected through the latter",
            first.name, list.name
        ));
    }
    Ok(list)
}

fn way(
    seen: &Seen,
    wish: &Wish,
    list: &List,
    text: &str,
    single: bool,
    notes: &mut Vec<String>,
) -> Result<Way, Refusal> {
    let multus = seen.lists.iter().find(|list| is_multus(&list.name)).map(|list| list.name.clone());
    let outranked = list.name.as_str() <= OWN_LIST;
    let rewritten = conflist::read(text)
        .is_ok_and(|chain| chain.types.iter().any(|plugin| REWRITTEN.contains(&plugin.as_str())));
    // A link is its owner's: swapping it for a file would cut the list off from him.
    let must_be_own = single || list.linked || wish.way == Some(Way::Own);
    if must_be_own {
        // Multus reads the list it delegates to, and would take ours for its own choice.
        if let Some(multus) = multus {
            return Err(Refusal::Delegated { list: list.name.clone(), multus });
        }
        if outranked {
            return Err(Refusal::Outranked { list: list.name.clone() });
        }
    }
    let own = must_be_own || (wish.way.is_none() && rewritten && multus.is_none() && !outranked);
    if !own {
        if rewritten && wish.way.is_none() {
            notes.push(format!(
                "the owner of {} writes it anew at each start; our entry is put back then",
                list.name
            ));
        }
        return Ok(Way::InPlace);
    }
    let renamed = format!("{OWN_LIST}.cilium_bak");
    if seen.others.contains(&renamed) {
        return Err(Refusal::Exclusive { renamed });
    }
    Ok(Way::Own)
}

fn in_place(seen: &Seen, wish: &Wish, list: &List, text: &str, plan: &mut Plan) -> Result<Place, Refusal> {
    let broken = |error: conflist::Error| Refusal::Broken { list: list.name.clone(), why: error.to_string() };
    let ours = conflist::read(text).map_err(broken)?.ours;
    let edit = conflist::take_over(text, &entry(wish, ours.last()), &REPLACED).map_err(broken)?;
    let to = match edit {
        Edit::Unchanged => text.to_owned(),
        Edit::Changed(to) => {
            let (list, from, to) = (list.name.clone(), text.to_owned(), to);
            plan.steps.push(Step::Edit { list, from, to: to.clone(), has_ours: !ours.is_empty() });
            to
        }
    };
    settle(seen, Way::InPlace, &list.name, list, &to, plan)
}

fn own_list(
    seen: &Seen,
    wish: &Wish,
    list: &List,
    text: &str,
    single: bool,
    plan: &mut Plan,
) -> Result<Place, Refusal> {
    let broken = |error: conflist::Error| Refusal::Broken { list: list.name.clone(), why: error.to_string() };
    let there = own(seen);
    let before =
        there.and_then(|(_, there)| conflist::read(there).ok()).and_then(|chain| chain.ours.last().cloned());
    let entry = entry(wish, before.as_ref());
    let to = if single {
        conflist::wrap(text, &entry).map_err(broken)?
    } else {
        match conflist::take_over(text, &entry, &REPLACED).map_err(broken)? {
            Edit::Unchanged => text.to_owned(),
            Edit::Changed(to) => to,
        }
    };
    let same = there.filter(|(_, there)| object(there).is_some() && object(there) == object(&to));
    let to = match same {
        Some((_, there)) => there.to_owned(),
        None => {
            let from = there.map(|(_, there)| there.to_owned());
            let (file, like) = (OWN_LIST.to_owned(), Some(list.name.clone()));
            plan.steps.push(Step::Write { file, from, to: to.clone(), like });
            to
        }
    };
    settle(seen, Way::Own, OWN_LIST, list, &to, plan)
}

fn auxiliary(seen: &Seen, wish: &Wish, plan: &mut Plan) -> Result<Place, Refusal> {
    let (chain, there) = seen.auxiliary.as_ref().ok_or(Refusal::NoAuxiliary)?;
    let file = format!("{chain}/{AUXILIARY_FILE}");
    let before = there.as_deref().and_then(object);
    let entry = entry(wish, before.as_ref());
    let to = if before.as_ref() == Some(&entry) {
        there.clone().unwrap_or_default()
    } else {
        let to = format!("{:#}\n", Value::Object(entry));
        plan.steps.push(Step::Write { file: file.clone(), from: there.clone(), to: to.clone(), like: None });
        to
    };
    plan.digest = digest(to.as_bytes());
    Ok(Place { way: Way::Auxiliary, file: file.clone(), owner: file, position: (1, 1) })
}

/// What must be true of the list before it may be published. The steps are taken back if it is not.
fn settle(
    seen: &Seen,
    way: Way,
    file: &str,
    owner: &List,
    to: &str,
    plan: &mut Plan,
) -> Result<Place, Refusal> {
    let checked = conflist::read(to).map_err(|error| error.to_string());
    let checked =
        checked.map_err(|why| Refusal::Broken { list: owner.name.clone(), why }).and_then(|chain| {
            let harm = chain.types.iter().find_map(|plugin| {
                let name = plugin.as_str();
                let (list, plugin) = (owner.name.clone(), plugin.clone());
                if REDIRECTORS.contains(&name) {
                    return Some(Refusal::Redirector { list, plugin });
                }
                let missing = name != TYPE && !seen.plugins.contains(name);
                missing.then(|| Refusal::Missing { list, plugin, folder: seen.bin_dir.clone() })
            });
            harm.map_or(Ok(chain), Err)
        });
    let chain = checked.inspect_err(|_| plan.steps.retain(|step| *step == Step::Binary))?;
    let length = chain.types.len();
    let position = chain.types.iter().position(|plugin| plugin == TYPE).map_or(length, |at| at + 1);
    plan.digest = digest(to.as_bytes());
    plan.versions = chain.versions;
    Ok(Place { way, file: file.to_owned(), owner: owner.name.clone(), position: (position, length) })
}

/// The wanted entry. One that means the same keeps its claim: who installed is no reason to write a list.
fn entry(wish: &Wish, before: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut wanted = wish.entry.write();
    match before.filter(|before| Claim::stripped(before) == wanted) {
        Some(before) => before.clone(),
        None => {
            wish.claim.put_into(&mut wanted);
            wanted
        }
    }
}

/// Our own list, if it is there.
fn own(seen: &Seen) -> Option<(&str, &str)> {
    let list = seen.lists.iter().find(|list| list.name == OWN_LIST)?;
    // One that cannot be read is ours all the same, and is replaced.
    Some((OWN_LIST, list.text.as_deref().unwrap_or_default()))
}

fn object(text: &(impl AsRef<str> + ?Sized)) -> Option<Map<String, Value>> {
    serde_json::from_str(text.as_ref()).ok()
}

fn is_multus(name: &str) -> bool {
    name.starts_with("00-multus")
}

#[cfg(test)]
mod tests;
