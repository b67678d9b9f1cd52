//! Servers in the test's own process, listening in a host's namespace: they need nothing installed.

use std::io;
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket;

use super::{Host, once_free};

/// How long a server waits for the other end of a connection: longer than any test takes, on the busiest machine.
const TIMEOUT: Duration = Duration::from_secs(900);

/// A TCP server for both families, stopped on drop.
#[derive(Debug)]
pub struct TcpServer {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl TcpServer {
    /// Listens on `port` of `host`; `serve` handles each connection on a thread of its own, in the host's namespace.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn start(
        host: &Host,
        port: u16,
        serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let serve = Arc::new(serve);
        let start = || {
            let listener = once_free(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
            let accepting = listener.try_clone()?;
            // This thread, and those it starts, inherit the namespace.
            let thread = thread::spawn(move || {
                while let Ok((stream, _)) = accepting.accept() {
                    let serve = Arc::clone(&serve);
                    thread::spawn(move || {
                        let timeouts = stream
                            .set_read_timeout(Some(TIMEOUT))
                            .and_then(|()| stream.set_write_timeout(Some(TIMEOUT)));
                        // A client that gives up is its own affair: it sees that it got no answer.
                        let _ = timeouts.and_then(|()| serve(stream));
                    });
                }
            });
            Ok(Self { listener, thread: Some(thread) })
        };
        let started: io::Result<Self> = host.namespace().run(start);
        started.with_context(|| format!("cannot listen on TCP port {port} of {}", host.name()))
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        // Wakes the accepting thread with an error.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A UDP server for both families that sends every datagram back, stopped on drop.
#[derive(Debug)]
pub struct UdpServer {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    /// Listens on `port` of `host`.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn start_echo(host: &Host, port: u16) -> Result<Self> {
        let bind = || {
            let socket = once_free(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
            // So that the thread sees within this time that it should stop.
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok(socket)
        };
        let socket: io::Result<UdpSocket> = host.namespace().run(bind);
        let socket =
            socket.with_context(|| format!("cannot listen on UDP port {port} of {}", host.name()))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let seen_by_thread = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            let mut datagram = vec![0; usize::from(u16::MAX)];
            while !seen_by_thread.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                    let _ = socket.send_to(&datagram[..length], from);
                }
            }
        });
        Ok(Self { stopped, thread: Some(thread) })
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
