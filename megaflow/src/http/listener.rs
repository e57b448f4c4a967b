//! Connections, bounded in number and in time.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// At most this number of connections are open at once. When one more comes, the oldest is cut
/// off, so that a client that holds idle connections keeps no other client out.
const CONNECTIONS: usize = 128;
/// Pause between two attempts to take a connection, after one has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest life of a connection. A scraper or browser then opens another one.
const LIFETIME: Duration = Duration::from_secs(60);

pub(super) struct Bounded {
    listener: TcpListener,
    /// The connections, the oldest first. Dropping a sender cuts its connection off.
    open: VecDeque<oneshot::Sender<()>>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Bounded {
        Bounded { listener, open: VecDeque::new() }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = loop {
            match self.listener.accept().await {
                Ok(accepted) => break accepted,
                // Out of file descriptors: connections that end will free some.
                Err(error) => {
                    let error = crate::limits::explained(&error);
                    tracing::warn!(error, "the HTTP listener can't take a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        self.open.retain(|connection| !connection.is_closed());
        if self.open.len() >= CONNECTIONS {
            self.open.pop_front();
        }
        let (sender, cut) = oneshot::channel();
        self.open.push_back(sender);
        let end = Box::pin(tokio::time::sleep(LIFETIME));
        (Connection { stream, end, cut }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection. Reading and writing fail when its time is over, or when a newer connection
/// needs its place.
pub(super) struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    cut: oneshot::Receiver<()>,
}

impl Connection {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_over = self.end.as_mut().poll(context).is_ready();
        // Nothing is ever sent on this channel. It is ready when the sender is gone.
        let is_cut = Pin::new(&mut self.cut).poll(context).is_ready();
        if is_over || is_cut { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
