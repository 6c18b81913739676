//! The text dialect: what `iptables-restore` takes and `iptables-save` gives, in the spelling of either variant.
//!
//! It is for nodes without nf_tables and for people to read. One text holds one family. It reads and writes; it runs nothing.

mod parse;
mod spell;

use crate::rules::{Chain, Content, Family, ForeignChain, Observed, ObservedRule, Place, RuleSet, Table};
use std::collections::BTreeMap;
use std::fmt;

pub(super) use parse::words;
pub use spell::arguments;

/// The most lines that [`read`] takes; a pod's tables have a few hundred at most.
pub const MOST_LINES: usize = 100_000;

/// The rules of one family, for `iptables-restore --noflush` or `ip6tables-restore --noflush`.
///
/// A chain is declared by `:NAME`, which under `--noflush` also empties one that is already there; the hooks' rules are
/// appended to what the hooks hold.
pub fn write(rules: &RuleSet, family: Family) -> String {
    let mut text = String::new();
    for table in Table::ALL {
        let places = || rules.iter().filter(|(place, _)| (place.family, place.table) == (family, table));
        if places().next().is_none() {
            continue;
        }
        text.push_str(&format!("*{}\n", table.name()));
        for (place, _) in places().filter(|(place, _)| !place.chain.is_hook()) {
            text.push_str(&format!(":{} - [0:0]\n", place.chain.name()));
        }
        for (place, rules) in places() {
            for rule in rules {
                text.push_str(&format!("-A {} {}\n", place.chain.name(), arguments(family, rule)));
            }
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// What `iptables-save` or `ip6tables-save` printed, with or without `-c`. Tables the model does not know are passed over;
/// rules it does not know become [`Content::Foreign`].
pub fn read(text: &str, family: Family) -> Result<Observed, Error> {
    let mut reader =
        Reader { family, at: At::Outside, observed: Observed::default(), others: BTreeMap::new() };
    let mut last = 0;
    for (number, line) in (1..).zip(text.lines()) {
        last = number;
        if number > MOST_LINES {
            return Err(Error { line: number, cause: Cause::TooLong });
        }
        reader.line(line.trim()).map_err(|cause| Error { line: number, cause })?;
    }
    if !matches!(reader.at, At::Outside) {
        return Err(Error { line: last, cause: Cause::NoCommit });
    }
    let others = reader.others.into_iter();
    reader.observed.foreign_chains =
        others.map(|((table, name), rules)| ForeignChain { family, table, name, rules }).collect();
    Ok(reader.observed)
}

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub cause: Cause,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Neither a comment, a table, a chain, a rule nor the end of a table.
    Line,
    /// A chain or rule before any table, or a table within a table.
    Order,
    /// A rule for a chain that this table has not declared.
    Chain(String),
    /// A quotation mark without its partner.
    Quote,
    /// Counters that are not two numbers.
    Counters,
    /// The text ends inside a table.
    NoCommit,
    /// More lines than [`MOST_LINES`].
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read line {} of the iptables-save text: ", self.line)?;
        match &self.cause {
            Cause::Line => write!(f, "it is no table, chain, rule, comment or COMMIT"),
            Cause::Order => write!(f, "it is outside a table, or begins one inside another"),
            Cause::Chain(name) => write!(f, "its chain {name} is not declared in this table"),
            Cause::Quote => write!(f, "a quotation mark is not closed"),
            Cause::Counters => write!(f, "its counters are not [packets:bytes]"),
            Cause::NoCommit => write!(f, "the text ends before COMMIT; was it cut short?"),
            Cause::TooLong => write!(f, "it is beyond the {MOST_LINES} lines that are read"),
        }
    }
}

impl std::error::Error for Error {}

/// Where in the text the reader is.
enum At {
    Outside,
    In(Table),
    Passing,
}

struct Reader {
    family: Family,
    at: At,
    observed: Observed,
    others: BTreeMap<(Table, String), usize>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Cause> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix('*') {
            let At::Outside = self.at else { return Err(Cause::Order) };
            self.at = match Table::from_name(name.trim()) {
                Some(table) => At::In(table),
                None => At::Passing,
            };
            return Ok(());
        }
        let table = match self.at {
            At::Outside => return Err(Cause::Order),
            _ if line == "COMMIT" => {
                self.at = At::Outside;
                return Ok(());
            }
            At::Passing => return Ok(()),
            At::In(table) => table,
        };
        if let Some(rest) = line.strip_prefix(':').or_else(|| line.strip_prefix("-N ")) {
            return self.chain(table, rest);
        }
        self.rule(table, line)
    }

    fn chain(&mut self, table: Table, rest: &str) -> Result<(), Cause> {
        let name = rest.split_ascii_whitespace().next().ok_or(Cause::Line)?;
        match self.place(table, name) {
            Some(place) => _ = self.observed.chains.entry(place).or_default(),
            None => _ = self.others.entry((table, name.to_owned())).or_default(),
        }
        Ok(())
    }

    fn rule(&mut self, table: Table, line: &str) -> Result<(), Cause> {
        let (packets, bytes, rest) = counters(line)?;
        let rest = rest.strip_prefix("-A ").ok_or(Cause::Line)?;
        let (name, arguments) = rest.split_once(' ').unwrap_or((rest, ""));
        let Some(place) = self.place(table, name) else {
            let other = self.others.get_mut(&(table, name.to_owned()));
            *other.ok_or_else(|| Cause::Chain(name.to_owned()))? += 1;
            let words = words(arguments).ok_or(Cause::Quote)?;
            let held = parse::target(&words).and_then(|target| self.place(table, target));
            self.observed.held.extend(held.filter(|place| !place.chain.is_hook()));
            return Ok(());
        };
        if !place.chain.is_hook() && !self.observed.chains.contains_key(&place) {
            return Err(Cause::Chain(name.to_owned()));
        }
        let words = words(arguments).ok_or(Cause::Quote)?;
        let content = match parse::rule(self.family, &words) {
            Some(rule) => Content::Known(rule),
            None => {
                let jump = parse::target(&words).filter(|target| self.is_chain(table, target));
                Content::Foreign { text: arguments.to_owned(), jump: jump.map(str::to_owned) }
            }
        };
        let rule = ObservedRule { handle: 0, packets, bytes, content };
        self.observed.chains.entry(place).or_default().push(rule);
        Ok(())
    }

    /// The place of a chain the model can name; a hook only where this table has it.
    fn place(&self, table: Table, name: &str) -> Option<Place> {
        let chain = Chain::from_name(name)?;
        let exists = !chain.is_hook() || table.hooks().contains(&chain);
        exists.then_some(Place { family: self.family, table, chain })
    }

    fn is_chain(&self, table: Table, name: &str) -> bool {
        let known = Chain::from_name(name).is_some_and(|chain| !chain.is_hook());
        known || self.others.contains_key(&(table, name.to_owned()))
    }
}

