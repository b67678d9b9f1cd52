//! The kernel's clock as BPF programs read it: jiffies.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::DatapathError;

/// Seconds after boot at which the 32-bit counter wraps for the first time (`INITIAL_JIFFIES` in `linux/jiffies.h`).
const SECONDS_BEFORE_WRAP: u64 = 300;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Jiffies per second of the running kernel.
///
/// The resolution of the coarse monotonic clock is one tick, which saves looking for the kernel's configuration.
pub(super) fn jiffies_per_second() -> Result<u32, DatapathError> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(DatapathError::Clock)?;
    let nanoseconds = nanoseconds(tick).max(1);
    // Rounded: a tick of 3 333 333 ns is 300 Hz.
    let per_second = (NANOSECONDS_PER_SECOND + nanoseconds / 2) / nanoseconds;
    Ok(u32::try_from(per_second).unwrap_or(u32::MAX).max(1))
}

/// Low 32 bits of the jiffies now, to within a few ticks.
pub(super) fn jiffies_now() -> Result<u32, DatapathError> {
    Ok(truncated(jiffies()?))
}

/// The jiffies now, to within a few ticks.
pub(super) fn jiffies() -> Result<u64, DatapathError> {
    let per_second = u64::from(jiffies_per_second()?);
    let since_boot = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_err(DatapathError::Clock)?;
    let ticks = nanoseconds(since_boot) / (NANOSECONDS_PER_SECOND / per_second);
    // INITIAL_JIFFIES is a number of 32 bits also where the counter has 64.
    Ok((1 << 32) - SECONDS_BEFORE_WRAP * per_second + ticks)
}

/// A duration in jiffies; at least one, and saturating.
pub(super) fn to_jiffies(seconds: u32, jiffies_per_second: u32) -> u32 {
    seconds.saturating_mul(jiffies_per_second).max(1)
}

/// Jiffies since a flow's last packet.
///
/// The clock and the entry are not read at the same instant, and user space's clock is a few ticks off: a packet may seem
/// to be later than now, and is then taken for one of now.
pub(super) fn idle(last_seen: u32, now: u32, jiffies_per_second: u32) -> u32 {
    const MAX_SECONDS_AHEAD: u32 = 60;
    let ahead = last_seen.wrapping_sub(now);
    if ahead < MAX_SECONDS_AHEAD.saturating_mul(jiffies_per_second) { 0 } else { now.wrapping_sub(last_seen) }
}

fn nanoseconds(time: TimeSpec) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds * NANOSECONDS_PER_SECOND + rest
}

#[expect(clippy::cast_possible_truncation, reason = "the programs keep the low 32 bits too")]
const fn truncated(jiffies: u64) -> u32 {
    jiffies as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_rate_is_one_that_linux_can_be_built_with() {
        assert!([100, 250, 300, 1000].contains(&jiffies_per_second().unwrap()));
    }

    #[test]
    fn idle_time_is_counted_over_the_wrap_of_the_clock_and_is_never_negative() {
        assert_eq!(idle(100, 350, 100), 250);
        assert_eq!(idle(u32::MAX - 9, 5, 100), 15);
        assert_eq!(idle(350, 349, 100), 0);
        assert_eq!(idle(3, u32::MAX, 100), 0);
        // Idle for so long that the difference is negative as a signed number.
        assert_eq!(idle(0, 1 << 31, 100), 1 << 31);
    }

    #[test]
    fn the_clock_goes_forward_at_the_tick_rate() {
        let before = jiffies_now().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        let passed = jiffies_now().unwrap().wrapping_sub(before);
        assert!(passed >= jiffies_per_second().unwrap() / 10, "{passed}");
    }
}
