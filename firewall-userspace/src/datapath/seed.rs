//! Flows of connections that were open before the programs were there to see them begin.

use std::net::{IpAddr, SocketAddr};

use firewall_common::abi::{Address, Be16, Direction, FlowKey, Ipv4, Ipv6, KeyWords, query_from};
use firewall_common::flow_table::control::{BACKED, BEGUN_BY_EGRESS, PROTECTED, REPLIED, state};
use firewall_common::flow_table::life::{Beside, Lifetimes};
use firewall_common::flow_table::{Control, Fresh};

use super::clock::Units;
use super::flow_table::Added;
use super::{Datapath, DatapathError};
use crate::host::{Connection, ConnectionProtocol};

/// A connection that is to be tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The connection.
    pub connection: Connection,
    /// The rules that admit its first packet.
    pub rule_set: u32,
}

impl Datapath {
    /// Tracks connections in a zone, whose policy is in force, as if their first packets had been admitted under `generation`.
    /// Those that are tracked and protected already keep the entry they have. Returns how many are new.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be written, and [`DatapathError::FlowTableFull`] where there was no place for one of
    /// them; the others are tracked then.
    pub fn seed_flows(&mut self, seeds: &[Seed], zone: u16, generation: u64) -> Result<usize, DatapathError> {
        if seeds.is_empty() {
            return Ok(0);
        }
        let (table, now) = (self.flow_table()?, Units::of_kernel()?.now()?);
        let settings = self.zones()?.remove(&zone).unwrap_or_default();
        let (mut seeded, mut is_full) = (0, false);
        for seed in seeds {
            // No packet has addresses of two families.
            let Some(key) = key(&seed.connection, zone) else { continue };
            let fresh = fresh(seed, generation, &settings.lifetimes, now);
            // The programs may have picked one up by what has passed them since they are attached.
            match table.add(&key, &fresh, now, |control| control.has(PROTECTED)) {
                Added::New => seeded += 1,
                Added::Existing => {}
                Added::NoRoom => is_full = true,
            }
        }
        if is_full { Err(DatapathError::FlowTableFull) } else { Ok(seeded) }
    }
}

fn key(connection: &Connection, zone: u16) -> Option<KeyWords> {
    let Connection { protocol, local, remote, .. } = connection;
    let ports = [local, remote].map(SocketAddr::port);
    match (local.ip(), remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            let ends = [local, remote].map(|end| Ipv4::from_bytes(end.octets()));
            Some(words(ends, ports, *protocol, zone))
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            let ends = [local, remote].map(|end| Ipv6::from_bytes(end.octets()));
            Some(words(ends, ports, *protocol, zone))
        }
        _ => None,
    }
}

fn words<A: Address>(ends: [A; 2], ports: [u16; 2], protocol: ConnectionProtocol, zone: u16) -> KeyWords {
    let ([local, remote], [local_port, remote_port]) = (ends, ports.map(Be16::new));
    let protocol = protocol.number();
    let key =
        FlowKey { local, remote, local_port, remote_port, protocol, query_from: query_from::EITHER, zone };
    A::key_words(&key)
}

/// The flow as if packets had been seen both ways, of a connection that a socket of the host vouches for.
fn fresh(seed: &Seed, generation: u64, lifetimes: &Lifetimes, now: u32) -> Fresh {
    let (state, backed) = match seed.connection.protocol {
        ConnectionProtocol::Tcp => (state::ESTABLISHED, BACKED),
        // Nobody asks for its socket: it ends by its time.
        ConnectionProtocol::Udp => (state::UDP_STREAM, 0),
    };
    let side = match seed.connection.started_by {
        Direction::Ingress => 0,
        Direction::Egress => BEGUN_BY_EGRESS,
    };
    Fresh {
        control: Control(PROTECTED | backed | REPLIED | side)
            .in_state(state)
            .ending(lifetimes.end(state, now)),
        admitted_by: generation << 32 | u64::from(seed.rule_set),
        beside: Beside::begun(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::flows::Named;
    use crate::datapath::lifetimes::lifetimes;
    use crate::model::FlowTimeouts;

    fn flow(protocol: ConnectionProtocol, started_by: Direction) -> (KeyWords, Fresh) {
        let (local, remote) = ("192.0.2.1:22".parse().unwrap(), "192.0.2.9:40000".parse().unwrap());
        let seed = Seed { connection: Connection { protocol, local, remote, started_by }, rule_set: 5 };
        let lifetimes = lifetimes(&FlowTimeouts::default(), Units::at(250));
        (key(&seed.connection, 7).unwrap(), fresh(&seed, 3, &lifetimes, 1000))
    }

    #[test]
    fn one_key_serves_both_directions_and_the_entry_says_which_began() {
        let (key, ingress) = flow(ConnectionProtocol::Tcp, Direction::Ingress);
        let (same, egress) = flow(ConnectionProtocol::Tcp, Direction::Egress);
        assert_eq!(key, same);
        let Named { zone, protocol, local, remote, .. } = Named::of(key);
        assert_eq!((zone, protocol, local.1, remote.1), (7, 6, 22, 40_000));
        assert!(!ingress.control.has(BEGUN_BY_EGRESS) && egress.control.has(BEGUN_BY_EGRESS));
    }

    #[test]
    fn a_seeded_flow_is_protected_in_the_state_of_one_that_has_seen_packets_both_ways() {
        for (protocol, state) in
            [(ConnectionProtocol::Tcp, state::ESTABLISHED), (ConnectionProtocol::Udp, state::UDP_STREAM)]
        {
            let (_, Fresh { control, admitted_by, .. }) = flow(protocol, Direction::Ingress);
            assert_eq!(control.state(), state);
            assert!(control.has(REPLIED) && control.has(PROTECTED) && !control.is_ended(1000));
            assert_eq!(control.has(BACKED), protocol == ConnectionProtocol::Tcp);
            assert_eq!(admitted_by, 3 << 32 | 5);
        }
    }

    #[test]
    fn a_connection_of_two_families_has_no_key() {
        let (local, remote) = ("192.0.2.1:22".parse().unwrap(), "[2001:db8::9]:40000".parse().unwrap());
        let (protocol, started_by) = (ConnectionProtocol::Tcp, Direction::Ingress);
        assert_eq!(key(&Connection { protocol, local, remote, started_by }, 7), None);
    }
}
