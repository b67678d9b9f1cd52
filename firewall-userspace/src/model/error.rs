//! Everything that can be wrong with what an operator asks for, with the AWS code where AWS has one.

use ipnet::IpNet;

use super::{
    AddressFamily, ExemptAddressId, ExemptProperties, GroupId, GroupName, GroupReference,
    ManagementProperties, PeerKind, PrefixListName, PrefixListReference, Protocol, Quota, QuotaExcess,
    RuleId, RuleProperties, Timeout,
};

/// Why a value or a change is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not an identifier of the wanted kind.
    #[error("malformed id \"{text}\"")]
    MalformedId {
        /// What was given.
        text: String,
        /// What the wanted kind begins with.
        prefix: &'static str,
        /// AWS has a code per kind.
        aws_code: &'static str,
    },
    /// The kernel gave no random bytes for a new identifier.
    #[error("no random number from the kernel for a new id: {0}")]
    NoRandomness(getrandom::Error),
    /// A group name outside AWS's rules.
    #[error("invalid security group name \"{name}\"")]
    InvalidGroupName {
        /// What was given.
        name: String,
    },
    /// The name `default` for a new group.
    #[error("the security group name \"default\" is reserved")]
    ReservedGroupName,
    /// A group of that name exists.
    #[error("the security group '{name}' already exists")]
    DuplicateGroup {
        /// The name.
        name: GroupName,
    },
    /// No such group.
    #[error("the security group '{reference}' does not exist")]
    GroupNotFound {
        /// How it was named.
        reference: GroupReference,
    },
    /// The group `default` cannot be deleted.
    #[error("the specified group: \"{group}\" name: \"default\" cannot be deleted by a user")]
    DefaultGroupUndeletable {
        /// The group.
        group: GroupId,
    },
    /// Something depends on what was to be deleted.
    #[error("resource {resource} has a dependent object: {}", dependents.join(", "))]
    HasDependents {
        /// What was to be deleted.
        resource: String,
        /// What depends on it.
        dependents: Vec<String>,
    },
    /// A description outside AWS's rules.
    #[error("invalid description \"{description}\"")]
    InvalidDescription {
        /// What was given.
        description: String,
    },
    /// A group that says nothing about what it is for.
    #[error("the description of a security group is empty")]
    NoGroupDescription,
    /// Not a protocol.
    #[error("unknown protocol \"{text}\"")]
    UnknownProtocol {
        /// What was given.
        text: String,
    },
    /// TCP or UDP without ports.
    #[error("protocol {protocol} needs a port or a range of ports")]
    PortsRequired {
        /// The protocol.
        protocol: Protocol,
    },
    /// Ports with a protocol that has none.
    #[error("protocol {protocol} takes no ports")]
    PortsNotApplicable {
        /// The protocol.
        protocol: Protocol,
    },
    /// ICMP type with another protocol.
    #[error("protocol {protocol} takes no ICMP type")]
    IcmpTypeNotApplicable {
        /// The protocol.
        protocol: Protocol,
    },
    /// Not a port or a range of ports.
    #[error("TCP/UDP port ({part}) out of range in \"{text}\"")]
    InvalidPort {
        /// What was given.
        text: String,
        /// The part of it that is no port.
        part: String,
    },
    /// A range whose end comes before its beginning.
    #[error("invalid TCP/UDP port range ({first}:{last})")]
    ReversedPorts {
        /// The beginning.
        first: u16,
        /// The end.
        last: u16,
    },
    /// Not an ICMP type, or type and code.
    #[error("invalid ICMP type or code \"{text}\"")]
    InvalidIcmpType {
        /// What was given.
        text: String,
    },
    /// Not a CIDR block.
    #[error("CIDR block {text} is malformed")]
    MalformedCidr {
        /// What was given.
        text: String,
    },
    /// Not an address family.
    #[error("unknown address family \"{text}\"")]
    UnknownAddressFamily {
        /// What was given.
        text: String,
    },
    /// The rule exists.
    #[error("the specified rule \"{rule}\" already exists")]
    DuplicateRule {
        /// The rule.
        rule: RuleProperties,
    },
    /// One request names a rule twice.
    #[error("the same permission must not appear multiple times: \"{rule}\"")]
    RepeatedRule {
        /// The rule.
        rule: RuleProperties,
    },
    /// The group has no rule with exactly these properties.
    #[error("the specified rule \"{rule}\" does not exist in this security group")]
    RuleNotFound {
        /// What was looked for.
        rule: RuleProperties,
    },
    /// No rule of that id.
    #[error("the security group rule '{rule}' does not exist")]
    RuleIdNotFound {
        /// The id.
        rule: RuleId,
    },
    /// The peer of a rule is of another kind than the rule's.
    #[error(
        "the peer of rule {rule} is of the kind \"{kind}\" and cannot become one of the kind \"{wanted}\""
    )]
    PeerKindChanged {
        /// The rule.
        rule: RuleId,
        /// The kind of its peer.
        kind: PeerKind,
        /// The kind that was asked for.
        wanted: PeerKind,
    },
    /// A rule has exactly one peer.
    #[error("rule {rule} has exactly one peer, and {peers} were given")]
    NotOnePeer {
        /// The rule.
        rule: RuleId,
        /// How many were given.
        peers: usize,
    },
    /// The prefix is already a member.
    #[error("{prefix} is already a member of the security group '{group}'")]
    DuplicateMember {
        /// The group.
        group: GroupName,
        /// The prefix.
        prefix: IpNet,
    },
    /// The prefix is not a member.
    #[error("{prefix} is not a member of the security group '{group}'")]
    MemberNotFound {
        /// The group.
        group: GroupName,
        /// The prefix.
        prefix: IpNet,
    },
    /// A prefix list name outside the rules.
    #[error("invalid prefix list name \"{name}\"")]
    InvalidPrefixListName {
        /// What was given.
        name: String,
    },
    /// A prefix list of that name exists.
    #[error("the prefix list '{name}' already exists")]
    DuplicatePrefixList {
        /// The name.
        name: PrefixListName,
    },
    /// No such prefix list.
    #[error("the prefix list '{reference}' does not exist")]
    PrefixListNotFound {
        /// How it was named.
        reference: PrefixListReference,
    },
    /// A prefix list without room.
    #[error("a prefix list needs room for at least one entry")]
    NoRoomForEntries,
    /// A prefix of the other family.
    #[error("{prefix} is not a prefix of the family {family} of prefix list '{list}'")]
    WrongFamily {
        /// The list.
        list: PrefixListName,
        /// Its family.
        family: AddressFamily,
        /// The prefix.
        prefix: IpNet,
    },
    /// The entry exists.
    #[error("{prefix} is already an entry of prefix list '{list}'")]
    DuplicateEntry {
        /// The list.
        list: PrefixListName,
        /// The prefix.
        prefix: IpNet,
    },
    /// The entry does not exist.
    #[error("{prefix} is not an entry of prefix list '{list}'")]
    EntryNotFound {
        /// The list.
        list: PrefixListName,
        /// The prefix.
        prefix: IpNet,
    },
    /// More entries than the list has room for.
    #[error("{entries} entries are more than the {max_entries} that prefix list '{list}' has room for")]
    TooManyEntries {
        /// The list.
        list: PrefixListName,
        /// How many it would have.
        entries: usize,
        /// How many it may have.
        max_entries: u32,
    },
    /// A change that was made up for another version of a prefix list.
    #[error("prefix list '{list}' has the version {current}, not {expected}")]
    VersionMismatch {
        /// The list.
        list: PrefixListName,
        /// What was given.
        expected: u64,
        /// Its version.
        current: u64,
    },
    /// A version that the list never had, or that is not kept any more.
    #[error("there is no version {version} of prefix list '{list}'")]
    VersionNotFound {
        /// The list.
        list: PrefixListName,
        /// What was given.
        version: u64,
    },
    /// The change would exceed a quota.
    #[error("the maximum number of {quota} has been reached: {}", listed(excesses))]
    QuotaExceeded {
        /// The quota.
        quota: Quota,
        /// Where.
        excesses: Vec<QuotaExcess>,
    },
    /// Not a quota.
    #[error("unknown quota \"{name}\"")]
    UnknownQuota {
        /// What was given.
        name: String,
    },
    /// Not a filter.
    #[error("unknown filter \"{name}\"")]
    UnknownFilter {
        /// What was given.
        name: String,
        /// Those that there are.
        known: &'static [&'static str],
    },
    /// A filter without a value.
    #[error("the filter \"{text}\" has no value")]
    FilterWithoutValue {
        /// What was given.
        text: String,
    },
    /// The address is exempt already.
    #[error("{properties} is already exempt")]
    DuplicateExemptAddress {
        /// What was to be exempt.
        properties: ExemptProperties,
    },
    /// Nothing with exactly these properties is exempt.
    #[error("{properties} is not exempt")]
    ExemptAddressNotFound {
        /// What was looked for.
        properties: ExemptProperties,
    },
    /// No exempt address of that id.
    #[error("the exempt address '{id}' does not exist")]
    ExemptAddressIdNotFound {
        /// The id.
        id: ExemptAddressId,
    },
    /// A service that packets to the address cannot have.
    #[error("{properties} would exempt nothing: icmp is a protocol of IPv4, icmpv6 of IPv6")]
    ExemptsNothing {
        /// What was to be exempt.
        properties: ExemptProperties,
    },
    /// A tag key outside AWS's rules.
    #[error("invalid tag key \"{key}\"")]
    InvalidTagKey {
        /// What was given.
        key: String,
    },
    /// A tag value outside AWS's rules.
    #[error("invalid tag value \"{value}\"")]
    InvalidTagValue {
        /// What was given.
        value: String,
    },
    /// More tags than one object may carry.
    #[error("{tags} tags are more than the {limit} that one object may carry")]
    TooManyTags {
        /// How many it would carry.
        tags: usize,
        /// How many it may carry.
        limit: usize,
    },
    /// A timeout outside its range.
    #[error("timeout {} of {seconds} s is out of range", timeout.name())]
    TimeoutOutOfRange {
        /// Which timeout.
        timeout: Timeout,
        /// What was given.
        seconds: u32,
    },
    /// A protocol without connections to ports.
    #[error("a management prefix is for tcp or udp, not for {protocol}")]
    NotForManagement {
        /// What was given.
        protocol: Protocol,
    },
    /// The same is declared already.
    #[error("{properties} is already declared for management")]
    DuplicateManagementPrefix {
        /// What.
        properties: ManagementProperties,
    },
    /// It is not declared.
    #[error("{properties} is not declared for management")]
    ManagementPrefixNotFound {
        /// What.
        properties: ManagementProperties,
    },
    /// An interface must carry at least one group.
    #[error("interface {interface} must carry at least one security group")]
    NoGroups {
        /// The interface.
        interface: String,
    },
}

