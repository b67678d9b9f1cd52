//! The counters that `sgfw status` shows.

use firewall_tests::lab::Host;

use super::json;

/// A row of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// What `sgfw status` says about one direction and reason, over all interfaces.
#[track_caller]
pub(crate) fn counter(host: &Host, direction: &str, reason: &str) -> Counter {
    let status = json(host, "status");
    let rows = status["Counters"].as_array().unwrap().iter();
    rows.filter(|row| row["Direction"] == direction && row["Reason"] == reason).fold(
        Counter::default(),
        |sum, row| Counter {
            packets: sum.packets + row["Packets"].as_u64().unwrap(),
            bytes: sum.bytes + row["Bytes"].as_u64().unwrap(),
        },
    )
}

/// How many packets went in `direction` and ended with `reason` while `work` ran.
#[track_caller]
pub(crate) fn packets_during(host: &Host, direction: &str, reason: &str, work: impl FnOnce()) -> u64 {
    let before = counter(host, direction, reason).packets;
    work();
    counter(host, direction, reason).packets - before
}
