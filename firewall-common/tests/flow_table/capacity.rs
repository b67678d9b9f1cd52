//! How many protected flows stand in a table before one is refused.

use firewall_common::abi::KEY_IS_IPV6;
use firewall_common::flow_table::control::{Control, PROTECTED, state};
use firewall_common::flow_table::layout::BYTES_PER_SLOT;
use firewall_common::flow_table::life::{Beside, Lifetimes, Socket};
use firewall_common::flow_table::{Fresh, Geometry, Inserted, insert, spot};

use crate::heap::Heap;

fn first_refusal(geometry: Geometry, seed: u64) -> u32 {
    let heap = Heap::new(geometry, seed);
    let control = Control(PROTECTED).in_state(state::ESTABLISHED).ending(u32::MAX);
    let fresh = Fresh { control, admitted_by: 1, beside: Beside::begun(1) };
    for number in 0.. {
        let is_ipv6 = number & 1 != 0;
        let family = if is_ipv6 { KEY_IS_IPV6 } else { 0 };
        let key = [u64::from(number), 2, 3, 4, u64::from(number) << 16 & 0xffff_ffff | family];
        let spot = spot(&heap, &key);
        let lifetimes = Lifetimes::default();
        match insert(&heap, &spot, &key, &fresh, &lifetimes, 1, |_| Socket::None) {
            Inserted::InPlaceOf(_) => {}
            Inserted::Refused => return number,
            other => panic!("{other:?}"),
        }
    }
    unreachable!()
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