/// `[packets:bytes] rest`, or just `rest`.
fn counters(line: &str) -> Result<(u64, u64, &str), Cause> {
    let Some(rest) = line.strip_prefix('[') else { return Ok((0, 0, line)) };
    let (counters, rest) = rest.split_once("] ").ok_or(Cause::Counters)?;
    let (packets, bytes) = counters.split_once(':').ok_or(Cause::Counters)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| Cause::Counters);
    Ok((number(packets)?, number(bytes)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Match, Protocol, Rule, Verdict};

    fn check(line: &str, expected: Option<Rule>) {
        let text = format!("*nat\n:ISTIO_REDIRECT - [0:0]\n:ISTIO_OUTPUT - [0:0]\n[7:420] {line}\nCOMMIT\n");
        let observed = read(&text, Family::V4).expect("readable");
        let place = Place { family: Family::V4, table: Table::Nat, chain: Chain::IstioOutput };
        let rule = &observed.chains[&place][0];
        assert_eq!((rule.packets, rule.bytes), (7, 420));
        match (&rule.content, expected) {
            (Content::Known(rule), Some(expected)) => assert_eq!(*rule, expected),
            (Content::Foreign { .. }, None) => {}
            (found, expected) => panic!("{line}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn the_order_of_options_does_not_matter() {
        let rule = Rule::new(
            [
                Match::Out { interface: crate::settings::Interface::lo(), not: false },
                Match::Protocol(Protocol::Tcp),
            ],
            Verdict::Return,
        );
        check("-A ISTIO_OUTPUT -p 6 -o lo -j RETURN", Some(rule.clone()));
        check("-A ISTIO_OUTPUT -o lo -p tcp -m tcp -j RETURN", Some(rule));
    }

    #[test]
    fn what_the_model_cannot_say_is_foreign() {
        for line in [
            "-A ISTIO_OUTPUT -p icmp -j RETURN",
            "-A ISTIO_OUTPUT -m comment --comment \"a -j b\" -j RETURN",
            "-A ISTIO_OUTPUT -o eth+ -j RETURN",
            "-A ISTIO_OUTPUT -m tcp --dport 1 -j RETURN",
            "-A ISTIO_OUTPUT -p udp -m tcp --dport 1 -j RETURN",
            "-A ISTIO_OUTPUT -m multiport --dports 1,2 -j RETURN",
            "-A ISTIO_OUTPUT -o lo -o lo -j RETURN",
            "-A ISTIO_OUTPUT -m mark --mark 0x1/0x1 -j RETURN",
            "-A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 1-9",
            "-A ISTIO_OUTPUT -p tcp -m multiport --ports 1,2 -j RETURN",
            "-A ISTIO_OUTPUT -p tcp",
            "-A ISTIO_OUTPUT -g ISTIO_REDIRECT",
        ] {
            check(line, None);
        }
    }

    #[test]
    fn a_foreign_rule_names_the_chain_it_uses() {
        let text = "*nat\n:MINE - [0:0]\n-A OUTPUT -p icmp -g MINE\n-A OUTPUT -p icmp -j ACCEPT\n-A MINE -j ACCEPT\nCOMMIT";
        let observed = read(text, Family::V4).expect("readable");
        let place = Place { family: Family::V4, table: Table::Nat, chain: Chain::Output };
        let jumps: Vec<_> = observed.chains[&place].iter().map(|rule| &rule.content).collect();
        assert!(matches!(jumps[0], Content::Foreign { jump: Some(name), .. } if name == "MINE"), "{jumps:?}");
        assert!(matches!(jumps[1], Content::Foreign { jump: None, .. }), "{jumps:?}");
        let mine = ForeignChain { family: Family::V4, table: Table::Nat, name: "MINE".to_owned(), rules: 1 };
        assert_eq!(observed.foreign_chains, [mine]);
    }

    #[test]
    fn a_chain_of_ours_that_others_use_is_held() {
        let text = "*nat\n:MINE - [0:0]\n:ISTIO_REDIRECT - [0:0]\n-A MINE -p tcp -j ISTIO_REDIRECT\nCOMMIT";
        let observed = read(text, Family::V4).expect("readable");
        let place = Place { family: Family::V4, table: Table::Nat, chain: Chain::IstioRedirect };
        assert_eq!(observed.held, [place].into());
    }

    #[test]
    fn a_malformed_text_is_refused_with_its_line() {
        for (text, line, cause) in [
            ("*nat\nwhat\nCOMMIT", 2, Cause::Line),
            ("-A OUTPUT -j ACCEPT", 1, Cause::Order),
            ("*nat\n*raw", 2, Cause::Order),
            ("*nat\n-A NOWHERE -j ACCEPT\nCOMMIT", 2, Cause::Chain("NOWHERE".to_owned())),
            ("*nat\n-A ISTIO_OUTPUT -j ACCEPT\nCOMMIT", 2, Cause::Chain("ISTIO_OUTPUT".to_owned())),
            ("*nat\n[1:x] -A OUTPUT -j ACCEPT\nCOMMIT", 2, Cause::Counters),
            ("*nat\n-A OUTPUT -m comment --comment \"x\nCOMMIT", 2, Cause::Quote),
            ("*nat\n-A OUTPUT -j ACCEPT\n", 2, Cause::NoCommit),
        ] {
            assert_eq!(read(text, Family::V4), Err(Error { line, cause }), "{text}");
        }
    }

    #[test]
    fn other_tables_are_passed_over() {
        let text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n";
        assert_eq!(read(text, Family::V4), Ok(Observed::default()));
    }
}
