//! The MeshCNI as it is acted upon: as it is written, or, where that cannot be accepted, as it was when it last could.

use super::Leader;
use crate::api::mesh::MeshCNI;
use crate::controller::accepted::{last, plain, refused};
use crate::controller::apply::Error;
use crate::controller::children::{self, Home, Release};
use crate::controller::revisions::Revisions;
use crate::controller::status;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use std::sync::Arc;

/// What there is to act upon.
pub(super) enum Accepted {
    /// This, and why it is not what is written, if it is not.
    Mesh(Arc<MeshCNI>, Option<String>),
    /// Nothing: what is written cannot be accepted, and nothing before it is known.
    Nothing(String),
}

impl Leader {
    /// What there is to act upon. One that is being deleted is let go of, whatever it says.
    pub(super) fn accepted(&self, mesh: &Arc<MeshCNI>) -> Accepted {
        let Some(why) = refused(mesh) else { return Accepted::Mesh(Arc::clone(mesh), None) };
        let known = self.revisions.as_ref().map(|revisions| last(&mesh.name_any(), revisions.latest()));
        let with = |spec| Arc::new(MeshCNI { spec, ..MeshCNI::clone(mesh) });
        match (known.flatten(), mesh.metadata.deletion_timestamp.is_some()) {
            (known, true) => Accepted::Mesh(with(known.unwrap_or_else(plain)), None),
            (Some(spec), false) => Accepted::Mesh(with(spec), Some(why)),
            (None, false) => Accepted::Nothing(why),
        }
    }

    /// Says that nothing is done.
    pub(super) async fn decline(&mut self, mesh: &Arc<MeshCNI>, why: &str) -> Result<(), Error> {
        let before = mesh.status.clone().unwrap_or_default();
        let generation = mesh.metadata.generation.unwrap_or_default();
        let status = status::declined(&before, generation, why, Timestamp::now());
        self.metrics.status(&status);
        self.write(mesh, &status).await.map(drop)
    }

    /// Reads the revisions, once.
    pub(super) async fn remember(&mut self, home: &Home) -> Result<(), Error> {
        if self.revisions.is_none() {
            // It is the same whatever is wanted.
            let release = Release { spec: plain(), image: self.orders.image.clone() };
            self.hand.create(&children::namespace(home, &release)).await?;
            let read = Revisions::read(self.client.clone(), &home.namespace, self.metrics.clone()).await?;
            self.revisions = Some(read);
        }
        Ok(())
    }
}
