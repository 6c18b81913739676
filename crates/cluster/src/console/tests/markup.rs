//! The laws of a page, read from its markup as a browser reads it. For tests alone.

use crate::console::assets;
use std::collections::BTreeSet;

/// What a page and all that it loads may weigh.
const HEAVIEST: usize = 100 << 10;

/// No script, style or handler in the markup; each id once; each control with a label; what is pointed at is there.
pub(super) fn lawful(name: &str, html: &str) {
    let tags = tags(html);
    let mut ids = BTreeSet::new();
    for tag in &tags {
        for (key, value) in &tag.attributes {
            assert!(key != "style" && !key.starts_with("on"), "{name}: {tag:?}");
            assert!(!value.trim_start().starts_with("javascript:"), "{name}: {tag:?}");
            assert!(key != "id" || ids.insert(value.clone()), "{name}: id {value} is there twice");
        }
        assert!(tag.name != "script" || tag.get("src").is_some(), "{name}: {tag:?}");
        assert!(tag.name != "th" || tag.get("scope").is_some(), "{name}: {tag:?} heads nothing");
    }
    let labelled: BTreeSet<&str> =
        tags.iter().filter(|tag| tag.name == "label").filter_map(|tag| tag.get("for")).collect();
    for tag in &tags {
        let control = match tag.name.as_str() {
            "input" => tag.get("type") != Some("hidden"),
            name => matches!(name, "select" | "textarea" | "progress"),
        };
        assert!(
            !control || tag.get("id").is_some_and(|id| labelled.contains(id)),
            "{name}: {tag:?} has no label"
        );
        let pointed = ["aria-labelledby", "aria-describedby"]
            .into_iter()
            .filter_map(|key| tag.get(key))
            .flat_map(|all| all.split(' '))
            .chain(tag.get("for"));
        for id in pointed.chain(tag.get("data-copy")) {
            assert!(ids.contains(id), "{name}: nothing has the id {id}");
        }
    }
    // One sheet, whole: the policy knows it by its digest.
    let sheets = tags.iter().filter(|tag| tag.name == "style").count();
    let whole = html.contains(&format!("<style>{}</style>", assets::STYLE));
    assert!(sheets == 1 && whole, "{name}: {sheets} style sheets");
    assert!(!html.contains("<button></button>"), "{name}: a button says nothing");
    assert!(html.starts_with("<!doctype html>\n<html lang="), "{name}: {}", &html[..60]);
    let assets = ["console.js", "icon.svg"].map(|asset| {
        let path = assets::path(asset);
        assets::find(path.trim_start_matches("/assets/")).expect("it is there").text.len()
    });
    let weight = html.len() + assets.iter().sum::<usize>();
    assert!(weight <= HEAVIEST, "{name} weighs {weight} bytes");
}

/// Every tag with the names of its attributes, in order.
pub(super) fn shape(html: &str) -> Vec<String> {
    let names = |tag: &Tag| tag.attributes.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().join(" ");
    tags(html).iter().map(|tag| format!("{} {}", tag.name, names(tag))).collect()
}

/// A tag that opens.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The tags of a page, as a browser finds them: from `<` and a letter to the next `>` outside of quotes.
fn tags(html: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if !rest.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            continue;
        }
        let end = rest.find(|letter: char| letter.is_whitespace() || letter == '>').unwrap_or(rest.len());
        let mut tag = Tag { name: rest[..end].to_owned(), attributes: Vec::new() };
        rest = &rest[end..];
        loop {
            rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '/');
            if rest.is_empty() || rest.starts_with('>') {
                break;
            }
            let end = rest
                .find(|letter: char| letter.is_whitespace() || "=>".contains(letter))
                .unwrap_or(rest.len());
            let key = rest[..end].to_owned();
            rest = &rest[end..];
            let value = rest.strip_prefix("=\"").and_then(|value| value.split_once('"'));
            let (value, behind) = value.unwrap_or(("", rest));
            assert!(
                behind.starts_with([' ', '\n', '/', '>']),
                "nothing parts {key} from what follows: {behind:.40}"
            );
            tag.attributes.push((key, value.to_owned()));
            rest = behind;
        }
        found.push(tag);
    }
    found
}
