//! ICMP and ICMPv6 messages: type and code.

use std::fmt;
use std::str::FromStr;

use super::ModelError;
use super::service::parse_number;

/// Which ICMP or ICMPv6 messages. AWS has no code without a type, so this type has none either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IcmpSelector {
    /// Every type and code (AWS -1, -1).
    All,
    /// Every code of one type (AWS t, -1).
    Type(u8),
    /// One code of one type.
    TypeCode(u8, u8),
}

impl IcmpSelector {
    /// Whether it names a code that ICMP messages of its type never have (IANA "ICMP Parameters"; types that are not
    /// assigned may have any). The usual mistake is `--port 8` of the AWS CLI, which means 8/8, an echo request that no
    /// host sends.
    #[must_use]
    pub const fn never_occurs_in_icmp(self) -> bool {
        let Self::TypeCode(icmp_type, code) = self else {
            return false;
        };
        match icmp_type {
            0 | 4 | 8 | 10 | 13 | 14 | 42 => code != 0,
            3 => code > 15,
            5 => code > 3,
            9 => code != 0 && code != 16,
            11 => code > 1,
            12 => code > 2,
            43 => code > 4,
            _ => false,
        }
    }

    /// The same of ICMPv6 (IANA "ICMPv6 Parameters").
    #[must_use]
    pub const fn never_occurs_in_icmpv6(self) -> bool {
        let Self::TypeCode(icmp_type, code) = self else {
            return false;
        };
        match icmp_type {
            1 => code > 8,
            2 | 128..=137 | 143 | 160 => code != 0,
            3 => code > 1,
            4 => code > 10,
            161 => code > 4,
            _ => false,
        }
    }
}

impl FromStr for IcmpSelector {
    type Err = ModelError;

    /// Reads `T` or `T/CODE`; -1 stands for every one, as in AWS.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let invalid = || ModelError::InvalidIcmpType { text: text.to_owned() };
        let any_or_number = |part: &str| match part {
            "-1" => Ok(None),
            part => parse_number(part).map(Some).ok_or_else(invalid),
        };
        let (icmp_type, code) = text.split_once('/').unwrap_or((text, "-1"));
        match (any_or_number(icmp_type)?, any_or_number(code)?) {
            (None, None) => Ok(Self::All),
            (Some(icmp_type), None) => Ok(Self::Type(icmp_type)),
            (Some(icmp_type), Some(code)) => Ok(Self::TypeCode(icmp_type, code)),
            // AWS: "If the ICMP type is -1, the code must be -1".
            (None, Some(_)) => Err(invalid()),
        }
    }
}

impl fmt::Display for IcmpSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Type(icmp_type) => write!(f, "{icmp_type}"),
            Self::TypeCode(icmp_type, code) => write!(f, "{icmp_type}/{code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes() {
        assert_eq!("8".parse::<IcmpSelector>().unwrap(), IcmpSelector::Type(8));
        assert_eq!("3/4".parse::<IcmpSelector>().unwrap(), IcmpSelector::TypeCode(3, 4));
        assert_eq!("3/-1".parse::<IcmpSelector>().unwrap(), IcmpSelector::Type(3));
        assert_eq!("-1/-1".parse::<IcmpSelector>().unwrap(), IcmpSelector::All);
        for text in ["-1/0", "0/65535", "256", "8/", "/0", ""] {
            assert!(text.parse::<IcmpSelector>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_code_that_messages_of_its_type_never_have_is_recognised() {
        let selector = |text: &str| text.parse::<IcmpSelector>().unwrap();
        for text in ["8/8", "0/8", "3/16"] {
            assert!(selector(text).never_occurs_in_icmp(), "{text}");
        }
        for text in ["8/0", "8", "3/4", "200/9"] {
            assert!(!selector(text).never_occurs_in_icmp(), "{text}");
        }
        assert!(selector("128/1").never_occurs_in_icmpv6());
        assert!(!selector("8/8").never_occurs_in_icmpv6());
    }
}
