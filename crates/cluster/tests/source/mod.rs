//! Reads Rust source just well enough for the house rules: code without comments and strings, functions, imports.
//!
//! Not a parser: it knows tokens, braces and paths, which is all the rules ask about.

use std::fmt;
use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct File {
    /// Where it is, from the root of the repository.
    pub(crate) path: PathBuf,
    /// Its module, as `core::rules::plan`; the root of a crate is the crate's short name.
    pub(crate) module: String,
    /// What it says.
    pub(crate) text: String,
    /// The text with comments and the insides of strings turned into blanks, byte for byte.
    code: String,
    /// The text with everything but comments turned into blanks.
    comments: String,
    /// All modules of the product, to know a module from an item.
    known: Vec<String>,
}

/// One module named by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    /// The module.
    pub(crate) module: String,
    /// What is taken from it; empty for the module as such.
    pub(crate) item: String,
}

/// One function.
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// From its `fn` to its closing brace.
    pub(crate) lines: usize,
}

/// The files below a crate's `src`.
pub(crate) fn product(root: &Path, name: &str) -> Vec<File> {
    let known: Vec<String> = ["core", "host", "cluster"]
        .iter()
        .flat_map(|name| {
            below(&root.join("crates").join(name).join("src")).into_iter().map(|path| module(root, &path))
        })
        .collect();
    let paths = below(&root.join("crates").join(name).join("src"));
    paths.into_iter().map(|path| File::at(root, &path, &known)).collect()
}

/// The files of all crates' tests and benches, and of the rig.
pub(crate) fn tests(root: &Path) -> Vec<File> {
    let folders = ["core/tests", "host/tests", "host/benches", "cluster/tests", "rig/src"];
    let paths = folders.iter().flat_map(|folder| below(&root.join("crates").join(folder)));
    paths.map(|path| File::at(root, &path, &[])).collect()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = folder.read_dir() else { return found };
    for entry in entries {
        let path = entry.expect("a folder's entries are readable").path();
        if path.is_dir() {
            found.extend(below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `crates/core/src/rules/plan.rs` is `core::rules::plan`; programs below `bin` share the module `bin`.
fn module(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root.join("crates")).unwrap_or(path).with_extension("");
    let parts: Vec<&str> =
        path.iter().filter_map(|part| part.to_str()).filter(|part| *part != "src").collect();
    match parts.as_slice() {
        [name, "lib" | "main"] => (*name).to_owned(),
        [name, "bin", ..] => format!("{name}::bin"),
        parts => parts.join("::"),
    }
}

impl File {
    fn at(root: &Path, path: &Path, known: &[String]) -> File {
        let text = std::fs::read_to_string(path).expect("a source file is readable");
        let relative = path.strip_prefix(root).unwrap_or(path).to_owned();
        let (code, comments) = apart(&text);
        File { path: relative, module: module(root, path), code, comments, text, known: known.to_vec() }
    }

    /// A file that is nowhere, for the reader's own test.
    pub(crate) fn of(module: &str, text: &str, known: &[&str]) -> File {
        let known = known.iter().map(|&name| name.to_owned()).collect();
        let (code, comments) = apart(text);
        File { path: PathBuf::new(), module: module.to_owned(), code, comments, text: text.to_owned(), known }
    }

    /// The part that ships: all before the tests at the end.
    pub(crate) fn production(&self) -> &str {
        &self.text[..self.production_length()]
    }

    /// The code of the part that ships, without comments and strings.
    pub(crate) fn code(&self) -> &str {
        &self.code[..self.production_length()]
    }

    /// The comments of the whole file.
    pub(crate) fn comments(&self) -> &str {
        &self.comments
    }

    fn production_length(&self) -> usize {
        self.code.find("#[cfg(test)]\nmod ").unwrap_or(self.code.len())
    }

    /// The functions of the part that ships.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let code = self.code();
        let starts = code.match_indices("fn ").filter(|(at, _)| !code[..*at].ends_with(is_word));
        starts.filter_map(|(at, _)| function(&code[at..])).collect()
    }

    /// The modules of the house that the shipping part names, each with the item taken, without repetition.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let code = self.code();
        let mut paths = Vec::new();
        for root in ["crate", "super", "millrace_core", "millrace_host"] {
            let starts = code.match_indices(root).filter(|(at, found)| {
                let before = code[..*at].trim_end_matches(' ');
                !code[..*at].ends_with(is_word)
                    && !before.ends_with("::")
                    && !before.ends_with("pub(in")
                    && code[at + found.len()..].starts_with("::")
            });
            for (at, found) in starts {
                let mut rest = &code[at + found.len()..];
                read_path(vec![found.to_owned()], &mut rest, &mut paths);
            }
        }
        let mut imports: Vec<Import> = paths.iter().filter_map(|path| self.resolve(path)).collect();
        imports.sort();
        imports.dedup();
        imports
    }

    /// A path to the longest module that it names. A file's own module is no import.
    fn resolve(&self, path: &[String]) -> Option<Import> {
        let mut base: Vec<&str> = self.module.split("::").collect();
        let mut rest = path;
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" => base.truncate(1),
                "super" => {
                    base.pop();
                }
                "millrace_core" => base = vec!["core"],
                "millrace_host" => base = vec!["host"],
                _ => break,
            }
            rest = &rest[1..];
        }
        let whole: Vec<&str> = base.iter().copied().chain(rest.iter().map(String::as_str)).collect();
        let longest =
            (1..=whole.len()).rev().find(|length| self.known.contains(&whole[..*length].join("::")))?;
        let item = whole.get(longest).copied().filter(|item| *item != "self").unwrap_or_default();
        let import = Import { module: whole[..longest].join("::"), item: item.to_owned() };
        (import.module != self.module).then_some(import)
    }
}

