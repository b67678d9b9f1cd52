//! Identifiers in the AWS form: a prefix and 17 lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use super::ModelError;

/// Hexadecimal digits after the prefix.
const DIGITS: usize = 17;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $malformed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// What every identifier of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier that no other object has.
            pub fn random() -> Result<Self, ModelError> {
                random_digits().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{:0width$x}", $prefix, self.0, width = DIGITS)
            }
        }

        impl FromStr for $name {
            type Err = ModelError;

            fn from_str(text: &str) -> Result<Self, ModelError> {
                let malformed = || ModelError::MalformedId {
                    text: text.to_owned(),
                    prefix: $prefix,
                    aws_code: $malformed,
                };
                parse_digits(text.strip_prefix($prefix).ok_or_else(malformed)?).map(Self).ok_or_else(malformed)
            }
        }
    };
}

identifier! {
    /// Identifier of a security group.
    GroupId, "sg-", "InvalidGroupId.Malformed"
}
identifier! {
    /// Identifier of a rule.
    RuleId, "sgr-", "InvalidSecurityGroupRuleId.Malformed"
}
identifier! {
    /// Identifier of a prefix list.
    PrefixListId, "pl-", "InvalidPrefixListId.Malformed"
}
identifier! {
    /// Identifier of an attached interface.
    InterfaceId, "eni-", "InvalidNetworkInterfaceId.Malformed"
}
identifier! {
    /// Identifier of an exempt address. AWS has none, and so no code of its own.
    ExemptAddressId, "exa-", "InvalidParameterValue"
}

/// 17 random hexadecimal digits as a number. 68 random bits make a collision within one store impossible in practice;
/// the store would refuse one.
fn random_digits() -> Result<u128, ModelError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(ModelError::NoRandomness)?;
    Ok(u128::from_ne_bytes(bytes) >> (128 - 4 * DIGITS))
}

fn parse_digits(digits: &str) -> Option<u128> {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != DIGITS || !digits.bytes().all(lower_hex) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_is_written() {
        let id = GroupId::random().unwrap();
        let text = id.to_string();
        assert_eq!(text.len(), "sg-".len() + 17);
        assert_eq!(text.parse::<GroupId>().unwrap(), id);
        assert_eq!("sgr-00000000000000abc".parse::<RuleId>().unwrap().to_string(), "sgr-00000000000000abc");
    }

    #[test]
    fn two_random_ids_differ() {
        assert_ne!(RuleId::random().unwrap(), RuleId::random().unwrap());
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in
            ["", "sg-", "sg-0123", "sg-0123456789ABCDEF0", "sg-+123456789abcdef0", "sgr-0123456789abcdef0"]
        {
            let error = text.parse::<GroupId>().unwrap_err();
            assert_eq!(error.aws_code(), Some("InvalidGroupId.Malformed"), "{text}");
        }
    }
}
