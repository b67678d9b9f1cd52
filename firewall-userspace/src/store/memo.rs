//! What was read of the store and is still so: a change reads each table once, however many ask.
//!
//! It is kept while nobody else has committed anything, which SQLite tells (`PRAGMA data_version`). Each method that writes a
//! table also writes what is known of it. What was not committed takes all that is known with it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rusqlite::Connection;

use super::{Snapshot, StoreError, Transaction, UnconfirmedGeneration};
use crate::model::{
    ExemptAddress, GroupId, Interface, InterfaceId, ManagementPrefix, PrefixList, Quotas, RuleId,
    SecurityGroup,
};

/// What is known of each table; `None` for one that was not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memo {
    /// SQLite's number of what others have committed; `None` where a transaction was begun and not committed.
    data_version: Option<i64>,
    pub(super) meta: Option<BTreeMap<String, i64>>,
    pub(super) groups: Option<Vec<SecurityGroup>>,
    pub(super) members: Option<BTreeMap<GroupId, Vec<IpNet>>>,
    pub(super) prefix_lists: Option<Vec<PrefixList>>,
    pub(super) interfaces: Option<Vec<Interface>>,
    pub(super) interface_addresses: Option<BTreeMap<InterfaceId, Vec<IpNet>>>,
    pub(super) exempt_addresses: Option<Vec<ExemptAddress>>,
    pub(super) management_prefixes: Option<Vec<ManagementPrefix>>,
    pub(super) is_panic: Option<bool>,
    pub(super) quotas: Option<Quotas>,
    pub(super) rule_sets: Option<BTreeMap<u32, Vec<RuleId>>>,
    pub(super) unconfirmed: Option<Option<UnconfirmedGeneration>>,
}

impl Memo {
    /// Forgets what may be otherwise by now. To be called in a transaction, so that it stays so.
    pub(super) fn refresh(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let data_version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.data_version != Some(data_version) {
            *self = Self { data_version: Some(data_version), ..Self::default() };
        }
        Ok(())
    }

    /// Nothing of it counts once the transaction that writes is over, unless [`keep`](Self::keep) is called.
    pub(super) fn doubt(&mut self) -> Option<i64> {
        self.data_version.take()
    }

    /// What the transaction has written is stored.
    pub(super) fn keep(&mut self, data_version: Option<i64>) {
        self.data_version = data_version;
    }
}

impl Snapshot<'_> {
    /// What is known of a table, read if it was not.
    pub(super) fn known<T: Clone>(
        &self,
        of: impl Fn(&mut Memo) -> &mut Option<T>,
        read: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(known) = of(&mut self.memo.borrow_mut()) {
            return Ok(known.clone());
        }
        let read = read()?;
        Ok(of(&mut self.memo.borrow_mut()).insert(read).clone())
    }
}

