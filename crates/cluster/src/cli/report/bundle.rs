//! What a report is made of: members with their names, each cleaned of secrets and bounded, and the archive of them. PURE.
//!
//! Every member comes in by one door, where secrets are taken out. What is over a bound is left out, and that is said.

use super::redact::{LEFT_OUT, clean};
use crate::print::yaml;
use flate2::{Compression, GzBuilder};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Write};
use tar::{Builder, EntryType, Header};

/// How much of everything there may be (M10).
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most bytes of a member that is no log.
    pub(super) member: usize,
    /// The most bytes of a log.
    pub(super) log: usize,
    /// The most bytes of all members.
    pub(super) whole: usize,
    /// The most members.
    pub(super) members: usize,
}

pub(super) const BOUNDS: Bounds = Bounds { member: 8 << 20, log: 2 << 20, whole: 192 << 20, members: 20_000 };

/// What was gathered.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    bounds: Bounds,
    members: BTreeMap<String, Member>,
    size: usize,
    left_out: Vec<String>,
}

#[derive(Clone, Debug)]
struct Member {
    bytes: Vec<u8>,
    /// What was cut, in words.
    cut: Option<String>,
    /// At how many places something was taken out of it.
    redacted: usize,
}

impl Bundle {
    /// An empty one.
    pub(super) fn new(bounds: Bounds) -> Bundle {
        Bundle { bounds, members: BTreeMap::new(), size: 0, left_out: Vec::new() }
    }

    /// Puts a text in, from its beginning.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        let clean = clean(text);
        let kept = head(&clean, self.bounds.member);
        let cut =
            (kept.len() < clean.len()).then(|| format!("the first {} of {} bytes", kept.len(), clean.len()));
        self.put(name, kept.to_owned(), cut);
    }

    /// Puts a log in, up to its end: `before` bytes of it were left out already.
    pub(super) fn log(&mut self, name: &str, text: &str, before: u64) {
        let clean = clean(text);
        let kept = tail(&clean, self.bounds.log);
        let all = before + clean.len() as u64;
        let cut = ((kept.len() as u64) < all).then(|| format!("the last {} of {all} bytes", kept.len()));
        self.put(name, kept.to_owned(), cut);
    }

    /// Puts an object in, as YAML.
    pub(super) fn object(&mut self, name: &str, object: &Value) {
        self.text(name, &yaml::document(object));
    }

    /// Puts a list of objects in, as YAML: as many of the first as there is room for.
    pub(super) fn list(&mut self, name: &str, items: &[Value]) {
        let mut text = String::new();
        let mut count = 0;
        for item in items {
            let item = clean(&yaml::document(&json!([item])));
            if text.len() + item.len() > self.bounds.member {
                break;
            }
            text.push_str(&item);
            count += 1;
        }
        if items.is_empty() {
            text.push_str("[]\n");
        }
        let cut = (count < items.len()).then(|| format!("the first {count} of {}", items.len()));
        self.put(name, text, cut);
    }

    /// Puts in what a report says of itself: there is always room for it.
    pub(super) fn page(&mut self, name: &str, text: &str) {
        let member = Member { bytes: clean(text).into_bytes(), cut: None, redacted: 0 };
        self.members.insert(name.to_owned(), member);
    }

    fn put(&mut self, name: &str, text: String, cut: Option<String>) {
        if self.size + text.len() > self.bounds.whole || self.members.len() >= self.bounds.members {
            self.left_out.push(name.to_owned());
            return;
        }
        // An object that is found in two ways is in once.
        let known = self.members.get(name).map_or(0, |member| member.bytes.len());
        self.size = self.size + text.len() - known;
        let redacted = text.matches(LEFT_OUT).count();
        self.members.insert(name.to_owned(), Member { bytes: text.into_bytes(), cut, redacted });
    }

    /// Whether anything is in that folder.
    pub(super) fn has(&self, folder: &str) -> bool {
        let below = |name: &String| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.members.keys().any(below)
    }

    /// How many members there are.
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    /// What there was no room for.
    pub(super) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// What was cut: each member with what of it is there.
    pub(super) fn cut(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().filter_map(|(name, member)| Some((name.as_str(), member.cut.as_deref()?)))
    }

    /// The members for an index.
    pub(super) fn contents(&self) -> Value {
        let shown = self.members.iter().map(|(name, member)| {
            json!({ "name": name, "bytes": member.bytes.len(), "cut": member.cut, "redacted": member.redacted })
        });
        shown.collect()
    }

    /// Writes the archive: one folder, its files in the order of their names, all of `made` and of nobody in particular.
    pub(super) fn write(&self, folder: &str, made: Timestamp, out: impl Write) -> io::Result<()> {
        let packed = GzBuilder::new().write(out, Compression::default());
        let mut archive = Builder::new(packed);
        for (name, member) in &self.members {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o600);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(made.as_second().unsigned_abs());
            header.set_size(member.bytes.len() as u64);
            archive.append_data(&mut header, format!("{folder}/{name}"), &member.bytes[..])?;
        }
        archive.into_inner()?.finish()?.flush()
    }
}

