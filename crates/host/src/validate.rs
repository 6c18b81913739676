//! Whether this namespace's traffic is redirected, by sending some: what the container `istio-validation` does, for both
//! families and both directions.
//!
//! It needs no privilege and changes nothing. Inbound is seen as the proxy's user, outbound as any other; with the right to
//! become another it sees both, otherwise what its own user allows. It sends to addresses only that cannot be anybody's.

mod probe;

use crate::families;
use millrace_core::settings::{Families, Outbound, OwnerGroups, Settings};
use probe::{Fault, Identity};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// What should hold.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The redirection.
    pub settings: &'a Settings,
    /// The port nobody listens on.
    pub probe_port: u16,
    /// How long it may take in all.
    pub patience: Duration,
}

/// Why the redirection is not what it should be.
#[derive(Debug)]
#[allow(missing_docs, reason = "a variant's sentence names its fields")]
pub enum Error {
    /// The addresses could not be read.
    Families(std::io::Error),
    /// A probe was not redirected.
    Probe { probe: Probe, target: SocketAddr, port: u16, fault: Fault },
    /// There was nothing that could be probed.
    Nothing { why: Vec<String> },
}

/// One direction of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Probe {
    Inbound4,
    Inbound6,
    Outbound4,
    Outbound6,
}

impl Probe {
    fn is_inbound(self) -> bool {
        matches!(self, Probe::Inbound4 | Probe::Inbound6)
    }

