//! `millrace console`: the page with the switch, on loopback, with the rights of the user's kubeconfig; and the same as a controller
//! serves it (`served`), with the rights of whoever logs in.
//!
//! Pages are made by pure functions of what was read; reading, acting and the door are beside them. What changes the MeshCNI is the
//! very code of `enable`, `disable`, `exclude` and `rollback`. It keeps nothing and writes no file.

mod act;
mod answer;
mod assets;
mod door;
mod entry;
mod facts;
mod feed;
mod frame;
mod gate;
mod grid;
mod limits;
mod lists;
mod live;
mod login;
mod namespaces;
mod node;
mod notices;
mod paced;
mod page;
mod pending;
mod pod;
mod probe;
mod progress;
mod proposal;
mod read;
mod review;
mod routes;
mod secret;
pub(crate) mod served;
mod sessions;
mod site;
mod state;
#[cfg(test)]
mod tests;
mod visitor;
mod words;

use crate::args::console::Console;
use crate::args::output::Lang;
use crate::cli::Outcome;
use crate::cli::connect::{Connection, block_on};
use crate::{http, telemetry};
use anyhow::{Context, Result, bail};
use door::Door;
use read::Reader;
use site::{Entry, Site};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// What the server grants: one person's browsers, each with a stream that stays open.
const GRANTS: http::Limits = http::Limits {
    connections: 128,
    head: 64 << 10,
    body: 256 << 10,
    patience: Duration::from_secs(30),
    request: Duration::from_secs(120),
    life: Duration::from_secs(3600),
    farewell: Duration::from_millis(500),
};

/// Serves until SIGTERM or SIGINT. The address with what lets its reader in is printed when it is ready.
pub(crate) fn run(args: &Console, out: &mut dyn Write) -> Result<Outcome> {
    telemetry::start(&args.log, |name| std::env::var(name).ok())?;
    let connection = Connection::open(&args.server)?;
    block_on(live(args, connection, out))?;
    Ok(Outcome::Well)
}

async fn live(args: &Console, connection: Connection, out: &mut dyn Write) -> Result<()> {
    let stop = telemetry::stop()?;
    if !args.listen.ip().is_loopback() {
        bail!(
            "listen on {}: whoever gets in acts with your rights, so it is for this machine alone; give --listen an address \
             of loopback, such as 127.0.0.1:0",
            args.listen
        );
    }
    let listener = http::bind("--listen", args.listen)?;
    let address = listener.local_addr().context("ask for the address that is listened on")?;
    let token = secret::secret()?;
    let (seen, follow) = feed::follow(connection.clone(), stop.clone());
    let lang = Lang::of(args.lang, Lang::locale().as_deref());
    let reader = Reader::new(connection, args.home.namespace.clone(), args.read_only, seen);
    let reader = Arc::new(reader.here(args.state_dir.clone()));
    writeln!(out, "http://{address}/login?token={token}")?;
    out.flush()?;
    let site = Site::new(Door::at(address), Entry::Printed { token, reader }, Some(lang), stop.clone());
    let site = Arc::new(site);
    tokio::join!(http::serve(listener, routes::router(site), GRANTS, stop), follow);
    Ok(())
}
