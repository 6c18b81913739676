//! The vendor page's whole walk on one machine: mesh CNI is switched on by the controller and the agent, bookinfo applied,
//! admitted by the webhook, started by a node as real network namespaces behind a real CNI chain, each pod with a real Envoy; real
//! requests, and a proof for each pod. Then it is switched off and on again, and nothing is unprotected on the way.
//!
//! The machine's own namespace and its directories are never touched, and nothing is left behind.

pub(crate) mod app;
mod bookinfo;
mod chain;
mod cluster;
mod counts;
mod envoy;
mod hosted;
mod http;
pub(crate) mod injector;
mod kubelet;
mod node;
mod phase;
mod pods;
mod process;
mod proof;
mod report;
mod requests;
mod root;
mod state;
mod status;
mod stop;
mod tale;
mod tally;
mod tools;
mod traffic;
mod transition;
mod verdict;
mod watch;
mod witness;
mod world;

use crate::args::Demo;
use crate::cli::Outcome;
use anyhow::Context;
use kubelet::Kubelet;
use pods::Part;
use root::{DATA, RUN};
use state::State;
use std::io::Write;
use std::path::{Path, PathBuf};
use stop::Stop;
use tale::Tale;
use tools::{Tools, Wishes};
use world::{Live, World};

/// Builds, walks, proves and takes down; says whether every pod was verified.
pub(crate) fn run(args: &Demo, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let wishes = Wishes {
        envoy: args.envoy.clone().or_else(|| variable("MILLRACE_ENVOY")),
        cni: args.cni_bin.clone().or_else(|| variable("MILLRACE_CNI")),
    };
    let tools = Tools::find(&wishes)?;
    let own = tools.own.clone();
    // The pods' users must be able to read their files, whoever starts the demo.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let state = State::take(Path::new(state::DIRECTORY))?;
    let stop = Stop::on_signals()?;
    let mut tale = Tale::new(out);
    if let Some(left) = state.sweep()? {
        tale.line("swept", &format!("what an earlier demo left: {left}"))?;
    }
    let world = World::build(state, stop, tools)?;
    tale.line("cluster", "an API server in memory listens, an injector serves, and a controller stands by")?;
    let mut kubelet = Kubelet::register(world, tale)?;
    let keep = args.keep || args.console;
    let verified = transition::all(&mut kubelet, !keep)?;
    let all = kubelet.world.pods.len();
    if keep {
        kubelet.tale.text(&format!("{verified} of {all} pods are verified."))?;
        let look = look(&kubelet.world, &own)?;
        if args.console {
            let address = kubelet.world.console()?;
            kubelet.tale.text(&format!("console: {address}"))?;
        }
        kubelet.tale.text(&look)?;
        kubelet.keep()?;
    }
    let Kubelet { mut world, mut tale, .. } = kubelet;
    let complaints = world.take_down();
    for complaint in &complaints {
        tale.text(&format!("taking down: {complaint}"))?;
    }
    if verified == all && complaints.is_empty() {
        tale.text(&format!("demo: VERIFIED {verified}/{all} pods"))?;
        return Ok(Outcome::Well);
    }
    let also = if complaints.is_empty() { "" } else { ", and not everything could be taken down" };
    tale.text(&format!("demo: FAILED {}/{all} pods{also}", all - verified))?;
    Ok(Outcome::Wrong)
}

/// How to look inside.
fn look(world: &World, own: &Path) -> anyhow::Result<String> {
    let (productpage, visitor) = (find(world, "productpage")?, find(world, pods::VISITOR)?);
    let facts = &productpage.member.facts;
    let agent = [world.root.place(DATA), world.root.place(RUN)];
    Ok(report::look(&report::Inside {
        netns: [&productpage.sandbox.netns, &visitor.sandbox.netns],
        productpage: &format!("{}/{}", facts.namespace, facts.name),
        programs: [own, world.plugin()],
        kubeconfig: world.cluster.kubeconfig(),
        agent: [&agent[0], &agent[1]],
        pods: &world.directory(),
    }))
}

/// The pod of the mesh's namespace that runs `app`.
fn find<'a>(world: &'a World, app: &str) -> anyhow::Result<&'a Live> {
    let is_it = |live: &&Live| live.member.workload.app == app && live.member.part != Part::Excluded;
    world.pods.iter().find(is_it).with_context(|| format!("there is no pod with {app}"))
}