/// Reads what follows `path` at the start of `rest` (`::name…`, `::{a, b::c}`, `::*`) and adds every path it means.
fn read_path(path: Vec<String>, rest: &mut &str, found: &mut Vec<Vec<String>>) {
    let Some(after) = rest.strip_prefix("::") else {
        found.push(path);
        return;
    };
    *rest = after.trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        *rest = inside.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            let name = take_name(rest);
            if name.is_empty() {
                *rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
            } else {
                read_path([path.as_slice(), &[name]].concat(), rest, found);
                // A renaming, `as X`, names nothing further.
                *rest =
                    rest.trim_start_matches(|c| c != ',' && c != '}').trim_start_matches(',').trim_start();
            }
        }
        *rest = rest.strip_prefix('}').unwrap_or(rest);
    } else {
        let name = take_name(rest);
        if name.is_empty() {
            found.push(path);
        } else {
            read_path([path.as_slice(), &[name]].concat(), rest, found);
        }
    }
}

fn take_name(rest: &mut &str) -> String {
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (name, after) = rest.split_at(length);
    *rest = after;
    name.to_owned()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The function at the start of `code`; `None` for a type, a trait's declaration or a word that ends in `fn`.
fn function(code: &str) -> Option<Function> {
    let mut rest = &code["fn ".len()..];
    let name = take_name(&mut rest);
    // The body's brace comes before any semicolon outside brackets, or there is no body.
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return (!name.is_empty())
                        .then(|| Function { name, lines: code[..at].matches('\n').count() + 1 });
                }
                if braces < 0 {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

/// `text` as code (comments, strings and character literals turned into blanks) and as comments; newlines stay.
fn apart(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut comments) = (bytes.to_vec(), vec![b' '; bytes.len()]);
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => find(bytes, at, b"*/") + 2,
            b'"' => string_end(bytes, at),
            b'r' | b'b' if !at.checked_sub(1).is_some_and(|before| is_word(char::from(bytes[before]))) => {
                raw_string_end(bytes, at).unwrap_or(at)
            }
            b'\'' => character_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        let end = end.min(bytes.len());
        if bytes[at] == b'/' {
            comments[at..end].copy_from_slice(&bytes[at..end]);
        }
        for byte in code[at..end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        at = end.max(at + 1);
    }
    let text = |bytes| String::from_utf8(bytes).expect("only whole characters are blanked");
    (text(code), text(comments))
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes[from..].windows(what.len()).position(|window| window == what).map_or(bytes.len(), |at| from + at)
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + usize::from(bytes[start] == b'b');
    if bytes.get(at) != Some(&b'r') {
        return None;
    }
    at += 1;
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    Some(find(bytes, at + hashes + 1, &close) + close.len())
}

/// The end of a character literal; `None` for a lifetime.
fn character_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        return Some(find(bytes, start + 3, b"'") + 1);
    }
    let text = std::str::from_utf8(&bytes[start + 1..]).ok()?;
    let length = text.chars().next()?.len_utf8();
    (bytes.get(start + 1 + length) == Some(&b'\'')).then_some(start + 2 + length)
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.item.is_empty() {
            f.write_str(&self.module)
        } else {
            write!(f, "{} ({})", self.module, self.item)
        }
    }
}