/// As much of the beginning as fits, up to the end of a line where there is one.
fn head(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let whole = text[..end].rfind('\n').map_or(end, |line| line + 1);
    &text[..whole]
}

/// As much of the end as fits, from the beginning of a line where there is one.
fn tail(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let at = text.len() - most;
    let start = (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    // A line that begins right here is whole.
    let is_whole = text[..start].ends_with('\n');
    let line = if is_whole { 0 } else { text[start..].find('\n').map_or(0, |end| end + 1) };
    &text[start + line..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    const SMALL: Bounds = Bounds { member: 40, log: 20, whole: 100, members: 4 };

    fn packed(bundle: &Bundle) -> Vec<u8> {
        let mut out = Vec::new();
        bundle
            .write("r", Timestamp::from_second(1_800_000_000).expect("a moment"), &mut out)
            .expect("a vector takes it");
        out
    }

    fn unpacked(bytes: &[u8]) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(GzDecoder::new(bytes));
        let read = |entry: io::Result<tar::Entry<'_, GzDecoder<&[u8]>>>| {
            let mut entry = entry.expect("an entry");
            let header = entry.header().clone();
            assert_eq!(
                (header.uid().ok(), header.gid().ok(), header.mode().ok()),
                (Some(0), Some(0), Some(0o600))
            );
            assert_eq!(header.mtime().ok(), Some(1_800_000_000));
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (entry.path().expect("a name").display().to_string(), text)
        };
        archive.entries().expect("an archive").map(read).collect()
    }

    #[test]
    fn an_archive_has_its_members_in_order_and_is_the_same_each_time() {
        let mut bundle = Bundle::new(BOUNDS);
        let long = format!("logs/{}/{}.log", "n".repeat(63), "p".repeat(200));
        bundle.log(&long, "line\n", 0);
        bundle.text("README.txt", "page\n");
        bundle.object("a.yaml", &json!({ "kind": "A" }));
        let found = unpacked(&packed(&bundle));
        let expected =
            [("r/README.txt", "page\n"), ("r/a.yaml", "kind: A\n"), (&format!("r/{long}"), "line\n")];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(packed(&bundle), packed(&bundle));
    }

    #[test]
    fn what_is_over_a_bound_is_left_out_and_said() {
        let mut bundle = Bundle::new(SMALL);
        bundle.log("a.log", "first line\nsecond line\nthird\n", 0);
        bundle.text("b.txt", &"0123456789\n".repeat(5));
        bundle.list(
            "c.yaml",
            &[
                json!({ "name": "one" }),
                json!({ "name": "two" }),
                json!({ "name": "three" }),
                json!({ "name": "4" }),
            ],
        );
        bundle.text("d.txt", &"x".repeat(39));
        bundle.text("e.txt", "small");
        let cut: Vec<_> = bundle.cut().collect();
        assert_eq!(
            cut,
            [
                ("a.log", "the last 18 of 29 bytes"),
                ("b.txt", "the first 33 of 55 bytes"),
                ("c.yaml", "the first 3 of 4")
            ]
        );
        assert_eq!(bundle.left_out(), ["d.txt"]);
        let found = unpacked(&packed(&bundle));
        assert_eq!(found[0].1, "second line\nthird\n");
        assert_eq!(found[2].1, "- name: one\n- name: two\n- name: three\n");
        assert_eq!(found.len(), 4);
        bundle.text("f.txt", "");
        assert_eq!(bundle.left_out(), ["d.txt", "f.txt"], "there are four");
    }

    #[test]
    fn cuts_are_between_lines_and_never_inside_a_letter() {
        let check = |text: &str, most: usize, first: &str, last: &str| {
            assert_eq!((head(text, most), tail(text, most)), (first, last), "{text:?} {most}");
        };
        check("a\nb\nc\n", 6, "a\nb\nc\n", "a\nb\nc\n");
        check("a\nb\nc\n", 4, "a\nb\n", "b\nc\n");
        check("a\nb\nc\n", 3, "a\n", "c\n");
        check("磨坊水", 4, "磨", "水");
        check("磨坊水", 0, "", "");
    }

    #[test]
    fn what_comes_in_is_cleaned() {
        let mut bundle = Bundle::new(BOUNDS);
        bundle.text("a.txt", "PASSWORD=hunter2\n");
        bundle.log("b.log", "Authorization: Bearer hunter2hunter2\n", 0);
        bundle.list("c.yaml", &[json!({ "text": "token=hunter2" })]);
        for (name, text) in unpacked(&packed(&bundle)) {
            assert!(!text.contains("hunter2"), "{name}: {text}");
        }
        let redacted: Vec<Value> =
            bundle.contents().as_array().expect("a list").iter().map(|one| one["redacted"].clone()).collect();
        assert_eq!(redacted, [json!(1), json!(1), json!(1)]);
    }
}
