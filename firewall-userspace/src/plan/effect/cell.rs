//! The parts of a cell's key.

use firewall_common::abi::{CellKey, Direction};

pub(super) const fn direction(key: &CellKey) -> Direction {
    if key.direction_and_address_class >> 31 == Direction::Egress as u32 {
        return Direction::Egress;
    }
    Direction::Ingress
}

pub(super) const fn address_class(key: &CellKey) -> u32 {
    key.direction_and_address_class & (u32::MAX >> 1)
}
