//! What is wrong with something a person wrote: where, which value, why, and how to mend it.
//!
//! A complaint never stops the reading: whoever reads returns a usable value and all complaints, and the caller
//! decides whether a fatal one stops him.

use std::fmt;

/// One thing that is wrong, about one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The annotation, flag or variable it stands in.
    pub what: String,
    /// The very item that is wrong.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// How to mend it.
    pub fix: String,
    /// Whether the value could not be used at all, so that following the rest would not be what was meant.
    pub fatal: bool,
}

impl Complaint {
    /// A complaint about a value that cannot be used.
    pub fn fatal(what: &str, value: &str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Complaint { fatal: true, ..Complaint::note(what, value, problem, fix) }
    }

    /// A complaint about a value that was used, perhaps after putting it right.
    pub fn note(what: &str, value: &str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        let (problem, fix) = (problem.into(), fix.into());
        Complaint { what: what.to_owned(), value: value.to_owned(), problem, fix, fatal: false }
    }
}

/// The longest value shown whole; only the display is shortened, and it says so.
const SHOWN: usize = 80;

impl fmt::Display for Complaint {
    /// One line, whatever the value contains: `where: "value": problem; fix`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        let cut = if self.value.chars().count() > SHOWN { "…" } else { "" };
        write!(f, "{}: \"{shown}{cut}\": {}; {}", self.what, self.problem, self.fix)
    }
}

#[cfg(test)]
mod tests {
    use super::Complaint;

    fn check(value: &str, expected: &str) {
        assert_eq!(Complaint::note("--flag", value, "is odd", "change it").to_string(), expected);
    }

    #[test]
    fn is_one_line_whatever_the_value() {
        check("80", "--flag: \"80\": is odd; change it");
        check("a\nb\"", "--flag: \"a\\nb\\\"\": is odd; change it");
        let long = "9".repeat(100);
        check(&long, &format!("--flag: \"{}…\": is odd; change it", "9".repeat(80)));
    }
}
