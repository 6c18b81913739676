//! What the plugin tells the node's agent after each ADD, heard in the agent's place.

use anyhow::Context;
use millrace_core::ask::{self, Event};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The socket the plugin's events arrive at.
#[derive(Debug)]
pub(crate) struct Events(UnixDatagram);

impl Events {
    /// Listens at `path`.
    pub(crate) fn listen(path: &Path) -> anyhow::Result<Events> {
        let socket =
            UnixDatagram::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(Events(socket))
    }

    /// What was said about the container's ADD. The plugin sends it before it ends, so after its end it is here.
    pub(crate) fn about(&self, container: &str) -> anyhow::Result<Option<Event>> {
        let mut bytes = vec![0; ask::LONGEST];
        let mut found = None;
        loop {
            let length = match self.0.recv(&mut bytes) {
                Ok(length) => length,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(found),
                Err(cause) => return Err(cause).context("cannot hear the plugin's events"),
            };
            let event =
                Event::read(&bytes[..length]).context("the plugin sent an event nobody understands")?;
            if event.container == container && event.verb == "ADD" {
                found = Some(event);
            }
        }
    }
}
