//! JSON that every pod's start reads and writes: an object's members as they stand there, a text with and without its quotes.
//!
//! What comes from outside is checked by serde_json once and whole; after that its pieces are found by their ends alone, and none
//! is opened that nobody asks for. A tree of values costs ten times as much, mostly in allocating and hashing. Never takes
//! for JSON what is none; what a value holds is its reader's to say.

use serde_json::value::RawValue;
use std::borrow::Cow;

/// A value as it stands in a text that was checked: without blanks around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a>(&'a str);

/// The members of an object, in order.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

/// Why a text has no members.
#[derive(Debug)]
pub(crate) enum Error {
    /// It is not JSON.
    Malformed(serde_json::Error),
    /// It is another value.
    Other,
}

impl<'a> Members<'a> {
    /// The members of the object that `text` is.
    pub(crate) fn read(text: &'a str) -> Result<Members<'a>, Error> {
        let raw: &RawValue = serde_json::from_str(text).map_err(Error::Malformed)?;
        Raw(raw.get()).members().ok_or(Error::Other)
    }

    /// The value of `key`. Of members with the same name the last counts, as in Go.
    pub(crate) fn get(&self, key: &str) -> Option<Raw<'a>> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }
}

impl<'a> Raw<'a> {
    /// What was taken out of a checked text before.
    pub(crate) fn known(text: &'a str) -> Raw<'a> {
        Raw(text)
    }

    /// Its text.
    pub(crate) fn get(self) -> &'a str {
        self.0
    }

    /// Whether it is `null`, which mostly means that nothing is said.
    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The members of the object that it is; `None` if it is none.
    pub(crate) fn members(self) -> Option<Members<'a>> {
        let mut rest = Rest { text: self.0, at: 1 };
        // What a stamp has, and more than an entry has.
        let mut members = Vec::with_capacity(24);
        self.0.starts_with('{').then_some(())?;
        while rest.next_is_not(b'}')? {
            let name = rest.value()?.text()?;
            rest.next_is_not(b':')?;
            members.push((name, rest.value()?));
        }
        Some(Members(members))
    }

    /// The items of the list that it is; `None` if it is none.
    pub(crate) fn items(self) -> Option<Vec<Raw<'a>>> {
        let mut rest = Rest { text: self.0, at: 1 };
        let mut items = Vec::new();
        self.0.starts_with('[').then_some(())?;
        while rest.next_is_not(b']')? {
            items.push(rest.value()?);
        }
        Some(items)
    }

    /// The text that it is; `None` if it is none.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if next_mark(inside.as_bytes()).is_some() {
            unescape(self.0, inside).map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inside))
        }
    }
}

/// What is left to look at of an object or a list.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over blanks, commas and colons, and over `end`, if that comes next.
    fn next_is_not(&mut self, end: u8) -> Option<bool> {
        while matches!(self.peek()?, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') {
            self.at += 1;
        }
        Some(self.peek()? != end)
    }

    fn value(&mut self) -> Option<Raw<'a>> {
        let rest = self.text.get(self.at..)?;
        let bytes = rest.as_bytes();
        let length = match bytes.first()? {
            b'"' => end_of_text(bytes, 0)?,
            b'{' | b'[' => end_of_nest(bytes)?,
            _ => bytes
                .iter()
                .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'))?,
        };
        self.at += length;
        rest.get(..length).filter(|value| !value.is_empty()).map(Raw)
    }
}

/// Behind the text whose first quote is at `at`.
fn end_of_text(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = bytes.get(at + 1..)?;
        at += 1 + next_mark(rest)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 1,
            _ => {}
        }
    }
}

/// Where the first byte is that does not stand for itself in a text: a quote, a backslash, a control character. Eight are looked
/// at together, as built for size anything else takes ten instructions for one.
fn next_mark(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The high bit of the first byte below `limit`; bits above it may be wrong.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & (ONES << 7);
    let (words, rest) = bytes.as_chunks();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        let marks = below(word, 0x20) | below(quote, 1) | below(backslash, 1);
        if marks != 0 {
            return Some(8 * at + marks.trailing_zeros() as usize / 8);
        }
    }
    let is_mark = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    rest.iter().position(is_mark).map(|at| 8 * words.len() + at)
}

/// Behind the object or list that begins here.
fn end_of_nest(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => at = end_of_text(bytes, at)? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// A stamp within a request has a backslash before every quote, and nothing else. Byte by byte, as between the quotes of one
/// there is so little that a call to `memcpy` for each piece costs three times as much.
fn unescape(quoted: &str, inside: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => escaped,
                _ => return serde_json::from_str(quoted).ok(),
            },
            byte => byte,
        });
    }
    String::from_utf8(plain).ok()
}

