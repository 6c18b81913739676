//! Which attachments still name the plugin: in what runtimes and Multus remember of each, and in our own records.
//!
//! libcni keeps the list of each attachment as it was at ADD, and CRI-O deletes by it; so a plugin that no list names any
//! more is still called. What cannot be read counts as naming us.

use super::{Leaving, deadline};
use crate::agent::install::seen::{self, names};
use millrace_core::cni::entry::TYPE;
use millrace_host::records::Records;
use rustix::event::{Timespec, poll};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attachments {
    /// Files that name us.
    pub(crate) named_by: Vec<PathBuf>,
    /// Our records of pods whose network namespace is there.
    pub(crate) alive: usize,
    /// Folders that were looked through, with the number of files in them.
    pub(crate) looked: Vec<(PathBuf, usize)>,
    /// What could not be looked at.
    pub(crate) unknown: Vec<String>,
}

/// The most a remembered attachment may hold.
const LONGEST: u64 = 4 << 20;
/// How deep below a folder attachments are: Multus keeps `results` in its own.
const DEEPEST: usize = 2;
/// How often attachments are counted again.
const GLANCE: Duration = Duration::from_millis(200);

impl Attachments {
    /// Whether something surely names us.
    pub(crate) fn names_us(&self) -> bool {
        !self.named_by.is_empty() || self.alive > 0
    }

    /// Whether something names us, or might.
    pub(crate) fn may_name_us(&self) -> bool {
        self.names_us() || !self.unknown.is_empty()
    }
}

/// Looks until nothing names us any more, at most as long as is wanted.
pub(super) fn wait(leaving: &Leaving) -> Attachments {
    let deadline = deadline(leaving.wait);
    loop {
        let found = look(&leaving.results_dirs, &leaving.state_dir);
        let left = deadline.saturating_duration_since(Instant::now());
        if !found.may_name_us() || left.is_zero() {
            return found;
        }
        // Attachments end when pods do, in folders that come and go: looking again is simpler than watching them all.
        let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(GLANCE.min(left).subsec_nanos()) };
        let _ = poll(&mut [], Some(&pause));
    }
}

/// Looks once.
pub(crate) fn look(folders: &[PathBuf], state_dir: &Path) -> Attachments {
    let mut found = Attachments::default();
    for folder in folders {
        scan(folder, 0, &mut found);
    }
    if found.looked.is_empty() {
        found.unknown.push("none of the folders in which runtimes remember attachments is there".to_owned());
    }
    match Records::below(state_dir).all() {
        Err(error) => found.unknown.push(error.to_string()),
        Ok((records, errors)) => {
            found.unknown.extend(errors.iter().map(ToString::to_string));
            found.alive = records.iter().filter(|record| Path::new(&record.netns).exists()).count();
        }
    }
    found
}

fn scan(folder: &Path, depth: usize, found: &mut Attachments) {
    if !folder.is_dir() {
        return;
    }
    let files = match names(folder) {
        Ok(files) => files,
        Err(error) => return found.unknown.push(error.to_string()),
    };
    found.looked.push((folder.to_owned(), files.len()));
    for name in files {
        let path = folder.join(name);
        if path.is_dir() {
            if depth < DEEPEST {
                scan(&path, depth + 1, found);
            }
            continue;
        }
        match seen::read(&path, LONGEST) {
            Ok(Some(bytes)) if mentions(&bytes, 0) => found.named_by.push(path),
            Ok(_) => {}
            Err(cause) => found.unknown.push(format!("cannot read {}: {cause}", path.display())),
        }
    }
}

/// Whether the bytes name our type, as they are or in what they hold in base64.
fn mentions(bytes: &[u8], depth: usize) -> bool {
    if bytes.windows(TYPE.len()).any(|window| window == TYPE.as_bytes()) {
        return true;
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) if depth < DEEPEST => in_value(&value, depth),
        _ => false,
    }
}

fn in_value(value: &Value, depth: usize) -> bool {
    match value {
        Value::String(text) => decode(text).is_some_and(|bytes| mentions(&bytes, depth + 1)),
        Value::Array(all) => all.iter().any(|value| in_value(value, depth)),
        Value::Object(map) => map.values().any(|value| in_value(value, depth)),
        _ => false,
    }
}

/// Base64 as Go's encoding/json writes bytes (RFC 4648, padded); nothing if it is something else.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_go_writes_it() {
        for (text, wanted) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYmFy", Some("foobar")),
            ("Zm9", None),
            ("Z===", None),
            ("Zm 9", None),
        ] {
            assert_eq!(decode(text), wanted.map(|text| text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn an_attachment_names_us_by_its_list() {
        // {"plugins":[{"type":"millrace-cni"}]}
        let cached = r#"{"kind":"cniCacheV1","config":"eyJwbHVnaW5zIjpbeyJ0eXBlIjoibWlsbHJhY2UtY25pIn1dfQ==","ifName":"eth0"}"#;
        // {"plugins":[{"type":"bridge"}]}
        let other = r#"{"kind":"cniCacheV1","config":"eyJwbHVnaW5zIjpbeyJ0eXBlIjoiYnJpZGdlIn1dfQ==","ifName":"eth0"}"#;
        for (text, names) in [
            (cached, true),
            (other, false),
            (r#"[{"conf":{"type":"millrace-cni"}}]"#, true),
            ("", false),
            ("{", false),
        ] {
            assert_eq!(mentions(text.as_bytes(), 0), names, "{text}");
        }
    }
}
