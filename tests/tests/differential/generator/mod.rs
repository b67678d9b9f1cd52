//! Random policies, and random frames that have something to do with them and with each other.
//!
//! Addresses, ports and identifiers come from small pools, so that rules match, flows meet and fragments collide.

mod frames;
mod policies;

use std::net::IpAddr;

use firewall_common::abi::Direction;
use firewall_tests::packets::Packet;
use firewall_tests::scenario::{Arrival, Scenario, Step};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub(crate) use policies::FIRST_GROUP;

const V4: [&str; 8] = [
    "10.0.1.10",
    "10.0.1.11",
    "10.0.1.20",
    "203.0.113.5",
    "203.0.113.6",
    "198.51.100.7",
    "100.68.63.255",
    "0.0.0.0",
];
const V6: [&str; 6] = [
    "2001:db8:1::10",
    "2001:db8:1::20",
    "2001:db8:ffff::5",
    "2001:db8:eeee::7",
    "fe80::1",
    "::ffff:203.0.113.5",
];
const PORTS: [u16; 10] = [22, 53, 67, 68, 80, 443, 546, 547, 40_000, 65_535];
const ICMP_TYPES: [u8; 10] = [0, 3, 5, 8, 11, 12, 13, 14, 17, 18];
const ICMPV6_TYPES: [u8; 10] = [1, 2, 3, 4, 128, 129, 130, 135, 137, 143];
/// Protocols that IPv4 carries under these numbers alone, extension headers of IPv6 among them.
const PROTOCOLS_V4: [u8; 7] = [0, 44, 47, 50, 51, 58, 255];
const PROTOCOLS_V6: [u8; 6] = [1, 47, 50, 59, 132, 255];
/// Multiples of 11 s, and no sum of them is less than 4 s short of any timeout: in the kernel, where time passes by
/// itself too, no decision hangs on how long a scenario takes.
const WAITS: [u32; 8] = [11, 22, 33, 55, 66, 121, 187, 605];
/// Publishing waits for grace periods of the kernel's RCU, some 10 ms each; a frame takes less than 0.1 ms.
const FRAMES_PER_SCENARIO: usize = 2000;
/// Percent of steps.
const WAITING: u32 = 4;
/// Percent of scenarios in which the tables of assured flows fill up.
const FILLING: u32 = 10;
/// Per thousand steps.
const CHANGING: u32 = 1;

/// A source of scenarios.
pub(crate) struct Generator {
    random: StdRng,
}

impl Generator {
    /// The same seed gives the same scenarios.
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    /// The next scenario.
    pub(crate) fn scenario(&mut self) -> Scenario {
        let mut policy = self.policy();
        let mut steps = vec![Step::Publish(policy.clone())];
        let fills_at = self.chance(FILLING).then(|| self.random.random_range(0..FRAMES_PER_SCENARIO));
        let mut sent: Vec<(Arrival, Packet)> = Vec::new();
        for index in 0..FRAMES_PER_SCENARIO {
            if fills_at == Some(index) {
                steps.push(Step::Fill);
            }
            if self.random.random_range(0..1000) < CHANGING {
                self.change(&mut policy);
                steps.push(Step::Publish(policy.clone()));
            } else if self.chance(WAITING) {
                steps.push(Step::Wait(self.pick(&WAITS)));
            } else {
                steps.push(self.frame(&policy, &mut sent));
            }
        }
        Scenario { title: "random".to_owned(), unplayable: None, steps }
    }

    fn address(&mut self, is_ipv6: bool) -> IpAddr {
        let text = if is_ipv6 { self.pick(&V6) } else { self.pick(&V4) };
        text.parse().unwrap()
    }

    pub(crate) fn direction(&mut self) -> Direction {
        if self.chance(50) { Direction::Ingress } else { Direction::Egress }
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.random.random_range(0..from.len())].clone()
    }
}
