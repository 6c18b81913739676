//! One controller's life: a standby until the Lease is its own, then the one that acts, until it is told to stop or loses it.
//!
//! Being told to stop changes nothing in the cluster but who acts there.

use super::admission::{Told, Webhook};
use super::converting;
use super::judged;
use super::lease::Claim;
use super::metrics::Metrics;
use super::pages::{Health, router};
use super::reconcile::{Leader, Orders};
use super::world::Shared;
use super::{Serve, watches};
use crate::agent::client::{Access, Link};
use crate::args::controller::{Controller, MOST_LINGER};
use crate::http::{self, Limits};
use crate::print::controller::deployment::GRACE;
use crate::print::words::{self, WEBHOOK};
use crate::telemetry;
use crate::webhook::metrics::Metrics as Admitted;
use anyhow::{Context, Result};
use kube::{Api, Client};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long the Lease may take to be given back.
const RELEASE: Duration = Duration::from_secs(3);
/// How long what is under way may go on once nothing new is answered: what one review may take, and a little more.
const FAREWELL: Duration = Duration::from_secs(7);
/// Between two attempts at the first certificates: an API server that is away tells nobody when it is back.
const AGAIN: Duration = Duration::from_secs(3);

// Who is told to go is ended by the kubelet after this grace, whatever it is doing.
const _: () = assert!(MOST_LINGER as u64 + FAREWELL.as_secs() < GRACE as u64);

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: &Controller, identity: String, namespace: String, console: Serve) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the controller's runtime")?;
    let lived = runtime.block_on(live(args, identity, namespace, console));
    runtime.shutdown_background();
    lived
}

async fn live(args: &Controller, identity: String, namespace: String, console: Serve) -> Result<()> {
    let image = words::image(args.image.as_deref());
    let stop = telemetry::stop()?;
    let admitted = Admitted::default();
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), &admitted);
    let health = Health::new(stop.clone());
    let access = args.kubeconfig.clone().map_or(Access::InCluster, Access::Kubeconfig);
    const WAY: &str = "cannot prepare the way to the API server";
    let config = access.config().await.context(WAY)?;
    let client = Link::new(access).await.context(WAY)?.current().client;
    tracing::info!(identity, version = env!("CARGO_PKG_VERSION"), "started");
    let last = CancellationToken::new();
    let mut answering = JoinSet::new();
    if let Some(address) = args.metrics_address.0 {
        let listener = http::bind("--metrics-address", address)?;
        let router = router(health.clone(), metrics.clone());
        answering.spawn(http::serve(listener, router, Limits::default(), last.clone()));
    }
    console(&args.console, config, namespace.clone(), stop.clone())?;
    let webhook = match args.webhook_address.0 {
        None => None,
        Some(address) => {
            let names = vec![called(args.webhook_url.as_deref(), &namespace)];
            let told = Told { address, names, namespace: namespace.clone(), identity: identity.clone() };
            // Without an API server there is nobody to ask us either.
            let Some(webhook) = listening(&told, &client, &metrics, &stop).await else { return Ok(()) };
            let bundle = webhook.bundle();
            answering.spawn(webhook.serve(admitted, stop.clone(), last.clone()));
            Some((bundle, args.webhook_url.clone()))
        }
    };
    let orders = Orders {
        namespace,
        image,
        identity,
        settle: Duration::from_secs(args.settle_seconds.into()),
        webhook,
    };
    let lingering = async {
        stop.cancelled().await;
        let asked = orders.webhook.is_some();
        if asked { linger(Duration::from_secs(args.linger_seconds.into())).await } else { Ok(()) }
    };
    let ((), lingered) =
        tokio::join!(take_turns(args, &orders, &client, &metrics, &health, &stop), lingering);
    lingered?;
    last.cancel();
    let _ = timeout(FAREWELL, async { while answering.join_next().await.is_some() {} }).await;
    tracing::info!("stopped; the cluster stays as it is");
    Ok(())
}

/// Serves on for that long, or until told to stop once more: whoever asks hears late that we go, and nobody tells when the last
/// one has.
async fn linger(time: Duration) -> Result<()> {
    tracing::info!(seconds = time.as_secs(), "reviews are answered on");
    let again = telemetry::stop()?;
    let _ = timeout(time, again.cancelled()).await;
    Ok(())
}

/// A webhook that is about to answer, as soon as one can be had. `None` when told to stop.
async fn listening(
    told: &Told,
    client: &Client,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Option<Webhook> {
    loop {
        match Webhook::new(told.clone(), client.clone(), metrics.clone()).await {
            Ok(webhook) => return Some(webhook),
            Err(error) => tracing::warn!("{error:#}; tried again"),
        }
        stop.run_until_cancelled(sleep(AGAIN)).await?;
    }
}

/// The name by which the API server calls the webhook.
fn called(url: Option<&str>, namespace: &str) -> String {
    let host = url.and_then(|url| url.split("://").nth(1)).and_then(|rest| rest.split('/').next());
    let host = host.map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']));
    host.map_or_else(|| format!("{WEBHOOK}.{namespace}.svc"), str::to_owned)
}

/// Stands by and acts, in turns, until told to stop.
async fn take_turns(
    args: &Controller,
    orders: &Orders,
    client: &Client,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
) {
    let leases = Api::namespaced(client.clone(), &orders.namespace);
    let lasts = Duration::from_secs(args.lease_seconds.into());
    let mut claim = Claim::new(leases, orders.identity.clone(), lasts);
    health.ready("standing by");
    while claim.acquire(stop).await.is_some() {
        tracing::info!("this controller acts");
        metrics.leads(true);
        health.ready("acting");
        let turn = stop.child_token();
        // Whatever is known is read anew: while it stood by, nothing was.
        let acting = act(orders.clone(), client.clone(), metrics.clone(), turn.clone());
        let kept = tokio::select! {
            kept = claim.keep(&turn) => kept,
            () = acting => true,
        };
        metrics.leads(false);
        if !kept {
            tracing::warn!("the Lease was lost; standing by");
            health.ready("standing by");
        }
        if stop.is_cancelled() {
            break;
        }
    }
    match timeout(RELEASE, claim.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("give the Lease back: {error}"),
        Err(_) => tracing::warn!("give the Lease back: no answer"),
    }
}

async fn act(orders: Orders, client: Client, metrics: Metrics, stop: CancellationToken) {
    let shared = Shared::new();
    let mut tasks = JoinSet::new();
    watches::start(&mut tasks, &client, &orders.namespace, &shared);
    tasks.spawn(watches::mesh(client.clone(), shared.clone()));
    tasks.spawn(converting::listen(client.clone(), orders.namespace.clone(), shared.clone()));
    if let Some(way) = orders.webhook.clone() {
        tasks.spawn(judged::keep(client.clone(), metrics.clone(), orders.namespace.clone(), way));
    }
    let leader = Leader::new(orders, client, shared, metrics);
    tokio::select! {
        () = leader.lead(&stop) => {}
        // None of them ends by itself.
        _ = tasks.join_next() => tracing::error!("a watch ended unasked; beginning anew"),
    }
}
