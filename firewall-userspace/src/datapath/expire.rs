//! Sweeping the flow table. Nothing depends on it: programs take what has ended for none, and inserts take its place. So this is
//! for numbers, for flows that end at the operator's time, and for flows in doubt whose sockets are gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use firewall_common::abi::KeyWords;
use firewall_common::flow_table::control::{BACKED, DOUBT, DRAINING, PROTECTED};
use firewall_common::flow_table::life::{Lifetimes, Socket};
use firewall_common::flow_table::sweep::{Listed, Swept, alter, answered, read, sweep};

use super::clock::Units;
use super::flow_table::FlowTable;
use super::flows::{Named, zone_of};
use super::lifetimes::lifetimes;
use super::{Datapath, DatapathError};
use crate::host::ConnectionProtocol;
use crate::model::FlowTimeouts;

/// How long a flow must be over before it is swept: more than user space's clock can differ from the programs'.
const GRACE_SECONDS: u32 = 2;

/// What a sweep has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpiredFlows {
    /// Flows that had ended, and whose places are free now.
    pub removed: u64,
    /// Flows that the operator has given time, which is over.
    pub cut: u64,
    /// Flows whose sockets are to be asked for.
    pub asks: Vec<Ask>,
}

/// A flow that a socket of this host has backed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The end on this host.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    listed: Listed,
    bucket: u32,
    slot: u32,
}

impl Datapath {
    /// Gives the places of ended flows back. Any number of processes may do it at a time, while packets flow: a live flow is
    /// never taken.
    ///
    /// Of flows in no doubt only those are to be asked for of which `has_socket` says that their socket was not there a moment
    /// ago, by local and remote end.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn expire_flows(
        &self,
        has_socket: impl Fn(SocketAddr, SocketAddr) -> bool,
    ) -> Result<ExpiredFlows, DatapathError> {
        let (table, sweeper) = (self.flow_table()?, self.sweeper()?);
        let mut expired = ExpiredFlows::default();
        for (bucket, slot) in table.slots() {
            // Most places are neither, and their keys lie elsewhere.
            let control = table.control(bucket, slot);
            if !control.is_ended(sweeper.now) && !control.has(BACKED) {
                continue;
            }
            match sweeper.sweep(&table, bucket, slot) {
                Swept::Kept => {}
                Swept::Cleared => expired.removed += 1,
                Swept::Cut => expired.cut += 1,
                Swept::Asks(listed) => {
                    let Some(key) = listed.key else { continue };
                    let Named { local, remote, .. } = Named::of(key);
                    let (local, remote) = (SocketAddr::from(local), SocketAddr::from(remote));
                    if listed.control.has(DOUBT) || !has_socket(local, remote) {
                        expired.asks.push(Ask { local, remote, listed, bucket, slot });
                    }
                }
            }
        }
        Ok(expired)
    }

    /// Takes the answers for flows that were asked for.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn settle_flows(
        &self,
        asks: &[Ask],
        socket_of: impl Fn(&Ask) -> Socket,
    ) -> Result<(), DatapathError> {
        let (table, sweeper) = (self.flow_table()?, self.sweeper()?);
        for ask in asks {
            let Ask { bucket, slot, listed, .. } = ask;
            let lifetimes = sweeper.lifetimes(listed.key);
            answered(&table, *bucket, *slot, listed, socket_of(ask), lifetimes, sweeper.now);
        }
        Ok(())
    }

    /// Remembers of connections that `has_socket` knows, by local and remote end, that the host is an end of them. For flows of
    /// versions that did not: nobody would ever ask for their sockets.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn back_flows(
        &self,
        has_socket: impl Fn(SocketAddr, SocketAddr) -> bool,
    ) -> Result<(), DatapathError> {
        back(&self.flow_table()?, has_socket, Units::of_kernel()?.now()?);
        Ok(())
    }

    /// Cuts the flows that the operator has drained and whose time is over. Programs do so when they meet one; whoever copies flows
    /// must not take it for one that has ended, or its connection would begin anew.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub(super) fn cut_drained_flows(&self) -> Result<(), DatapathError> {
        let (table, now) = (self.flow_table()?, Units::of_kernel()?.now()?);
        let sweeper = Sweeper { now, ..self.sweeper()? };
        for (bucket, slot) in table.slots() {
            let control = table.control(bucket, slot);
            if control.has(DRAINING) && control.is_ended(now) {
                sweeper.sweep(&table, bucket, slot);
            }
        }
        Ok(())
    }

    fn sweeper(&self) -> Result<Sweeper, DatapathError> {
        let units = Units::of_kernel()?;
        let zones = self.zones()?.into_iter();
        Ok(Sweeper {
            zones: zones.map(|(zone, settings)| (zone, settings.lifetimes)).collect(),
            // Of a flow whose zone nobody knows, or that has no interface.
            others: lifetimes(&FlowTimeouts::default(), units),
            now: units.now()?.saturating_sub(units.of_seconds(GRACE_SECONDS)),
        })
    }
}

fn back(table: &FlowTable, has_socket: impl Fn(SocketAddr, SocketAddr) -> bool, now: u32) {
    let backed = |listed: &Listed| {
        let Named { protocol, local, remote, .. } = Named::of(listed.key?);
        let is_connection = protocol == ConnectionProtocol::Tcp.number()
            && listed.control.0 & (PROTECTED | DOUBT) == PROTECTED;
        (is_connection && has_socket(local.into(), remote.into())).then(|| listed.control.with(BACKED))
    };
    for (bucket, slot) in table.slots() {
        alter(table, bucket, slot, now, backed);
    }
}

/// What tells how long flows may live.
struct Sweeper {
    zones: BTreeMap<u16, Lifetimes>,
    others: Lifetimes,
    now: u32,
}

impl Sweeper {
    /// Looks at one slot, by the timeouts of its flow.
    fn sweep(&self, table: &FlowTable, bucket: u32, slot: u32) -> Swept {
        match read(table, bucket, slot) {
            Some(listed) => sweep(table, bucket, slot, self.lifetimes(listed.key), self.now),
            None => Swept::Kept,
        }
    }

    fn lifetimes(&self, key: Option<KeyWords>) -> &Lifetimes {
        key.and_then(|key| self.zones.get(&zone_of(key))).unwrap_or(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::flow_table::control::state;

    use super::*;
    use crate::datapath::flow_table::tests::{NOW, flow, key, table};

    #[test]
    fn connections_of_the_host_are_backed_by_its_sockets() {
        let Some(table) = table(1024) else { return };
        let add = |number, flags, state| table.add(&key(number), &flow(flags, state), NOW, |_| true);
        add(1, PROTECTED, state::ESTABLISHED);
        add(2, PROTECTED, state::ESTABLISHED);
        add(3, PROTECTED | DOUBT, state::ESTABLISHED);
        add(4, 0, state::SYN_SENT);
        // The host forwards the connection of the second.
        back(&table, |_, remote| remote.ip() != Named::of(key(2)).remote.0, NOW);
        let mut backed = Vec::new();
        table.each(|_, _, listed| backed.extend(listed.key.filter(|_| listed.control.has(BACKED))));
        assert_eq!(backed, [key(1)]);
    }
}
