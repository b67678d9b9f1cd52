//! The live traffic beside a flood: established connections that keep talking, and new clients.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use firewall_tests::lab::{Host, TcpServer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How long an answer may take: TCP repeats what a full queue loses, at growing intervals, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two rounds of exchanges, and between two new clients.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets this process open both ends of all connections.
pub(crate) fn allow_many_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// A server that sends back what it hears, for as long as the client likes.
pub(crate) fn echo_server(host: &Host, port: u16) -> TcpServer {
    let echo = |mut client: TcpStream| {
        client.set_read_timeout(None)?;
        let mut heard = [0; 64];
        loop {
            match client.read(&mut heard)? {
                0 => return Ok(()),
                length => client.write_all(&heard[..length])?,
            }
        }
    };
    TcpServer::start(host, port, echo).unwrap()
}

/// Connections that were there before the flood.
pub(crate) struct Established {
    connections: Vec<TcpStream>,
}

impl Established {
    #[track_caller]
    pub(crate) fn open(from: &Host, to: IpAddr, port: u16, count: usize) -> Self {
        let address = SocketAddr::new(to, port);
        let open = || (0..count).map(|_| connect(address)).collect::<io::Result<_>>();
        let mut connections: Vec<_> = from.namespace().run(open).unwrap();
        connections.iter_mut().try_for_each(exchange).unwrap();
        Self { connections }
    }

    /// Exchanges data on all of them until told to stop, and once more after that. Returns the number of round trips,
    /// and the errors of those that broke.
    pub(crate) fn talk(&mut self, done: &AtomicBool) -> (u64, Vec<String>) {
        let (mut exchanges, mut broken) = (0, Vec::new());
        loop {
            let is_last = done.load(Ordering::Relaxed);
            self.connections.retain_mut(|connection| match exchange(connection) {
                Ok(()) => {
                    exchanges += 1;
                    true
                }
                Err(error) => {
                    broken.push(error.to_string());
                    false
                }
            });
            if is_last {
                return (exchanges, broken);
            }
            thread::sleep(PAUSE);
        }
    }
}

/// New clients of one port, each with a connection of its own.
pub(crate) struct Clients<'lab> {
    host: &'lab Host,
    address: SocketAddr,
    attempts: AtomicU64,
    successes: AtomicU64,
}

impl<'lab> Clients<'lab> {
    pub(crate) fn new(from: &'lab Host, to: IpAddr, port: u16) -> Self {
        let address = SocketAddr::new(to, port);
        Self { host: from, address, attempts: AtomicU64::new(0), successes: AtomicU64::new(0) }
    }

    /// Connects ten times a second until told to stop, and waits for the last answer.
    pub(crate) fn keep_connecting(&self, done: &AtomicBool) {
        let connect_once = || {
            if connect(self.address).and_then(|mut connection| exchange(&mut connection)).is_ok() {
                self.successes.fetch_add(1, Ordering::Relaxed);
            }
        };
        let keep_connecting = || {
            thread::scope(|scope| {
                while !done.load(Ordering::Relaxed) {
                    scope.spawn(connect_once);
                    self.attempts.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            });
        };
        self.host.namespace().run(keep_connecting);
    }

    /// How many have tried so far.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// How many have had an answer so far.
    pub(crate) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

fn exchange(connection: &mut TcpStream) -> io::Result<()> {
    connection.write_all(b"hello")?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer)?;
    if &answer == b"hello" { Ok(()) } else { Err(io::Error::other("another answer than hello")) }
}
