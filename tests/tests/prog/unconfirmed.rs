//! A policy that nobody confirms goes by itself: the programs return to the one before, with no process to help them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_common::abi::Direction;
use firewall_common::reason::Reason;
use firewall_tests::packets::notation::parse_frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _, Policy, Step, notation};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn an_unconfirmed_policy_ends_at_its_deadline_by_itself() {
    let before = policy("authorize in tcp 80 C/32");
    let after = policy("authorize in tcp 443 C/32");
    for_each_hook(|harness| {
        harness.publish(&before).unwrap();
        let generation = harness.datapath().generation().unwrap();
        harness.publish_unconfirmed(&after, Duration::from_millis(500)).unwrap();

        let start = Instant::now();
        while admits(harness) != 80 {
            assert!(start.elapsed() < Duration::from_secs(60), "the deadline passes unnoticed");
            sleep(Duration::from_millis(50));
        }
        assert!(start.elapsed() >= Duration::from_millis(400), "it was never in force");
        // User space sees what the programs see, and cannot overwrite the half that is in force again.
        let unconfirmed = harness.datapath().unconfirmed().unwrap().unwrap();
        assert_eq!((unconfirmed.generation, unconfirmed.left), (generation + 1, None));
        assert_eq!(harness.datapath().generation().unwrap(), generation);
        assert!(harness.publish(&after).is_err());

        let settled = harness.datapath().fall_back().unwrap();
        assert_eq!(harness.datapath().unconfirmed().unwrap(), None);
        assert_eq!((harness.datapath().generation().unwrap(), admits(harness)), (settled, 80));
        harness.publish(&after).unwrap();
        assert_eq!(admits(harness), 443);
    });
}

#[test]
fn a_confirmed_policy_stays() {
    for_each_hook(|harness| {
        harness.publish(&policy("authorize in tcp 80 C/32")).unwrap();
        harness.publish_unconfirmed(&policy("authorize in tcp 443 C/32"), LONG).unwrap();
        let left = harness.datapath().unconfirmed().unwrap().unwrap().left.unwrap();
        assert!(left <= LONG && left > LONG / 2, "{left:?}");
        assert_eq!(admits(harness), 443);
        harness.datapath().confirm().unwrap();
        assert_eq!((harness.datapath().unconfirmed().unwrap(), admits(harness)), (None, 443));
    });
}

#[test]
fn an_unconfirmed_policy_can_be_taken_back_before_its_deadline() {
    for_each_hook(|harness| {
        harness.publish(&policy("authorize in tcp 80 C/32")).unwrap();
        harness.publish_unconfirmed(&policy("authorize in tcp 443 C/32"), LONG).unwrap();
        harness.datapath().fall_back().unwrap();
        assert_eq!(admits(harness), 80);
    });
}

fn for_each_hook(test: impl Fn(&mut Harness)) {
    if !can_load_programs() {
        return;
    }
    for ingress in Ingress::ALL {
        test(&mut Harness::new(ingress).unwrap());
    }
}

/// Which of the two ports is open. A SYN of each, from another port every time.
fn admits(harness: &mut Harness) -> u16 {
    let arrival = Arrival::new(0, Direction::Ingress);
    let open: Vec<u16> = [80, 443]
        .into_iter()
        .filter(|port| {
            let frame = parse_frame(&format!("tcp C:40000>E:{port} SYN")).unwrap();
            harness.decide(arrival, &frame).unwrap() == Reason::Rule
        })
        .collect();
    harness.forget_state().unwrap();
    assert_eq!(open.len(), 1, "a mixture of two policies: {open:?}");
    open[0]
}

/// The policy of a scenario's line.
pub(crate) fn policy(line: &str) -> Policy {
    let scenarios = notation::parse(&format!("case policy\n{line}\nflows 0")).unwrap();
    match &scenarios[0].steps[0] {
        Step::Publish(policy) => policy.clone(),
        step => panic!("`{step}` is no policy"),
    }
}
