//! Ring d: random policies and frames, decided by the oracle, by the core in user space and by the programs in the
//! kernel. All must give the same reason for each frame.
//!
//! `SGFW_SEED` repeats a run, `SGFW_DIFFERENTIAL_PACKETS` sets how many frames each comparison takes. A difference is
//! made as small as possible and kept under `tests/regressions`, whose scenarios are played again by every run.

#[path = "differential/generator/mod.rs"]
mod generator;
#[path = "differential/minimise.rs"]
mod minimise;
#[path = "differential/plan.rs"]
mod plan;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firewall_common::reason::Reason;
use firewall_tests::oracle::Oracle;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Scenario, Step, notation};
use firewall_tests::seed::{number, seed};
use firewall_tests::simulator::Simulator;
use generator::Generator;

/// What a comparison with the kernel decides in less than a minute.
const DEFAULT_PACKETS: usize = 100_000;

/// How many times as many frames a comparison takes at most, until every reason has come up.
const PATIENCE: usize = 10;

#[test]
fn the_core_decides_as_the_oracle() {
    compare("core", Generator::with_sockets, |scenario| scenario.play(&mut Simulator::default()));
}

#[test]
fn xdp_and_tc_egress_decide_as_the_oracle() {
    compare_with_kernel(Ingress::Xdp);
}

#[test]
fn tc_ingress_and_tc_egress_decide_as_the_oracle() {
    compare_with_kernel(Ingress::Tc);
}

#[test]
fn old_differences_stay_away() {
    let mut scenarios = Vec::new();
    for path in regression_files().unwrap() {
        let text = std::fs::read_to_string(&path).unwrap();
        scenarios
            .extend(notation::parse(&text).unwrap_or_else(|error| panic!("{}: {error:#}", path.display())));
    }
    for scenario in &scenarios {
        scenario.check(&mut Oracle::default()).unwrap_or_else(|error| panic!("oracle: {error:#}"));
        scenario.check(&mut Simulator::default()).unwrap_or_else(|error| panic!("core: {error:#}"));
    }
    if !can_load_programs() {
        return;
    }
    for ingress in Ingress::ALL {
        let mut harness = Harness::new(ingress).unwrap();
        for scenario in scenarios.iter().filter(|scenario| !scenario.has_sockets()) {
            harness.forget_state().unwrap();
            scenario.check(&mut harness).unwrap_or_else(|error| panic!("{ingress:?}: {error:#}"));
        }
    }
}

fn compare_with_kernel(ingress: Ingress) {
    if !can_load_programs() {
        return;
    }
    let mut harness = Harness::new(ingress).unwrap();
    compare(&format!("{ingress:?}").to_lowercase(), Generator::new, |scenario| {
        harness.forget_state()?;
        let reasons = scenario.play(&mut harness)?;
        harness.reconcile()?;
        Ok(reasons)
    });
    harness.reconcile_all_slots().unwrap();
}

/// Compares an engine with the oracle on random scenarios until enough frames were decided.
fn compare(
    engine: &str,
    generator: fn(u64) -> Generator,
    mut play: impl FnMut(&Scenario) -> Result<Vec<Reason>>,
) {
    let (seed, wanted) = (seed(), packets());
    println!("{engine}: SGFW_DIFFERENTIAL_PACKETS={wanted}");
    let mut generator = generator(seed);
    let mut tally = Tally::default();
    // A rare reason may take longer to come up than the frames asked for.
    while tally.packets < wanted || (!tally.missing().is_empty() && tally.packets < PATIENCE * wanted) {
        let scenario = generator.scenario();
        let expected = scenario.play(&mut Oracle::default()).unwrap();
        match play(&scenario) {
            Ok(reasons) if reasons == expected => tally.add(&expected),
            Ok(reasons) => report(engine, seed, &scenario, &differences(&expected, &reasons), &mut play),
            Err(error) => report(engine, seed, &scenario, &format!("{error:#}"), &mut play),
        }
    }
    println!("{engine}: {tally}");
    tally.check_variety();
}

