//! The arguments of `inspect`.

use millrace_core::rules::{Family, Table};
use std::path::PathBuf;

/// Which rules are shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) target: Target,
    pub(super) form: Form,
    pub(super) tables: Vec<Table>,
    pub(super) families: Vec<Family>,
    pub(super) reasons: bool,
    /// Where the runtimes' directories are, when not below `/`.
    pub(super) root: Option<PathBuf>,
}

/// Whose rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Path(PathBuf),
    Pid(u32),
    Container(String),
}

/// In which words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Iptables,
    Save,
    Nft,
    Json,
}

pub(super) const HELP: &str = "\
millrace-cni inspect (--netns PATH | --pid N | CONTAINER) [flags]

Shows the live rules of a network namespace. CONTAINER is the id of a container or sandbox of containerd, CRI-O or
Docker, or so much of it that it is the only one.

  -o iptables       the table that iptables -L -n -v --line-numbers -x prints (default)
  -o iptables-save  one table a block, as iptables-save prints it
  -o nft            in the words of nft
  -o json           everything, each rule with its counters, its reason and the setting it comes from
  -t nat            the table: nat (default), mangle, raw or all
  --family 4        4 (default), 6 or both
  --reasons         after each table, why each of its rules exists and the setting it comes from
  --root DIR        where the runtimes' /run and /proc are, when not below /
";

impl Args {
    /// Reads them; `None` if help is asked for.
    pub(super) fn read(args: &[String]) -> Result<Option<Args>, String> {
        let (mut target, mut form, mut reasons, mut root) = (None, Form::Iptables, false, None);
        let (mut tables, mut families) = (None, None);
        let mut rest = args.iter().map(String::as_str);
        while let Some(arg) = rest.next() {
            let (name, given) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (arg, None),
            };
            let mut value =
                || given.or_else(|| rest.next()).ok_or_else(|| format!("{name} needs a value; see --help"));
            let named = match name {
                "-h" | "--help" => return Ok(None),
                "--netns" => Target::Path(value()?.into()),
                "--pid" => {
                    Target::Pid(value()?.parse().map_err(|_| format!("{name}: not a process's number"))?)
                }
                "-o" | "--output" => {
                    form = form_of(value()?)?;
                    continue;
                }
                "-t" | "--table" => {
                    tables = Some(tables_of(value()?)?);
                    continue;
                }
                "--family" => {
                    families = Some(families_of(value()?)?);
                    continue;
                }
                "--reasons" => {
                    reasons = true;
                    continue;
                }
                "--root" => {
                    root = Some(PathBuf::from(value()?));
                    continue;
                }
                flag if flag.starts_with('-') => {
                    return Err(format!("there is no flag {flag:?}; see --help"));
                }
                id => Target::Container(id.to_owned()),
            };
            if target.replace(named).is_some() {
                return Err("name one namespace only: --netns, --pid or a container's id".to_owned());
            }
        }
        let target =
            target.ok_or("name a namespace: --netns PATH, --pid N or a container's id; see --help")?;
        // A program wants everything unless it says otherwise.
        let (all_tables, all_families) = if form == Form::Json { ("all", "both") } else { ("nat", "4") };
        Ok(Some(Args {
            target,
            form,
            tables: tables.map_or_else(|| tables_of(all_tables), Ok)?,
            families: families.map_or_else(|| families_of(all_families), Ok)?,
            reasons,
            root,
        }))
    }
}

fn form_of(text: &str) -> Result<Form, String> {
    match text {
        "iptables" => Ok(Form::Iptables),
        "iptables-save" => Ok(Form::Save),
        "nft" => Ok(Form::Nft),
        "json" => Ok(Form::Json),
        other => Err(format!("-o: {other:?} is not iptables, iptables-save, nft or json")),
    }
}

fn tables_of(text: &str) -> Result<Vec<Table>, String> {
    match (text, Table::from_name(text)) {
        ("all", _) => Ok(Table::ALL.to_vec()),
        (_, Some(table)) => Ok(vec![table]),
        (other, None) => Err(format!("-t: {other:?} is not nat, mangle, raw or all")),
    }
}

fn families_of(text: &str) -> Result<Vec<Family>, String> {
    match text {
        "4" => Ok(vec![Family::V4]),
        "6" => Ok(vec![Family::V6]),
        "both" => Ok(vec![Family::V4, Family::V6]),
        other => Err(format!("--family: {other:?} is not 4, 6 or both")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &str) -> Result<Option<Args>, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        Args::read(&args)
    }

    #[test]
    fn one_namespace_is_named_and_the_rest_has_defaults() {
        let args = read("--pid 7").unwrap().unwrap();
        assert_eq!((&args.target, args.form, args.reasons), (&Target::Pid(7), Form::Iptables, false));
        assert_eq!((args.tables, args.families), (vec![Table::Nat], vec![Family::V4]));
        let args = read("c0ffee -o json --reasons --root=/x").unwrap().unwrap();
        assert_eq!((args.tables.len(), args.families.len()), (3, 2));
        assert_eq!((args.target, args.root), (Target::Container("c0ffee".into()), Some("/x".into())));
        let args = read("--netns /x -t mangle --family both -o nft").unwrap().unwrap();
        assert_eq!((args.tables, args.families.len(), args.form), (vec![Table::Mangle], 2, Form::Nft));
        assert_eq!(read("x --help"), Ok(None));
    }

    #[test]
    fn what_cannot_be_meant_says_what_could() {
        for (args, word) in [
            ("", "--netns PATH"),
            ("a b", "one namespace only"),
            ("--pid x", "number"),
            ("--pid", "needs a value"),
            ("a -o yaml", "yaml"),
            ("a -t filter", "filter"),
            ("a --family 5", "4, 6 or both"),
            ("a --colour", "--colour"),
        ] {
            let error = read(args).unwrap_err();
            assert!(error.contains(word), "{args}: {error}");
        }
    }
}
