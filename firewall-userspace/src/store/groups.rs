//! Groups, their rules and their declared members.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use ipnet::IpNet;
use rusqlite::{Row, params};

use super::{Snapshot, StoreError, Transaction, parse_column, parse_optional_column};
use crate::model::{
    GroupId, IcmpSelector, ModelError, Peer, PortRange, Protocol, RuleId, SecurityGroup, SecurityRule,
    Service, Tags,
};

impl Snapshot<'_> {
    /// Every group with its rules, by name.
    pub fn groups(&self) -> Result<Vec<SecurityGroup>, StoreError> {
        let mut rules: BTreeMap<GroupId, Vec<SecurityRule>> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM rules ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let rule = read_rule(row)?;
            rules.entry(rule.group).or_default().push(rule);
        }
        let mut groups = Vec::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM groups ORDER BY name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = parse_column(row, "id")?;
            groups.push(SecurityGroup {
                id,
                name: parse_column(row, "name")?,
                description: parse_column(row, "description")?,
                tags: Tags::default(),
                rules: rules.remove(&id).unwrap_or_default(),
            });
        }
        Ok(groups)
    }

    /// The declared members of every group that has any.
    pub fn members(&self) -> Result<BTreeMap<GroupId, Vec<IpNet>>, StoreError> {
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
        self.insert_rules(&group.rules)
    }

    /// Deletes a group, its rules and its members.
    pub fn delete_group(&self, group: GroupId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM groups WHERE id = ?", [group.to_string()])?;
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
            let (mut cidr, mut group, mut prefix_list) = (None, None, None);
            match rule.peer {
                Peer::Cidr(prefix) => cidr = Some(prefix.to_string()),
                Peer::Group(id) => group = Some(id.to_string()),
                Peer::PrefixList(id) => prefix_list = Some(id.to_string()),
            }
            // Every type is stored as no selector, which `Service::new` reads back as every type.
            let icmp = rule.service.icmp().filter(|icmp| *icmp != IcmpSelector::All);
            statement.execute(params![
                rule.id.to_string(),
                rule.group.to_string(),
                rule.direction.name(),
                rule.service.protocol().to_string(),
                rule.service.ports().map(|ports| ports.to_string()),
                icmp.map(|icmp| icmp.to_string()),
                cidr,
                group,
                prefix_list,
                rule.description.as_ref().map(|description| description.as_str()),
            ])?;
        }
        Ok(())
    }

    /// Deletes rules.
    pub fn delete_rules(&self, rules: &[SecurityRule]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("DELETE FROM rules WHERE id = ?")?;
        for rule in rules {
            statement.execute([rule.id.to_string()])?;
        }
        Ok(())
    }

    /// Declares prefixes as members of a group. The caller has seen that they are not members yet.
    pub fn insert_members(&self, group: GroupId, prefixes: &[IpNet]) -> Result<(), StoreError> {
        let mut statement =
            self.sql.prepare_cached("INSERT INTO members (group_id, prefix) VALUES (?, ?)")?;
        for prefix in prefixes {
            statement.execute(params![group.to_string(), prefix.to_string()])?;
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
        Ok(())
    }
}

fn read_rule(row: &Row<'_>) -> Result<SecurityRule, StoreError> {
    Ok(SecurityRule {
        id: parse_column::<RuleId>(row, "id")?,
        group: parse_column(row, "group_id")?,
        direction: match row.get::<_, String>("direction")?.as_str() {
            "ingress" => Direction::Ingress,
            // The schema admits nothing else.
            _ => Direction::Egress,
        },
        service: read_service(row)?,
        peer: read_peer(row)?,
        description: parse_optional_column(row, "description")?,
        tags: Tags::default(),
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
                tags: Tags::default(),
            }
        });
        group.authorize(new_rules.to_vec()).unwrap();
        let transaction = store.begin(&lock).unwrap();
        transaction.insert_group(&group).unwrap();
        transaction.commit().unwrap();
        assert_eq!(store.snapshot().unwrap().groups().unwrap()[1], group);
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
