//! How a command prints: the conventions that all commands of the cluster share. Flags and the environment they stand for.

use clap::{Args, ValueEnum};
use std::io::IsTerminal;

/// What every command that talks to a cluster takes about its printing.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// How to print it.
    #[arg(short, long, help_heading = "Printing", value_enum, default_value_t)]
    pub(crate) output: Form,
    /// The language of what is said to people; else that of the locale. Names, codes and rules are in none.
    #[arg(long, help_heading = "Printing", value_enum)]
    pub(crate) lang: Option<Lang>,
}

impl Output {
    /// How to print here and now.
    pub(crate) fn style(self) -> Style {
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style {
            form: self.output,
            lang: Lang::of(self.lang, Lang::locale().as_deref()),
            color: terminal && !plain,
            live: std::io::stderr().is_terminal() && !dumb,
        }
    }
}

/// Forms of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// For people, with all rows and more columns.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// For programs, one line for each thing found.
    Jsonl,
}

/// How to print here and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// The form.
    pub(crate) form: Form,
    /// The language.
    pub(crate) lang: Lang,
    /// Whether marks are coloured (<https://no-color.org>).
    pub(crate) color: bool,
    /// Whether somebody watches, to whom progress is shown on standard error.
    pub(crate) live: bool,
}

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// As it should be.
    Good,
    /// To be looked at.
    Odd,
    /// Wrong.
    Bad,
}

impl Style {
    /// The English words, or the Chinese ones.
    pub(crate) fn say<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self.lang {
            Lang::En => english,
            Lang::Zh => chinese,
        }
    }

    /// A mark: never by its colour alone.
    pub(crate) fn mark(self, mark: Mark) -> &'static str {
        match (mark, self.color) {
            (Mark::Good, false) => "✓",
            (Mark::Odd, false) => "‼",
            (Mark::Bad, false) => "✗",
            (Mark::Good, true) => "\x1b[32m✓\x1b[0m",
            (Mark::Odd, true) => "\x1b[33m‼\x1b[0m",
            (Mark::Bad, true) => "\x1b[31m✗\x1b[0m",
        }
    }
}

/// Languages of what is printed for people. Names, codes and rules are in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl Lang {
    /// The language that a flag asks for, else that of the locale, as `zh_CN.UTF-8`.
    pub(crate) fn of(flag: Option<Lang>, locale: Option<&str>) -> Lang {
        let chinese = locale.is_some_and(|locale| locale.starts_with("zh"));
        flag.unwrap_or(if chinese { Lang::Zh } else { Lang::En })
    }

    /// The language that the subcommand's own flag asks for, else that of the locale.
    pub(crate) fn asked(matches: &clap::ArgMatches) -> Lang {
        let mut inner = matches;
        while let Some((_, command)) = inner.subcommand() {
            inner = command;
        }
        let flag = inner.try_get_one::<Lang>("lang").ok().flatten().copied();
        Lang::of(flag, Lang::locale().as_deref())
    }

    /// The locale by the environment: the first of these that is set and not empty counts (POSIX).
    pub(crate) fn locale() -> Option<String> {
        let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
        names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }
}
