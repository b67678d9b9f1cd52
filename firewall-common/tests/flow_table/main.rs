//! The flow table in memory: against a list, filled to the brim, and by several writers at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

mod capacity;
#[path = "../../../tests/src/simulator/heap.rs"]
mod heap;
mod lives;
mod model;
mod writers;
