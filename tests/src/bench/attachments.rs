//! Time to attach interfaces, and to attach again what was lost: processor time of the whole command, and how long an operator
//! waits for many.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::contender::Contender::{self, SgfwTc, SgfwXdp};
use super::publication::milliseconds;
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::lab::{Host, Lab, Topology};

const GROUP: &str = "app";

/// Interfaces whose links go before `sgfw repair` is timed.
const LOST: u32 = 10;

/// The first interface and a second one on each hook, in milliseconds of processor time; then many at once, and the repair of ten of
/// them, in milliseconds.
pub(super) fn times(extent: Extent) -> Result<Vec<Row>> {
    let lab = Lab::build(&Topology::star([GROUP]))?;
    let host = lab.host(GROUP);
    let many = extent.interfaces();
    for number in 0..many {
        let name = device(number);
        host.namespace().ip_batch(&format!("link add {name} up type veth peer name {name}-peer\n"))?;
    }
    host.sgfw(&format!("group create {GROUP} --description benchmark")).success()?;
    let mut rows = each(host, extent)?;
    rows.extend(all(host, many)?);
    Ok(rows)
}

fn each(host: &Host, extent: Extent) -> Result<Vec<Row>> {
    let mut first = Row::new("attach/first/cpu", Unit::Milliseconds);
    let mut second = Row::new("attach/second/cpu", Unit::Milliseconds);
    for _ in 0..extent.attachments() {
        for (contender, hook) in [(SgfwTc, "tc"), (SgfwXdp, "xdp")] {
            progress(&format!("attachment to {hook}"));
            for (row, number) in [(&mut first, 0), (&mut second, 1)] {
                row.push(contender, processor_time(|| attach(host, number, hook))?);
            }
            for number in 0..2 {
                host.sgfw(&format!("interface detach {}", device(number))).success()?;
            }
        }
    }
    Ok(vec![first, second])
}

fn all(host: &Host, many: u32) -> Result<[Row; 2]> {
    const CONTENDER: Contender = SgfwTc;
    progress(&format!("attachment of {many} interfaces, and the repair of {LOST}"));
    let mut attached = Row::new(format!("attach/all/interfaces={many}"), Unit::Milliseconds);
    attached.push(CONTENDER, time(|| (0..many).try_for_each(|number| attach(host, number, "tc")))?);
    let links = host.instance().bpffs_directory.join("v6/links");
    for link in fs::read_dir(&links).with_context(|| links.display().to_string())? {
        let path = link?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let slot: u32 = name.split('-').next().unwrap_or_default().parse()?;
        if slot < LOST {
            fs::remove_file(path)?;
        }
    }
    let mut repaired = Row::new(format!("repair/interfaces={LOST}"), Unit::Milliseconds);
    repaired.push(CONTENDER, time(|| host.sgfw("repair").success().map(drop))?);
    for number in 0..many {
        host.sgfw(&format!("interface detach {}", device(number))).success()?;
    }
    Ok([attached, repaired])
}

fn device(number: u32) -> String {
    format!("many{number}")
}

fn attach(host: &Host, number: u32, hook: &str) -> Result<()> {
    let line = format!("interface attach {} --group {GROUP} --ingress-hook {hook}", device(number));
    host.sgfw(&line).success().map(drop)
}

fn time(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(milliseconds(start.elapsed()))
}

/// Of the processes that `work` starts and waits for.
fn processor_time(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let used = || -> Result<i64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let micros = |time: TimeVal| time.num_microseconds();
        Ok(micros(usage.user_time()) + micros(usage.system_time()))
    };
    let before = used()?;
    work()?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a command")]
    Ok((used()? - before) as f64 / 1000.0)
}
