//! Reads the output of the AWS CLI.

use firewall_common::abi::Direction;

use super::ListEntries;
use super::shape::{
    Entry, File, IpPermission, ManagedPrefixList, ReferencedGroup, SecurityGroup, SecurityGroupRule, Tag,
};
use crate::interchange::draft::{Draft, DraftGroup, DraftPeer, DraftPrefixList, DraftRule, PeerGroup};
use crate::interchange::input::{self, note_other_fields};
use crate::interchange::omission::{Cause, Omissions};
use crate::interchange::{ImportError, Imported, Source, ports};
use crate::model::{Description, PrefixListEntry, RuleId, Service, Tags};

const EXPECTED: &str = "the output of `aws ec2 describe-security-groups`, `describe-security-group-rules`, \
                        `describe-managed-prefix-lists` or `get-managed-prefix-list-entries`";
/// Who owns the prefix lists of AWS.
const AWS: &str = "AWS";

/// Reads the files as one policy. Entries in `files` are those of the one list that has none otherwise; where there are
/// several, `entries` says whose they are. Only the groups of `vpc` are taken if it is given.
pub fn read(files: &[Source], entries: &[ListEntries], vpc: Option<&str>) -> Result<Imported, ImportError> {
    let mut draft = Draft::default();
    let mut loose_entries = Vec::new();
    for file in files {
        let shape: File = input::parse(file)?;
        loose_entries.extend(add_file(&mut draft, file, shape)?);
    }
    for ListEntries { prefix_list, file } in entries {
        let entries = add_file(&mut draft, file, input::parse(file)?)?;
        let undescribed =
            || ImportError::UndescribedList { file: file.name.clone(), list: prefix_list.clone() };
        let list = draft.prefix_lists.iter_mut().find(|list| list.keys.contains(prefix_list));
        list.ok_or_else(undescribed)?.entries = entries.map(|(_, entries)| entries);
    }
    for (file, entries) in loose_entries {
        give_to_the_only_list_without(&mut draft, &file, entries)?;
    }
    draft.into_document(vpc)
}

/// A file name and entries that do not say of which list they are.
type LooseEntries = (String, Vec<PrefixListEntry>);

fn add_file(draft: &mut Draft, file: &Source, shape: File) -> Result<Option<LooseEntries>, ImportError> {
    let is_known = shape.security_groups.is_some()
        || shape.security_group_rules.is_some()
        || shape.prefix_lists.is_some()
        || shape.entries.is_some();
    if !is_known {
        let keys = shape.other.into_keys().collect();
        return Err(ImportError::OtherJson { file: file.name.clone(), expected: EXPECTED, keys });
    }
    let root = format!("{}: ", file.name);
    if shape.next_token.is_some() {
        draft.omissions.push(format!("{root}.NextToken"), Cause::Incomplete);
    }
    note_other_fields(&shape.other, &root, &root, &[], &mut draft.omissions);
    let rules_of = format!("{root}.SecurityGroupRules");
    for (index, rule) in shape.security_group_rules.into_iter().flatten().enumerate() {
        add_rule(draft, rule, &rules_of, index)?;
    }
    let groups_of = format!("{root}.SecurityGroups");
    for (index, group) in shape.security_groups.into_iter().flatten().enumerate() {
        add_group(draft, group, &groups_of, index)?;
    }
    let lists_of = format!("{root}.PrefixLists");
    for (index, list) in shape.prefix_lists.into_iter().flatten().enumerate() {
        add_prefix_list(draft, list, &lists_of, index)?;
    }
    Ok(shape.entries.map(|entries| (file.name.clone(), entries.into_iter().map(entry).collect())))
}

