//! Makes a failing scenario small: drops steps, then parts of the policies, as long as it still fails.

use std::time::{Duration, Instant};

use firewall_tests::scenario::{Policy, Scenario, Step};
use firewall_userspace::model::InterfaceOptions;

/// A difference that comes and goes would be made smaller for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// The smallest scenario that greedy dropping finds in time.
pub(crate) fn minimise(scenario: &Scenario, mut fails: impl FnMut(&Scenario) -> bool) -> Scenario {
    let began = Instant::now();
    let mut fails = |candidate: &Scenario| began.elapsed() < PATIENCE && fails(candidate);
    let mut smallest = scenario.clone();
    loop {
        let before = smallest.clone();
        drop_steps(&mut smallest, &mut fails);
        simplify_policies(&mut smallest, &mut fails);
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

fn simplify_policies(smallest: &mut Scenario, fails: &mut impl FnMut(&Scenario) -> bool) {
    for index in 0..smallest.steps.len() {
        let Step::Publish(policy) = &smallest.steps[index] else { continue };
        for change in simplifications(policy) {
            let mut candidate = smallest.clone();
            if let Step::Publish(policy) = &mut candidate.steps[index] {
                change(policy);
            }
            if fails(&candidate) {
                *smallest = candidate;
            }
        }
    }
}

type Change = Box<dyn Fn(&mut Policy)>;

/// Everything that can be taken out of a policy by itself.
fn simplifications(policy: &Policy) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for name in policy.prefix_lists.keys() {
        let name = name.clone();
        changes.push(Box::new(move |policy| drop(policy.prefix_lists.remove(&name))));
    }
    changes.push(Box::new(|policy| policy.exempt.clear()));
    for (name, group) in &policy.groups {
        let of_group = |change: fn(&mut Policy, &str)| -> Change {
            let name = name.clone();
            Box::new(move |policy| change(policy, &name))
        };
        changes.push(of_group(drop_group));
        changes
            .push(of_group(|policy, name| policy.groups.entry(name.to_owned()).or_default().members.clear()));
        // From the end, so that what is dropped does not move what is still to be tried.
        for rule in (0..group.rules.len()).rev() {
            let name = name.clone();
            changes.push(Box::new(move |policy| {
                if let Some(group) = policy.groups.get_mut(&name)
                    && rule < group.rules.len()
                {
                    group.rules.remove(rule);
                }
            }));
        }
    }
    for slot in policy.interfaces.keys() {
        let slot = *slot;
        changes.push(Box::new(move |policy| {
            if let Some(interface) = policy.interfaces.get_mut(&slot) {
                interface.options = InterfaceOptions::default();
            }
        }));
    }
    changes
}

fn drop_group(policy: &mut Policy, name: &str) {
    // The notation always has the main group.
    if name == Policy::MAIN_GROUP {
        return;
    }
    policy.groups.remove(name);
    for interface in policy.interfaces.values_mut() {
        interface.groups.retain(|carried| carried != name);
    }
}
