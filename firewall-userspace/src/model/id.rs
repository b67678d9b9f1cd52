//! Identifiers in the AWS form: a prefix and 17 lower-case hexadecimal digits. Wherever one is read, the ARN of the
//! same resource is read too.

use std::fmt;
use std::str::FromStr;

use super::ModelError;

/// Hexadecimal digits after the prefix.
const DIGITS: usize = 17;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $malformed:literal $(, $resource_type:literal)?) => {
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
            $(
                /// The Amazon Resource Name. A host has no region and no account: both are empty.
                #[must_use]
                pub fn arn(&self) -> String {
                    format!("arn:aws:ec2:::{}/{self}", $resource_type)
                }

                /// Whether a text is meant as one of these identifiers, well-formed or not, or as an ARN with one.
                #[must_use]
                pub fn is_meant_by(text: &str) -> bool {
                    strip_arn(text, $resource_type).unwrap_or(text).starts_with($prefix)
                }
            )?
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
                let id = text;
                $(let id = strip_arn(id, $resource_type).unwrap_or(id);)?
                parse_digits(id.strip_prefix($prefix).ok_or_else(malformed)?).map(Self).ok_or_else(malformed)
            }
        }
    };
}

identifier! {
    /// Identifier of a security group.
    GroupId, "sg-", "InvalidGroupId.Malformed", "security-group"
}
identifier! {
    /// Identifier of a rule.
    RuleId, "sgr-", "InvalidSecurityGroupRuleId.Malformed", "security-group-rule"
}
identifier! {
    /// Identifier of a prefix list.
    PrefixListId, "pl-", "InvalidPrefixListId.Malformed", "prefix-list"
}
identifier! {
    /// Identifier of an attached interface.
    InterfaceId, "eni-", "InvalidNetworkInterfaceId.Malformed", "network-interface"
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

/// What an ARN `arn:PARTITION:ec2:REGION:ACCOUNT:TYPE/RESOURCE` of this type of resource names. Partition, region and
/// account may be any: an ARN that was copied from AWS means the resource of the same id.
fn strip_arn<'t>(text: &'t str, resource_type: &str) -> Option<&'t str> {
    let mut parts = text.strip_prefix("arn:")?.splitn(5, ':');
    let service = parts.nth(1)?;
    let resource = parts.nth(2)?;
    if service != "ec2" {
        return None;
    }
    resource.strip_prefix(resource_type)?.strip_prefix('/')
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
    fn the_arn_of_a_resource_stands_for_its_id() {
        let id = RuleId::random().unwrap();
        assert_eq!(id.arn(), format!("arn:aws:ec2:::security-group-rule/{id}"));
        for arn in [id.arn(), format!("arn:aws-cn:ec2:cn-north-1:123456789012:security-group-rule/{id}")] {
            assert_eq!(arn.parse::<RuleId>().unwrap(), id);
            assert!(RuleId::is_meant_by(&arn));
            assert!(arn.parse::<GroupId>().is_err(), "an ARN of another type of resource");
        }
        assert!(format!("arn:aws:s3:::security-group-rule/{id}").parse::<RuleId>().is_err());
        assert!("arn:aws:ec2:::security-group-rule/".parse::<RuleId>().is_err());
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
