//! The flow table in memory: against a list, filled to the brim, and by several writers at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod capacity;
#[expect(unreachable_pub, reason = "the file belongs to `firewall-tests`, where others use it")]
#[path = "../../../tests/src/simulator/heap.rs"]
mod heap;
mod lives;
mod model;
mod shared;
mod writers;
