//! `cargo run --example seeds FOLDER`: what fuzzing begins with, out of the tables of scenarios.
//!
//! Writes each frame for the target `packet` and each conversation for the target `decision`. The corpora in this
//! repository are these and what fuzzing found, minimised (CONTRIBUTING.md).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use firewall_common::abi::{Direction, exempt_flag};
use firewall_tests::packets::Frame;
use firewall_tests::scenario::{Step, tables};

/// The byte before a frame of the target `packet`.
const ETHERNET: u8 = 1;
const NO_LINK: u8 = 0;

/// The byte before a step of the target `decision`.
const WAIT: u8 = 0;
const INGRESS: u8 = 2;
const EGRESS: u8 = 3;

/// Cells of the target `decision`: of a rule, and the same with the other bits.
const CELLS: [u32; 3] = [1, 1 << 31 | 1, 1 << 30];

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: seeds FOLDER")?);
    let scenarios = tables::all()?;
    let mut frames = BTreeSet::new();
    let mut decisions = BTreeSet::new();
    for scenario in &scenarios {
        for frame in scenario.steps.iter().filter_map(frame) {
            let bytes = frame.to_bytes();
            frames.insert([&[ETHERNET], bytes.as_slice()].concat());
            frames.insert([&[NO_LINK], &bytes[frame.network_offset()..]].concat());
        }
        let steps: Vec<u8> = scenario.steps.iter().flat_map(decision_step).collect();
        decisions.extend(CELLS.map(|cell| [contents(cell), steps.clone()].concat()));
    }
    write(&folder.join("packet"), &frames)?;
    write(&folder.join("decision"), &decisions)
}

fn frame(step: &Step) -> Option<&Frame> {
    match step {
        Step::Frame { frame, .. } => Some(frame),
        _ => None,
    }
}

/// Tables with one policy, every exemption, flows of others in a few slots, connected sockets, and `cell` everywhere.
fn contents(cell: u32) -> Vec<u8> {
    let exempt = exempt_flag::ALL.to_le_bytes()[0];
    let (now, generation, policy, flags, taken, sockets, hairpins) = ([1, 0, 0, 0], 1, 1, 0, 4, 0xff, 0);
    let mut bytes = now.to_vec();
    bytes.extend([generation, policy, flags, exempt, taken, sockets, hairpins]);
    // Address classes and service classes.
    bytes.extend([1; 4 + 4]);
    bytes.extend([cell; 8].map(u32::to_le_bytes).concat());
    bytes
}

fn decision_step(step: &Step) -> Vec<u8> {
    match step {
        Step::Frame { arrival, frame, .. } => {
            let kind = match arrival.direction {
                Direction::Ingress => INGRESS,
                Direction::Egress => EGRESS,
            };
            let bytes = frame.to_bytes();
            let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes();
            [&[kind], length.as_slice(), &bytes].concat()
        }
        Step::Wait(seconds) => {
            let units = u16::try_from((seconds * 100) >> 4).unwrap_or(u16::MAX);
            [&[WAIT], units.to_le_bytes().as_slice()].concat()
        }
        _ => Vec::new(),
    }
}

fn write(folder: &PathBuf, seeds: &BTreeSet<Vec<u8>>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for (number, seed) in seeds.iter().enumerate() {
        let path = folder.join(format!("seed-{number}"));
        fs::write(&path, seed).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