    fn is_v4(self) -> bool {
        matches!(self, Probe::Inbound4 | Probe::Outbound4)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Probe::Inbound4 => "IPv4 inbound",
            Probe::Inbound6 => "IPv6 inbound",
            Probe::Outbound4 => "IPv4 outbound",
            Probe::Outbound6 => "IPv6 outbound",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Families(error) => write!(f, "validation failed: cannot read our own addresses: {error}"),
            Error::Probe { probe, target, port, fault } => write!(
                f,
                "validation failed: {probe} traffic is not redirected: {target} should lead to port {port}, but {fault}. \
                 The CNI plugin has not set this pod up (was it installed on this node after the pod was scheduled, or \
                 did another plugin rewrite its list?): delete the pod to have it set up anew, and run \
                 millrace-cni inspect on the node to see its rules"
            ),
            Error::Nothing { why } => {
                write!(
                    f,
                    "validation failed: nothing could be probed: {}; run it as the proxy's user",
                    why.join("; ")
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// Probes everything that can be; what was found, one line each.
pub fn validate(wanted: &Wanted<'_>) -> Result<Vec<String>, Error> {
    let deadline = Instant::now() + wanted.patience;
    let probes = match families::own().map_err(Error::Families)? {
        Families::V4 => &[Probe::Inbound4, Probe::Outbound4][..],
        Families::Both => &[Probe::Inbound4, Probe::Inbound6, Probe::Outbound4, Probe::Outbound6],
    };
    let (mut seen, mut unseen) = (Vec::new(), Vec::new());
    for probe in probes {
        match look(*probe, wanted, deadline)? {
            Ok(line) => seen.push(line),
            Err(why) => unseen.push(format!("{probe} was not probed: {why}")),
        }
    }
    if seen.is_empty() {
        return Err(Error::Nothing { why: unseen });
    }
    seen.append(&mut unseen);
    Ok(seen)
}

/// What was seen; or why nothing could be.
fn look(probe: Probe, wanted: &Wanted<'_>, deadline: Instant) -> Result<Result<String, String>, Error> {
    let settings = wanted.settings;
    let port = if probe.is_inbound() { settings.inbound_port } else { settings.outbound_port };
    let address = match if probe.is_inbound() { inbound(probe, settings) } else { outbound(probe, wanted) } {
        Ok(address) => address,
        Err(why) => return Ok(Err(why)),
    };
    let who = if probe.is_inbound() { as_proxy(settings) } else { as_application(settings) };
    let Some(socket) = probe::socket(probe.is_v4(), who) else {
        let who = if probe.is_inbound() { "the proxy's user" } else { "another user than the proxy's" };
        return Ok(Err(format!("we are not {who} and may not become it")));
    };
    let target = SocketAddr::new(address, wanted.probe_port);
    let bound = if probe.is_inbound() { probe::from_loopback(&socket, probe.is_v4()) } else { Ok(()) };
    match bound.and_then(|()| probe::send(socket, target, port, deadline)) {
        Ok(by) => Ok(Ok(format!("{probe}: {target} leads to port {port}, where {by}"))),
        // Without a route the kernel gives up before it asks any rule: this direction does not exist here.
        Err(Fault::NoRoute) if !probe.is_inbound() => Ok(Err(format!("there is no route to {target}"))),
        Err(fault) => Err(Error::Probe { probe, target, port, fault }),
    }
}

/// Where the proxy's self-call goes: it enters the inbound side over `lo`, whatever ports are captured.
fn inbound(probe: Probe, settings: &Settings) -> Result<IpAddr, String> {
    if !probe.is_v4() {
        return Ok(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into());
    }
    let hop = Ipv4Addr::new(127, 0, 0, 6);
    if !settings.loopback.contains(&hop) {
        return Ok(hop.into());
    }
    // 127.0.0.6 counts as the application's own loopback here, and is left alone; our own address is not.
    let own = probe::own_address(OUTSIDE_4);
    own.ok_or_else(|| format!("{} covers {hop}, and we have no other address", settings.loopback))
}

/// Addresses for documentation (RFC 5737, RFC 3849): nobody has them.
const OUTSIDE_4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OUTSIDE_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// An address that must be captured on its way out, if the settings capture one that is nobody's.
fn outbound(probe: Probe, wanted: &Wanted<'_>) -> Result<IpAddr, String> {
    let settings = wanted.settings;
    let address = if probe.is_v4() { OUTSIDE_4 } else { OUTSIDE_6 };
    let port_in = |ports: &[millrace_core::settings::PortRange]| {
        ports.iter().any(|range| range.contains(wanted.probe_port))
    };
    let excluded = settings.exclude_outbound_ranges.iter().any(|range| range.contains(&address));
    let captured = match &settings.outbound {
        Outbound::All => true,
        Outbound::Only(ranges) => ranges.iter().any(|range| range.contains(&address)),
        Outbound::Nothing => false,
    };
    let captured = captured || port_in(&settings.include_outbound_ports);
    if captured && !excluded && !port_in(&settings.exclude_outbound_ports) {
        Ok(address)
    } else {
        Err(format!("the settings do not capture {address}"))
    }
}

/// Who the probe's socket must belong to; `None` if it may be ours.
fn as_proxy(settings: &Settings) -> Option<Identity> {
    let own = probe::own_identity();
    let is_proxy = settings.proxy_uids.contains(&own.uid) || settings.proxy_gids.contains(&own.gid);
    let uid = settings.proxy_uids.first().copied().unwrap_or(own.uid);
    let gid = settings.proxy_gids.first().copied().unwrap_or(own.gid);
    (!is_proxy).then_some(Identity { uid, gid })
}

fn as_application(settings: &Settings) -> Option<Identity> {
    let own = probe::own_identity();
    let spared = |uid: &u32| settings.proxy_uids.contains(uid) || settings.exclude_uids.contains(uid);
    let group = |gid: &u32| {
        !settings.proxy_gids.contains(gid)
            && match &settings.owner_groups {
                OwnerGroups::AllExcept(groups) => !groups.contains(gid),
                OwnerGroups::Only(groups) => groups.contains(gid),
            }
    };
    if !spared(&own.uid) && group(&own.gid) {
        return None;
    }
    let listed = match &settings.owner_groups {
        OwnerGroups::Only(groups) => groups.clone(),
        OwnerGroups::AllExcept(_) => Vec::new(),
    };
    let uid = (1000..2000).find(|uid| !spared(uid)).unwrap_or(own.uid);
    let gid = listed.into_iter().chain(1000..2000).find(group).unwrap_or(own.gid);
    Some(Identity { uid, gid })
}
