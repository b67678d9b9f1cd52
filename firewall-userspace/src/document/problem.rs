//! What can be wrong with a policy file, what is said about it, and how to mend it.

use std::collections::BTreeMap;
use std::io;
use std::str::Utf8Error;

use super::VERSION;
use super::tree::Span;
use super::yaml::YamlError;
use crate::model::{AddressFamily, ModelError};

/// Something that is wrong, and where.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) place: Place,
    pub(super) kind: ProblemKind,
    /// What it clashes with.
    pub(super) first: Option<Place>,
}

/// A place in one of the sources.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Which source, by number.
    pub(super) source: usize,
    /// Where in it; nowhere if the source has no text.
    pub(super) span: Option<Span>,
    /// The path of the field, such as `groups[0].name`; empty for the document as a whole.
    pub(super) field: String,
}

impl Problem {
    /// A problem of a source as a whole.
    pub(super) fn of_source(source: usize, kind: ProblemKind) -> Self {
        Self { place: Place { source, span: None, field: String::new() }, kind, first: None }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProblemKind {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("is not UTF-8: {0}")]
    NotUtf8(Utf8Error),
    #[error("the directory has no policy files")]
    EmptyDirectory,
    #[error("{0}")]
    Yaml(YamlError),
    #[error("{}", .0.message())]
    Toml(toml::de::Error),
    #[error("expected {expected}, found {found}")]
    WrongType { expected: &'static str, found: &'static str },
    #[error("unknown field \"{field}\"")]
    UnknownField { field: String, known: &'static [&'static str] },
    #[error("the field \"{field}\" is missing")]
    MissingField { field: &'static str },
    #[error("the field \"{field}\" is there twice")]
    RepeatedField { field: String },
    #[error("unknown version {version}")]
    UnknownVersion { version: i64 },
    #[error(transparent)]
    Invalid(#[from] ModelError),
    #[error("unknown value \"{text}\"")]
    UnknownValue { text: String, allowed: Vec<&'static str> },
    #[error("invalid interface name \"{name}\"")]
    InvalidInterfaceName { name: String },
    #[error("an ICMP code needs a type")]
    CodeWithoutType,
    #[error("the rule has no peer")]
    NoPeer,
    #[error("a rule has one peer; this one has {}", peers.join(" and "))]
    SeveralPeers { peers: Vec<&'static str> },
    #[error("one id for {rules} rules")]
    IdOfSeveralRules { rules: usize },
    #[error("at least one is needed")]
    Empty,
    #[error("{what} {value} is there twice")]
    Repeated { what: &'static str, value: String },
    #[error("the same rule is there twice")]
    RepeatedRule,
    #[error("no security group \"{name}\" in the document")]
    UnknownGroup { name: String, similar: Option<String> },
    #[error("no prefix list \"{name}\" in the document")]
    UnknownPrefixList { name: String, similar: Option<String> },
    #[error("{prefix} is not a prefix of the family {family}")]
    WrongFamily { prefix: String, family: AddressFamily },
    #[error("{entries} entries are more than the list has room for")]
    TooManyEntries { entries: usize },
    #[error("a prefix list has room for 1 to {} entries", u32::MAX)]
    MaxEntriesOutOfRange,
}

impl ProblemKind {
    /// The code of the EC2 API for it, where AWS could meet it.
    pub(super) const fn aws_code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Invalid(error) => return error.aws_code(),
            Self::UnknownField { .. } => "UnknownParameter",
            Self::MissingField { .. } | Self::NoPeer | Self::Empty => "MissingParameter",
            Self::SeveralPeers { .. } => "InvalidParameterCombination",
            Self::UnknownGroup { .. } => "InvalidGroup.NotFound",
            Self::UnknownPrefixList { .. } => "InvalidPrefixListID.NotFound",
            Self::WrongType { .. }
            | Self::RepeatedField { .. }
            | Self::UnknownValue { .. }
            | Self::CodeWithoutType
            | Self::RepeatedRule
            | Self::WrongFamily { .. }
            | Self::TooManyEntries { .. }
            | Self::MaxEntriesOutOfRange => "InvalidParameterValue",
            Self::Unreadable(_)
            | Self::NotUtf8(_)
            | Self::EmptyDirectory
            | Self::Yaml(_)
            | Self::Toml(_)
            | Self::UnknownVersion { .. }
            | Self::InvalidInterfaceName { .. }
            | Self::IdOfSeveralRules { .. }
            | Self::Repeated { .. } => return None,
        })
    }

    /// How to mend it.
    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::EmptyDirectory => "files of policies end in .yaml, .yml, .toml or .json",
            Self::Yaml(YamlError::Tag) => "put a text in quotes instead",
            Self::Yaml(YamlError::SecondDocument) => {
                "give each document a file; a directory of files is read as one"
            }
            Self::WrongType { expected: "a text", found: "a number" | "a boolean" } => "put it in quotes",
            Self::WrongType { expected: "a list", found: "nothing" } => "an empty list is []",
            Self::UnknownVersion { .. } => return Some(format!("this sgfw reads version {VERSION}")),
            Self::InvalidInterfaceName { .. } => {
                "a name has 1 to 15 bytes without spaces, control characters, / and :"
            }
            Self::CodeWithoutType => "add the type, or leave the code out",
            Self::NoPeer => "add cidr, group or prefix_list",
            Self::SeveralPeers { .. } => "make it a rule for each peer; cidr takes a list of prefixes",
            Self::IdOfSeveralRules { .. } => {
                "each prefix of the list is a rule: leave the id out, or split the rule"
            }
            Self::TooManyEntries { .. } => "raise max_entries",
            Self::UnknownField { field, known } => return Some(did_you_mean(field, known)),
            Self::UnknownValue { text, allowed } => return Some(did_you_mean(text, allowed)),
            Self::UnknownGroup { similar: Some(name), .. }
            | Self::UnknownPrefixList { similar: Some(name), .. } => {
                return Some(format!("did you mean \"{name}\"?"));
            }
            Self::UnknownGroup { .. } => "add the group to the document, or give the id of one outside it",
            Self::UnknownPrefixList { .. } => {
                "add the list to the document, or give the id of one outside it"
            }
            Self::Invalid(error) => return model_hint(error),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// The candidate that is most like a text, if any is much like it.
pub(super) fn similar<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let distances = candidates.into_iter().map(|candidate| {
        let distance = strsim::damerau_levenshtein(text, candidate);
        (distance, candidate)
    });
    let nearest: BTreeMap<usize, &str> = distances.collect();
    let (distance, candidate) = nearest.into_iter().next()?;
    (distance <= 1 + text.chars().count() / 4).then_some(candidate)
}

fn did_you_mean(text: &str, candidates: &[&'static str]) -> String {
    match similar(text, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean \"{candidate}\"?"),
        None => format!("there are: {}", candidates.join(", ")),
    }
}

/// What a field of the model may hold, in the words of the document where it has its own.
fn model_hint(error: &ModelError) -> Option<String> {
    let hint = match error {
        ModelError::PortsRequired { .. } => "add ports: P or P-Q; every port is 0-65535",
        ModelError::PortsNotApplicable { .. } => "leave ports out; type selects ICMP messages",
        ModelError::IcmpTypeNotApplicable { .. } => "leave type and code out",
        ModelError::InvalidIcmpType { .. } => {
            "type and code are numbers from 0 to 255; leave them out for every one"
        }
        _ => return error.hint(),
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcripts::Evidence::{Shown, Wraps};
    use crate::transcripts::{check_evidence, evidence};

    #[test]
    fn every_problem_is_in_a_transcript() {
        check_evidence(&evidence!(ProblemKind {
            Unreadable => Shown("cannot be read: "),
            NotUtf8 => Shown("is not UTF-8"),
            EmptyDirectory => Shown("the directory has no policy files"),
            Yaml => Wraps,
            Toml => Shown("string values must be quoted"),
            WrongType => Shown("expected a text, found a number"),
            UnknownField => Shown("unknown field \"tagz\""),
            MissingField => Shown("the field \"protocol\" is missing"),
            RepeatedField => Shown("the field \"name\" is there twice"),
            UnknownVersion => Shown("unknown version 2"),
            Invalid => Wraps,
            UnknownValue => Shown("unknown value \"relatet\""),
            InvalidInterfaceName => Shown("invalid interface name"),
            CodeWithoutType => Shown("an ICMP code needs a type"),
            NoPeer => Shown("the rule has no peer"),
            SeveralPeers => Shown("a rule has one peer"),
            IdOfSeveralRules => Shown("one id for 2 rules"),
            Empty => Shown("at least one is needed"),
            Repeated => Shown("the security group web is there twice"),
            RepeatedRule => Shown("the same rule is there twice"),
            UnknownGroup => Shown("no security group \"database\" in the document"),
            UnknownPrefixList => Shown("no prefix list \"office\" in the document"),
            WrongFamily => Shown("is not a prefix of the family IPv4"),
            TooManyEntries => Shown("are more than the list has room for"),
            MaxEntriesOutOfRange => Shown("a prefix list has room for 1 to"),
        }));
        check_evidence(&evidence!(YamlError {
            Syntax => Shown("did not find expected node content"),
            Tag => Shown("tags such as !!str are not supported"),
            Key => Shown("a key must be a text"),
            Alias => Shown("the alias stands for nothing"),
            TooManyCopies => Shown("aliases add more than"),
            TooDeep => Shown("are nested more than"),
            SecondDocument => Shown("a second document in the file"),
        }));
    }
}
