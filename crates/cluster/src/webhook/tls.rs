//! TLS on the way into a server: each connection shakes hands by itself, with the certificate of that moment.
//!
//! It knows nothing of what is said inside.

use crate::http::{Accept, Peer};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

/// A listener whose connections are encrypted.
pub(crate) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    /// Serves whatever certificate `served` holds when a connection begins. Those that are open keep theirs.
    pub(crate) fn new(listener: TcpListener, served: watch::Receiver<Arc<CertifiedKey>>) -> TlsListener {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows the protocol's versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Served(served)));
        TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

impl Accept for TlsListener {
    type Stream = Connection;
    async fn accept(&self) -> io::Result<(Connection, Peer)> {
        let (stream, address) = self.listener.accept().await?;
        // Shaking hands here would let one slow client keep all others waiting.
        Ok((Connection::Greeting(Box::new(self.acceptor.accept(stream))), Peer(Some(address.ip()))))
    }
}

#[derive(Debug)]
struct Served(watch::Receiver<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.borrow()))
    }
}

/// A connection, which shakes hands when it is first read from.
pub(crate) enum Connection {
    Greeting(Box<tokio_rustls::Accept<TcpStream>>),
    Open(Box<TlsStream<TcpStream>>),
    /// The client did not want to, or not with what we have.
    Refused,
}

impl Connection {
    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut TlsStream<TcpStream>>> {
        if let Connection::Greeting(greeting) = self {
            *self = match ready!(Pin::new(greeting).poll(context)) {
                Ok(stream) => Connection::Open(Box::new(stream)),
                Err(error) => {
                    *self = Connection::Refused;
                    return Poll::Ready(Err(error));
                }
            };
        }
        match self {
            Connection::Open(stream) => Poll::Ready(Ok(stream)),
            Connection::Greeting(_) | Connection::Refused => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = ready!(self.get_mut().open(context))?;
        Pin::new(stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let stream = ready!(self.get_mut().open(context))?;
        Pin::new(stream).poll_write(context, from)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Open(stream) => Pin::new(stream).poll_flush(context),
            // Nothing was written yet.
            Connection::Greeting(_) | Connection::Refused => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Open(stream) => Pin::new(stream).poll_shutdown(context),
            Connection::Greeting(_) | Connection::Refused => Poll::Ready(Ok(())),
        }
    }
}
