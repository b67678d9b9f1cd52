//! The flows: shown to people, and forgotten when their interface is detached.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::abi::{
    AnyFlowKey, Direction, FlowKey, InterfaceSettings, Ipv4, Ipv6, KeyWords, query_from,
};
use firewall_common::flow_table::Control;
use firewall_common::flow_table::control::{
    BACKED, BEGUN_BY_EGRESS, DOUBT, DRAINING, PROTECTED, UNCONFIRMED, VERSIONS, state,
};
use firewall_common::flow_table::life::{DOUBTED, Lifetimes};
use firewall_common::flow_table::sweep::{Listed, alter, asks_for_socket, read};

use super::clock::Units;
use super::{Datapath, DatapathError};

/// One live flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// Zone, which tells the interface.
    pub zone: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Address and port of the end that sent the first packet. For ICMP the port is the identifier, for protocols
    /// without ports it is 0.
    pub initiator: (IpAddr, u16),
    /// Address and port of the other end. For ICMP the port is the type of the query.
    pub responder: (IpAddr, u16),
    /// Direction of the first packet.
    pub started_by: Direction,
    /// Name of its state.
    pub state: &'static str,
    /// Whether nothing evicts it.
    pub protected: bool,
    /// Whether a RST or FIN was seen that proves nothing.
    pub doubt: bool,
    /// Whether it is to be asked whether the host still has a socket for it: the flow is over if not.
    pub needs_socket: bool,
    /// Seconds since the last packet, to within one; 0 for a flow that was cut or is to be, of which nobody knows.
    pub idle_seconds: u64,
    /// Seconds until the flow ends if it stays idle.
    pub expires_in_seconds: u64,
    /// Seconds until the operator's cut ends it; 0 if it has. `None` if nobody has cut it.
    pub cut_in_seconds: Option<u64>,
    /// The rules that admitted its first packet.
    pub rule_set: u32,
    /// Low 32 bits of the policy generation at that time.
    pub generation: u32,
}

impl Datapath {
    /// Calls `visit` with each live flow whose addresses are recorded, until it fails. Returns how many there are besides: each
    /// took the place of another in a flood, when no addresses are recorded.
    ///
    /// Nothing is kept of a flow, for there may be millions.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read, and what `visit` returns.
    pub fn each_flow<E: From<DatapathError>>(
        &self,
        mut visit: impl FnMut(FlowRow) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (table, reader) = (self.flow_table()?, self.reader()?);
        let mut unnamed = 0;
        for (bucket, slot) in table.slots() {
            let Some(listed) = read(&table, bucket, slot).filter(|flow| !flow.control.is_ended(reader.now))
            else {
                continue;
            };
            match listed.key {
                Some(key) => reader.row(&listed, key).map_or(Ok(()), &mut visit)?,
                None => unnamed += 1,
            }
        }
        Ok(unnamed)
    }

    /// Whether there is any live flow whose addresses are recorded.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read.
    pub fn has_flows(&self) -> Result<bool, DatapathError> {
        let (table, reader) = (self.flow_table()?, self.reader()?);
        let mut flows = table.slots().filter_map(|(bucket, slot)| read(&table, bucket, slot));
        Ok(flows.any(|listed| listed.key.is_some_and(|key| reader.row(&listed, key).is_some())))
    }

    /// The rule sets that flows name, whether these live or not.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read.
    pub fn rule_sets_of_flows(&self) -> Result<HashSet<u32>, DatapathError> {
        let mut rule_sets = HashSet::new();
        self.flow_table()?.each(|_, _, listed| {
            rule_sets.insert(listed.detail.rule_set);
        });
        Ok(rule_sets)
    }

    pub(super) fn reader(&self) -> Result<Reader, DatapathError> {
        let units = Units::of_kernel()?;
        Ok(Reader { zones: self.zones()?, units, now: units.now()? })
    }

