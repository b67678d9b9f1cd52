//! The tables of scenarios on both ingress hooks with TC egress: the conformance table of `docs/semantics.md`, each
//! protocol, and attacks.

use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::tables::check_all;

#[test]
fn xdp_ingress_and_tc_egress_agree_with_the_tables() {
    play(Ingress::Xdp);
}

#[test]
fn tc_ingress_and_tc_egress_agree_with_the_tables() {
    play(Ingress::Tc);
}

fn play(ingress: Ingress) {
    if !can_load_programs() {
        return;
    }
    let mut harness = Harness::new(ingress).unwrap();
    check_all(|case| {
        // `netns/state_attacks.rs` has real ones.
        if case.has_sockets() {
            return Ok(());
        }
        harness.forget_state()?;
        case.check(&mut harness)?;
        harness.reconcile()
    });
    harness.reconcile_all_slots().unwrap();
}
