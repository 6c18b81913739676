//! The last words of whoever cleared a node: the proof, as short as a kubelet keeps it of a container's end. PURE.
//!
//! They are written by the agent and read by whoever has to know, by the same code. What cannot be read proves nothing.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The variable with the file that they go to; an agent that does not know it writes none.
pub(crate) const VARIABLE: &str = "MILLRACE_LAST_WORDS";
/// The file of which a kubelet keeps what a container wrote (core/v1 Container, terminationMessagePath: its default).
pub(crate) const FILE: &str = "/dev/termination-log";
/// As much of it as is kept (kubelet, MaxContainerTerminationMessageLength).
const MOST: usize = 4096;
/// How many things that are wrong are told, and how long each may be: in the JSON of the longest, six bytes stand for one.
const MOST_WRONG: usize = 5;
const LONGEST: usize = 120;
/// The version of the words.
const VERSION: u32 = 1;

/// What was found on a node that was cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastWords {
    /// The version of these words.
    pub(crate) v: u32,
    /// The node.
    pub(crate) node: String,
    /// Whether nothing of ours is left that does anything.
    pub(crate) clean: bool,
    /// At how many places was looked.
    pub(crate) places: usize,
    /// What failed, or is left; the first of it.
    #[serde(default)]
    pub(crate) wrong: Vec<String>,
    /// How much more of that there is.
    #[serde(default)]
    pub(crate) more: usize,
}

/// What follows from last words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The node is clean; at so many places was looked.
    Clean(usize),
    /// It is not, or nobody can say that it is: why.
    Not(String),
    /// Nothing was said, as by an agent of an earlier version.
    Silent,
}

impl LastWords {
    /// What is to be said of a node.
    pub(crate) fn new(node: &str, clean: bool, places: usize, wrong: &[String]) -> LastWords {
        let short = |text: &String| text[..text.floor_char_boundary(LONGEST)].to_owned();
        LastWords {
            v: VERSION,
            node: node.to_owned(),
            clean,
            places,
            wrong: wrong.iter().take(MOST_WRONG).map(short).collect(),
            more: wrong.len().saturating_sub(MOST_WRONG),
        }
    }

    /// The text, which is never longer than what is kept.
    pub(crate) fn write(&self) -> String {
        let text = serde_json::to_string(self).expect("plain data has a text");
        debug_assert!(text.len() <= MOST, "{} bytes", text.len());
        text
    }
}

impl Proof {
    /// What `text` proves of `node`.
    pub(crate) fn of(text: &str, node: &str) -> Proof {
        let text = text.trim();
        if text.is_empty() {
            return Proof::Silent;
        }
        let words: LastWords = match serde_json::from_str(text) {
            Ok(words) => words,
            // What was said instead, as the end of a log of one that was killed.
            Err(_) => return Proof::Not(text[..text.floor_char_boundary(2 * LONGEST)].to_owned()),
        };
        if words.v != VERSION {
            return Proof::Not(format!("its last words are of version {}, which is not known", words.v));
        }
        if words.node != node {
            return Proof::Not(format!("its last words are about node {:?}", words.node));
        }
        if words.clean && words.wrong.is_empty() && words.more == 0 && words.places > 0 {
            return Proof::Clean(words.places);
        }
        let more = if words.more == 0 { String::new() } else { format!("; and {} more", words.more) };
        match words.wrong.join("; ") {
            wrong if wrong.is_empty() => Proof::Not("it looked at no place".to_owned()),
            wrong => Proof::Not(wrong + &more),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::Clean(places) => write!(f, "{places} places looked at, all clean"),
            Proof::Not(why) => f.write_str(why),
            Proof::Silent => f.write_str("it said nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expected: &str) {
        assert_eq!(Proof::of(text, "n1").to_string(), expected, "{text}");
    }

    #[test]
    fn what_is_said_is_judged_by_what_it_says() {
        let words = |clean, places, wrong: &[&str]| {
            let wrong: Vec<String> = wrong.iter().map(|one| (*one).to_owned()).collect();
            LastWords::new("n1", clean, places, &wrong).write()
        };
        check(&words(true, 7, &[]), "7 places looked at, all clean");
        check(&words(false, 7, &["/x: names the plugin"]), "/x: names the plugin");
        check(&words(true, 7, &["/x: names the plugin"]), "/x: names the plugin");
        check(&words(true, 0, &[]), "it looked at no place");
        check(&words(false, 9, &["a"; 7]), "a; a; a; a; a; and 2 more");
        check("", "it said nothing");
        check(" \n", "it said nothing");
        check("panicked at main.rs", "panicked at main.rs");
        check(
            &json!({ "v": 2, "node": "n1", "clean": true, "places": 1 }).to_string(),
            "its last words are of version 2, which is not known",
        );
        check(&LastWords::new("n2", true, 7, &[]).write(), "its last words are about node \"n2\"");
        // Cut off in its midst.
        assert!(matches!(Proof::of(&words(true, 7, &[])[..30], "n1"), Proof::Not(_)));
    }

    #[test]
    fn last_words_are_never_longer_than_what_is_kept() {
        for letter in ["\u{1}", "\"", "节", "x"] {
            let wrong = vec![letter.repeat(5000); 50];
            let words = LastWords::new(&"n".repeat(253), false, usize::MAX, &wrong);
            assert!(words.write().len() <= MOST, "{} bytes of {letter:?}", words.write().len());
            assert_eq!(words.more, 45);
        }
    }
}
