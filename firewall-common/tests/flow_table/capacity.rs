//! How many protected flows stand in a table before one is refused.

use firewall_common::abi::{KEY_IS_IPV6, KEY_WORDS};
use firewall_common::flow_table::control::{Control, PROTECTED, state};
use firewall_common::flow_table::layout::BYTES_PER_SLOT;
use firewall_common::flow_table::life::{Beside, Lifetimes, Socket};
use firewall_common::flow_table::{Fresh, Geometry, Inserted, clear, find, insert, spot};

use crate::heap::Heap;

/// Keys of both families by turns, no two alike.
fn key(number: u32) -> [u64; KEY_WORDS] {
    let family = if number & 1 != 0 { KEY_IS_IPV6 } else { 0 };
    [1, 2, 3, u64::from(number) << 32 | 4, u64::from(number) << 16 & 0xffff_ffff | family]
}

/// Begins a protected flow. Whether it found a place.
fn begin(heap: &Heap, number: u32) -> bool {
    let control = Control(PROTECTED).in_state(state::ESTABLISHED).ending(u32::MAX);
    let fresh = Fresh { control, admitted_by: 1, beside: Beside::begun(1) };
    let (key, lifetimes) = (key(number), Lifetimes::default());
    match insert(heap, &spot(heap, &key), &key, &fresh, &lifetimes, 1, |_| Socket::None) {
        Inserted::InPlaceOf(_) => true,
        Inserted::Refused => false,
        other => panic!("{other:?}"),
    }
}

fn first_refusal(geometry: Geometry, seed: u64) -> u32 {
    let heap = Heap::new(geometry, seed);
    (0..).find(|number| !begin(&heap, *number)).unwrap()
}

/// `docs/flow-table.md` has what comes of it nearer to the guarantee.
#[test]
fn a_table_that_lives_at_five_sixths_of_its_guarantee_refuses_nothing() {
    const TURNS: u32 = 200_000;
    for seed in 0..3 {
        let geometry = Geometry::for_entries(4096);
        let heap = Heap::new(geometry, seed);
        let live = geometry.guaranteed() / 6 * 5;
        assert!((0..live).all(|number| begin(&heap, number)));
        // Each turn one flow, of any age, goes, and another one comes.
        let mut flows: Vec<u32> = (0..live).collect();
        let mut chance = seed;
        for number in live..live + TURNS {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let which = (chance >> 33) as usize % flows.len();
            let gone = spot(&heap, &key(flows[which]));
            assert!(clear(&heap, &gone, &find(&heap, &gone, 1).unwrap()));
            assert!(begin(&heap, number), "seed {seed}, after {} turns", number - live);
            flows[which] = number;
        }
    }
}

/// `SEEDS=1000 LARGEST=1000000 cargo test --release capacity -- --nocapture` prints what the guarantee is taken from.
#[test]
fn no_flow_is_refused_below_the_number_asked_for() {
    let seeds: u64 = std::env::var("SEEDS").map_or(3, |seeds| seeds.parse().unwrap());
    let largest: u32 = std::env::var("LARGEST").map_or(50_000, |entries| entries.parse().unwrap());
    // Each shape, from the smallest table on.
    for entries in
        (10..20).flat_map(|bits| [100, 120, 140, 170].map(|percent| (1_u32 << bits) / 100 * percent))
    {
        if entries > largest {
            break;
        }
        let geometry = Geometry::for_entries(entries);
        // As many as the table of this size may be asked to hold.
        let entries = (entries..).find(|&entries| Geometry::for_entries(entries) != geometry).unwrap() - 1;
        let least = (0..seeds).map(|seed| first_refusal(geometry, seed)).min().unwrap();
        let slots = geometry.slots();
        println!("{entries}: {geometry:?} {slots} slots, {least} {}", f64::from(least) / f64::from(slots));
        assert!(least >= entries, "{entries} {least}");
    }
    for entries in (1024..3_000_000).step_by(997) {
        let bytes = u64::from(Geometry::for_entries(entries).slots()) * BYTES_PER_SLOT;
        assert!(bytes <= 128 * u64::from(entries), "{entries}: {bytes}");
    }
}