/// Appends a text, quoted and escaped. Byte by byte where something is to be escaped, as with [`unescape`].
pub(crate) fn put(into: &mut Vec<u8>, text: &str) {
    let start = into.len();
    into.reserve(2 * text.len() + 2);
    into.push(b'"');
    match next_mark(text.as_bytes()) {
        None => into.extend_from_slice(text.as_bytes()),
        Some(_) => {
            for byte in text.bytes() {
                match byte {
                    ..b' ' => {
                        into.truncate(start);
                        return serde_json::to_writer(into, text).expect("a vector takes what is written");
                    }
                    b'"' | b'\\' => into.extend([b'\\', byte]),
                    byte => into.push(byte),
                }
            }
        }
    }
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn check(object: &str, key: &str, value: Option<&str>) {
        let members = Members::read(object).expect("the test's text is an object");
        assert_eq!(members.get(key).map(Raw::get), value, "{object}");
    }

    #[test]
    fn a_member_is_found_by_what_its_name_means() {
        check(r#"{"a": [1, {"b":2}] }"#, "a", Some(r#"[1, {"b":2}]"#));
        check(" { \"b\" :\t-1.5e3\r\n, \"a\":true} ", "b", Some("-1.5e3"));
        check(r#"{"\u0061":"}\"]"}"#, "a", Some(r#""}\"]""#));
        check(r#"{"a":1,"a":2}"#, "a", Some("2"));
        check("{}", "a", None);
        for none in ["", "{", r#"{"a"}"#, r#"{"a":1}x"#, r#"{"a":"\x"}"#, "{\"a\":\"\n\"}", r#"{"a":1,}"#] {
            assert!(matches!(Members::read(none), Err(Error::Malformed(_))), "{none}");
        }
        for other in ["[]", "7", "\"{}\"", "null"] {
            assert!(matches!(Members::read(other), Err(Error::Other)), "{other}");
        }
    }

    /// JSON with blanks everywhere and names that need escapes.
    fn value() -> impl Strategy<Value = Value> {
        let text = "[a\"\\\\{}:,\\[\\] é\n]{0,6}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from);
            let object = proptest::collection::btree_map(text, inner, 0..5);
            prop_oneof![list, object.prop_map(|members| members.into_iter().collect())]
        })
    }

    /// What is found by looking for ends is what serde_json finds by reading.
    fn agrees(raw: Raw<'_>, value: &Value) {
        let read: Value = serde_json::from_str(raw.get()).expect("a piece is JSON");
        assert_eq!(read, *value);
        assert_eq!(raw.text().as_deref(), value.as_str());
        assert_eq!(raw.items().map(|items| items.len()), value.as_array().map(Vec::len));
        assert_eq!(raw.members().map(|members| members.0.len()), value.as_object().map(serde_json::Map::len));
        for (item, value) in raw.items().into_iter().flatten().zip(value.as_array().into_iter().flatten()) {
            agrees(item, value);
        }
        for (key, value) in value.as_object().into_iter().flatten() {
            agrees(raw.members().expect("it is an object").get(key).expect("it has the member"), value);
        }
    }

    proptest! {
        #![proptest_config(crate::laws::config())]

        #[test]
        fn pieces_are_what_serde_json_finds(value in value(), pretty in any::<bool>()) {
            let written = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            agrees(Raw(&written.expect("a value can be written")), &value);
        }

        #[test]
        fn a_text_reads_back_and_is_written_as_serde_writes_it(plain in any::<String>()) {
            let mut quoted = Vec::new();
            put(&mut quoted, &plain);
            let quoted = String::from_utf8(quoted).expect("JSON is UTF-8");
            prop_assert_eq!(&quoted, &serde_json::to_string(&plain).expect("a text can be written"));
            prop_assert_eq!(Raw(&quoted).text(), Some(Cow::Borrowed(plain.as_str())));
        }

        #[test]
        fn whatever_is_taken_for_a_text_means_the_same_to_serde(quoted in r#""([a-z"\\]|\\u[0-9a-f]{4}|\\[nt"\\/])*""#) {
            if let Ok(raw) = serde_json::from_str::<&RawValue>(&quoted) {
                let meant = serde_json::from_str::<String>(&quoted).ok();
                prop_assert_eq!(Raw(raw.get()).text().map(Cow::into_owned), meant);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in r#"[{}\[\]"\\:, a1é]{0,20}"#) {
            let raw = Raw(&text);
            let _ = (raw.members(), raw.items(), raw.text(), Members::read(&text));
        }
    }
}
