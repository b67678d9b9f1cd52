//! Groups, their rules and their declared members.

use std::collections::{BTreeMap, HashMap, HashSet};

use firewall_common::abi::Direction;
use ipnet::IpNet;
use rusqlite::{Row, params};

use super::tags::{GROUP_TAGS, RULE_TAGS};
use super::{Snapshot, StoreError, Transaction, parse_column, parse_optional_column};
use crate::model::{
    GroupId, IcmpSelector, ModelError, Peer, PortRange, Protocol, Resource, RuleId, SecurityGroup,
    SecurityRule, Service, Tags,
};

impl Snapshot<'_> {
    /// Every group with its rules, by name.
    pub fn groups(&self) -> Result<Vec<SecurityGroup>, StoreError> {
        self.known(|memo| &mut memo.groups, || self.read_groups())
    }

    fn read_groups(&self) -> Result<Vec<SecurityGroup>, StoreError> {
        let mut rules: BTreeMap<GroupId, Vec<SecurityRule>> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM rules ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        let mut rule_tags: BTreeMap<RuleId, Tags> = self.tags(RULE_TAGS)?;
        while let Some(row) = rows.next()? {
            let rule = read_rule(row, &mut rule_tags)?;
            rules.entry(rule.group).or_default().push(rule);
        }
        let mut group_tags: BTreeMap<GroupId, Tags> = self.tags(GROUP_TAGS)?;
        let mut groups = Vec::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM groups ORDER BY name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = parse_column(row, "id")?;
            groups.push(SecurityGroup {
                id,
                name: parse_column(row, "name")?,
                description: parse_column(row, "description")?,
                tags: group_tags.remove(&id).unwrap_or_default(),
                rules: rules.remove(&id).unwrap_or_default(),
            });
        }
        Ok(groups)
    }

    /// The declared members of every group that has any.
    pub fn members(&self) -> Result<BTreeMap<GroupId, Vec<IpNet>>, StoreError> {
        self.known(|memo| &mut memo.members, || self.read_members())
    }

    fn read_members(&self) -> Result<BTreeMap<GroupId, Vec<IpNet>>, StoreError> {
        let mut members: BTreeMap<GroupId, Vec<IpNet>> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM members ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            members.entry(parse_column(row, "group_id")?).or_default().push(parse_column(row, "prefix")?);
        }
        Ok(members)
    }
}

