//! `millrace inject`: what the webhook does to pods, done to the pods of a manifest.
//!
//! It reads the manifest and prints; nothing is sent to any cluster. What is done to a pod is the webhook's own code.

mod sidecar;

use super::{Outcome, explain, source};
use crate::args::inject::{Inject, Injected};
use crate::facts;
use crate::print::yaml;
use crate::webhook::answer::Answer;
use crate::webhook::inject::{Operation, Request, admit};
use crate::webhook::wishes::{Invalid, Wishes};
use anyhow::{Context, Result, anyhow};
use millrace_core::knobs::Defaults;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// Prints the manifest with its pods as the webhook would have them.
pub(crate) fn run(args: &Inject, out: &mut dyn Write) -> Result<Outcome> {
    let injection = Injection {
        wishes: wishes(args)?,
        namespace: &args.namespace,
        sidecar: args.sidecar.as_ref().map(|file| template(file.as_deref())).transpose()?,
    };
    let mut documents = source::documents(&args.file)?;
    let mut pods = Vec::new();
    for document in &mut documents {
        injection.object(document, &mut pods)?;
    }
    match args.output {
        Injected::Patch => pods.iter().try_for_each(|pod| pod.write(out))?,
        Injected::Yaml => {
            for (index, document) in documents.iter().enumerate() {
                let separator = if index > 0 { "---\n" } else { "" };
                write!(out, "{separator}{}", yaml::document(document))?;
            }
        }
        Injected::Json => {
            let whole = match documents.as_slice() {
                [one] => one.clone(),
                several => json!({ "apiVersion": "v1", "kind": "List", "items": several }),
            };
            writeln!(out, "{whole:#}")?;
        }
    }
    if args.output != Injected::Patch {
        // The manifest is for another program; what is said is for whoever started both.
        pods.iter().try_for_each(|pod| pod.say(&mut io::stderr()))?;
    }
    Ok(Outcome::when(pods.iter().all(|pod| pod.answer.refusal.is_none())))
}

fn wishes(args: &Inject) -> Result<Wishes> {
    let defaults = Defaults::read(source::set(&args.set)?).map_err(|found| {
        let told: Vec<String> = found.iter().map(|complaint| format!("--set {complaint}")).collect();
        anyhow!(told.join("; "))
    })?;
    Ok(Wishes {
        exclude_namespaces: args.exclude_namespace.clone(),
        invalid_pods: if args.deny { Invalid::Deny } else { Invalid::Warn },
        defaults,
        ..Wishes::default()
    })
}

/// The parts of a sidecar; without a file, of the one that is built in.
pub(crate) fn template(file: Option<&Path>) -> Result<Value> {
    let Some(file) = file else {
        return Ok(serde_saphyr::from_str(sidecar::BUILT_IN).expect("the built-in sidecar is YAML"));
    };
    let mut documents = source::documents(file)?;
    let one = (documents.len() == 1).then(|| documents.remove(0));
    one.with_context(|| format!("read {}: a sidecar is one document", file.display()))
}

/// Adds the parts of a sidecar to a pod, or to a template of one, that takes a sidecar.
pub(crate) fn add_sidecar(pod: &mut Value, namespace: &str, sidecar: &Value) {
    if explain::takes_sidecar(&facts::pod(pod, namespace).0) {
        sidecar::add(pod, sidecar);
    }
}

/// What is done to every pod.
struct Injection<'a> {
    wishes: Wishes,
    namespace: &'a str,
    sidecar: Option<Value>,
}

/// One pod, and what came of it.
struct Pod {
    /// Its kind, namespace and name.
    title: String,
    answer: Answer,
}

impl Injection<'_> {
    fn object(&self, object: &mut Value, pods: &mut Vec<Pod>) -> Result<()> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if facts::is_list(&kind) {
            let items = object.get_mut("items").and_then(Value::as_array_mut);
            return items.into_iter().flatten().try_for_each(|item| self.object(item, pods));
        }
        let owner = object["metadata"].clone();
        let place = facts::template_of(&kind).and_then(|place| object.pointer_mut(place));
        let Some(template) = place.filter(|template| template["spec"].is_object()) else { return Ok(()) };
        let stated = |field: &str| {
            let own = template["metadata"][field].as_str().or_else(|| owner[field].as_str());
            own.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let namespace = stated("namespace").unwrap_or_else(|| self.namespace.to_owned());
        let name = stated("name").or_else(|| stated("generateName")).unwrap_or_default();
        let title = format!("{kind} {namespace}/{name}");
        if let Some(sidecar) = &self.sidecar {
            add_sidecar(template, &namespace, sidecar);
        }
        let request = Request { operation: Operation::Create, namespace: &namespace, object: template };
        let answer = admit(&request, &self.wishes);
        json_patch::patch(template, &answer.patch).with_context(|| format!("change {title}"))?;
        pods.push(Pod { title, answer });
        Ok(())
    }
}

impl Pod {
    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let (what, why) = self.answer.outcome.words();
        writeln!(out, "{}: {}", self.title, format!("{what} {why}").trim_end())?;
        for line in self.lines() {
            writeln!(out, "  {line}")?;
        }
        for step in self.answer.patch.iter() {
            writeln!(out, "  {step}")?;
        }
        Ok(())
    }

    fn say(&self, out: &mut dyn Write) -> Result<()> {
        for line in self.lines() {
            writeln!(out, "{}: {line}", self.title)?;
        }
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let refusal = self.answer.refusal.iter().map(|refusal| format!("refused: {refusal}"));
        refusal.chain(self.answer.words().into_iter().map(|warning| format!("warning: {warning}")))
    }
}
