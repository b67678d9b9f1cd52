//! Time for each frame that arrives: denied, of an established flow, of a new one, untracked.
//!
//! The frames are made in the kernel and redirected into the link of a contender's host ([`crate::flood`]), all on one
//! CPU: what is timed is the way of a frame from the generator over veth to the verdict, or to a socket that nobody
//! reads. Contenders take turns.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::contender::Contender;
use super::policy::{Size, UNTRACKED_PORT};
use super::rig::Rig;
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::flood::{EmptyVerdict, Flood, FloodKind, Senders};
use crate::lab::{Family, PacketSocket, ROUTER, UdpServer};

/// A kind of traffic.
pub(super) struct Scenario {
    name: String,
    pub(super) family: Family,
    pub(super) kind: FloodKind,
    /// What is to be decided.
    pub(super) reason: &'static str,
    empty: EmptyVerdict,
    /// Frames before any that count, so that tables are as full as they get.
    warm_up: u32,
}

/// Traffic that depends on the size of the policy, or must not.
pub(super) fn by_policy_size(extent: Extent) -> Result<Vec<Row>> {
    /// As many as a CPU remembers.
    const FLOWS: u32 = 1024;
    let mut rows = Vec::new();
    for &size in extent.sizes() {
        progress(&format!("frames: {} prefixes, {} port ranges", size.prefixes, size.ranges));
        let rig = Rig::build(size, None)?;
        let families = extent.families();
        for &family in families {
            rows.push(established(
                &rig,
                size,
                scenario_name(size, family, "established"),
                family,
                FLOWS,
                extent,
            )?);
        }
        let _sinks = [rig.bind_sinks(size.tracked_port())?, rig.bind_sinks(UNTRACKED_PORT)?];
        // New flows last: they leave the tables full.
        for scenario in [denied, untracked, new_flows] {
            for &family in families {
                rows.push(measure(&rig, &Contender::ALL, &scenario(size, family, extent), extent)?);
            }
        }
    }
    Ok(rows)
}

/// Traffic of established flows, by their number.
pub(super) fn by_flows(extent: Extent) -> Result<Vec<Row>> {
    const SIZE: Size = Size { prefixes: 16, ranges: 16 };
    let mut rows = Vec::new();
    for &flows in extent.flows() {
        progress(&format!("frames: {flows} established flows"));
        let rig = Rig::build(SIZE, Some(2 * crate::flood::MAX_FLOWS))?;
        for &family in extent.families() {
            let name = format!("{}/established/flows={flows}", label(family));
            rows.push(established(&rig, SIZE, name, family, flows, extent)?);
        }
    }
    Ok(rows)
}

fn established(
    rig: &Rig,
    size: Size,
    name: String,
    family: Family,
    flows: u32,
    extent: Extent,
) -> Result<Row> {
    let port = size.tracked_port();
    let kind = FloodKind::Datagrams { port, senders: Senders::Flows { count: flows } };
    let contenders = contenders_that_hold(flows)?;
    let mut firewalls = contenders.iter().filter(|it| Contender::FIREWALLS.contains(it));
    if let Err(error) = firewalls.try_for_each(|contender| establish(rig, *contender, family, kind, flows)) {
        // One firewall that cannot hold them does not undo what was measured before.
        return Ok(Row { void: Some(format!("{error:#}")), ..Row::new(name, Unit::NanosecondsPerFrame) });
    }
    let _sinks = rig.bind_sinks(port)?;
    let (empty, warm_up) = (EmptyVerdict::Pass, extent.frames() / 4);
    let scenario = Scenario { name, family, kind, reason: "tracked", empty, warm_up };
    measure(rig, &contenders, &scenario, extent)
}

/// Datagrams to an open port, from prefixes that are not listed.
pub(super) fn denied(size: Size, family: Family, extent: Extent) -> Scenario {
    let senders = size.senders(family, false);
    Scenario {
        name: scenario_name(size, family, "denied"),
        family,
        kind: FloodKind::Datagrams { port: size.tracked_port(), senders },
        reason: "no-rule",
        empty: EmptyVerdict::Drop,
        warm_up: 10_000.min(extent.frames()),
    }
}

pub(super) fn untracked(size: Size, family: Family, extent: Extent) -> Scenario {
    let senders = size.senders(family, true);
    Scenario {
        name: scenario_name(size, family, "untracked"),
        family,
        kind: FloodKind::Datagrams { port: UNTRACKED_PORT, senders },
        reason: "untracked",
        empty: EmptyVerdict::Pass,
        warm_up: 10_000.min(extent.frames()),
    }
}

