//! How to mend a value that is not valid, in words that hold on the command line as in a file.
//!
//! Who shows the error puts it into the words of its own place first where that says more.

use super::{ModelError, Quota};

impl ModelError {
    /// What the value may be, or what to do instead.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MalformedId { prefix, .. } => {
                return Some(format!("an id is {prefix} and 17 digits from 0-9 and a-f"));
            }
            Self::TimeoutOutOfRange { timeout, .. } => {
                let range = timeout.range();
                return Some(format!("{} is {} to {} seconds", timeout.name(), range.start(), range.end()));
            }
            Self::ReversedPorts { first, last } => return Some(format!("write {last}-{first}")),
            Self::UnknownQuota { .. } => {
                return Some(format!("the quotas are {}", Quota::ALL.map(Quota::name).join(", ")));
            }
            Self::UnknownFilter { known, .. } => {
                return Some(format!("the filters are {}", known.join(", ")));
            }
            Self::InvalidGroupName { .. } => {
                "a name has 1 to 255 characters from a-z A-Z 0-9 space . _ - : / ( ) # , @ [ ] + = & ; { } ! $ * and does \
                 not begin with sg-"
            }
            Self::ReservedGroupName => "the group \"default\" is always there; choose another name",
            Self::DuplicateGroup { .. } => "choose another name; the case of letters makes no difference",
            Self::InvalidDescription { .. } => {
                "a description has at most 255 characters from a-z A-Z 0-9 space . _ - : / ( ) # , @ [ ] + = & ; { } ! $ *"
            }
            Self::NoGroupDescription => "say what the group is for, in 1 to 255 characters",
            Self::InvalidPrefixListName { .. } => {
                "a name has 1 to 255 characters, none of them a control character, and does not begin with pl- or \
                 com.amazonaws"
            }
            Self::DuplicatePrefixList { .. } => "choose another name",
            Self::NoRoomForEntries => "give it room for 1 entry or more",
            Self::WrongFamily { .. } => {
                "a prefix list holds prefixes of one family; make another list for the other"
            }
            Self::InvalidTagKey { .. } => {
                "a tag key has 1 to 127 characters, which are letters, digits, spaces and + - = . _ : / @, and does not \
                 begin with aws:"
            }
            Self::InvalidTagValue { .. } => {
                "a tag value has at most 256 characters, which are letters, digits, spaces and + - = . _ : / @"
            }
            Self::TooManyTags { .. } => "remove tags that are not needed",
            Self::UnknownProtocol { .. } => "use tcp, udp, icmp, icmpv6, all or a number from 0 to 255",
            Self::InvalidPort { .. } => "a port is P, a range P-Q, with numbers from 0 to 65535",
            Self::MalformedCidr { .. } => {
                "write ADDRESS/LENGTH, for example 203.0.113.0/24 or 2001:db8::/32; one host is /32 or /128"
            }
            Self::UnknownAddressFamily { .. } => "use ipv4 or ipv6",
            Self::RepeatedRule { .. } => "name each rule once; descriptions do not tell rules apart",
            Self::FilterWithoutValue { .. } => "write NAME=VALUE, for example tag:env=production",
            Self::ExemptsNothing { .. } => "use icmp with addresses of IPv4, and icmpv6 with those of IPv6",
            Self::NoGroups { .. } => "name one group or more; the group \"default\" is always there",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