impl Transaction<'_> {
    /// Changes what is known of a table, if it was read, as the table was changed.
    pub(super) fn note<T>(&self, of: impl Fn(&mut Memo) -> &mut Option<T>, change: impl FnOnce(&mut T)) {
        if let Some(known) = of(&mut self.memo.borrow_mut()) {
            change(known);
        }
    }

    /// Forgets all that is known, because statements have changed any table.
    pub(super) fn forget_known(&self) {
        *self.memo.borrow_mut() = Memo::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{
        ExemptAddress, ExemptAddressId, ExemptProperties, IngressHook, InterfaceOptions,
        ManagementProperties, ManagementService, NewRule, Peer, PrefixListEntry, Quota, Resource,
        RuleProperties, Service, Tags,
    };
    use crate::store::{Author, Store, WriteLock};

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// Reads every table.
    fn all(snapshot: &Snapshot<'_>) -> Memo {
        snapshot.generation().unwrap();
        snapshot.groups().unwrap();
        snapshot.members().unwrap();
        snapshot.prefix_lists().unwrap();
        snapshot.interfaces().unwrap();
        snapshot.interface_addresses().unwrap();
        snapshot.exempt_addresses().unwrap();
        snapshot.management_prefixes().unwrap();
        snapshot.is_panic().unwrap();
        snapshot.quotas().unwrap();
        snapshot.rule_sets().unwrap();
        snapshot.unconfirmed().unwrap();
        Memo { data_version: None, ..snapshot.memo.borrow().clone() }
    }

    /// What is known after the change is what the tables hold.
    fn is_known(transaction: &Transaction<'_>, step: &str) {
        let known = all(transaction);
        transaction.forget_known();
        assert_eq!(known, all(transaction), "{step}");
    }

    fn tags(value: &str) -> Tags {
        let mut tags = Tags::default();
        tags.set([("tier".parse().unwrap(), value.parse().unwrap())]).unwrap();
        tags
    }

    fn entries(prefixes: &[&str]) -> Vec<PrefixListEntry> {
        let entry = |prefix: &&str| PrefixListEntry { prefix: prefix.parse().unwrap(), description: None };
        prefixes.iter().map(entry).collect()
    }

    #[test]
    fn what_is_known_after_each_change_is_what_is_stored() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        let begun = all(&transaction);
        let mut group = SecurityGroup::new("web".parse().unwrap(), "a tier".parse().unwrap()).unwrap();
        group.tags = tags("web");
        let rules = ["10.2.0.0/16", "10.1.0.0/16"].map(|prefix| NewRule {
            properties: RuleProperties {
                direction: firewall_common::abi::Direction::Ingress,
                service: Service::All,
                peer: Peer::Cidr(prefix.parse().unwrap()),
            },
            description: None,
            tags: tags(&prefix[..4]),
        });
        let added = group.authorize(rules.to_vec()).unwrap();
        transaction.insert_group(&SecurityGroup { rules: Vec::new(), ..group.clone() }).unwrap();
        is_known(&transaction, "insert_group");
        transaction.insert_rules(&added).unwrap();
        is_known(&transaction, "insert_rules");
        let mut modified = added[1].clone();
        (modified.peer, modified.description) = (Peer::Group(group.id), Some("moved".parse().unwrap()));
        transaction.update_rules(std::slice::from_ref(&modified)).unwrap();
        is_known(&transaction, "update_rules");
        transaction.replace_tags(Resource::Rule(modified.id), &Tags::default()).unwrap();
        is_known(&transaction, "tags of a rule");
        transaction.replace_tags(Resource::Group(group.id), &tags("front")).unwrap();
        is_known(&transaction, "tags of a group");
        transaction.delete_rules(&added[..1]).unwrap();
        is_known(&transaction, "delete_rules");
        let members: Vec<IpNet> =
            ["10.9.0.1/32", "10.9.0.2/32"].map(|prefix| prefix.parse().unwrap()).to_vec();
        transaction.insert_members(group.id, &members).unwrap();
        is_known(&transaction, "insert_members");
        transaction.delete_members(group.id, &members[..1]).unwrap();
        is_known(&transaction, "delete_members");
        transaction.delete_members(group.id, &members[1..]).unwrap();
        is_known(&transaction, "delete_members, the last");
        transaction.insert_members(group.id, &members).unwrap();

        let name = "office".parse().unwrap();
        let prefixes = entries(&["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16"]);
        let mut list = PrefixList::new(name, crate::model::AddressFamily::Ipv4, 9, prefixes).unwrap();
        list.tags = tags("hq");
        transaction.insert_prefix_list(&list).unwrap();
        is_known(&transaction, "insert_prefix_list");
        list.entries = entries(&["10.4.0.0/16", "10.2.0.0/16", "10.0.0.0/16", "10.3.0.0/16"]);
        list.version += 1;
        transaction.replace_entries(&list).unwrap();
        is_known(&transaction, "replace_entries");
        (list.name, list.max_entries) = ("branch".parse().unwrap(), 12);
        transaction.update_prefix_list(&list).unwrap();
        is_known(&transaction, "update_prefix_list");
        transaction.replace_tags(Resource::PrefixList(list.id), &Tags::default()).unwrap();
        is_known(&transaction, "tags of a prefix list");

        let mut interface = Interface {
            id: InterfaceId::random().unwrap(),
            name: "eth7".to_owned(),
            slot: 3,
            zone: transaction.allocate_zone().unwrap(),
            ingress_hook: IngressHook::Tc,
            log_drops: true,
            groups: vec![group.id],
            options: InterfaceOptions::default(),
        };
        transaction.save_interface(&interface).unwrap();
        is_known(&transaction, "save_interface");
        interface.options.audit = true;
        interface.options.always_track = InterfaceOptions::track_every_peer();
        interface.groups.insert(0, begun.groups.as_ref().unwrap()[0].id);
        transaction.save_interface(&interface).unwrap();
        is_known(&transaction, "save_interface that is there");
        let twice = [members[0], members[1], members[0]];
        transaction.save_interface_addresses(interface.id, &twice).unwrap();
        is_known(&transaction, "save_interface_addresses");
        transaction.save_interface_addresses(interface.id, &[]).unwrap();
        is_known(&transaction, "save_interface_addresses, none");
        transaction.save_interface_addresses(interface.id, &twice).unwrap();

        let properties = ExemptProperties { service: Service::All, prefix: members[0] };
        let exempt = ExemptAddress { id: ExemptAddressId::random().unwrap(), properties, description: None };
        transaction.insert_exempt_addresses(std::slice::from_ref(&exempt)).unwrap();
        is_known(&transaction, "insert_exempt_addresses");
        transaction.delete_exempt_addresses(&[exempt.id]).unwrap();
        is_known(&transaction, "delete_exempt_addresses");
        let properties = ManagementProperties {
            interface: "eth7".to_owned(),
            service: ManagementService::Tcp("22".parse().unwrap()),
            prefix: members[0],
        };
        let management = ManagementPrefix { rule: RuleId::random().unwrap(), properties };
        transaction.insert_management_prefixes(std::slice::from_ref(&management)).unwrap();
        is_known(&transaction, "insert_management_prefixes");
        transaction.delete_management_prefixes(&[management.rule]).unwrap();
        is_known(&transaction, "delete_management_prefixes");
        transaction.set_panic(true).unwrap();
        is_known(&transaction, "set_panic");
        let mut quotas = Quotas::default();
        quotas.set(Quota::ALL[0], 7);
        transaction.replace_quotas(&quotas).unwrap();
        is_known(&transaction, "replace_quotas");
        let (one, two) = (RuleId::random().unwrap(), RuleId::random().unwrap());
        transaction.insert_rule_set(4, &[one.max(two), one.min(two)]).unwrap();
        transaction.insert_rule_set(5, &[one]).unwrap();
        is_known(&transaction, "insert_rule_set");
        transaction.retain_rule_sets(&[5].into(), 9).unwrap();
        is_known(&transaction, "retain_rule_sets");
        let unconfirmed = UnconfirmedGeneration {
            generation: 3,
            previous: 0,
            until: std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            cut_after: None,
        };
        transaction.set_unconfirmed(&unconfirmed).unwrap();
        is_known(&transaction, "set_unconfirmed");
        transaction.delete_unconfirmed().unwrap();
        is_known(&transaction, "delete_unconfirmed");
        transaction.set_generation(3, &Author::default()).unwrap();
        is_known(&transaction, "set_generation");
        transaction.delete_interface(interface.id).unwrap();
        is_known(&transaction, "delete_interface");
        transaction.delete_prefix_list(list.id).unwrap();
        is_known(&transaction, "delete_prefix_list");
        transaction.delete_rules(std::slice::from_ref(&modified)).unwrap();
        transaction.delete_group(group.id).unwrap();
        is_known(&transaction, "delete_group");
        transaction.commit().unwrap();
        let transaction = store.begin(&lock).unwrap();
        transaction.rewind_to(0).unwrap();
        is_known(&transaction, "rewind_to");
    }

    #[test]
    fn nothing_is_known_of_what_was_not_committed_or_what_others_have_committed() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let mut other = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let generation = |store: &mut Store| store.snapshot().unwrap().generation().unwrap();
        assert_eq!((generation(&mut store), generation(&mut other)), (0, 0));
        let transaction = store.begin(&lock).unwrap();
        transaction.set_generation(7, &Author::default()).unwrap();
        assert_eq!(transaction.generation().unwrap(), 7);
        drop(transaction);
        assert_eq!(generation(&mut store), 0);
        let transaction = store.begin(&lock).unwrap();
        transaction.set_generation(8, &Author::default()).unwrap();
        transaction.commit().unwrap();
        assert_eq!((generation(&mut store), generation(&mut other)), (8, 8));
    }
}
