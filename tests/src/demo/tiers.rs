//! The servers of the demo: a load balancer that asks the application, which asks the database, line by line.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use super::matrix::{TCP_PORTS, UDP_PORT};
use crate::lab::{Family, Host, Lab, Link, TcpServer, UdpServer};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The servers of all hosts. They stop when this is dropped.
pub(super) struct Servers {
    _tcp: Vec<TcpServer>,
    _udp: Vec<UdpServer>,
}

/// Starts a server on every port that is probed, on every host.
pub(super) fn start_servers(lab: &Lab) -> Result<Servers> {
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for host in lab.hosts() {
        for port in TCP_PORTS {
            let name = host.name();
            let upstream = upstream(lab, name, port);
            tcp.push(TcpServer::start(host, port, move |client| serve(&client, name, upstream))?);
        }
        udp.push(UdpServer::start_echo(host, UDP_PORT)?);
    }
    Ok(Servers { _tcp: tcp, _udp: udp })
}

/// A request that was answered; its connections stay open until it is dropped.
pub(super) struct Request {
    /// The tiers that it went through.
    pub(super) answer: String,
    _connection: TcpStream,
}

/// Sends a request to the load balancer at `address`.
pub(super) fn request(client: &Host, address: IpAddr) -> Result<Request> {
    let ask = || {
        let connection = connect(SocketAddr::new(address, 80))?;
        let answer = exchange(&connection, "who is there?")?;
        Ok(Request { answer, _connection: connection })
    };
    let request: io::Result<Request> = client.namespace().run(ask);
    request.with_context(|| format!("no answer from the load balancer at {address}"))
}

/// Whom the server on `port` of `host` asks in its turn.
fn upstream(lab: &Lab, host: &str, port: u16) -> Option<(Link, u16)> {
    match (host, port) {
        ("lb", 80 | 443) => Some((lab.host("app").link(), 8080)),
        ("app", 8080) => Some((lab.host("db").link(), 5432)),
        _ => None,
    }
}

/// Answers each line with the server's name, and the answer of its upstream if it has one.
fn serve(mut client: &TcpStream, name: &str, upstream: Option<(Link, u16)>) -> io::Result<()> {
    let family = Family::of(client.peer_addr()?.ip().to_canonical());
    let mut to_upstream = None;
    for line in BufReader::new(client).lines() {
        let line = line?;
        let Some((link, port)) = upstream else {
            writeln!(client, "{name}")?;
            continue;
        };
        let connection = match to_upstream.take() {
            Some(connection) => connection,
            None => connect(SocketAddr::new(link.host(family), port))?,
        };
        let answer = exchange(&connection, &line)?;
        writeln!(client, "{name} > {answer}")?;
        to_upstream = Some(connection);
    }
    Ok(())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

fn exchange(mut connection: &TcpStream, line: &str) -> io::Result<String> {
    writeln!(connection, "{line}")?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}
