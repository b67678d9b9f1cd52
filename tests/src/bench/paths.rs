//! Time of one run of the programs for each way that a frame can take, beside the empty program, and how many
//! instructions the verifier walked through to accept them.
//!
//! By `BPF_PROG_TEST_RUN`: one frame again and again, so that all caches are hot. What a frame costs with cold caches
//! is in [`super::frames`].

use anyhow::{Context, Result};
use firewall_common::abi::Direction;

use super::contender::Contender;
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::flood::{EmptyProgram, EmptyVerdict};
use crate::lab::IngressHook;
use crate::prog::{Harness, Ingress};
use crate::scenario::{Arrival, Scenario, Step, notation};

const RUNS: u32 = 300_000;

/// The programs of a hook.
struct Programs {
    harness: Harness,
    contender: Contender,
    empty: EmptyProgram,
    empty_contender: Contender,
}

impl Programs {
    fn load(ingress: Ingress) -> Result<Self> {
        let (hook, contender, empty_contender) = match ingress {
            Ingress::Xdp => (IngressHook::Xdp, Contender::SgfwXdp, Contender::EmptyXdp),
            Ingress::Tc => (IngressHook::Tc, Contender::SgfwTc, Contender::EmptyTc),
        };
        let empty = EmptyProgram::load(hook, EmptyVerdict::Pass)?;
        Ok(Self { harness: Harness::new(ingress)?, contender, empty, empty_contender })
    }
}

/// The time of each way.
pub(super) fn times(extent: Extent) -> Result<Vec<Row>> {
    progress("runs of the programs, one frame again and again");
    let mut all = [Programs::load(Ingress::Xdp)?, Programs::load(Ingress::Tc)?];
    let paths = notation::parse(include_str!("paths.scenario"))?;
    paths.iter().map(|path| time(path, &mut all, extent)).collect()
}

fn time(path: &Scenario, all: &mut [Programs], extent: Extent) -> Result<Row> {
    let mut row = Row::new(&path.title, Unit::NanosecondsPerFrame);
    let (arrival, frame) = last_frame(path)?;
    for programs in all.iter_mut() {
        programs.harness.forget_state()?;
        path.check(&mut programs.harness)?;
    }
    for _ in 0..extent.repetitions() {
        for programs in all.iter() {
            let (_, time) = programs.harness.run_repeatedly(arrival, &frame, RUNS)?;
            row.push(programs.contender, time.as_nanos() as f64);
            let time = programs.empty.run_repeatedly(&frame, RUNS)?;
            row.push(programs.empty_contender, time.as_nanos() as f64);
        }
    }
    Ok(row)
}

/// Where the last step of a scenario, which is a frame, happens, and its bytes.
fn last_frame(path: &Scenario) -> Result<(Arrival, Vec<u8>)> {
    match path.steps.last() {
        Some(Step::Frame { arrival, frame, .. }) => Ok((*arrival, frame.to_bytes())),
        _ => anyhow::bail!("{} does not end with a frame", path.title),
    }
}

/// The instructions that the verifier walked through.
pub(super) fn verified_instructions() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (direction, name) in [(Direction::Ingress, "ingress"), (Direction::Egress, "egress")] {
        let mut row = Row::new(format!("verified/{name}"), Unit::Instructions);
        for ingress in Ingress::ALL {
            let mut programs = Programs::load(ingress)?;
            programs.harness.load(0)?;
            let count = programs.harness.verified_instructions(Arrival::new(0, direction));
            row.push(programs.contender, count.context(name)?.into());
        }
        rows.push(row);
    }
    Ok(rows)
}
