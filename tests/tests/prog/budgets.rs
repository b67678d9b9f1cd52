//! What the programs and their maps may take. Neither depends on the speed of the machine.

use firewall_common::abi::{DEFAULT_FLOW_ENTRIES, Direction, map};
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::Arrival;

/// The most instructions that the verifier may walk through in a program (`docs/decisions.md`, "Targets"): 86 053 on 6.18. `cargo
/// xtask kernels` has other kernels. They refuse a program beyond a million.
const VERIFIED_INSTRUCTIONS: u32 = 100_000;

/// The target for each flow that `--flow-entries` asks for (`docs/decisions.md`, "Targets").
const BYTES_PER_FLOW: u64 = 128;

#[test]
fn the_verifier_accepts_each_program_within_the_budget() {
    if !can_load_programs() {
        return;
    }
    for ingress in Ingress::ALL {
        let mut harness = Harness::new(ingress).unwrap();
        harness.load(0).unwrap();
        for direction in [Direction::Ingress, Direction::Egress] {
            let walked = harness.verified_instructions(Arrival::new(0, direction)).unwrap();
            eprintln!("{ingress:?}, {direction:?}: {walked} verified instructions");
            assert!(walked <= VERIFIED_INSTRUCTIONS, "{ingress:?}, {direction:?}: {walked}");
        }
    }
}

#[test]
fn the_flow_table_takes_the_memory_that_is_declared_and_no_more() {
    if !can_load_programs() {
        return;
    }
    let harness = Harness::with_flow_entries(Ingress::Tc, DEFAULT_FLOW_ENTRIES).unwrap();
    let arrays = [map::FLOW_FILTERS, map::FLOW_LINES, map::FLOW_DETAILS, map::FLOW_RECORDS];
    let bytes: u64 = arrays.iter().map(|array| harness.memory_of(array).unwrap()).sum();
    assert!(bytes <= BYTES_PER_FLOW * u64::from(DEFAULT_FLOW_ENTRIES), "{bytes} bytes");
}
