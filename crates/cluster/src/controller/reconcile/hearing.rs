//! Whether every webhook goes by the specification as it is. It asks only while that is not known, and strikes who stays silent.

use super::Leader;
use crate::api::mesh::MeshCNI;
use crate::controller::apply::Error;
use crate::controller::converting::{Map, SILENT};
use crate::controller::decision::wanted;
use crate::controller::transition::Wanted;
use std::time::Instant;

/// A generation by which pods are converted, or of which none are; since when it is known, and whether all have heard of it.
pub(super) type Hearing = (Option<i64>, i64, Instant, bool);

impl Leader {
    /// Whether no webhook goes by an earlier generation than the MeshCNI's. It was written before this is asked, so that whoever
    /// begins to convert later goes by it.
    pub(super) async fn heard(&mut self, mesh: &MeshCNI) -> Result<bool, Error> {
        let generation = mesh.metadata.generation.unwrap_or_default();
        let converts = (wanted(mesh) == Wanted::Cni).then_some(generation);
        let known = self.hearing.filter(|(by, of, ..)| (*by, *of) == (converts, generation));
        let (.., since, all) = known.unwrap_or((converts, generation, Instant::now(), false));
        self.hearing = Some((converts, generation, since, all));
        if all {
            return Ok(true);
        }
        let map = Map::new(self.client.clone(), &self.orders.namespace, self.metrics.clone());
        let behind = map.behind(converts).await?;
        if !behind.is_empty() && since.elapsed() < SILENT {
            self.look_in(SILENT.saturating_sub(since.elapsed()));
            return Ok(false);
        }
        if !behind.is_empty() {
            tracing::warn!(
                webhooks = behind.join(", "),
                "heard nothing of these webhooks: they convert no pod any more"
            );
            map.strike(&behind).await?;
        }
        self.hearing = Some((converts, generation, since, true));
        Ok(true)
    }
}
