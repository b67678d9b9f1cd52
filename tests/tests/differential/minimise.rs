//! Makes a failing scenario small: drops steps, then rules, as long as it still fails.

use firewall_tests::scenario::{Scenario, Step};

/// The smallest scenario that greedy dropping finds.
pub(crate) fn minimise(scenario: &Scenario, mut fails: impl FnMut(&Scenario) -> bool) -> Scenario {
    let mut smallest = scenario.clone();
    loop {
        let before = smallest.clone();
        drop_steps(&mut smallest, &mut fails);
        drop_rules(&mut smallest, &mut fails);
        if smallest == before {
            return smallest;
        }
    }
}

/// Drops runs of steps, long ones first. The policy at the beginning stays.
fn drop_steps(smallest: &mut Scenario, fails: &mut impl FnMut(&Scenario) -> bool) {
    let mut length = smallest.steps.len() / 2;
    while length > 0 {
        let mut start = 1;
        while start < smallest.steps.len() {
            let mut candidate = smallest.clone();
            let end = (start + length).min(candidate.steps.len());
            candidate.steps.drain(start..end);
            if fails(&candidate) {
                *smallest = candidate;
            } else {
                start += length;
            }
        }
        length /= 2;
    }
}

fn drop_rules(smallest: &mut Scenario, fails: &mut impl FnMut(&Scenario) -> bool) {
    for step in 0..smallest.steps.len() {
        let Step::Publish(policy) = &smallest.steps[step] else {
            continue;
        };
        let groups: Vec<_> =
            policy.groups.iter().map(|(name, group)| (name.clone(), group.rules.len())).collect();
        for (name, rules) in groups {
            // From the end, so that what is dropped does not move what is still to be tried.
            for rule in (0..rules).rev() {
                let mut candidate = smallest.clone();
                if let Step::Publish(policy) = &mut candidate.steps[step]
                    && let Some(group) = policy.groups.get_mut(&name)
                {
                    group.rules.remove(rule);
                }
                if fails(&candidate) {
                    *smallest = candidate;
                }
            }
        }
    }
}
