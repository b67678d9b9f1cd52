//! Rules: what they consist of, and which two are the same.

use std::fmt;
use std::hash::{Hash, Hasher};

use firewall_common::abi::Direction;

use super::{Description, GroupId, IcmpSelector, Peer, RuleId, Service, Tags};

/// A rule of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityRule {
    /// Identifier.
    pub id: RuleId,
    /// The group that it belongs to.
    pub group: GroupId,
    /// Which traffic it admits: arriving or leaving.
    pub direction: Direction,
    /// Protocol and ports.
    pub service: Service,
    /// The other end.
    pub peer: Peer,
    /// Free text.
    pub description: Option<Description>,
    /// Tags.
    pub tags: Tags,
}

impl SecurityRule {
    /// What makes it this rule and no other of its group.
    #[must_use]
    pub const fn properties(&self) -> RuleProperties {
        RuleProperties { direction: self.direction, service: self.service, peer: self.peer }
    }
}

/// The identity of a rule within its group. AWS leaves the description out of it: two rules that differ only by
/// description are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleProperties {
    /// Which traffic.
    pub direction: Direction,
    /// Protocol and ports.
    pub service: Service,
    /// The other end.
    pub peer: Peer,
}

impl Hash for RuleProperties {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // `Direction` does not implement `Hash`.
        (self.direction as u8, self.service, self.peer).hash(state);
    }
}

/// The text by which AWS names a rule in messages.
impl fmt::Display for RuleProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer: {}, {}", self.peer, self.service.protocol().to_string().to_uppercase())?;
        if let Some(ports) = self.service.ports() {
            write!(f, ", from port: {}, to port: {}", ports.first(), ports.last())?;
        }
        match self.service.icmp() {
            Some(IcmpSelector::All) => f.write_str(", type: -1, code: -1")?,
            Some(IcmpSelector::Type(icmp_type)) => write!(f, ", type: {icmp_type}, code: -1")?,
            Some(IcmpSelector::TypeCode(icmp_type, code)) => write!(f, ", type: {icmp_type}, code: {code}")?,
            None => {}
        }
        f.write_str(", ALLOW")
    }
}

/// A rule that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRule {
    /// What it admits.
    pub properties: RuleProperties,
    /// Free text.
    pub description: Option<Description>,
    /// Tags.
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(service: Service, peer: &str) -> String {
        let peer = Peer::Cidr(peer.parse().unwrap());
        RuleProperties { direction: Direction::Ingress, service, peer }.to_string()
    }

    #[test]
    fn rules_are_named_as_aws_names_them() {
        let ssh = Service::Tcp("22".parse().unwrap());
        assert_eq!(
            text(ssh, "203.0.113.5/32"),
            "peer: 203.0.113.5/32, TCP, from port: 22, to port: 22, ALLOW"
        );
        assert_eq!(text(Service::All, "0.0.0.0/0"), "peer: 0.0.0.0/0, ALL, ALLOW");
        let icmp = Service::Icmp(IcmpSelector::TypeCode(0, 8));
        assert_eq!(text(icmp, "10.0.0.0/8"), "peer: 10.0.0.0/8, ICMP, type: 0, code: 8, ALLOW");
    }
}
