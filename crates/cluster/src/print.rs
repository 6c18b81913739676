//! `millrace print`: what installs the agent, from `print/objects`, and the controller, from `print/controller`, as manifests, as
//! charts and as a tree for Kustomize; and the definitions of the custom resources.
//!
//! What is printed is decided by pure functions of the flags; only here is anything written, and only below the folder named.

mod chart;
mod comments;
mod config;
pub(crate) mod controller;
pub(crate) mod crd;
mod daemonset;
mod kustomize;
pub(crate) mod objects;
mod places;
mod values;
pub(crate) mod words;
pub(crate) mod yaml;

use crate::args::print::{Folder, Print, Variant, What};
use crate::cli::Outcome;
use anyhow::{Context, Result};
use kustomize::Files;
use objects::Object;
use std::io::Write;
use std::path::Path;
use words::Words;

/// What opens every file that is made, not written.
pub(crate) const MADE: &str =
    "Made by `millrace print`; change crates/cluster/src/print, then run `make golden`.";

/// Prints, or writes the folder.
pub(crate) fn run(args: &Print, out: &mut dyn Write) -> Result<Outcome> {
    match &args.what {
        What::Manifests(args) => {
            let Variant { profile, platform, .. } = args.variant;
            out.write_all(manifests(&objects::objects(&words(&args.variant), profile, platform)).as_bytes())?;
        }
        What::Uninstall(args) => {
            let jobs = objects::uninstall(&words(&args.variant), &args.node);
            out.write_all(manifests(&jobs).as_bytes())?;
        }
        What::Controller(args) => {
            let words = controller::Words::plain(args.image.as_deref());
            out.write_all(manifests(&controller::objects(&words)).as_bytes())?;
        }
        What::Crd => out.write_all(crd::file().as_bytes())?,
        What::Config(args) => return config::of_file(&args.file, out),
        What::Chart(args) if args.controller => {
            write_all(&args.folder.output, &controller::chart::files(), out)?
        }
        What::Chart(args) => write_all(&args.folder.output, &chart::files(), out)?,
        What::Kustomize(Folder { output }) => write_all(output, &kustomize(), out)?,
    }
    Ok(Outcome::Well)
}

fn words(variant: &Variant) -> Words {
    objects::plain(variant.profile, variant.platform, variant.image.as_deref())
}

/// The tree for Kustomize: the agents' base and overlays, and the controller.
fn kustomize() -> Files {
    let controller = below("controller", controller::files());
    kustomize::files().into_iter().chain(controller).collect()
}

fn below(folder: &str, files: Files) -> Files {
    files.into_iter().map(|(name, text)| (format!("{folder}/{name}"), text)).collect()
}

fn manifests(objects: &[Object]) -> String {
    let texts = objects.iter().map(|object| yaml::write(&yaml::Node::of(&object.tree), &object.place()));
    texts.collect::<Vec<_>>().join("---\n")
}

fn write_all(folder: &Path, files: &Files, out: &mut dyn Write) -> Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| format!("make the folder {}", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// What is committed is what is printed; `make golden` writes it anew.
    #[test]
    fn golden_files_of_deploy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
        let charts = below("chart/millrace", chart::files()).into_iter();
        let charts = charts.chain(below("chart/millrace-controller", controller::chart::files()));
        let crd = std::iter::once(("crd.yaml".to_owned(), crd::file()));
        let files: Files = kustomize().into_iter().chain(charts).chain(crd).collect();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let _ = std::fs::remove_dir_all(&root);
            write_all(&root, &files, &mut std::io::sink()).expect("deploy/ is writable");
        }
        let mut found = Vec::new();
        walk(&root, &mut found);
        let expected: Vec<PathBuf> = files.keys().map(|name| root.join(name)).collect();
        found.sort();
        let mut sorted = expected.clone();
        sorted.sort();
        assert_eq!(found, sorted, "the files of deploy/; `make golden` writes them anew");
        for (name, text) in &files {
            let committed = std::fs::read_to_string(root.join(name)).expect("a committed file");
            assert_eq!(&committed, text, "deploy/{name} is old; `make golden` writes it anew");
        }
    }

    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
}