impl ModelError {
    /// The code of the EC2 API for it.
    #[must_use]
    pub const fn aws_code(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoRandomness(_) => return None,
            Self::MalformedId { aws_code, .. } => aws_code,
            Self::ReservedGroupName => "InvalidGroup.Reserved",
            Self::DuplicateGroup { .. } => "InvalidGroup.Duplicate",
            Self::GroupNotFound { .. } => "InvalidGroup.NotFound",
            Self::DefaultGroupUndeletable { .. } => "CannotDelete",
            Self::HasDependents { .. } => "DependencyViolation",
            Self::DuplicateRule { .. } => "InvalidPermission.Duplicate",
            Self::RuleNotFound { .. } => "InvalidPermission.NotFound",
            Self::RuleIdNotFound { .. } => "InvalidSecurityGroupRuleId.NotFound",
            Self::PrefixListNotFound { .. } => "InvalidPrefixListID.NotFound",
            Self::NoGroups { .. } => "MissingParameter",
            Self::TooManyTags { .. } => "TagLimitExceeded",
            Self::VersionMismatch { .. } => "PrefixListVersionMismatch",
            Self::UnknownFilter { .. } | Self::FilterWithoutValue { .. } => "InvalidFilter",
            Self::QuotaExceeded { quota, .. } => return quota.aws_code(),
            // Declared members, unique prefix list names, exempt addresses, management prefixes and names of quotas are ours,
            // not AWS's.
            Self::DuplicateMember { .. }
            | Self::MemberNotFound { .. }
            | Self::DuplicatePrefixList { .. }
            | Self::DuplicateExemptAddress { .. }
            | Self::ExemptAddressNotFound { .. }
            | Self::ExemptAddressIdNotFound { .. }
            | Self::ExemptsNothing { .. }
            | Self::UnknownQuota { .. }
            | Self::NotForManagement { .. }
            | Self::DuplicateManagementPrefix { .. }
            | Self::ManagementPrefixNotFound { .. } => return None,
            Self::InvalidGroupName { .. }
            | Self::InvalidDescription { .. }
            | Self::NoGroupDescription
            | Self::UnknownProtocol { .. }
            | Self::PortsRequired { .. }
            | Self::PortsNotApplicable { .. }
            | Self::IcmpTypeNotApplicable { .. }
            | Self::InvalidPort { .. }
            | Self::ReversedPorts { .. }
            | Self::InvalidIcmpType { .. }
            | Self::MalformedCidr { .. }
            | Self::UnknownAddressFamily { .. }
            | Self::RepeatedRule { .. }
            | Self::InvalidPrefixListName { .. }
            | Self::NoRoomForEntries
            | Self::WrongFamily { .. }
            | Self::DuplicateEntry { .. }
            | Self::EntryNotFound { .. }
            | Self::TooManyEntries { .. }
            | Self::VersionNotFound { .. }
            | Self::PeerKindChanged { .. }
            | Self::NotOnePeer { .. }
            | Self::InvalidTagKey { .. }
            | Self::InvalidTagValue { .. }
            | Self::TimeoutOutOfRange { .. } => "InvalidParameterValue",
        })
    }
}

/// AWS names the first ten.
fn listed(excesses: &[QuotaExcess]) -> String {
    const NAMED: usize = 10;
    let mut text: Vec<String> = excesses.iter().take(NAMED).map(ToString::to_string).collect();
    if excesses.len() > NAMED {
        text.push(format!("{} more", excesses.len() - NAMED));
    }
    text.join("; ")
}
