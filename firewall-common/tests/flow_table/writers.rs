//! Two and three writers of one bucket, in every order that shuttle comes to: it switches between threads at each access to
//! the arrays. It does not reorder accesses; what orders them on weak machines is said in `docs/flow-table.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::thread;

use firewall_common::abi::KEY_WORDS;
use firewall_common::flow_table::control::{
    BACKED, Control, DOUBT, FINS, KEYED, PENDING, PROTECTED, USED, state,
};
use firewall_common::flow_table::life::{Beside, Facts, Lifetimes, Socket, kind};
use firewall_common::flow_table::track::{Glance, Tracked, Tracking, glance, track};
use firewall_common::flow_table::{
    ATTEMPTS, Change, Fresh, Geometry, Hit, Inserted, Memory, Spot, Time, change, clear, find, insert, spot,
};
use firewall_common::packet::tcp_flag;

use super::shared::{Fault, Shared};

const NOW: u32 = 1000;
const GEOMETRY: Geometry = Geometry { near_bits: 0, far_bits: 1, outer_bits: 0 };

/// A flow of the tests: its rule set is its key.
fn words(key: u64) -> [u64; KEY_WORDS] {
    [0, 0, 0, key * 77, key << 16]
}

fn at(memory: &Shared, key: u64) -> Spot {
    spot(memory, &words(key))
}

fn begin(memory: &Shared, key: u64, control: Control) -> Inserted {
    let fresh = Fresh { control, admitted_by: key, beside: Beside(key) };
    let words = words(key);
    insert(memory, &at(memory, key), &words, &fresh, &Lifetimes::default(), NOW, |_| Socket::None)
}

fn half_open() -> Control {
    Control(0).in_state(state::SYN_SENT).ending(NOW + 100)
}

fn protected() -> Control {
    Control(PROTECTED).in_state(state::ESTABLISHED).ending(NOW + 100)
}

fn look_up(memory: &Shared, key: u64) -> Option<Hit<usize>> {
    find(memory, &at(memory, key), NOW)
}

/// What a reader concludes from a flow is that flow's: control, details, control.
fn check_own(memory: &Shared, key: u64) {
    let Some(hit) = look_up(memory, key) else { return };
    let details = memory.details(hit.bucket).unwrap();
    let rule_set = memory.load(details, hit.control_word() - 1);
    let again = memory.load(hit.line, hit.control_word());
    if (again ^ hit.control.0) & !(PROTECTED | KEYED) == 0 {
        assert_eq!(rule_set, key, "a foreign flow");
    }
}

fn protect(memory: &Shared, key: u64) -> bool {
    let Some(mut hit) = look_up(memory, key) else { return false };
    let time = Time { now: NOW, renewal: 1 };
    change(memory, &at(memory, key), &mut hit, time, |control| control.with(PROTECTED)) == Change::Done
}

/// No slot is left pending, no live key stands twice unless a place came free meanwhile.
fn check_rest(memory: &Shared, keys: std::ops::Range<u64>) {
    for bucket in 0..GEOMETRY.buckets() {
        for slot in 0..4 {
            let control = memory.load(memory.line(bucket).unwrap(), slot * 2 + 1);
            assert_eq!(control & PENDING, 0);
        }
    }
    keys.for_each(|key| check_own(memory, key));
}

fn play(test: impl Fn() + Send + Sync + 'static) {
    let iterations = std::env::var("SCHEDULES").map_or(300, |number| number.parse().unwrap());
    let test = Arc::new(test);
    let again = test.clone();
    shuttle::check_random(move || test(), iterations);
    shuttle::check_pct(move || again(), iterations, 3);
}

fn spawn(memory: &Shared, work: impl FnOnce(&Shared) + Send + 'static) -> thread::JoinHandle<()> {
    let memory = memory.clone();
    thread::spawn(move || work(&memory))
}

/// Fifteen protected flows and one half-open, which one writer protects while others want its place.
fn protection_and_eviction(fault: Fault) {
    let memory = Shared::new(GEOMETRY, fault);
    let mut protected_keys = Vec::new();
    for key in 1..200 {
        if protected_keys.len() == 15 {
            break;
        }
        if begin(&memory, key, protected()) != Inserted::Refused {
            protected_keys.push(key);
        }
    }
    assert!(matches!(begin(&memory, 300, half_open()), Inserted::InPlaceOf(_)));
    let kept = Arc::new(AtomicBool::new(false));
    let told = kept.clone();
    let writers = [
        spawn(&memory, move |memory| told.store(protect(memory, 300), Ordering::SeqCst)),
        spawn(&memory, |memory| {
            begin(memory, 301, half_open());
            check_own(memory, 300);
        }),
        spawn(&memory, |memory| {
            begin(memory, 302, half_open());
            check_own(memory, 301);
        }),
    ];
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    if kept.load(Ordering::SeqCst) {
        assert!(look_up(&memory, 300).is_some(), "a protected flow is lost");
    }
    protected_keys.iter().for_each(|&key| assert!(look_up(&memory, key).is_some(), "lost {key}"));
    check_rest(&memory, 1..303);
}

