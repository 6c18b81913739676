//! How a command prints: the conventions that all commands of the cluster share. Flags and the environment they stand for.

use clap::ValueEnum;

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

    /// The locale by the environment: the first of these that is set and not empty counts (POSIX).
    pub(crate) fn locale() -> Option<String> {
        let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
        names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }
}