fn add_group(draft: &mut Draft, group: SecurityGroup, of: &str, index: usize) -> Result<(), ImportError> {
    let place = format!("{of}[{index}]");
    let (every, omissions) = (format!("{of}[]"), &mut draft.omissions);
    note_other_fields(&group.other, &place, &every, &["SecurityGroupArn"], omissions);
    for (field, value) in [("VpcId", &group.vpc_id), ("OwnerId", &group.owner_id)] {
        if value.is_some() {
            omissions.push_once(format!("{every}.{field}"), Cause::NoMeaningOnHost);
        }
    }
    let id = match &group.group_id {
        Some(id) => input::identifier(id, &format!("{place}.GroupId"), omissions)?,
        None => None,
    };
    let key = group.group_id.clone().unwrap_or_else(|| group.group_name.to_string());
    let permissions = [
        (Direction::Ingress, "IpPermissions", group.ip_permissions),
        (Direction::Egress, "IpPermissionsEgress", group.ip_permissions_egress),
    ];
    for (direction, field, permissions) in permissions {
        for (index, permission) in permissions.into_iter().enumerate() {
            let place = format!("{place}.{field}[{index}]");
            let of = RulesOf { group: &key, owner: group.owner_id.as_deref(), direction };
            add_permission(draft, permission, &of, &place)?;
        }
    }
    draft.groups.push(DraftGroup {
        keys: group.group_id.into_iter().collect(),
        id,
        name: group.group_name,
        description: group.description,
        tags: tags(&group.tags, &format!("{place}.Tags"), &mut draft.omissions),
        members: group.members.into_iter().map(|member| member.0.canonical()).collect(),
        vpc: group.vpc_id,
        place,
    });
    Ok(())
}

/// What the permissions of a group have in common.
struct RulesOf<'g> {
    group: &'g str,
    owner: Option<&'g str>,
    direction: Direction,
}

/// A permission is a rule for each of its peers.
fn add_permission(
    draft: &mut Draft,
    permission: IpPermission,
    of: &RulesOf<'_>,
    place: &str,
) -> Result<(), ImportError> {
    note_other_fields(&permission.other, place, place, &[], &mut draft.omissions);
    let service = service(&permission.ip_protocol, permission.from_port, permission.to_port, place)?;
    let rule = |field: &str, index: usize, peer: DraftPeer, description: Option<Description>| DraftRule {
        place: format!("{place}.{field}[{index}]"),
        group: of.group.to_owned(),
        id: None,
        direction: of.direction,
        service,
        peer,
        description,
        tags: Tags::default(),
    };
    let ipv4 = permission.ip_ranges.into_iter().map(|range| (range.cidr_ip, range.description));
    for (index, (cidr, description)) in ipv4.enumerate() {
        draft.rules.push(rule("IpRanges", index, DraftPeer::Cidr(cidr.canonical()), description));
    }
    let ipv6 = permission.ipv6_ranges.into_iter().map(|range| (range.cidr_ipv6, range.description));
    for (index, (cidr, description)) in ipv6.enumerate() {
        draft.rules.push(rule("Ipv6Ranges", index, DraftPeer::Cidr(cidr.canonical()), description));
    }
    for (index, list) in permission.prefix_list_ids.into_iter().enumerate() {
        let peer = DraftPeer::PrefixList(list.prefix_list_id);
        draft.rules.push(rule("PrefixListIds", index, peer, list.description));
    }
    for (index, pair) in permission.user_id_group_pairs.into_iter().enumerate() {
        match peer_group(pair.group, of.owner) {
            Some(group) => {
                let peer = DraftPeer::Group(group);
                draft.rules.push(rule("UserIdGroupPairs", index, peer, pair.description));
            }
            None => draft.omissions.push(format!("{place}.UserIdGroupPairs[{index}]"), Cause::NoPeer),
        }
    }
    Ok(())
}

