//! Where the chance of a random test comes from, and how much of it there is.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of a random test: `SGFW_SEED`, or another one each time. It is printed, and `cargo xtask test` names it where it
/// says how to repeat a test that failed.
///
/// # Panics
///
/// When `SGFW_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    let seed = number("SGFW_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos().into())
    });
    println!("SGFW_SEED={seed}");
    seed
}

/// A number that the environment sets, such as how long a test is to run.
///
/// # Panics
///
/// When the variable is no number.
#[must_use]
pub fn number<T: FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}