impl Transaction<'_> {
    /// Stores a new group with its rules.
    pub fn insert_group(&self, group: &SecurityGroup) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO groups (id, name, description) VALUES (?, ?, ?)",
            params![group.id.to_string(), group.name.as_str(), group.description.as_str()],
        )?;
        self.note_groups(|groups| {
            let place = groups.partition_point(|known| known.name.as_str() < group.name.as_str());
            groups.insert(place, SecurityGroup { tags: Tags::default(), rules: Vec::new(), ..group.clone() });
        });
        self.replace_tags(Resource::Group(group.id), &group.tags)?;
        self.insert_rules(&group.rules)
    }

    /// Deletes a group, its rules and its members.
    pub fn delete_group(&self, group: GroupId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM groups WHERE id = ?", [group.to_string()])?;
        self.note_groups(|groups| groups.retain(|known| known.id != group));
        self.note(|memo| &mut memo.members, |members| drop(members.remove(&group)));
        Ok(())
    }

    /// Stores new rules.
    pub fn insert_rules(&self, rules: &[SecurityRule]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached(
            "INSERT INTO rules (id, group_id, direction, protocol, ports, icmp, peer_cidr, peer_group,
                                peer_prefix_list, description)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        for rule in rules {
            let [cidr, group, prefix_list] = peer_columns(rule.peer);
            statement.execute(params![
                rule.id.to_string(),
                rule.group.to_string(),
                rule.direction.name(),
                rule.service.protocol().to_string(),
                rule.service.ports().map(|ports| ports.to_string()),
                icmp_column(rule.service),
                cidr,
                group,
                prefix_list,
                rule.description.as_ref().map(|description| description.as_str()),
            ])?;
        }
        self.note_groups(|groups| {
            let mut of_group: HashMap<GroupId, &mut Vec<SecurityRule>> =
                groups.iter_mut().map(|group| (group.id, &mut group.rules)).collect();
            for rule in rules {
                if let Some(known) = of_group.get_mut(&rule.group) {
                    known.push(rule.clone());
                }
            }
        });
        for rule in rules.iter().filter(|rule| !rule.tags.is_empty()) {
            self.store_tags(Resource::Rule(rule.id), &rule.tags)?;
        }
        Ok(())
    }

    /// Stores what rules admit that are there, and their descriptions.
    pub fn update_rules(&self, rules: &[SecurityRule]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached(
            "UPDATE rules SET protocol = ?2, ports = ?3, icmp = ?4, peer_cidr = ?5, peer_group = ?6,
                              peer_prefix_list = ?7, description = ?8
             WHERE id = ?1",
        )?;
        for rule in rules {
            let [cidr, group, prefix_list] = peer_columns(rule.peer);
            statement.execute(params![
                rule.id.to_string(),
                rule.service.protocol().to_string(),
                rule.service.ports().map(|ports| ports.to_string()),
                icmp_column(rule.service),
                cidr,
                group,
                prefix_list,
                rule.description.as_ref().map(|description| description.as_str()),
            ])?;
        }
        let updated: HashMap<RuleId, &SecurityRule> = rules.iter().map(|rule| (rule.id, rule)).collect();
        self.note_groups(|groups| {
            for known in groups.iter_mut().flat_map(|group| &mut group.rules) {
                if let Some(rule) = updated.get(&known.id) {
                    known.clone_from(&SecurityRule {
                        group: known.group,
                        direction: known.direction,
                        tags: known.tags.clone(),
                        ..(*rule).clone()
                    });
                }
            }
        });
        Ok(())
    }

    /// Deletes rules.
    pub fn delete_rules(&self, rules: &[SecurityRule]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("DELETE FROM rules WHERE id = ?")?;
        for rule in rules {
            statement.execute([rule.id.to_string()])?;
        }
        let deleted: HashSet<RuleId> = rules.iter().map(|rule| rule.id).collect();
        self.note_groups(|groups| {
            groups.iter_mut().for_each(|group| group.rules.retain(|rule| !deleted.contains(&rule.id)));
        });
        Ok(())
    }

    /// Declares prefixes as members of a group. The caller has seen that they are not members yet.
    pub fn insert_members(&self, group: GroupId, prefixes: &[IpNet]) -> Result<(), StoreError> {
        let mut statement =
            self.sql.prepare_cached("INSERT INTO members (group_id, prefix) VALUES (?, ?)")?;
        for prefix in prefixes {
            statement.execute(params![group.to_string(), prefix.to_string()])?;
        }
        if !prefixes.is_empty() {
            self.note(
                |memo| &mut memo.members,
                |members| members.entry(group).or_default().extend_from_slice(prefixes),
            );
        }
        Ok(())
    }

    /// Takes prefixes out of a group.
    pub fn delete_members(&self, group: GroupId, prefixes: &[IpNet]) -> Result<(), StoreError> {
        let mut statement =
            self.sql.prepare_cached("DELETE FROM members WHERE group_id = ? AND prefix = ?")?;
        for prefix in prefixes {
            statement.execute(params![group.to_string(), prefix.to_string()])?;
        }
        let deleted: HashSet<&IpNet> = prefixes.iter().collect();
        self.note(
            |memo| &mut memo.members,
            |members| {
                let of_group = members.entry(group).or_default();
                of_group.retain(|prefix| !deleted.contains(prefix));
                if of_group.is_empty() {
                    members.remove(&group);
                }
            },
        );
        Ok(())
    }

    fn note_groups(&self, change: impl FnOnce(&mut Vec<SecurityGroup>)) {
        self.note(|memo| &mut memo.groups, change);
    }
}

/// The columns of the three kinds of peers: prefix, group, prefix list.
fn peer_columns(peer: Peer) -> [Option<String>; 3] {
    match peer {
        Peer::Cidr(prefix) => [Some(prefix.to_string()), None, None],
        Peer::Group(id) => [None, Some(id.to_string()), None],
        Peer::PrefixList(id) => [None, None, Some(id.to_string())],
    }
}