/// The tables of all firewalls are full before the first frame that counts.
fn new_flows(size: Size, family: Family, extent: Extent) -> Scenario {
    let senders = size.senders(family, true);
    Scenario {
        name: scenario_name(size, family, "new-flow"),
        family,
        kind: FloodKind::Datagrams { port: size.tracked_port(), senders },
        reason: "rule",
        empty: EmptyVerdict::Pass,
        warm_up: extent.new_flows_before(),
    }
}

fn scenario_name(size: Size, family: Family, kind: &str) -> String {
    format!("{}/{kind}/prefixes={}/ranges={}", label(family), size.prefixes, size.ranges)
}

const fn label(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// Conntrack begins to drop flows of datagrams when it is nearly full. Its size is the whole machine's, and left alone.
fn contenders_that_hold(flows: u32) -> Result<Vec<Contender>> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    let most: u32 = fs::read_to_string(path).with_context(|| format!("read {path}"))?.trim().parse()?;
    let holds = |contender: &Contender| *contender != Contender::Nftables || flows < most / 10 * 9;
    Ok(Contender::ALL.into_iter().filter(holds).collect())
}

fn measure(rig: &Rig, contenders: &[Contender], scenario: &Scenario, extent: Extent) -> Result<Row> {
    let mut row = Row::new(&scenario.name, Unit::NanosecondsPerFrame);
    let _programs = rig.attach_empty_programs(scenario.empty)?;
    let mut floods = BTreeMap::new();
    for &contender in contenders {
        let flood = Flood::prepare(rig.lab(), rig.host(contender), scenario.family, scenario.kind)?;
        floods.insert(contender, flood);
    }
    let _pinned = Pinned::to_the_last_cpu()?;
    let mut before = BTreeMap::new();
    for (contender, flood) in &floods {
        flood.send(scenario.warm_up)?;
        before.insert(*contender, rig.decided(*contender, scenario.reason)?);
    }
    for _ in 0..extent.repetitions() {
        for (contender, flood) in &floods {
            let time = flood.send(extent.frames())?;
            row.push(*contender, time.as_nanos() as f64 / f64::from(extent.frames()));
        }
    }
    let sent = u64::from(extent.frames()) * u64::from(extent.repetitions());
    for (contender, before) in before {
        if let Err(error) = rig.check_decided(contender, scenario.reason, before, sent) {
            row.void = Some(format!("{error:#}"));
        }
    }
    Ok(row)
}

/// Makes flows established by what establishes them: a datagram, its answer, and one more each way.
fn establish(rig: &Rig, contender: Contender, family: Family, kind: FloodKind, flows: u32) -> Result<()> {
    /// As many as the socket of the server holds.
    const AT_A_TIME: usize = 64;
    let FloodKind::Datagrams { port, .. } = kind else {
        unreachable!("flows are made of datagrams");
    };
    let host = rig.host(contender);
    let flood = Flood::prepare(rig.lab(), host, family, kind)?;
    let _server = UdpServer::start_echo(host, port)?;
    let ethertype = match family {
        Family::V4 => 0x0800,
        Family::V6 => 0x86dd,
    };
    let link = PacketSocket::open(rig.lab().router(), &format!("to-{}", host.name()), ethertype)?;
    let all: Vec<u32> = (0..flows).collect();
    for flows in all.chunks(AT_A_TIME) {
        let frames: Vec<_> = flows.iter().map(|flow| flood.frame_of_flow(*flow, port)).collect();
        for _ in 0..2 {
            exchange(&link, &frames).with_context(|| format!("{contender}, between {ROUTER} and server"))?;
        }
    }
    Ok(())
}

/// Sends frames, and waits for as many answers.
fn exchange(link: &PacketSocket, frames: &[Vec<u8>]) -> Result<()> {
    let start = std::time::Instant::now();
    while link.receive().is_some() {}
    frames.iter().try_for_each(|frame| link.send(frame))?;
    let mut answers = 0;
    while answers < frames.len() {
        if link.receive().is_some() {
            answers += 1;
        }
        ensure!(start.elapsed().as_secs() < 5, "{answers} answers to {} datagrams", frames.len());
    }
    Ok(())
}

/// This thread, and those that it starts, on one CPU: the queues of veth are served where they are filled.
pub(super) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(super) fn to_the_last_cpu() -> Result<Self> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        let last = (0..CpuSet::count()).rev().find(|cpu| before.is_set(*cpu).unwrap_or(false));
        let mut one = CpuSet::new();
        one.set(last.context("no CPU to run on")?)?;
        sched_setaffinity(Pid::from_raw(0), &one)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was in force a moment ago is allowed still.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}