#[test]
fn a_protected_flow_is_never_evicted() {
    play(|| protection_and_eviction(Fault::None));
}

#[test]
#[should_panic]
fn an_exchange_that_is_none_loses_protected_flows() {
    play(|| protection_and_eviction(Fault::TornExchange));
}

#[test]
fn a_flow_that_two_begin_and_a_third_clears_is_one_flow() {
    play(|| {
        let memory = Shared::new(GEOMETRY, Fault::None);
        for key in 1..4 {
            begin(&memory, key, half_open());
        }
        let begin_it = |memory: &Shared| {
            if look_up(memory, 9).is_none() {
                begin(memory, 9, half_open());
            }
            check_own(memory, 9);
        };
        let writers = [
            spawn(&memory, begin_it),
            spawn(&memory, begin_it),
            spawn(&memory, |memory| {
                if let Some(hit) = look_up(memory, 2) {
                    clear(memory, &at(memory, 2), &hit);
                }
                check_own(memory, 9);
            }),
        ];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert!(look_up(&memory, 9).is_some());
        check_rest(&memory, 1..10);
    });
}

/// Both sides send a FIN at once, on two CPUs: neither mark is lost.
fn two_fins(fault: Fault) {
    let memory = Shared::new(GEOMETRY, fault);
    begin(&memory, 5, protected());
    let send = |is_egress: u8, tcp_flags: u8| {
        move |memory: &Shared| {
            // The peer's FIN is acknowledged with 1.
            let facts = Facts {
                now: NOW,
                second: 8,
                kind: kind::TCP,
                tcp_flags,
                acknowledgement: 1,
                is_egress,
                ..Facts::default()
            };
            let (key, spot) = (words(5), at(memory, 5));
            let tracked = Tracked { key: &key, spot: &spot };
            for _ in 0..ATTEMPTS {
                let lifetimes = Lifetimes([100; 16]);
                let Glance::Flow(hit) = glance(memory, &spot, &facts) else {
                    panic!("the flow is live, and is to be changed");
                };
                match track(memory, tracked, hit, &facts, &lifetimes, || Socket::Connected) {
                    Tracking::Again => {}
                    Tracking::Passes => return,
                    _ => panic!("the flow is live"),
                }
            }
            panic!("only one other writer, which exchanges three times at most");
        }
    };
    let fin = tcp_flag::FIN | tcp_flag::ACK;
    let writers = [spawn(&memory, send(0, fin)), spawn(&memory, send(1, fin))];
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    send(1, tcp_flag::ACK)(&memory);
    let control = look_up(&memory, 5).unwrap().control;
    assert_eq!(control.0 & FINS, FINS);
    assert_eq!(control.state(), state::TIME_WAIT);
    assert!(!control.has(PROTECTED | DOUBT | BACKED));
}

#[test]
fn no_transition_overwrites_another() {
    play(|| two_fins(Fault::None));
}

#[test]
#[should_panic]
fn an_exchange_that_is_none_overwrites_transitions() {
    play(|| two_fins(Fault::TornExchange));
}

/// A flow behind full buckets, protected by two at once, then by none: it is found throughout, and its marks go with it.
#[test]
fn marks_are_counted_once() {
    play(|| {
        let memory = Shared::new(GEOMETRY, Fault::None);
        for key in 1..40 {
            begin(&memory, key, half_open());
        }
        let far = (1..40).find(|&key| look_up(&memory, key).is_some_and(|hit| hit.choice == 3)).unwrap();
        let writers = [
            spawn(&memory, move |memory| _ = protect(memory, far)),
            spawn(&memory, move |memory| _ = protect(memory, far)),
            spawn(&memory, |memory| _ = begin(memory, 50, half_open())),
        ];
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let Some(mut hit) = look_up(&memory, far) else { return };
        if hit.control.has(PROTECTED) {
            // Long after every other mark has lapsed.
            let later = NOW + 4000;
            let hit = find(&memory, &at(&memory, far), later).expect("a protected flow whose marks are gone");
            assert!(hit.control.has(USED));
        }
        let time = Time { now: NOW, renewal: 1 };
        change(&memory, &at(&memory, far), &mut hit, time, |control| control.without(PROTECTED));
        for bucket in 0..GEOMETRY.buckets() {
            let counted = memory.load(memory.filter(bucket).unwrap(), 0) >> 56;
            assert_eq!(counted, 0, "a count is left");
        }
    });
}
