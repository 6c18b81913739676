//! What the kernel tells of changes in a namespace, for tests of what it does later than it answers.

use super::Namespace;
use rustix::fd::OwnedFd;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::time::Duration;

/// RTMGRP_IPV6_ROUTE of linux/rtnetlink.h.
const IPV6_ROUTES: u32 = 0x400;
const PATIENCE: Duration = Duration::from_secs(60);

/// The changes of a namespace's IPv6 routes, from when this was made.
#[derive(Debug)]
pub struct RouteChanges(OwnedFd);

impl RouteChanges {
    /// Listens from now on.
    pub fn of(namespace: &Namespace) -> RouteChanges {
        let listen = || {
            // NETLINK_ROUTE is protocol 0.
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, IPV6_ROUTES))?;
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            Ok::<_, rustix::io::Errno>(socket)
        };
        RouteChanges(namespace.within(listen).expect("anybody may listen to rtnetlink"))
    }

    /// Waits for the next; several may be one.
    pub fn next(&self) {
        recv(&self.0, &mut [0; 8192], RecvFlags::empty())
            .unwrap_or_else(|cause| panic!("no route changed: {cause}"));
    }
}