    /// Removes the flows of a zone: the next interface that gets the zone must not inherit them. Of what zone a flow is that
    /// is not named nobody knows; it ends within minutes, and a zone is not given again before all others were.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn forget_flows(&mut self, zone: u16) -> Result<(), DatapathError> {
        let (table, now) = (self.flow_table()?, Units::of_kernel()?.now()?);
        for (bucket, slot) in table.slots() {
            alter(&table, bucket, slot, now, |listed| {
                let is_of_zone = listed.key.is_some_and(|key| zone_of(key) == zone);
                is_of_zone.then_some(Control(listed.control.0 & VERSIONS))
            });
        }
        Ok(())
    }

    /// The settings in force, by zone.
    pub(super) fn zones(&self) -> Result<BTreeMap<u16, InterfaceSettings>, DatapathError> {
        let mut zones = BTreeMap::new();
        for settings in self.settings_in_force()? {
            if settings.policy != 0 {
                zones.insert(settings.zone, settings);
            }
        }
        Ok(zones)
    }
}

/// Turns flows into rows.
pub(super) struct Reader {
    pub(super) zones: BTreeMap<u16, InterfaceSettings>,
    pub(super) units: Units,
    pub(super) now: u32,
}

impl Reader {
    /// `None` for what is no live flow: ended, of no attached interface, or of an unknown state.
    pub(super) fn row(&self, listed: &Listed, key: KeyWords) -> Option<FlowRow> {
        let Listed { control, detail, .. } = *listed;
        let named = Named::of(key);
        let settings = self.zones.get(&named.zone)?;
        let left = control.end().checked_sub(self.now).filter(|left| *left > 0)?;
        let started_by = if control.has(BEGUN_BY_EGRESS) { Direction::Egress } else { Direction::Ingress };
        let (initiator, responder) = named.ends(started_by);
        let is_cut = control.state() == state::CUT;
        let is_over = is_cut || control.has(DRAINING);
        // One unit more than the lifetime is given, for the clock is rounded down.
        let idle = lifetime(control, &settings.lifetimes).saturating_add(1).saturating_sub(left);
        Some(FlowRow {
            zone: named.zone,
            protocol: named.protocol,
            initiator,
            responder,
            started_by,
            state: state::name(control.state())?,
            protected: control.has(PROTECTED),
            doubt: is_doubted(control),
            needs_socket: asks_for_socket(listed, &settings.lifetimes, self.now),
            idle_seconds: if is_over { 0 } else { self.units.seconds(idle) },
            expires_in_seconds: self.units.seconds(left),
            cut_in_seconds: is_over.then(|| if is_cut { 0 } else { self.units.seconds(left) }),
            rule_set: detail.rule_set,
            generation: detail.generation,
        })
    }
}

/// Whether something has spoken against a flow, as people are told. To an insert one that is not confirmed yet is in doubt too.
const fn is_doubted(control: Control) -> bool {
    control.0 & (DOUBT | UNCONFIRMED) == DOUBT
}

/// How long the flow was given when its last packet was met.
fn lifetime(control: Control, lifetimes: &Lifetimes) -> u32 {
    if control.0 & (DOUBT | BACKED) == DOUBT {
        return lifetimes.of(DOUBTED);
    }
    match control.state() {
        // Half-closed and not in doubt, or backed by a socket: as one that is established.
        state::FIN_WAIT => lifetimes.of(state::ESTABLISHED),
        state => lifetimes.of(state),
    }
}

/// The zone of a key.
pub(super) fn zone_of(key: KeyWords) -> u16 {
    Named::of(key).zone
}

/// A key of either family.
pub(super) struct Named {
    pub(super) zone: u16,
    pub(super) protocol: u8,
    pub(super) local: (IpAddr, u16),
    pub(super) remote: (IpAddr, u16),
    query_from: u8,
}

impl Named {
    pub(super) fn of(key: KeyWords) -> Self {
        match AnyFlowKey::from_words(key) {
            AnyFlowKey::V4(key) => Self::from_key(&key, v4),
            AnyFlowKey::V6(key) => Self::from_key(&key, v6),
        }
    }

    fn from_key<A: Copy>(key: &FlowKey<A>, address: fn(A) -> IpAddr) -> Self {
        Self {
            zone: key.zone,
            protocol: key.protocol,
            local: (address(key.local), key.local_port.get()),
            remote: (address(key.remote), key.remote_port.get()),
            query_from: key.query_from,
        }
    }

