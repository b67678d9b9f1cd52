//! The kernel's clock as BPF programs read it: jiffies, and the units of time that flows are counted in.

use firewall_common::flow_table::layout::time_shift;
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

/// The jiffies now, to within a few ticks.
pub(super) fn jiffies() -> Result<u64, DatapathError> {
    let per_second = u64::from(jiffies_per_second()?);
    let since_boot = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_err(DatapathError::Clock)?;
    let ticks = nanoseconds(since_boot) / (NANOSECONDS_PER_SECOND / per_second);
    // INITIAL_JIFFIES is a number of 32 bits also where the counter has 64.
    Ok((1 << 32) - SECONDS_BEFORE_WRAP * per_second + ticks)
}

/// The units of time of flows: jiffies, shifted so that 32 bits of them last for years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    jiffies_per_second: u32,
    shift: u32,
}

impl Units {
    /// Those of the running kernel.
    pub(super) fn of_kernel() -> Result<Self, DatapathError> {
        Ok(Self::at(jiffies_per_second()?))
    }

    /// Those of a kernel with so many jiffies in a second.
    #[must_use]
    pub const fn at(jiffies_per_second: u32) -> Self {
        Self { jiffies_per_second, shift: time_shift(jiffies_per_second) }
    }

    /// By how many bits jiffies are shifted.
    pub(super) const fn shift(self) -> u32 {
        self.shift
    }

    /// The time now. The programs' may differ by one.
    pub(super) fn now(self) -> Result<u32, DatapathError> {
        Ok(saturated(jiffies()? >> self.shift))
    }

    /// A duration: no shorter, and at least one unit.
    pub(super) fn of_seconds(self, seconds: u32) -> u32 {
        let jiffies = u64::from(seconds) * u64::from(self.jiffies_per_second);
        saturated(jiffies.div_ceil(1 << self.shift)).max(1)
    }

    /// A duration of the 32-bit clock.
    pub(super) fn of_jiffies(self, jiffies: u32) -> u32 {
        jiffies >> self.shift
    }

    /// A duration in whole seconds.
    pub(super) fn seconds(self, units: u32) -> u64 {
        (u64::from(units) << self.shift) / u64::from(self.jiffies_per_second.max(1))
    }
}

fn nanoseconds(time: TimeSpec) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds * NANOSECONDS_PER_SECOND + rest
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_rate_is_one_that_linux_can_be_built_with() {
        assert!([100, 250, 300, 1000].contains(&jiffies_per_second().unwrap()));
    }

    #[test]
    fn the_clock_goes_forward_at_the_tick_rate() {
        let before = jiffies().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        let passed = jiffies().unwrap() - before;
        assert!(passed >= u64::from(jiffies_per_second().unwrap() / 10), "{passed}");
    }

    #[test]
    fn a_duration_is_no_shorter_in_units_and_the_same_in_seconds_again() {
        for rate in [100, 250, 300, 1000] {
            let units = Units::at(rate);
            assert_eq!(units.of_seconds(0), 1);
            for seconds in [1, 2, 10, 30, 120, 7_200, 432_000] {
                let duration = units.of_seconds(seconds);
                assert!(u64::from(duration) << units.shift() >= u64::from(seconds) * u64::from(rate));
                assert_eq!(units.seconds(duration), u64::from(seconds), "{seconds} s at {rate}");
            }
        }
    }

    #[test]
    fn two_hours_fit_into_the_sixteen_bits_that_stand_beside_a_flow() {
        for rate in [100, 250, 300, 1000] {
            assert!(Units::at(rate).of_seconds(7_200) < 1 << 16);
        }
    }
}
