//! `millrace trace`: one packet through the rules, every step with its reason.

use super::{Outcome, afar, form, live, reasons, stated};
use crate::args::output::Form;
use crate::args::pod::{Endpoint, Proto, Trace};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use millrace_core::dialect::text::arguments;
use millrace_core::rules::origin::origin;
use millrace_core::rules::plan::plan;
use millrace_core::rules::trace::{self, Owner, Packet, Path, State, Step};
use millrace_core::rules::{Place, Protocol, RuleSet};
use millrace_core::settings::{Families, Interface};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a pod's address is taken to be when nobody says: any that is neither loopback nor the other end's.
const POD: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 2, 10), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
/// A client somewhere else.
const CLIENT: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 51, 100, 7), Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7));
/// A port as the kernel gives to clients, where none is said.
const CLIENT_PORT: u16 = 40_000;

/// Follows the packet.
pub(crate) fn run(args: &Trace, out: &mut dyn Write) -> Result<Outcome> {
    let packet = packet(args)?;
    if let Some(opened) = live::open(&args.target.live)? {
        return follow_live(&opened.netns, &packet, args.asking.output, out);
    }
    if let Some(subject) = args.target.source.subject.as_ref().filter(|_| args.look.live) {
        let here = |opened: &live::Opened, out: &mut dyn Write| {
            follow_live(&opened.netns, &packet, args.asking.output, out)
        };
        return afar::pass(subject, &args.asking.reach, &args.target, &errand(args), here, out);
    }
    let (settings, complaints) = stated::settings(&args.target.source, &args.asking.reach)?;
    for complaint in &complaints {
        writeln!(io::stderr(), "millrace: {complaint}")?;
    }
    let rules = plan(&settings, Families::Both).rules;
    follow(&rules, &packet, args.asking.output, out)
}

/// The same packet, for a program on the pod's node.
fn errand(args: &Trace) -> afar::Errand {
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let mut rest = vec![
        live::flag("to", args.to),
        live::flag("proto", name(args.proto.to_possible_value()).unwrap_or_default()),
        live::flag("mark", args.mark),
        live::flag("output", name(args.asking.output.to_possible_value()).unwrap_or_default()),
    ];
    rest.extend(args.from.map(|from| live::flag("from", from)));
    rest.extend(args.gid.map(|gid| live::flag("gid", gid)));
    rest.extend(args.out.as_ref().map(|interface| live::flag("out", interface)));
    rest.push(match &args.received {
        Some(interface) => live::flag("in", interface),
        None => live::flag("uid", args.uid),
    });
    afar::Errand { verb: "trace", rest }
}

/// Follows the packet through what a namespace holds. Each backend's rules are followed for themselves.
fn follow_live(netns: &NetNs, packet: &Packet, report: Form, out: &mut dyn Write) -> Result<Outcome> {
    let found = backend::inspect(netns)?;
    if found.is_empty() {
        bail!("{} has no rules at all", netns.path().display());
    }
    let mut outcome = Outcome::Well;
    for (backend, observed) in &found {
        let foreign = live::foreign(observed);
        if foreign > 0 {
            writeln!(
                io::stderr(),
                "millrace: {backend}: {foreign} rules are not ours to read; the packet is led past them"
            )?;
        }
        if matches!(report, Form::Table | Form::Wide) {
            write!(out, "by {backend}: ")?;
        }
        if follow(&observed.known(), packet, report, out)? == Outcome::Wrong {
            outcome = Outcome::Wrong;
        }
    }
    Ok(outcome)
}

fn follow(rules: &RuleSet, packet: &Packet, report: Form, out: &mut dyn Write) -> Result<Outcome> {
    let trace = trace::trace(rules, packet);
    let steps: Vec<Value> = trace.steps.iter().map(json_of).collect();
    let whole = json!({ "packet": words(packet), "steps": steps, "outcome": trace.outcome.to_string() });
    if !form::data(report, &whole, "", out)? {
        writeln!(out, "{}", words(packet))?;
        let mut last = None;
        for step in &trace.steps {
            if last.replace(step.place) != Some(step.place) {
                writeln!(out, "  {}", heading(step.place))?;
            }
            write_step(out, step)?;
        }
        writeln!(out, "outcome: {}", trace.outcome)?;
    }
    Ok(Outcome::when(trace.outcome != trace::Outcome::Endless))
}

