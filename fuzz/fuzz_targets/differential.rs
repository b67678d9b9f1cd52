//! Any scenario, decided by the core over compiled tables and by the oracle.
//!
//! What ring d does by chance, the fuzzer does by looking for ways through the code that were not gone yet. A difference
//! is printed as a scenario, which belongs into `tests/regressions`.

#![no_main]

use firewall_fuzz::scenario::scenario;
use firewall_tests::oracle::Oracle;
use firewall_tests::scenario::Step;
use firewall_tests::simulator::Simulator;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(mut scenario) = scenario(input) else {
        return;
    };
    let expected = scenario.play(&mut Oracle::default()).expect("the oracle plays any scenario");
    let mut frames = expected.into_iter();
    for step in &mut scenario.steps {
        if let Step::Frame { expected, .. } = step {
            *expected = frames.next();
        }
    }
    if let Err(error) = scenario.check(&mut Simulator::default()) {
        panic!("the core differs from the oracle: {error:#}\n{scenario}");
    }
});
