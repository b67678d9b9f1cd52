//! Where the chance of a random test comes from.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of a random test: `SGFW_SEED`, or another one each time. It is printed, and `cargo xtask test` names it where it
/// says how to repeat a test that failed.
///
/// # Panics
///
/// When `SGFW_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    let seed = match std::env::var("SGFW_SEED") {
        Ok(seed) => seed.parse().expect("SGFW_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos().into()),
    };
    println!("SGFW_SEED={seed}");
    seed
}