fn add_rule(draft: &mut Draft, rule: SecurityGroupRule, of: &str, index: usize) -> Result<(), ImportError> {
    let place = format!("{of}[{index}]");
    let (every, omissions) = (format!("{of}[]"), &mut draft.omissions);
    note_other_fields(&rule.other, &place, &every, &["SecurityGroupRuleArn"], omissions);
    if rule.group_owner_id.is_some() {
        omissions.push_once(format!("{every}.GroupOwnerId"), Cause::NoMeaningOnHost);
    }
    let id: Option<RuleId> = match &rule.security_group_rule_id {
        Some(id) => input::identifier(id, &format!("{place}.SecurityGroupRuleId"), omissions)?,
        None => None,
    };
    let cidr = rule.cidr_ipv4.or(rule.cidr_ipv6).map(|cidr| DraftPeer::Cidr(cidr.canonical()));
    let list = rule.prefix_list_id.map(DraftPeer::PrefixList);
    let group =
        rule.referenced_group_info.and_then(|group| peer_group(group, rule.group_owner_id.as_deref()));
    let Some(peer) = cidr.or(list).or(group.map(DraftPeer::Group)) else {
        omissions.push(place, Cause::NoPeer);
        return Ok(());
    };
    draft.rules.push(DraftRule {
        id,
        group: rule.group_id,
        direction: if rule.is_egress { Direction::Egress } else { Direction::Ingress },
        service: service(&rule.ip_protocol, rule.from_port, rule.to_port, &place)?,
        peer,
        description: rule.description,
        tags: tags(&rule.tags, &format!("{place}.Tags"), omissions),
        place,
    });
    Ok(())
}

fn add_prefix_list(
    draft: &mut Draft,
    list: ManagedPrefixList,
    of: &str,
    index: usize,
) -> Result<(), ImportError> {
    const WITHOUT_MEANING: [&str; 4] = ["PrefixListArn", "State", "StateMessage", "Version"];
    let place = format!("{of}[{index}]");
    let (every, omissions) = (format!("{of}[]"), &mut draft.omissions);
    note_other_fields(&list.other, &place, &every, &WITHOUT_MEANING, omissions);
    if list.owner_id.is_some() {
        omissions.push_once(format!("{every}.OwnerId"), Cause::NoMeaningOnHost);
    }
    let is_of_aws = list.owner_id.as_deref() == Some(AWS);
    let id = match &list.prefix_list_id {
        // Here it is a list of the operator's, under another name.
        Some(id) if !is_of_aws => input::identifier(id, &format!("{place}.PrefixListId"), omissions)?,
        _ => None,
    };
    let key = list.prefix_list_id.unwrap_or_else(|| list.prefix_list_name.clone());
    draft.prefix_lists.push(DraftPrefixList {
        keys: vec![key],
        id,
        name: list.prefix_list_name,
        is_of_aws,
        family: list.address_family,
        max_entries: list.max_entries,
        tags: tags(&list.tags, &format!("{place}.Tags"), omissions),
        entries: list.entries.map(|entries| entries.into_iter().map(entry).collect()),
        place,
    });
    Ok(())
}

fn give_to_the_only_list_without(
    draft: &mut Draft,
    file: &str,
    entries: Vec<PrefixListEntry>,
) -> Result<(), ImportError> {
    let mut without = draft.prefix_lists.iter_mut().filter(|list| list.entries.is_none() && !list.is_of_aws);
    match (without.next(), without.next()) {
        (Some(list), None) => {
            list.entries = Some(entries);
            Ok(())
        }
        _ => Err(ImportError::EntriesOfUnknownList { file: file.to_owned() }),
    }
}

/// The group that is meant; none where AWS has forgotten it, as after the deletion of a peered group.
fn peer_group(group: ReferencedGroup, owner: Option<&str>) -> Option<PeerGroup> {
    let is_peered = group.vpc_peering_connection_id.is_some() || group.peering_status.is_some();
    let status = group.peering_status.or(group.vpc_id);
    Some(PeerGroup {
        key: group.group_id.or(group.group_name)?,
        other_account: group.user_id.filter(|account| owner.is_some_and(|owner| account != owner)),
        peering: is_peered.then(|| status.unwrap_or_else(|| "status unknown".to_owned())),
    })
}

fn service(protocol: &str, from: Option<i64>, to: Option<i64>, place: &str) -> Result<Service, ImportError> {
    ports::service(protocol, from, to)
        .map_err(|source| ImportError::Invalid { place: place.to_owned(), source })
}

fn entry(entry: Entry) -> PrefixListEntry {
    PrefixListEntry { prefix: entry.cidr.canonical(), description: entry.description }
}

fn tags(tags: &[Tag], place: &str, omissions: &mut Omissions) -> Tags {
    input::tags(tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())), place, omissions)
}