    /// Initiator and responder, as [`FlowRow`] shows them.
    fn ends(&self, started_by: Direction) -> ((IpAddr, u16), (IpAddr, u16)) {
        let (local, remote) = (self.local, self.remote);
        match (self.query_from, started_by) {
            // The identifier and the type of the query, whichever end asks.
            (query_from::REMOTE, _) => ((remote.0, local.1), (local.0, remote.1)),
            (query_from::LOCAL, _) | (_, Direction::Egress) => (local, remote),
            (_, Direction::Ingress) => (remote, local),
        }
    }
}

fn v4(address: Ipv4) -> IpAddr {
    Ipv4Addr::from(address.0.to_bytes()).into()
}

fn v6(address: Ipv6) -> IpAddr {
    Ipv6Addr::from(address.to_bytes()).into()
}

#[cfg(test)]
mod tests {
    use firewall_common::abi::Be16;
    use firewall_common::flow_table::control::{KEYED, USED};
    use firewall_common::flow_table::layout::Detail;

    use super::*;
    use crate::datapath::lifetimes::lifetimes;
    use crate::model::FlowTimeouts;

    const ZONE: u16 = 7;
    const NOW: u32 = 1_000_000;

    fn row(control: u64, state: u64, left: u32) -> Option<FlowRow> {
        let units = Units::at(250);
        let settings = InterfaceSettings {
            lifetimes: lifetimes(&FlowTimeouts::default(), units),
            ..InterfaceSettings::default()
        };
        let reader = Reader { zones: BTreeMap::from([(ZONE, settings)]), units, now: NOW };
        let key = FlowKey {
            local: Ipv4::from_bytes([192, 0, 2, 1]),
            remote: Ipv4::from_bytes([192, 0, 2, 9]),
            local_port: Be16::new(22),
            remote_port: Be16::new(40_000),
            protocol: 6,
            query_from: query_from::EITHER,
            zone: ZONE,
        };
        let control = Control(control | USED | KEYED).in_state(state).ending(NOW + units.of_seconds(left));
        reader.row(&Listed { control, detail: Detail::default(), key: Some(key.words()) }, key.words())
    }

    #[test]
    fn idle_time_is_what_is_gone_of_the_lifetime_of_the_state() {
        let established = row(PROTECTED, state::ESTABLISHED, 431_940).unwrap();
        assert_eq!((established.idle_seconds, established.expires_in_seconds), (60, 431_940));
        assert_eq!(row(PROTECTED | DOUBT, state::ESTABLISHED, 3_000).unwrap().idle_seconds, 600);
        let backed = row(PROTECTED | DOUBT | BACKED, state::FIN_WAIT, 431_940).unwrap();
        assert_eq!((backed.idle_seconds, backed.doubt), (60, true));
        // Timeouts were lowered since.
        assert_eq!(row(0, state::UDP_STREAM, 500).unwrap().idle_seconds, 0);
    }

    #[test]
    fn a_cut_says_when_it_ends_the_flow() {
        assert_eq!(row(0, state::UDP_STREAM, 100).unwrap().cut_in_seconds, None);
        assert_eq!(row(PROTECTED | DRAINING, state::ESTABLISHED, 100).unwrap().cut_in_seconds, Some(100));
        let cut = row(0, state::CUT, 100).unwrap();
        assert_eq!((cut.cut_in_seconds, cut.state), (Some(0), "cut"));
    }

    #[test]
    fn the_direction_tells_which_end_is_the_initiator() {
        let ingress = row(0, state::SYN_SENT, 10).unwrap();
        assert_eq!((ingress.initiator.1, ingress.responder.1), (40_000, 22));
        let egress = row(BEGUN_BY_EGRESS, state::SYN_SENT, 10).unwrap();
        assert_eq!((egress.initiator.1, egress.responder.1), (22, 40_000));
    }

    #[test]
    fn what_has_ended_is_no_row() {
        let units = Units::at(250);
        let reader = Reader { zones: BTreeMap::new(), units, now: NOW };
        let control = Control(USED).in_state(state::SYN_SENT).ending(NOW);
        let listed = Listed { control, detail: Detail::default(), key: Some([0; 5]) };
        assert_eq!(reader.row(&listed, [0; 5]), None);
    }
}
