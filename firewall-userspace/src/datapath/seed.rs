//! Flows of connections that were open before the programs were there to see them begin.

use std::net::SocketAddr;

use bytemuck::Pod;
use firewall_common::abi::{Address, Be16, Direction, FlowEntry, FlowKey, Ipv4, Ipv6, flow_flag, map};
use firewall_common::flow::{FlowState, key_of, start};
use firewall_common::packet::{Fragment, Ip, Tcp, Transport, tcp_flag};

use super::batch::Inserted;
use super::clock::jiffies_now;
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
    /// Tracks connections in a zone as if their first packets had been admitted under `generation`. Those that are
    /// tracked already keep the entry they have. Returns how many are new.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be written or is full; the connections before that are tracked then.
    pub fn seed_flows(&mut self, seeds: &[Seed], zone: u16, generation: u64) -> Result<usize, DatapathError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for seed in seeds {
            let Connection { local, remote, .. } = seed.connection;
            match (local, remote) {
                (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
                    let [local, remote] = [local, remote].map(|end| Ipv4::from_bytes(end.ip().octets()));
                    v4.push((seed, local, remote));
                }
                (SocketAddr::V6(local), SocketAddr::V6(remote)) => {
                    let [local, remote] = [local, remote].map(|end| Ipv6::from_bytes(end.ip().octets()));
                    v6.push((seed, local, remote));
                }
                // No packet has addresses of two families.
                (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {}
            }
        }
        let seeder = Seeder { zone, generation: generation_in_entry(generation), now: jiffies_now()? };
        let seeded_v4 = self.seed(&v4, seeder, map::FLOWS_V4, map::HALF_OPEN_V4)?;
        Ok(seeded_v4 + self.seed(&v6, seeder, map::FLOWS_V6, map::HALF_OPEN_V6)?)
    }

    fn seed<A: Address>(
        &self,
        seeds: &[(&Seed, A, A)],
        seeder: Seeder,
        assured: &'static str,
        half_open: &'static str,
    ) -> Result<usize, DatapathError>
    where
        FlowKey<A>: Pod,
    {
        let (assured_flows, half_open_flows) =
            (self.flow_table::<A>(assured)?, self.flow_table::<A>(half_open)?);
        let mut seeded = 0;
        for (seed, local, remote) in seeds {
            let Some((key, entry)) = seeder.flow(seed, *local, *remote) else {
                continue;
            };
            match assured_flows.insert_new(&key, &entry)? {
                Inserted::New => seeded += 1,
                Inserted::Existing => continue,
                Inserted::NoRoom => return Err(DatapathError::FlowTableFull { map: assured }),
            }
            // The programs may have begun one by what has passed them since they are attached.
            half_open_flows.take(&key)?;
        }
        Ok(seeded)
    }
}

/// What all flows that are seeded together have in common.
#[derive(Clone, Copy)]
struct Seeder {
    zone: u16,
    generation: u32,
    now: u32,
}

impl Seeder {
    /// The flow as the core makes it of a packet that the initiator sends, and as it is after an answer.
    fn flow<A: Address>(&self, seed: &Seed, local: A, remote: A) -> Option<(FlowKey<A>, FlowEntry)> {
        let Connection { protocol, started_by, .. } = seed.connection;
        let local = (local, Be16::new(seed.connection.local.port()));
        let remote = (remote, Be16::new(seed.connection.remote.port()));
        let (source, destination) = match started_by {
            Direction::Ingress => (remote, local),
            Direction::Egress => (local, remote),
        };
        let ip = Ip {
            source: source.0,
            destination: destination.0,
            fragment: Fragment::None,
            payload: 0,
            end: 0,
            protocol: protocol.number(),
            hop_limit: 0,
        };
        let (transport, state) = match protocol {
            ConnectionProtocol::Tcp => (segment(source.1, destination.1), FlowState::Established),
            ConnectionProtocol::Udp => {
                let datagram = Transport::Udp { source_port: source.1, destination_port: destination.1 };
                (datagram, FlowState::UdpStream)
            }
        };
        let key = key_of(&ip, &transport, started_by, self.zone)?;
        let begun = start(&transport, started_by, seed.rule_set, self.generation, self.now)?;
        let entry = FlowEntry { state: state as u8, flags: begun.flags | flow_flag::REPLIED, ..begun };
        Some((key, entry))
    }
}

fn segment(source_port: Be16, destination_port: Be16) -> Transport {
    Transport::Tcp(Tcp {
        source_port,
        destination_port,
        sequence: 0,
        acknowledgement: 0,
        flags: tcp_flag::ACK,
        has_data: false,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "flow entries keep the low 32 bits")]
const fn generation_in_entry(generation: u64) -> u32 {
    generation as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDER: Seeder = Seeder { zone: 7, generation: 3, now: 1000 };

    fn flow(protocol: ConnectionProtocol, started_by: Direction) -> (FlowKey<Ipv4>, FlowEntry) {
        let (local, remote) = ("192.0.2.1:22".parse().unwrap(), "192.0.2.9:40000".parse().unwrap());
        let seed = Seed { connection: Connection { protocol, local, remote, started_by }, rule_set: 5 };
        let [local, remote] = [[192, 0, 2, 1], [192, 0, 2, 9]].map(Ipv4::from_bytes);
        SEEDER.flow(&seed, local, remote).unwrap()
    }

    #[test]
    fn one_key_serves_both_directions_and_the_entry_says_which_began() {
        let (key, ingress) = flow(ConnectionProtocol::Tcp, Direction::Ingress);
        let (same, egress) = flow(ConnectionProtocol::Tcp, Direction::Egress);
        assert_eq!(key, same);
        assert_eq!((key.zone, key.protocol), (7, 6));
        assert_eq!((key.local_port.get(), key.remote_port.get()), (22, 40000));
        assert_eq!(ingress.started_by(), Direction::Ingress);
        assert_eq!(egress.started_by(), Direction::Egress);
    }

    #[test]
    fn a_seeded_flow_is_in_the_state_of_one_that_has_seen_packets_both_ways() {
        for (protocol, state) in [
            (ConnectionProtocol::Tcp, FlowState::Established),
            (ConnectionProtocol::Udp, FlowState::UdpStream),
        ] {
            let (_, entry) = flow(protocol, Direction::Ingress);
            assert_eq!(FlowState::from_number(entry.state), Some(state));
            assert!(entry.flags & flow_flag::REPLIED != 0);
            assert_eq!((entry.rule_set, entry.generation, entry.last_seen), (5, 3, 1000));
        }
    }
}
