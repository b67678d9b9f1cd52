//! The timeouts of an interface as the programs want them: by state, in units of time.

use firewall_common::flow_table::control::state;
use firewall_common::flow_table::life::{DOUBTED, Lifetimes};

use super::clock::Units;
use crate::model::FlowTimeouts;

/// How long a flow that was cut keeps its responder out, in seconds: longer than a TCP that is not answered repeats itself
/// (15 minutes and more, `net.ipv4.tcp_retries2`), for what it repeats would begin the flow anew wherever the other direction
/// is open. Such an entry is in nobody's way: it is the first that an insert takes.
const CUT_SECONDS: u32 = 3_600;

/// By number of the state.
#[must_use]
pub fn lifetimes(timeouts: &FlowTimeouts, units: Units) -> Lifetimes {
    let of_states = [
        (DOUBTED, timeouts.tcp_doubt),
        (state::SYN_SENT, timeouts.tcp_syn),
        (state::SYN_RECEIVED, timeouts.tcp_syn),
        (state::PICKED_UP, timeouts.tcp_syn),
        (state::ESTABLISHED, timeouts.tcp_established),
        // It ends with its socket, which is asked for after `tcp_fin`.
        (state::FIN_WAIT, timeouts.tcp_established),
        (state::TIME_WAIT, timeouts.tcp_fin),
        (state::CLOSED, timeouts.tcp_closed),
        (state::UDP_ONE_WAY, timeouts.udp),
        (state::UDP_REPLIED, timeouts.udp),
        (state::UDP_STREAM, timeouts.udp_stream),
        (state::ICMP_QUERY, timeouts.icmp),
        (state::ICMP_REPLIED, timeouts.icmp),
        (state::PORTLESS, timeouts.other),
        (state::PORTLESS_REPLIED, timeouts.other),
        (state::CUT, CUT_SECONDS),
    ];
    let mut lifetimes = Lifetimes::default();
    for (state, seconds) in of_states {
        if let Some(lifetime) = lifetimes.0.get_mut(state as usize) {
            *lifetime = units.of_seconds(seconds);
        }
    }
    lifetimes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_lifetime() {
        let lifetimes = lifetimes(&FlowTimeouts::default(), Units::at(250));
        assert!(lifetimes.0.iter().all(|lifetime| *lifetime > 0));
        // 432 000 s of 250 jiffies, 32 of them a unit.
        assert_eq!(lifetimes.of(state::ESTABLISHED), 3_375_000);
        assert_eq!(lifetimes.of(DOUBTED), 28_125);
    }
}
