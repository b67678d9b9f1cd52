//! Frames that arrive while the policy is changed again and again.
//!
//! The changes need a processor and caches themselves, whatever is changed. So the time by frame while a host's own
//! policy is changed is held against that while another host's is: the difference is what the data path feels of it.
//! The rows are void if one frame was decided in another way than by the rules that stand throughout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};

use super::contender::Contender;
use super::frames::{Pinned, Scenario, denied, untracked};
use super::policy::{NAME, Size, UNTRACKED_PORT};
use super::rig::Rig;
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::flood::Flood;
use crate::lab::{Family, Host};

const SIZE: Size = Size { prefixes: 16, ranges: 16 };

/// Whose frames are timed.
const MEASURED: Contender = Contender::SgfwTc;

/// Whose policy is changed meanwhile, and what that is called.
const CHANGED: [(Contender, &str); 2] = [(MEASURED, "own"), (Contender::SgfwXdp, "another's")];

pub(super) fn times(extent: Extent) -> Result<Vec<Row>> {
    progress(&format!("frames during {} changes of the policy", extent.updates()));
    let rig = Rig::build(SIZE, None)?;
    let _sinks = [rig.bind_sinks(SIZE.tracked_port())?, rig.bind_sinks(UNTRACKED_PORT)?];
    let scenarios = [denied, untracked].map(|scenario| scenario(SIZE, Family::V4, extent));
    let mut rows = Vec::new();
    for (changed, whose) in CHANGED {
        rows.extend(measure(&rig, &scenarios, rig.host(changed), whose, extent)?);
    }
    Ok(rows)
}

/// A row for each scenario.
fn measure(
    rig: &Rig,
    scenarios: &[Scenario; 2],
    changed: &Host,
    whose: &str,
    extent: Extent,
) -> Result<Vec<Row>> {
    let target = rig.host(MEASURED);
    let prepare = |scenario: &Scenario| -> Result<_> {
        let flood = Flood::prepare(rig.lab(), target, scenario.family, scenario.kind)?;
        let row = Row::new(format!("updates/{}/{whose}-policy", scenario.reason), Unit::NanosecondsPerFrame);
        Ok((flood, rig.decided(MEASURED, scenario.reason)?, row))
    };
    let mut prepared = scenarios.iter().map(prepare).collect::<Result<Vec<_>>>()?;
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| -> Result<u64> {
        // Not on the CPU of the frames: this thread is started before it is pinned.
        let changes = scope.spawn(|| {
            let outcome = change_repeatedly(changed, extent.updates());
            done.store(true, Ordering::Relaxed);
            outcome
        });
        let _pinned = Pinned::to_the_last_cpu()?;
        let mut sent = 0;
        while !done.load(Ordering::Relaxed) {
            for (flood, _, row) in &mut prepared {
                let time = flood.send(extent.frames())?;
                row.push(MEASURED, time.as_nanos() as f64 / f64::from(extent.frames()));
            }
            sent += u64::from(extent.frames());
        }
        let ended = changes.join().ok().context("the thread that changes the policy has failed")?;
        ended.map(|()| sent)
    })?;
    let check = |(scenario, (_, before, mut row)): (&Scenario, (Flood<'_>, u64, Row))| {
        let outcome = rig.check_decided(MEASURED, scenario.reason, before, sent);
        row.void = outcome.err().map(|error| format!("{error:#}"));
        row
    };
    Ok(scenarios.iter().zip(prepared).map(check).collect())
}

/// Adds a rule and takes it away again, until there were so many changes.
fn change_repeatedly(host: &Host, changes: u32) -> Result<()> {
    let rule = format!("{NAME} --ingress --protocol udp --port 7 --cidr 203.0.113.7/32");
    for _ in 0..changes / 2 {
        for verb in ["authorize", "revoke"] {
            host.sgfw(&format!("rule {verb} {rule}")).success()?;
        }
    }
    Ok(())
}