fn write_step(out: &mut dyn Write, step: &Step<'_>) -> Result<()> {
    let rule = arguments(step.place.family, step.rule);
    match step.failed {
        Some(failed) => writeln!(out, "    ✗ {:3}  {rule}\n           fails: {failed}", step.number)?,
        None => {
            writeln!(out, "    ✓ {:3}  {rule}", step.number)?;
            if let Some(origin) = origin(step.place, step.rule) {
                writeln!(out, "           {}: {}", origin.id(), origin.why())?;
            }
        }
    }
    Ok(())
}

fn json_of(step: &Step<'_>) -> Value {
    let origin = origin(step.place, step.rule);
    json!({
        "family": reasons::name(step.place.family),
        "table": step.place.table.name(),
        "chain": step.place.chain.name(),
        "number": step.number,
        "rule": arguments(step.place.family, step.rule),
        "matched": step.failed.is_none(),
        "failed": step.failed.map(ToString::to_string),
        "origin": origin.map(|origin| origin.id()),
        "why": origin.map(|origin| origin.why()),
        "setting": origin.map(|origin| origin.setting()),
    })
}

fn heading(place: Place) -> String {
    format!("{} {} {}", reasons::name(place.family), place.table.name(), place.chain.name())
}

/// The packet that the arguments describe. What they leave open is filled in as for a pod's usual traffic.
fn packet(args: &Trace) -> Result<Packet> {
    let to = args.to;
    let of_family = |(v4, v6): (Ipv4Addr, Ipv6Addr)| if to.address.is_ipv4() { v4.into() } else { v6.into() };
    let (path, default_source): (Path, IpAddr) = match args.received {
        Some(_) => (Path::Received, of_family(CLIENT)),
        None if to.address.is_loopback() => (Path::Sent, to.address),
        None => (Path::Sent, of_family(POD)),
    };
    let from = args.from.unwrap_or(Endpoint { address: default_source, port: None });
    if from.address.is_ipv4() != to.address.is_ipv4() {
        bail!("--from {} and --to {} are of two families; say both in one", from.address, to.address);
    }
    let own = to.address.is_loopback() || to.address == from.address;
    let usual = if own { "lo" } else { "eth0" };
    let name = args.received.as_deref().or(args.out.as_deref()).unwrap_or(usual);
    let interface =
        Interface::new(name).with_context(|| format!("{name:?} is not the name of an interface"))?;
    let protocol = match args.proto {
        Proto::Tcp => Some(Protocol::Tcp),
        Proto::Udp => Some(Protocol::Udp),
        Proto::Other => None,
    };
    let owner = Owner { uid: args.uid, gid: args.gid.unwrap_or(args.uid) };
    Ok(Packet {
        path,
        interface,
        protocol,
        source: from.address,
        destination: to.address,
        source_port: from.port.unwrap_or(CLIENT_PORT),
        destination_port: to.port.unwrap_or(80),
        owner: (path == Path::Sent).then_some(owner),
        mark: args.mark,
        connection_mark: 0,
        state: State::New,
    })
}

/// `sent by user 1000, group 1000: tcp from 192.0.2.10 port 40000 to 10.0.0.1 port 80, out by eth0`
fn words(packet: &Packet) -> String {
    let (who, how) = match (packet.path, packet.owner) {
        (Path::Received, _) => ("received".to_owned(), "in by"),
        (Path::Sent, Some(owner)) => (format!("sent by user {}, group {}", owner.uid, owner.gid), "out by"),
        (Path::Sent, None) => ("sent by the kernel".to_owned(), "out by"),
    };
    let end = |address: IpAddr, port: u16| match packet.protocol {
        Some(_) => format!("{address} port {port}"),
        None => address.to_string(),
    };
    let protocol = packet.protocol.map_or("neither TCP nor UDP".to_owned(), |protocol| protocol.to_string());
    let from = end(packet.source, packet.source_port);
    let to = end(packet.destination, packet.destination_port);
    format!("{who}: {protocol} from {from} to {to}, {how} {}", packet.interface)
}
