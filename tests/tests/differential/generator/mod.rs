//! Random policies, and random frames that have something to do with them and with each other.
//!
//! Addresses, ports and identifiers come from small pools, so that rules match, flows meet and fragments collide.

mod frames;
mod policies;

use std::net::IpAddr;

use firewall_common::abi::Direction;
use firewall_common::flow_table::life::Socket;
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
/// Multiples of 11 s, and no sum of them is less than 4 s short of any timeout: what the table's units round off decides
/// nothing. (That a scenario itself takes time does not either: [`Harness`](firewall_tests::prog::Harness) stops the clock.)
const WAITS: [u32; 8] = [11, 22, 33, 55, 66, 121, 187, 605];
/// Publishing waits for grace periods of the kernel's RCU, some 10 ms each; a frame takes less than 0.1 ms.
const FRAMES_PER_SCENARIO: usize = 2000;
/// Percent of steps.
const WAITING: u32 = 4;
/// Seconds that a scenario waits in all, at most: what stands beside a flow knows times of two hours only.
const WAITED: u32 = 7000;
/// Percent of scenarios whose table is full of flows of others from the beginning, and frames of such a scenario. While there
/// are flows of its own it would be chance which of them has to go.
const FILLING: u32 = 10;
const FRAMES_AT_A_FULL_TABLE: usize = 200;
/// Per thousand steps, where sockets are known.
const SOCKETS: u32 = 10;
/// Per thousand steps.
const CHANGING: u32 = 1;

/// A source of scenarios.
pub(crate) struct Generator {
    random: StdRng,
    knows_sockets: bool,
}

impl Generator {
    /// The same seed gives the same scenarios.
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), knows_sockets: false }
    }

    /// The same, with scenarios that say what the kernel knows about sockets.
    pub(crate) fn with_sockets(seed: u64) -> Self {
        Self { knows_sockets: true, ..Self::new(seed) }
    }

    /// The next scenario.
    pub(crate) fn scenario(&mut self) -> Scenario {
        let mut policy = self.policy();
        let mut steps = vec![Step::Publish(policy.clone())];
        let is_full = self.chance(FILLING);
        if is_full {
            steps.push(Step::Fill);
        }
        let mut sent: Vec<(Arrival, Packet)> = Vec::new();
        let mut waited = 0;
        for _ in 0..if is_full { FRAMES_AT_A_FULL_TABLE } else { FRAMES_PER_SCENARIO } {
            if self.random.random_range(0..1000) < CHANGING {
                self.change(&mut policy);
                steps.push(Step::Publish(policy.clone()));
            } else if self.knows_sockets && self.random.random_range(0..1000) < SOCKETS {
                let sockets = [
                    Socket::Connected,
                    Socket::Connected,
                    Socket::TimeWait,
                    Socket::Opening,
                    Socket::Listening,
                    Socket::None,
                ];
                steps.push(Step::Sockets(self.pick(&sockets)));
            } else if self.chance(WAITING) {
                let seconds = self.pick(&WAITS);
                waited += seconds;
                if waited <= WAITED {
                    steps.push(Step::Wait(seconds));
                }
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
