//! Security groups as AWS defines them: what is a valid group, rule, prefix list, and what may be done to them.
//!
//! Everything that an operator types is parsed here into types that hold only valid values; `store` keeps them,
//! `compile` turns them into tables, `cli` shows them. This module must not know about any of the three, about BPF
//! or about files. "AWS" in comments stands for the EC2 API reference and user guide.

mod document;
mod error;
mod exempt;
mod filter;
mod group;
mod hint;
mod icmp;
mod id;
mod interface;
mod management;
mod name;
mod peer;
mod prefix_list;
mod quota;
mod resource;
mod rule;
mod service;
mod tag;
mod timeouts;

pub use document::{
    Document, DocumentGroup, DocumentInterface, DocumentPeer, DocumentPrefixList, DocumentRule,
};
pub use error::ModelError;
pub use exempt::{ExemptAddress, ExemptProperties, Exemption, Exemptions, NewExemptAddress, aws_link_local};
pub use filter::{Filters, GroupFilter, RuleFilter};
pub use group::{GroupReference, SecurityGroup};
pub use icmp::IcmpSelector;
pub use id::{ExemptAddressId, GroupId, InterfaceId, PrefixListId, RuleId};
pub use interface::{IcmpErrors, IngressHook, Interface, InterfaceOptions};
pub use management::{ManagementPrefix, ManagementProperties, ManagementService};
pub use name::{Description, GroupName, PrefixListName};
pub use peer::{AddressFamily, Cidr, Peer, PeerKind};
pub use prefix_list::{PrefixList, PrefixListEntry, PrefixListReference, PrefixListVersion};
pub use quota::{Quota, QuotaExcess, QuotaSubject, QuotaUsage, Quotas};
pub use resource::{Resource, ResourceReference};
pub use rule::{NewRule, RuleProperties, SecurityRule};
pub use service::{OtherProtocol, PortRange, Protocol, Service};
pub use tag::{TagKey, TagValue, Tags};
pub use timeouts::{FlowTimeouts, Timeout};
