//! Any frames, decided by any tables.
//!
//! Input: the contents of the tables, then steps: frames by their bytes, pauses, and slots gone bad. Whatever the frames say
//! and the tables hold, nothing panics, nothing passes without the table entry that its reason names, a dropped packet leaves
//! the flow table as it was, and no packet takes the place of a protected flow.

#![no_main]

use arbitrary::{Result, Unstructured};
use firewall_common::abi::{Direction, EXEMPT, MANAGEMENT, RULE_SET, UNTRACKED, exempt_flag, interface_flag};
use firewall_common::decide::{Hook, InMemory, decide};
use firewall_common::flow_table::control::{BACKED, DOUBT, PENDING, PROTECTED, USED, state};
use firewall_common::flow_table::{ATTEMPTS, Control};
use firewall_common::packet::Link;
use firewall_common::reason::{Reason, Verdict};
use firewall_fuzz::tables::{Answers, Contents, FuzzTables, SLOT, State, is_same_flow};
use libfuzzer_sys::fuzz_target;

const MAX_STEPS: usize = 64;

enum Step<'a> {
    Frame { hook: Hook, bytes: &'a [u8] },
    Wait { units: u16 },
    Overwrite(u64),
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
            Ok(Step::Wait { units }) => tables.wait(units.into()),
            Ok(Step::Overwrite(control)) => tables.overwrite_flows(control),
            Err(_) => return,
        }
    }
});

/// A step is one byte that says what it is and where, then its own.
fn step<'a>(input: &mut Unstructured<'a>) -> Result<Step<'a>> {
    let kind: u8 = input.arbitrary()?;
    let direction = match kind & 3 {
        0 => return Ok(Step::Wait { units: input.arbitrary()? }),
        1 => return Ok(Step::Overwrite(input.arbitrary()?)),
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
    let reason = decide(&mut InMemory::new(frame, tables, hook)).reason();
    let (after, answers) = (tables.state(), tables.take_answers());
    check_settings(tables.contents(), hook, reason);
    check_answers(tables, &answers, hook.direction, reason, &before);
    check_state(tables, &answers, reason, &before, &after);
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
        Reason::Hairpin => contents.hairpins & 1 != 0 && hook.direction == Direction::Egress,
        Reason::Internal => false,
        _ => true,
    };
    assert!(is_allowed, "{reason:?}");
}

/// What the tables must have said for a reason. Rules are those of the packet's own direction.
fn check_answers(
    tables: &FuzzTables,
    answers: &Answers,
    direction: Direction,
    reason: Reason,
    before: &State,
) {
    let live_flow = before.0.iter().any(|slot| is_live(slot[1], tables.now()));
    let any_cell = |bits: u32| answers.cells.iter().any(|(_, cell)| cell & bits != 0);
    let admitted = |by: Direction| answers.cells.iter().any(|&(of, cell)| of == by && cell & RULE_SET != 0);
    let passed_back = any_cell(EXEMPT) || (admitted(direction.opposite()) && any_cell(UNTRACKED));
    let is_allowed = match reason {
        Reason::Tracked => live_flow,
        Reason::Rule | Reason::FlowTableFull | Reason::Hairpin => admitted(direction),
        Reason::Management => admitted(Direction::Ingress) && any_cell(MANAGEMENT),
        Reason::Untracked => {
            let by_service =
                answers.service_classes.iter().any(|class| tables.contents().leaves_untracked(*class));
            by_service || (admitted(direction) && any_cell(UNTRACKED))
        }
        Reason::Related => live_flow || passed_back,
        Reason::ExemptAddress => any_cell(EXEMPT),
        Reason::UnknownFragment => !admitted(direction),
        _ => true,
    };
    assert!(is_allowed, "{reason:?} of {answers:?}");
    assert!(answers.sockets.len() - answers.others <= 1, "asked twice for the packet's own socket");
    assert!(answers.others < ATTEMPTS as usize, "an insert asked for {} sockets", answers.others);
    assert_eq!(answers.refusals, usize::from(reason == Reason::FlowTableFull));
    assert!(answers.begun <= usize::from(reason == Reason::Rule));
}

fn is_live(control: u64, now: u32) -> bool {
    Control(control).is_published() && !Control(control).is_ended(now)
}

/// What a decision may do to the flow table.
fn check_state(tables: &FuzzTables, answers: &Answers, reason: Reason, before: &State, after: &State) {
    let now = tables.now();
    assert!(after.0.iter().all(|slot| slot[1] & PENDING == 0), "a slot is left half done");
    let changes = before.changes(after);
    for (old, new) in &changes {
        let (old, new) = (Control(old[1]), Control(new[1]));
        if is_same_flow(old.0, new.0) {
            // A flow that is in doubt and backed may have been asked for by an insert; all else is the packet's own.
            continue;
        }
        if new.has(USED) {
            assert_eq!(reason, Reason::Rule, "a flow begins");
            // In doubt and not backed, or cut; or its socket is gone.
            let gives_way = old.0 & (DOUBT | BACKED) == DOUBT || old.state() == state::CUT;
            assert!(
                !is_live(old.0, now) || !old.has(PROTECTED) || gives_way || !answers.sockets.is_empty(),
                "a protected flow is evicted: {old:x?} by {new:x?}"
            );
        } else {
            // Cleared: it had ended, or the operator had cut it and it begins anew, or its socket is gone.
            assert!(
                !is_live(old.0, now) || reason == Reason::Rule || !answers.sockets.is_empty(),
                "a live flow is gone"
            );
        }
    }
    let begun = changes.iter().filter(|(old, new)| !is_same_flow(old[1], new[1]) && new[1] & USED != 0);
    assert!(begun.count() <= 1, "two flows begin");
    match reason {
        Reason::Tracked | Reason::Rule => {}
        // A flow that has ended is cleared by whoever meets it, and one that is to be cut is; and those that were asked for.
        _ => assert!(changes.len() <= 1 + answers.others, "{reason:?} changes {} flows", changes.len()),
    }
}
