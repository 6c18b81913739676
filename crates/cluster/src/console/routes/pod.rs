//! The pages of one pod: as the API server has it, as it is live, and after a probe.

use super::missing;
use crate::console::answer::{html, plain};
use crate::console::frame::{Frame, path};
use crate::console::gate::{Asker, Sent};
use crate::console::live::Looking;
use crate::console::pod::Pod;
use crate::console::probe::{self, Looker, Turns};
use crate::console::proposal::{Form, field};
use axum::Extension;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::LazyLock;

/// Those of all who ask: what is bounded is this program and the nodes' agents, whoever asks.
static TURNS: LazyLock<Turns> = LazyLock::new(Turns::new);

/// Shows a pod; what it holds now only if that is asked for, which may take a while.
pub(super) async fn show(
    Extension(asker): Extension<Asker>,
    Path((namespace, name)): Path<(String, String)>,
    Query(form): Query<Form>,
) -> Response {
    let (found, under) = match asker.reader().pod(&namespace, &name).await {
        Ok(found) => found,
        Err(error) => return missing(asker.frame, &error),
    };
    let looking = match field(&form, "live") {
        Some("yes") => probe::look(&TURNS, &looker(&asker), &found).await,
        _ => Looking::Not,
    };
    let may_probe = !asker.reader().is_read_only();
    html(StatusCode::OK, &Pod::of(&found, &under, looking, may_probe, asker.frame))
}

/// Probes a pod, and shows what came of it.
pub(super) async fn probe(
    Path((namespace, name)): Path<(String, String)>,
    Sent { asker, .. }: Sent,
) -> Response {
    let looker = looker(&asker);
    let reader = &asker.visitor.reader;
    let frame = Frame { here: path(&["pods", &namespace, &name]), ..asker.frame };
    if reader.is_read_only() {
        let words = frame.words();
        let text = words.probe_read_only.to_owned();
        return plain(StatusCode::FORBIDDEN, frame, "refused", words.probe_refused, text);
    }
    let (found, under) = match reader.pod(&namespace, &name).await {
        Ok(found) => found,
        Err(error) => return missing(frame, &error),
    };
    let looking = probe::probe(&TURNS, &looker, found.clone()).await;
    let status = match &looking {
        Looking::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
        Looking::Late { .. } => StatusCode::GATEWAY_TIMEOUT,
        looking if looking.report().is_none() => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    };
    html(status, &Pod::of(&found, &under, looking, true, frame))
}

fn looker(asker: &Asker) -> Looker {
    let reader = asker.reader();
    let (connection, state_dir) = (reader.connection.clone(), reader.state_dir.clone());
    Looker { connection, state_dir, lang: asker.frame.lang, who: asker.frame.who.clone() }
}
