//! The machine that is measured on, for the head of the report: figures of another one are other figures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use nix::sys::utsname::uname;
use serde::Serialize;

/// What the figures depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// What the kernel does against each weakness of the processor.
    pub mitigations: BTreeMap<String, String>,
    /// Whether the kernel keeps times of BPF programs, which costs each run dear (`kernel.bpf_stats_enabled`).
    pub bpf_statistics: bool,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    ///
    /// When `/proc` does not tell.
    pub fn examine() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let statistics = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").unwrap_or_default();
        Ok(Self {
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            processors: available_parallelism()?.get(),
            kernel: uname()?.release().to_string_lossy().into_owned(),
            mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            bpf_statistics: statistics.trim() == "1",
        })
    }
}

fn mitigations(directory: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let state = |file: fs::DirEntry| {
        let state = fs::read_to_string(file.path()).ok()?;
        Some((file.file_name().to_string_lossy().into_owned(), state.trim().to_owned()))
    };
    files.filter_map(state).filter(|(_, state)| state != "Not affected").collect()
}

/// Time that the host took from this virtual machine, and all time, so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steal {
    stolen: u64,
    all: u64,
}

impl Steal {
    pub(super) fn read() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal (proc_stat(5))
        Ok(Self { stolen: ticks.get(7).copied().unwrap_or(0), all: ticks.iter().take(8).sum() })
    }

    /// The part of the time since `before` that was stolen.
    pub(super) fn since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}
