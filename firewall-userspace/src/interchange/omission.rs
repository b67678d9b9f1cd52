//! What could not be carried over from one system to the other, and why.

use std::fmt;

/// Something that the one side says and the other does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
    /// Where it stands.
    pub place: String,
    /// Why it was left out.
    pub cause: Cause,
}

/// Why something was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Accounts, VPCs, ARNs, states: a host has none.
    #[error("has no meaning on a host")]
    NoMeaningOnHost,
    /// A field that this version does not know.
    #[error("unknown field")]
    UnknownField,
    /// The list goes on in a file that is not there.
    #[error("the output is not complete: run the command without --max-items")]
    Incomplete,
    /// Identifiers of before 2016 have 8 digits.
    #[error("{id} is an identifier of the old, short form; a new one is given")]
    ShortId {
        /// The identifier.
        id: String,
    },
    /// A tag that cannot be set.
    #[error("the tag \"{key}\" is reserved, or has characters that AWS does not document")]
    Tag {
        /// Its key.
        key: String,
    },
    /// A rule of a group that is not described.
    #[error("rule of the group {group}, which no file describes")]
    RuleOfUnknownGroup {
        /// How it is called.
        group: String,
    },
    /// A rule whose peer is a group that is not described.
    #[error("the peer is the group {group}, which no file describes; members of a group can stand in for it")]
    UnknownGroup {
        /// How it is called.
        group: String,
    },
    /// A rule whose peer is a group of another VPC than the chosen one.
    #[error("the peer is the group {group} of another VPC")]
    GroupOfOtherVpc {
        /// How it is called.
        group: String,
    },
    /// A rule whose peer is a group of another account.
    #[error("the peer is the group {group} of the account {account}")]
    GroupOfOtherAccount {
        /// How it is called.
        group: String,
        /// Its owner.
        account: String,
    },
    /// A rule whose peer is a group behind a VPC peering or a transit gateway.
    #[error("the peer is the group {group} of a peered VPC ({status})")]
    GroupOfPeeredVpc {
        /// How it is called.
        group: String,
        /// How the peering is.
        status: String,
    },
    /// A rule whose peer is a prefix list without entries in any file.
    #[error(
        "the peer is the prefix list {list}, whose entries no file has; `aws ec2 get-managed-prefix-list-entries \
         --prefix-list-id {list}` shows them"
    )]
    UnknownPrefixList {
        /// How it is called.
        list: String,
    },
    /// A prefix list without entries in any file.
    #[error(
        "no file has the entries of the prefix list {list}; `aws ec2 get-managed-prefix-list-entries \
         --prefix-list-id {list}` shows them"
    )]
    NoEntries {
        /// How it is called.
        list: String,
    },
    /// An entry of a prefix list that is not described.
    #[error("entry of the prefix list {list}, which no file describes")]
    EntryOfUnknownList {
        /// How it is called.
        list: String,
    },
    /// A prefix list of AWS that no rule refers to.
    #[error("prefix list of AWS that no rule refers to")]
    UnusedAwsList,
    /// A prefix list whose name is reserved, or taken by another.
    #[error("the prefix list {name} is called \"{new_name}\" here")]
    Renamed {
        /// What it was called.
        name: String,
        /// What it is called now.
        new_name: String,
    },
    /// A value that Terraform only knows after an apply, and that the configuration does not tell either.
    #[error("known only after apply")]
    UnknownUntilApply,
    /// The name that AWS will give is not known.
    #[error("the name is known only after apply; the group is called \"{new_name}\" here")]
    NameUnknownUntilApply {
        /// What it is called now.
        new_name: String,
    },
    /// Terraform resources that attach groups in AWS.
    #[error("attaches a group in AWS; here an interface carries groups")]
    Attachment,
    /// A rule without a peer admits nothing.
    #[error("no peer")]
    NoPeer,
    /// Attachments and options of interfaces, in a system that has no such interfaces.
    #[error("{system} attaches groups to network interfaces of instances")]
    Interface {
        /// The other system.
        system: &'static str,
    },
    /// Declared members.
    #[error("{system} has no declared members")]
    Members {
        /// The other system.
        system: &'static str,
    },
    /// An identifier that the other system gives itself.
    #[error("Terraform gives identifiers itself")]
    IdGivenByTerraform,
    /// Tags and identifiers of a rule, where the other system knows a rule only as a part of its group.
    #[error("a rule has neither an identifier nor tags there")]
    RuleIdentity,
    /// Something that an nftables ruleset does otherwise or not at all.
    #[error("{0}")]
    Nftables(NftablesDifference),
}

/// What an nftables ruleset does otherwise or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NftablesDifference {
    /// A group that no interface of the document carries.
    #[error("no interface carries the group, so the ruleset does not have its rules")]
    NotCarried,
    /// Membership by carrying.
    #[error(
        "the peer is a group that interfaces carry; the ruleset has its declared members alone, not the interfaces' \
         addresses"
    )]
    CarriedGroupAsPeer,
    /// A group or list of which the document says nothing.
    #[error("the document does not say what is in it")]
    UnknownPeer,
    /// Names that nftables takes for a pattern or cannot quote.
    #[error("nftables cannot name this interface")]
    InterfaceName,
    /// Per-interface timeouts.
    #[error("timeouts are not of an interface there: see the sysctls net.netfilter.nf_conntrack_*_timeout*")]
    Timeouts,
    /// ARP and other frames.
    #[error("a table of the family inet does not see ARP and frames without IP: they pass")]
    NonIp,
}

impl Omission {
    /// Whether it says nothing about which traffic passes: names, identifiers, tags, owners.
    #[must_use]
    pub const fn is_note(&self) -> bool {
        matches!(
            self.cause,
            Cause::NoMeaningOnHost
                | Cause::ShortId { .. }
                | Cause::Tag { .. }
                | Cause::UnusedAwsList
                | Cause::Renamed { .. }
                | Cause::NameUnknownUntilApply { .. }
                | Cause::IdGivenByTerraform
                | Cause::RuleIdentity
        )
    }
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.cause)
    }
}

/// The omissions of one import or export.
#[derive(Debug, Default)]
pub(super) struct Omissions(Vec<Omission>);

impl Omissions {
    pub(super) fn push(&mut self, place: impl Into<String>, cause: Cause) {
        self.0.push(Omission { place: place.into(), cause });
    }

    /// The same about many objects, said once.
    pub(super) fn push_once(&mut self, place: impl Into<String>, cause: Cause) {
        let omission = Omission { place: place.into(), cause };
        if !self.0.contains(&omission) {
            self.0.push(omission);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_vec(self) -> Vec<Omission> {
        self.0
    }
}
