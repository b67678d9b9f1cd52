//! Time and memory of a plan, by the shape of the rules that a document adds: the whole command, which compiles the policy before
//! and after and compares what they admit.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::contender::Contender::SgfwTc;
use super::publication::milliseconds;
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::lab::{Host, Lab, Process, Topology};

const GROUP: &str = "app";

/// How often the memory of a running command is read. It only grows, so that what was read last is the most but for this time.
const EVERY: Duration = Duration::from_millis(5);

/// A kind of rules that plans have been slow for.
#[derive(Clone, Copy)]
enum Shape {
    /// A rule for each of many hosts, IPv4.
    HostsV4,
    /// The same, IPv6.
    HostsV6,
    /// Ranges of ports, each inside the one before.
    NestedPorts,
}

impl Shape {
    const ALL: [Self; 3] = [Self::HostsV4, Self::HostsV6, Self::NestedPorts];

    const fn name(self) -> &'static str {
        match self {
            Self::HostsV4 => "hosts-ipv4",
            Self::HostsV6 => "hosts-ipv6",
            Self::NestedPorts => "nested-ports",
        }
    }

    /// How many rules. Of nested ranges more than some thousands are refused: see `LIMITS` of the compiler.
    const fn rules(self, extent: Extent) -> u32 {
        match (extent, self) {
            (Extent::Smoke, _) => 64,
            (_, Self::HostsV4 | Self::HostsV6) => 100_000,
            (_, Self::NestedPorts) => 3_200,
        }
    }

    fn rule(self, number: u32) -> Value {
        match self {
            Self::HostsV4 => {
                // Every other address, so that none are one range.
                let address = Ipv4Addr::from(0x0a00_0000 + 2 * number);
                json!({"protocol": "tcp", "ports": "443", "cidr": format!("{address}/32")})
            }
            Self::HostsV6 => {
                let address = Ipv6Addr::from((0x2001_0db8 << 96) + 2 * u128::from(number));
                json!({"protocol": "tcp", "ports": "443", "cidr": format!("{address}/128")})
            }
            Self::NestedPorts => {
                let ports = format!("{}-{}", 1 + number, 65_535 - number);
                json!({"protocol": "tcp", "ports": ports, "cidr": "0.0.0.0/0"})
            }
        }
    }

    fn document(self, rules: u32) -> Value {
        let rules: Vec<_> = (0..rules).map(|number| self.rule(number)).collect();
        json!({"version": 1, "groups": [{"name": GROUP, "description": "measured", "ingress": rules}]})
    }
}

/// Each shape, in milliseconds and bytes.
pub(super) fn times(extent: Extent) -> Result<Vec<Row>> {
    let lab = Lab::build(&Topology::star([GROUP]))?;
    let host = lab.host(GROUP);
    host.sgfw(&format!("group create {GROUP} --description measured")).success()?;
    host.sgfw(&format!("interface attach {} --group {GROUP}", crate::lab::INTERFACE)).success()?;
    let mut rows = Vec::new();
    for shape in Shape::ALL {
        let rules = shape.rules(extent);
        progress(&format!("plan of {rules} rules, {}", shape.name()));
        let document = lab.directory().join(format!("{}.json", shape.name()));
        fs::write(&document, shape.document(rules).to_string())?;
        let scenario = format!("plan/{}/rules={rules}", shape.name());
        let mut time = Row::new(format!("{scenario}/time"), Unit::Milliseconds);
        let mut memory = Row::new(format!("{scenario}/memory"), Unit::Bytes);
        for _ in 0..extent.plans() {
            let (taken, most) = watched(host, &format!("plan --file {}", document.display()))?;
            time.push(SgfwTc, milliseconds(taken));
            #[expect(clippy::cast_precision_loss, reason = "bytes of a process")]
            memory.push(SgfwTc, most as f64);
        }
        rows.extend([time, memory]);
    }
    Ok(rows)
}

/// Runs a command of `sgfw` that must succeed; how long it took, and how many bytes it has held at most.
fn watched(host: &Host, arguments: &str) -> Result<(Duration, u64)> {
    let start = Instant::now();
    let process = host.start_sgfw(arguments);
    let mut most = 0;
    while let Some(bytes) = most_resident(&process)? {
        most = bytes;
        sleep(EVERY);
    }
    let time = start.elapsed();
    let (status, written) = process.wait();
    ensure!(status.success(), "sgfw {arguments}: {status}\n{written}");
    Ok((time, most))
}

/// The most memory that a process has held so far, in bytes; nothing if it has ended.
fn most_resident(process: &Process) -> Result<Option<u64>> {
    let Ok(status) = fs::read_to_string(format!("/proc/{}/status", process.id())) else {
        return Ok(None);
    };
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else {
        return Ok(None);
    };
    let kilobytes = line.trim().trim_end_matches(" kB");
    Ok(Some(kilobytes.parse::<u64>().context("VmHWM of a process")? * 1024))
}