/// Every type is stored as no selector, which `Service::new` reads back as every type.
fn icmp_column(service: Service) -> Option<String> {
    service.icmp().filter(|icmp| *icmp != IcmpSelector::All).map(|icmp| icmp.to_string())
}

fn read_rule(row: &Row<'_>, tags: &mut BTreeMap<RuleId, Tags>) -> Result<SecurityRule, StoreError> {
    let id = parse_column(row, "id")?;
    Ok(SecurityRule {
        id,
        group: parse_column(row, "group_id")?,
        direction: match row.get::<_, String>("direction")?.as_str() {
            "ingress" => Direction::Ingress,
            // The schema admits nothing else.
            _ => Direction::Egress,
        },
        service: read_service(row)?,
        peer: read_peer(row)?,
        description: parse_optional_column(row, "description")?,
        tags: tags.remove(&id).unwrap_or_default(),
    })
}

fn read_service(row: &Row<'_>) -> Result<Service, StoreError> {
    let protocol: Protocol = parse_column(row, "protocol")?;
    let ports: Option<PortRange> = parse_optional_column(row, "ports")?;
    let icmp: Option<IcmpSelector> = parse_optional_column(row, "icmp")?;
    Service::new(protocol, ports, icmp).map_err(|error: ModelError| StoreError::Corrupt {
        column: "protocol",
        value: protocol.to_string(),
        source: error.into(),
    })
}

fn read_peer(row: &Row<'_>) -> Result<Peer, StoreError> {
    if let Some(prefix) = parse_optional_column(row, "peer_cidr")? {
        return Ok(Peer::Cidr(prefix));
    }
    if let Some(group) = parse_optional_column(row, "peer_group")? {
        return Ok(Peer::Group(group));
    }
    parse_column(row, "peer_prefix_list").map(Peer::PrefixList)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{NewRule, RuleProperties};
    use crate::store::{Store, WriteLock};

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn every_kind_of_rule_reads_back_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let mut group = SecurityGroup::new("web".parse().unwrap(), "a tier".parse().unwrap()).unwrap();
        let services = [
            ("all", None, None),
            ("tcp", Some("0-65535"), None),
            ("udp", Some("53"), None),
            ("icmp", None, None),
            ("icmp", None, Some("8")),
            ("icmpv6", None, Some("1/4")),
            ("47", None, None),
        ];
        let new_rules = services.map(|(protocol, ports, icmp): (&str, Option<&str>, Option<&str>)| {
            let ports = ports.map(|ports| ports.parse().unwrap());
            let icmp = icmp.map(|icmp| icmp.parse().unwrap());
            let service = Service::new(protocol.parse().unwrap(), ports, icmp).unwrap();
            let peer = Peer::Group(group.id);
            NewRule {
                properties: RuleProperties { direction: Direction::Ingress, service, peer },
                description: Some("one of each".parse().unwrap()),
                tags: tags(&[("tier", "front"), ("Name", "")]),
            }
        });
        group.tags = tags(&[("Name", "web")]);
        group.authorize(new_rules.to_vec()).unwrap();
        let transaction = store.begin(&lock).unwrap();
        transaction.insert_group(&group).unwrap();
        transaction.commit().unwrap();
        assert_eq!(store.snapshot().unwrap().groups().unwrap()[1], group);

        let transaction = store.begin(&lock).unwrap();
        let last = group.rules.last_mut().unwrap();
        (last.service, last.description) = (Service::All, None);
        last.peer = Peer::Cidr("10.0.0.0/8".parse().unwrap());
        last.tags = Tags::default();
        transaction.update_rules(std::slice::from_ref(last)).unwrap();
        transaction.replace_tags(Resource::Rule(last.id), &last.tags).unwrap();
        transaction.commit().unwrap();
        assert_eq!(store.snapshot().unwrap().groups().unwrap()[1], group);
    }

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        let mut tags = Tags::default();
        tags.set(pairs.iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()))).unwrap();
        tags
    }

    #[test]
    fn the_schema_refuses_a_rule_that_exists() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        let mut rule = transaction.groups().unwrap()[0].rules[0].clone();
        rule.id = RuleId::random().unwrap();
        assert!(transaction.insert_rules(&[rule]).is_err());
    }
}
