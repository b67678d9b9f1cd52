//! Any frames, decided by any tables.
//!
//! Input: the contents of the tables, then steps: frames by their bytes, pauses, and flow entries gone bad. Whatever
//! the frames say and the tables hold, nothing panics, nothing passes without the table entry that its reason names, and
//! a dropped packet leaves the flow tables as they were.

#![no_main]

use arbitrary::{Result, Unstructured};
use firewall_common::abi::{Direction, EXEMPT, FlowEntry, RULE_SET, UNTRACKED, exempt_flag, interface_flag};
use firewall_common::decide::{Hook, decide};
use firewall_common::packet::Link;
use firewall_common::reason::{Reason, Verdict};
use firewall_fuzz::tables::{Answers, Contents, FuzzTables, SLOT, State};
use libfuzzer_sys::fuzz_target;

const MAX_STEPS: usize = 64;

enum Step<'a> {
    Frame { hook: Hook, bytes: &'a [u8] },
    Wait { ticks: u16 },
    Overwrite(FlowEntry),
}

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let Ok(contents) = input.arbitrary::<Contents>() else {
        return;
    };
    let tables = FuzzTables::new(contents);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            return;
        }
        match step(&mut input) {
            Ok(Step::Frame { hook, bytes }) => check_decision(&tables, hook, bytes),
            Ok(Step::Wait { ticks }) => tables.wait(ticks.into()),
            Ok(Step::Overwrite(entry)) => tables.overwrite_flows(entry),
            Err(_) => return,
        }
    }
});

/// A step is one byte that says what it is and where, then its own.
fn step<'a>(input: &mut Unstructured<'a>) -> Result<Step<'a>> {
    let kind: u8 = input.arbitrary()?;
    let direction = match kind & 3 {
        0 => return Ok(Step::Wait { ticks: input.arbitrary()? }),
        1 => return Ok(Step::Overwrite(bytemuck::cast(input.arbitrary::<[u8; 24]>()?))),
        2 => Direction::Ingress,
        _ => Direction::Egress,
    };
    let link = match kind >> 2 & 3 {
        0 => Link::Ethernet { stripped_tags: 0 },
        1 => Link::Ethernet { stripped_tags: 1 },
        2 => Link::Ethernet { stripped_tags: 2 },
        _ => Link::None,
    };
    let slot = if kind >> 4 == 15 { SLOT + 1 } else { SLOT };
    let length = usize::from(input.arbitrary::<u16>()?).min(input.len());
    Ok(Step::Frame { hook: Hook { slot, direction, link }, bytes: input.bytes(length)? })
}

fn check_decision(tables: &FuzzTables, hook: Hook, frame: &[u8]) {
    let (before, fragments) = (tables.state(), tables.fragments());
    let reason = decide(frame, tables, hook).reason();
    let (after, answers) = (tables.state(), tables.take_answers());
    check_settings(tables.contents(), hook, reason);
    check_answers(tables.contents(), &answers, hook.direction, reason);
    check_state(reason, &before, &after);
    let remembers = reason.verdict() == Verdict::Pass;
    assert!(remembers || tables.fragments() <= fragments, "a dropped first fragment is remembered");
    assert!(reason != Reason::Fragment || fragments > 0, "no first fragment was admitted");
}

/// What the settings of the interface must say for a reason.
fn check_settings(contents: &Contents, hook: Hook, reason: Reason) {
    let has_policy = hook.slot == SLOT && contents.generation != 0 && contents.policy != 0;
    assert_eq!(reason == Reason::NoPolicy, !has_policy);
    let exempts = |flag: u16| u16::from(contents.exempt) & flag != 0;
    let is_allowed = match reason {
        Reason::ExemptAddress => exempts(exempt_flag::ADDRESSES),
        Reason::ExemptArp => exempts(exempt_flag::ARP),
        Reason::ExemptNonIp => exempts(exempt_flag::NON_IP),
        Reason::ExemptNeighborDiscovery => exempts(exempt_flag::NEIGHBOR_DISCOVERY),
        Reason::ExemptMulticastListener => exempts(exempt_flag::MULTICAST_LISTENER),
        Reason::ExemptDhcpClient => exempts(exempt_flag::DHCP_CLIENT),
        Reason::Related => u16::from(contents.flags) & interface_flag::ICMP_ERRORS_BY_RULES_ONLY == 0,
        Reason::NotASyn => u16::from(contents.flags) & interface_flag::TCP_STRICT != 0,
        Reason::Internal => false,
        _ => true,
    };
    assert!(is_allowed, "{reason:?}");
}

/// What the tables must have said for a reason. Rules are those of the packet's own direction.
fn check_answers(contents: &Contents, answers: &Answers, direction: Direction, reason: Reason) {
    let any_cell = |bits: u32| answers.cells.iter().any(|(_, cell)| cell & bits != 0);
    let admitted = |by: Direction| answers.cells.iter().any(|&(of, cell)| of == by && cell & RULE_SET != 0);
    let passed_back = any_cell(EXEMPT) || (admitted(direction.opposite()) && any_cell(UNTRACKED));
    let is_allowed = match reason {
        Reason::Tracked => answers.live_flow,
        Reason::Rule => admitted(direction),
        Reason::FlowTableFull => admitted(direction) || answers.live_flow,
        Reason::Untracked => {
            let by_service = answers.service_classes.iter().any(|class| contents.leaves_untracked(*class));
            by_service || (admitted(direction) && any_cell(UNTRACKED))
        }
        Reason::Related => answers.live_flow || passed_back,
        Reason::ExemptAddress => any_cell(EXEMPT),
        Reason::UnknownFragment => !admitted(direction),
        _ => true,
    };
    assert!(is_allowed, "{reason:?} of {answers:?}");
}

/// What a decision may do to the flow tables.
fn check_state(reason: Reason, before: &State, after: &State) {
    let unchanged = before.assured == after.assured && before.half_open == after.half_open;
    if reason != Reason::FlowTableFull {
        assert_eq!(before.pressure, after.pressure, "{reason:?} reports a full table");
    }
    match reason {
        Reason::Tracked => check_tracked(before, after),
        Reason::Rule if unchanged => {}
        Reason::Rule => check_begun(before, after),
        _ => assert!(unchanged, "{reason:?} changes a flow"),
    }
}

/// The packet belongs to a flow that was there, and may have made it assured.
fn check_tracked(before: &State, after: &State) {
    assert!(!before.assured.is_empty() || !before.half_open.is_empty(), "no flow to belong to");
    assert!(before.assured.keys().all(|key| after.assured.contains_key(key)), "an assured flow is gone");
    let promoted: Vec<_> = after.assured.keys().filter(|key| !before.assured.contains_key(*key)).collect();
    let left: Vec<_> = before.half_open.keys().filter(|key| !after.half_open.contains_key(*key)).collect();
    assert!(promoted.len() <= 1 && promoted == left, "{promoted:?} became assured, {left:?} left");
    assert!(after.half_open.keys().all(|key| before.half_open.contains_key(key)), "a flow begins");
}

/// Exactly one flow begins, half-open; at most its own former life ends.
fn check_begun(before: &State, after: &State) {
    let mut begun = after.half_open.iter().filter(|(key, entry)| before.half_open.get(*key) != Some(entry));
    let (key, _) = begun.next().expect("a flow begins");
    assert!(begun.next().is_none(), "two flows begin");
    assert!(before.half_open.keys().all(|known| after.half_open.contains_key(known)));
    let mut assured = before.assured.clone();
    if !after.assured.contains_key(key) {
        assured.remove(key);
    }
    assert_eq!(assured, after.assured, "an assured flow of another key changes");
}
