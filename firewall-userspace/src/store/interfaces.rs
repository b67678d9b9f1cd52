//! Interfaces that the operator has attached, and the groups that they carry.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rusqlite::params;

use super::settings::read_options;
use super::{Snapshot, StoreError, Transaction, parse_column};
use crate::model::{GroupId, IngressHook, Interface, InterfaceId};

impl Snapshot<'_> {
    /// Every interface, by name.
    pub fn interfaces(&self) -> Result<Vec<Interface>, StoreError> {
        self.known(|memo| &mut memo.interfaces, || self.read_interfaces())
    }

    fn read_interfaces(&self) -> Result<Vec<Interface>, StoreError> {
        let mut groups: BTreeMap<InterfaceId, Vec<GroupId>> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM interface_groups ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            groups.entry(parse_column(row, "interface")?).or_default().push(parse_column(row, "group_id")?);
        }
        let mut options = self.listed_options()?;
        let mut interfaces = Vec::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM interfaces ORDER BY name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = parse_column(row, "id")?;
            let hook: String = row.get("ingress_hook")?;
            interfaces.push(Interface {
                id,
                name: row.get("name")?,
                slot: row.get("slot")?,
                zone: row.get("zone")?,
                // The schema admits no other name.
                ingress_hook: IngressHook::from_name(&hook).unwrap_or(IngressHook::Auto),
                log_drops: row.get("log_drops")?,
                groups: groups.remove(&id).unwrap_or_default(),
                options: read_options(row, options.remove(&id).unwrap_or_default())?,
            });
        }
        Ok(interfaces)
    }

    /// The addresses that each interface had when they were last saved.
    pub fn interface_addresses(&self) -> Result<BTreeMap<InterfaceId, Vec<IpNet>>, StoreError> {
        self.known(|memo| &mut memo.interface_addresses, || self.read_interface_addresses())
    }

    fn read_interface_addresses(&self) -> Result<BTreeMap<InterfaceId, Vec<IpNet>>, StoreError> {
        let mut addresses: BTreeMap<InterfaceId, Vec<IpNet>> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM interface_addresses ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            addresses.entry(parse_column(row, "interface")?).or_default().push(parse_column(row, "prefix")?);
        }
        Ok(addresses)
    }

    /// For how many live flows the table in the kernel had room when the policy was last published; `None` if it never was.
    pub fn flow_entries(&self) -> Result<Option<u32>, StoreError> {
        Ok(u32::try_from(self.meta("flow_entries")?).ok().filter(|entries| *entries != 0))
    }

    /// The network namespace of the interfaces, as `host` numbers it, while the machine is up.
    pub fn namespace(&self) -> Result<u64, StoreError> {
        self.meta("namespace").map(i64::cast_unsigned)
    }
}

