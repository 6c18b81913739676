//! `millrace explain POD|deploy/NAME|namespace/NAME`: pods and templates as the API server has them, and the MeshCNI they are under.
//!
//! Reads and writes nothing. Nothing on a node is needed for it.

use super::super::connect::{Connection, Error, block_on};
use super::super::pods::Asked;
use super::super::{change, plan, source};
use super::{Explained, Switch};
use crate::api::convert;
use crate::api::mesh::{MeshCNISpec, Mode};
use crate::args::output::Lang;
use crate::args::pod::{Explain, Family};
use crate::args::subject::Subject;
use crate::facts;
use crate::webhook::wishes::Wishes;
use anyhow::{Context, Result};
use millrace_core::policy::Mesh;
use serde_json::Value;
use std::io::{self, Write};

/// What the MeshCNI says of pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Under {
    /// What decides about pods.
    pub(crate) mesh: Mesh,
    /// What admission wishes; nothing without a MeshCNI.
    wishes: Option<Wishes>,
}

/// Explains what is asked about.
pub(super) fn explain(args: &Explain, subject: Option<&Subject>) -> Result<Vec<Explained>> {
    let connection = Connection::open(&args.asking.reach.server)?;
    let asked = Asked { subject, scope: &args.asking.reach.scope };
    let (under, objects, made) = block_on(async {
        let under = Under::read(&connection, &args.exclude_namespace).await?;
        let objects = asked.objects(&connection).await?;
        // A template is redirected by nobody; the pods that were made from it are.
        let made = match objects.first().map(|first| first["kind"] == "Pod") {
            Some(false) => asked.pods(&connection).await.or_else(none)?,
            _ => Vec::new(),
        };
        Ok::<_, anyhow::Error>((under, objects, made))
    })?;
    let mut explained = Vec::new();
    for object in &objects {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let Some(found) = facts::of_object(object, namespace) else { continue };
        let mut one = Explained::of(found, &under.mesh, args.family, args.assume_injected);
        let pods = if object["kind"] == "Pod" { std::slice::from_ref(object) } else { &made };
        one.switches = pods.iter().map(|pod| under.switch(pod)).collect();
        explained.push(one);
    }
    Ok(explained)
}

/// A workload may have no pods just now.
fn none(error: Error) -> Result<Vec<Value>, Error> {
    if matches!(error, Error::Absent { .. }) { Ok(Vec::new()) } else { Err(error) }
}

impl Under {
    /// A cluster without a MeshCNI, and a user who may not read it, are told of pods all the same.
    async fn read(connection: &Connection, excluded: &[String]) -> Result<Under> {
        let spec = match change::read(connection).await {
            Ok(found) => found["spec"].clone(),
            Err(Error::NotInstalled { .. }) => Value::Null,
            Err(error @ Error::Forbidden { .. }) => {
                writeln!(io::stderr(), "millrace: {error}; pods are explained as if there were none")?;
                Value::Null
            }
            Err(error) => return Err(error.into()),
        };
        let mut under = Under::of(&spec)?;
        under.mesh.excluded_namespaces.extend_from_slice(excluded);
        Ok(under)
    }

    /// What a specification says of pods; null is a cluster without one.
    pub(crate) fn of(spec: &Value) -> Result<Under> {
        let mut under = Under::default();
        if !spec.is_null() {
            let typed: MeshCNISpec =
                serde_json::from_value(spec.clone()).context("read the MeshCNI's specification (MR1101)")?;
            if typed.mode == Mode::Cni
                && let Ok(mesh) = convert::mesh(&typed)
            {
                under.mesh = mesh;
            }
            under.wishes = Some(plan::wishes(spec)?);
        }
        Ok(under)
    }

    /// Explains one pod, rules and all.
    pub(in crate::cli) fn tell(&self, pod: &Value, lang: Lang, out: &mut dyn Write) -> Result<()> {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let Some(found) = facts::of_object(pod, namespace) else { return Ok(()) };
        let mut one = Explained::of(found, &self.mesh, Family::Both, false);
        one.switches.push(self.switch(pod));
        let (_, shown) = source::families(Family::Both);
        one.write(out, shown, false, &[])?;
        one.write_switches(out, lang)
    }

    /// What becomes of a pod of the mesh when it is made anew. Without a MeshCNI nothing changes.
    pub(crate) fn next(&self, pod: &Value) -> Option<plan::Next> {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let unswitched = Wishes { serving: false, ..Wishes::default() };
        let next = plan::next(pod, namespace, self.wishes.as_ref().unwrap_or(&unswitched))?;
        Some(if self.wishes.is_some() { next } else { plan::Next { after: next.before, same: true, ..next } })
    }

    fn switch(&self, pod: &Value) -> Switch {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
        let pod_name = format!("{}/{}", text("namespace"), text("name"));
        Switch { pod: pod_name, next: self.next(pod), planned: self.wishes.is_some() }
    }
}