/// Keeps the scenario as it was found, makes it small, keeps that instead and fails.
fn report(
    engine: &str,
    seed: u64,
    scenario: &Scenario,
    first: &str,
    play: &mut impl FnMut(&Scenario) -> Result<Vec<Reason>>,
) -> ! {
    let path = regressions().join(format!("{engine}-{seed}.scenario"));
    eprintln!(
        "{engine} differs from the oracle (SGFW_SEED={seed}): {first}. {} is being made smaller",
        path.display()
    );
    std::fs::write(&path, scenario.to_string()).unwrap();
    let mut small = minimise::minimise(scenario, |candidate| {
        let expected = candidate.play(&mut Oracle::default());
        match (expected, play(candidate)) {
            (Ok(expected), Ok(reasons)) => expected != reasons,
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        }
    });
    let reasons =
        play(&small).map(|reasons| reasons.iter().map(|reason| reason.name()).collect::<Vec<_>>().join(", "));
    let oracle = small.play(&mut Oracle::default()).unwrap();
    expect(&mut small, &oracle);
    small.title = format!("found by seed {seed} on {engine}");
    std::fs::write(&path, small.to_string()).unwrap();
    panic!(
        "{engine} differs from the oracle (SGFW_SEED={seed}). Kept as {}, with what the oracle expects:\n{small}\n\
         {engine} says: {reasons:?}",
        path.display()
    );
}

/// Which frames were decided otherwise, the first ten of them.
fn differences(expected: &[Reason], reasons: &[Reason]) -> String {
    let pairs = expected.iter().zip(reasons).enumerate().filter(|(_, (expected, reason))| expected != reason);
    let differing = pairs.map(|(frame, (expected, reason))| {
        format!("frame {frame} is `{}`, not `{}`", reason.name(), expected.name())
    });
    differing.take(10).collect::<Vec<_>>().join(", ")
}

/// Writes the oracle's answers into a scenario.
fn expect(scenario: &mut Scenario, reasons: &[Reason]) {
    let frames = scenario.steps.iter_mut().filter_map(|step| match step {
        Step::Frame { expected, .. } => Some(expected),
        _ => None,
    });
    for (expected, reason) in frames.zip(reasons) {
        *expected = Some(*reason);
    }
}

fn packets() -> usize {
    number("SGFW_DIFFERENTIAL_PACKETS").unwrap_or(DEFAULT_PACKETS)
}

fn regressions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")
}

fn regression_files() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(regressions()).context("read tests/regressions")?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "scenario"));
    files.sort();
    Ok(files)
}

/// How the frames were decided.
#[derive(Default)]
struct Tally {
    packets: usize,
    by_reason: std::collections::BTreeMap<Reason, usize>,
}

impl Tally {
    fn add(&mut self, reasons: &[Reason]) {
        self.packets += reasons.len();
        for reason in reasons {
            *self.by_reason.entry(*reason).or_default() += 1;
        }
    }

    /// A generator that never reaches a reason proves nothing about it.
    fn check_variety(&self) {
        let missing = self.missing();
        assert!(
            missing.is_empty() || self.packets < 50_000,
            "no frame was decided as {}",
            missing.join(", ")
        );
    }

    /// The reasons that have not come up and can.
    fn missing(&self) -> Vec<&'static str> {
        let unreachable = [
            // Scenarios begin with a policy.
            Reason::NoPolicy,
            // Only user space cuts flows; `prog/cut.rs` does.
            Reason::FlowCut,
            // Scenarios tell the programs their slot; `netns/shared_programs.rs` lets them find it.
            Reason::UnknownInterface,
            Reason::Internal,
        ];
        let can_come = Reason::ALL.iter().filter(|reason| !unreachable.contains(reason));
        let missing = can_come.filter(|reason| !self.by_reason.contains_key(reason));
        missing.map(|reason| reason.name()).collect()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = String::new();
        for (reason, count) in &self.by_reason {
            write!(list, " {}={count}", reason.name())?;
        }
        write!(f, "{} frames:{list}", self.packets)
    }
}