impl Transaction<'_> {
    /// Sets the network namespace of the interfaces.
    pub fn set_namespace(&self, namespace: u64) -> Result<(), StoreError> {
        self.set_meta("namespace", namespace.cast_signed())
    }

    /// Sets the size of the flow table.
    pub fn set_flow_entries(&self, entries: u32) -> Result<(), StoreError> {
        self.set_meta("flow_entries", entries.into())
    }

    /// A zone that no interface had lately, so that no flow of another interface is mistaken for one of the new one.
    pub fn allocate_zone(&self) -> Result<u16, StoreError> {
        let in_use: Vec<u16> = self.interfaces()?.iter().map(|interface| interface.zone).collect();
        let mut zone = u16::try_from(self.meta("last_zone")?).unwrap_or(0);
        loop {
            zone = zone.checked_add(1).unwrap_or(1);
            if !in_use.contains(&zone) {
                break;
            }
        }
        self.set_meta("last_zone", i64::from(zone))?;
        Ok(zone)
    }

    /// Stores a new interface, or new properties and groups of one that is there.
    pub fn save_interface(&self, interface: &Interface) -> Result<(), StoreError> {
        let id = interface.id.to_string();
        self.sql.execute(
            "INSERT INTO interfaces (id, name, slot, zone, ingress_hook, log_drops)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO UPDATE SET ingress_hook = ?5, log_drops = ?6",
            params![
                id,
                interface.name,
                interface.slot,
                interface.zone,
                interface.ingress_hook.name(),
                interface.log_drops
            ],
        )?;
        self.sql.execute("DELETE FROM interface_groups WHERE interface = ?", [&id])?;
        let insert = "INSERT INTO interface_groups (interface, group_id) VALUES (?, ?)";
        let mut statement = self.sql.prepare_cached(insert)?;
        for group in &interface.groups {
            statement.execute(params![id, group.to_string()])?;
        }
        self.save_interface_options(interface.id, &interface.options)?;
        self.note(
            |memo| &mut memo.interfaces,
            |interfaces| match interfaces.iter_mut().find(|known| known.id == interface.id) {
                Some(known) => {
                    let Interface { id, slot, zone, .. } = *known;
                    *known = Interface { id, slot, zone, name: known.name.clone(), ..interface.clone() };
                }
                None => {
                    let place = interfaces.partition_point(|known| known.name < interface.name);
                    interfaces.insert(place, interface.clone());
                }
            },
        );
        Ok(())
    }

    /// Saves the addresses that an interface has.
    pub fn save_interface_addresses(
        &self,
        interface: InterfaceId,
        addresses: &[IpNet],
    ) -> Result<(), StoreError> {
        let id = interface.to_string();
        self.sql.execute("DELETE FROM interface_addresses WHERE interface = ?", [&id])?;
        let insert = "INSERT OR IGNORE INTO interface_addresses (interface, prefix) VALUES (?, ?)";
        let mut statement = self.sql.prepare_cached(insert)?;
        for address in addresses {
            statement.execute(params![id, address.to_string()])?;
        }
        let mut stored: Vec<IpNet> = Vec::new();
        for address in addresses {
            if !stored.contains(address) {
                stored.push(*address);
            }
        }
        self.note(
            |memo| &mut memo.interface_addresses,
            |known| match stored.is_empty() {
                true => drop(known.remove(&interface)),
                false => drop(known.insert(interface, stored)),
            },
        );
        Ok(())
    }

    /// Forgets an interface.
    pub fn delete_interface(&self, interface: InterfaceId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM interfaces WHERE id = ?", [interface.to_string()])?;
        self.note(|memo| &mut memo.interfaces, |known| known.retain(|known| known.id != interface));
        self.note(|memo| &mut memo.interface_addresses, |known| drop(known.remove(&interface)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Exemption, IcmpErrors, InterfaceOptions, Timeout};
    use crate::store::{Author, Store, WriteLock};

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn an_interface_reads_back_as_it_was_written_and_its_groups_stay() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        let group = transaction.groups().unwrap()[0].id;
        let interface = Interface {
            id: InterfaceId::random().unwrap(),
            name: "eth7".to_owned(),
            slot: 3,
            zone: transaction.allocate_zone().unwrap(),
            ingress_hook: IngressHook::Tc,
            log_drops: true,
            groups: vec![group],
            options: InterfaceOptions::default(),
        };
        transaction.save_interface(&interface).unwrap();
        assert_eq!(transaction.interfaces().unwrap(), std::slice::from_ref(&interface));
        assert!(transaction.delete_group(group).is_err());
        let mut options = InterfaceOptions {
            icmp_errors: IcmpErrors::RulesOnly,
            tcp_strict: true,
            audit: true,
            always_track: InterfaceOptions::track_every_peer(),
            ..InterfaceOptions::default()
        };
        options.timeouts.set(Timeout::Udp, 45).unwrap();
        options.exemptions.set(Exemption::Arp, false);
        let changed = Interface { ingress_hook: IngressHook::Xdp, options, ..interface };
        transaction.save_interface(&changed).unwrap();
        assert_eq!(transaction.interfaces().unwrap(), std::slice::from_ref(&changed));
        let changed = Interface { options: InterfaceOptions::default(), ..changed };
        transaction.save_interface(&changed).unwrap();
        assert_eq!(transaction.interfaces().unwrap(), [changed]);
    }

    #[test]
    fn addresses_of_an_interface_outlive_going_back_and_go_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let id = InterfaceId::random().unwrap();
        let interface = Interface {
            id,
            name: "eth7".to_owned(),
            slot: 0,
            zone: 1,
            ingress_hook: IngressHook::Tc,
            log_drops: false,
            groups: Vec::new(),
            options: InterfaceOptions::default(),
        };
        let save = |store: &mut Store, generation, addresses: &[&str]| {
            let transaction = store.begin(&lock).unwrap();
            transaction.save_interface(&interface).unwrap();
            let addresses: Vec<IpNet> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            transaction.save_interface_addresses(id, &addresses).unwrap();
            transaction.set_generation(generation, &Author::default()).unwrap();
            transaction.commit().unwrap();
            addresses
        };
        save(&mut store, 1, &["10.0.0.1/32", "2001:db8::1/128"]);
        let last = save(&mut store, 2, &["10.0.0.2/32"]);
        store.undo_after(1, &lock).unwrap();
        assert_eq!(store.snapshot().unwrap().interface_addresses().unwrap(), BTreeMap::from([(id, last)]));
        let transaction = store.begin(&lock).unwrap();
        transaction.delete_interface(id).unwrap();
        assert!(transaction.interface_addresses().unwrap().is_empty());
    }

    #[test]
    fn a_zone_is_not_given_twice_in_a_row() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        assert_ne!(transaction.allocate_zone().unwrap(), transaction.allocate_zone().unwrap());
    }
}
