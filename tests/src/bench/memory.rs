//! What a prefix and a flow take of the kernel's memory, and the time to sweep a large flow table.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use firewall_common::abi::{Be16, DEFAULT_FLOW_ENTRIES, FlowKey, Ipv4, KeyWords, map};

use super::contender::Contender;
use super::policy::Size;
use super::publication::Files;
use super::rig::{Rig, number, parse};
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::prog::{Harness, Ingress};

const SMALL: Size = Size { prefixes: 16, ranges: 16 };
const LARGE: Size = Size { prefixes: 65_536, ranges: 16 };

/// Flows of the sweep.
const FLOWS: u32 = 1 << 20;

/// Bytes for each prefix of a large policy, by how much less memory the kernel has with it than without; and bytes for
/// each flow, as the kernel accounts them.
pub(super) fn bytes() -> Result<Vec<Row>> {
    progress("memory");
    let rig = Rig::build(SMALL, None)?;
    let mut prefixes = Row::new("memory/per-prefix", Unit::Bytes);
    let mut flows = Row::new("memory/per-flow", Unit::Bytes);
    let files = Files::write(rig.lab().directory(), LARGE)?;
    for contender in [Contender::SgfwTc, Contender::Nftables] {
        let before = kernel_memory()?;
        files.publish(contender, rig.host(contender))?;
        let taken = kernel_memory()?.saturating_sub(before);
        prefixes.push(contender, taken as f64 / f64::from(2 * LARGE.prefixes));
        flows.push(contender, bytes_per_flow(&rig, contender)?);
    }
    Ok(vec![prefixes, flows])
}

/// Time to look through a million flows that live on, in milliseconds.
pub(super) fn sweep(extent: Extent) -> Result<Row> {
    progress("sweep of a million flows");
    let mut row = Row::new(format!("sweep/flows={FLOWS}"), Unit::Milliseconds);
    let mut harness = Harness::with_flow_entries(Ingress::Tc, FLOWS)?;
    harness.insert_flows((0..FLOWS).map(flow))?;
    for _ in 0..extent.repetitions() {
        let start = Instant::now();
        harness.datapath().expire_flows(|_, _| true)?;
        row.push(Contender::SgfwTc, start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(row)
}

/// Of no interface's zone.
fn flow(number: u32) -> KeyWords {
    let local = Ipv4::from_bytes(number.to_be_bytes());
    FlowKey { local, local_port: Be16::new(1), zone: u16::MAX, ..FlowKey::default() }.words()
}

fn bytes_per_flow(rig: &Rig, contender: Contender) -> Result<f64> {
    let host = rig.host(contender);
    if contender == Contender::Nftables {
        // The object itself; what conntrack allocates beside it is not counted.
        let slabs = fs::read_to_string("/proc/slabinfo").context("read /proc/slabinfo")?;
        let line = slabs.lines().find(|line| line.starts_with("nf_conntrack "));
        let size = line.and_then(|line| line.split_whitespace().nth(3)).context("no slab of conntrack")?;
        return Ok(size.parse()?);
    }
    let mut bytes = 0.0;
    for name in [map::FLOW_FILTERS, map::FLOW_LINES, map::FLOW_DETAILS, map::FLOW_RECORDS] {
        let directory = host.instance().bpffs_directory.display();
        let pin = host.run(&format!("find {directory} -name {name} -path */maps/*")).success()?;
        let info = parse(&host.run(&format!("bpftool --json map show pinned {}", pin.trim())).success()?)?;
        bytes += number(&info["bytes_memlock"])? as f64;
    }
    Ok(bytes / f64::from(DEFAULT_FLOW_ENTRIES))
}

/// Bytes that the kernel holds for itself and cannot reclaim.
fn kernel_memory() -> Result<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let kilobytes = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let parts = ["SUnreclaim:", "VmallocUsed:", "Percpu:"].map(kilobytes);
    Ok(parts.into_iter().flatten().sum::<u64>() * 1024)
}
