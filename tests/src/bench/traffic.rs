//! What programs see: bulk data with iperf3, requests to nginx with wrk, the time to connect. Contenders take turns.
//!
//! The client is the router of the lab, so that data crosses one veth pair and the firewall of one host.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::contender::Contender;
use super::policy::{SERVER_PORTS, Size};
use super::rig::{Rig, parse};
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::flood::EmptyVerdict;
use crate::lab::{Family, Process};

const SIZE: Size = Size { prefixes: 16, ranges: 16 };

/// Connections of which the time is taken, for each sample.
const CONNECTIONS: usize = 500;

/// Bulk data with iperf3.
pub(super) fn bulk(extent: Extent) -> Result<Vec<Row>> {
    let rig = Rig::build(SIZE, None)?;
    let _programs = rig.attach_empty_programs(EmptyVerdict::Pass)?;
    let _servers = start(&rig, |_| Ok("iperf3 --server".to_owned()))?;
    let mut rows = Vec::new();
    for (name, options) in extent.bulk() {
        progress(&format!("iperf3: {name}"));
        let mut row = Row::new(format!("bulk/{name}"), Unit::GigabitsPerSecond);
        for _ in 0..extent.repetitions() {
            for contender in Contender::ALL {
                let address = rig.host(contender).address(Family::V4);
                let line = format!("--client {address} --time 1 --json {options}");
                let report = parse(&on_router(&rig, "iperf3", &line)?)?;
                let received = &report["end"]["sum_received"]["bits_per_second"];
                let bits = received.as_f64().with_context(|| format!("iperf3 says no rate: {report}"))?;
                row.push(contender, bits / 1e9);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Requests to nginx, with a connection each and with connections that are kept; and the time to connect.
pub(super) fn web(extent: Extent) -> Result<Vec<Row>> {
    let rig = Rig::build(SIZE, None)?;
    let _programs = rig.attach_empty_programs(EmptyVerdict::Pass)?;
    // Clients leave tens of thousands of connections in TIME-WAIT behind.
    rig.lab().router().configure("net/ipv4/ip_local_port_range", "1024 65535")?;
    let _servers = start(&rig, |contender| nginx(&rig, contender))?;
    let mut rows = Vec::new();
    for &(name, header) in extent.requests() {
        progress(&format!("wrk: {name}"));
        let mut row = Row::new(name, Unit::PerSecond);
        for _ in 0..extent.repetitions() {
            for contender in Contender::ALL {
                let address = rig.host(contender).address(Family::V4);
                let line =
                    format!("--threads 1 --connections 16 --duration 1s -H '{header}' http://{address}/");
                row.push(contender, requests_per_second(&on_router(&rig, "wrk", &line)?)?);
            }
        }
        rows.push(row);
    }
    rows.extend(connect_times(&rig, extent)?);
    Ok(rows)
}

fn connect_times(rig: &Rig, extent: Extent) -> Result<[Row; 2]> {
    progress("time to connect");
    let mut rows = ["connect/p50", "connect/p99"].map(|name| Row::new(name, Unit::Microseconds));
    for _ in 0..extent.repetitions() {
        for contender in Contender::ALL {
            let address = rig.host(contender).address(Family::V4);
            let times = rig.lab().router().run(|| connect_repeatedly(address))?;
            for (row, percentile) in rows.iter_mut().zip([50, 99]) {
                let time = times[times.len() * percentile / 100];
                row.push(contender, time.as_nanos() as f64 / 1000.0);
            }
        }
    }
    Ok(rows)
}

/// The times, from the shortest to the longest.
fn connect_repeatedly(address: IpAddr) -> Result<Vec<Duration>> {
    let [_, port] = SERVER_PORTS;
    let mut times = Vec::new();
    for _ in 0..CONNECTIONS {
        let start = Instant::now();
        let _connection = TcpStream::connect(SocketAddr::new(address, port))?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn requests_per_second(report: &str) -> Result<f64> {
    ensure!(!report.contains("Socket errors"), "wrk met errors: {report}");
    let rate = report.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.with_context(|| format!("wrk says no rate: {report}"))?;
    rate.trim().parse().with_context(|| format!("not a rate: {rate}"))
}

/// Starts a server on every host, and waits until it listens.
fn start(rig: &Rig, line: impl Fn(Contender) -> Result<String>) -> Result<Vec<Process>> {
    let start = |contender| {
        let host = rig.host(contender);
        let mut server = host.start(&line(contender)?);
        let ports = SERVER_PORTS.map(|port| format!(":{port} "));
        server.wait_until(|_| {
            let listening = host.run("ss --no-header --listening --tcp --numeric").stdout();
            ports.iter().any(|port| listening.contains(port))
        });
        Ok(server)
    };
    Contender::ALL.into_iter().map(start).collect()
}

/// The command line of an nginx that answers every request with a few bytes.
fn nginx(rig: &Rig, contender: Contender) -> Result<String> {
    let directory = rig.lab().directory().join(format!("nginx-{contender}"));
    fs::create_dir(&directory)?;
    let configuration = directory.join("nginx.conf");
    let text = format!(
        "daemon off;
        worker_processes 1;
        error_log stderr;
        pid {directory}/pid;
        events {{ worker_connections 1024; }}
        http {{
            access_log off;
            keepalive_requests 1000000;
            client_body_temp_path {directory}/body;
            proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi;
            uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            server {{
                listen 80 backlog=4096;
                location / {{ return 200 \"hello\"; }}
            }}
        }}\n",
        directory = directory.display(),
    );
    fs::write(&configuration, text)?;
    Ok(format!("nginx -c {} -e stderr", configuration.display()))
}

fn on_router(rig: &Rig, program: &str, arguments: &str) -> Result<String> {
    let mut command = rig.lab().router().command(program);
    let output = command.args(shell_words::split(arguments)?).output();
    let output = output.with_context(|| format!("start {program}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments}: {}\n{stdout}{stderr}", output.status);
    Ok(stdout)
}
