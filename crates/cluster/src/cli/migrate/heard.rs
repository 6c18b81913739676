//! Whether pods that are made now are made by what is wanted: a restart before that may have to be done again.

use crate::api::mesh::MeshCNI;
use crate::args::output::Style;
use crate::cli::change;
use crate::cli::connect::{Connection, Error};
use crate::cli::wait::{Line, Watched};
use kube::Api;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::Instant;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// They are.
    Heard,
    /// The deadline is over.
    Late,
    /// Somebody did not want to wait any longer.
    Interrupted,
}

/// Waits until the controller and every webhook go by the specification as it is.
pub(super) async fn wait(
    connection: &Connection,
    limit: Duration,
    interrupt: &mut Signal,
    style: Style,
) -> Result<End, Error> {
    let mut line = Line { live: style.live };
    let api: Api<MeshCNI> = Api::all(connection.client.clone());
    let watched = Watched { api, name: change::NAME, act: "watch MeshCNI default" };
    let heard = watched.until(connection, Instant::now() + limit, |mesh| {
        let heard = mesh.is_none_or(is_heard);
        if !heard {
            line.show(
                style.say("webhooks have yet to hear of the last change", "Webhook 尚未获知最近的变更"),
            );
        }
        heard.then_some(())
    });
    let end = tokio::select! {
        heard = heard => if heard?.is_some() { End::Heard } else { End::Late },
        _ = interrupt.recv() => End::Interrupted,
    };
    line.clear();
    Ok(end)
}

/// Whether nobody is known to be behind. Without a controller that says so there is nobody to wait for.
fn is_heard(mesh: &MeshCNI) -> bool {
    let Some(status) = &mesh.status else { return true };
    let generation = mesh.metadata.generation.unwrap_or_default();
    [status.observed_generation, status.admitted_generation]
        .iter()
        .flatten()
        .all(|known| *known >= generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(status: Value, expected: bool) {
        let mesh = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "metadata": { "name": "default", "generation": 3 },
            "spec": {}, "status": status,
        });
        assert_eq!(is_heard(&serde_json::from_value(mesh).unwrap()), expected, "{status}");
    }

    #[test]
    fn who_is_behind_is_waited_for() {
        check(json!({}), true);
        check(json!({ "observedGeneration": 3 }), true);
        check(json!({ "observedGeneration": 2, "admittedGeneration": 2 }), false);
        check(json!({ "observedGeneration": 3, "admittedGeneration": 2 }), false);
        check(json!({ "observedGeneration": 3, "admittedGeneration": 3 }), true);
    }
}
