//! How much is measured: everything, or a short selection.

use super::policy::Size;
use crate::lab::Family;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything: under an hour.
    Full,
    /// What the targets need, with fewer repetitions: a few minutes.
    Quick,
    /// As little as shows that it works: the figures mean nothing.
    Smoke,
}

/// Of the policies by whose size frames are measured.
const SIZES: [Size; 6] = [
    Size { prefixes: 16, ranges: 16 },
    Size { prefixes: 131_072, ranges: 16 },
    Size { prefixes: 1_024, ranges: 16 },
    Size { prefixes: 16_384, ranges: 16 },
    Size { prefixes: 16, ranges: 1_024 },
    Size { prefixes: 131_072, ranges: 1_024 },
];

/// Established flows.
const FLOWS: [u32; 6] = [1, 1_024, 16_384, 65_536, 262_144, 131_072];

impl Extent {
    /// Samples of each contender.
    pub(super) const fn repetitions(self) -> u32 {
        match self {
            Self::Full => 15,
            Self::Quick => 15,
            Self::Smoke => 1,
        }
    }

    /// Frames in a sample.
    pub(super) const fn frames(self) -> u32 {
        match self {
            Self::Full | Self::Quick => 50_000,
            Self::Smoke => 2_000,
        }
    }

    pub(super) const fn families(self) -> &'static [Family] {
        match self {
            Self::Full | Self::Smoke => &Family::ALL,
            Self::Quick => &[Family::V4],
        }
    }

    pub(super) fn sizes(self) -> &'static [Size] {
        match self {
            Self::Full => &SIZES,
            Self::Quick => &SIZES[..2],
            Self::Smoke => &SIZES[..1],
        }
    }

    pub(super) fn flows(self) -> &'static [u32] {
        match self {
            Self::Full => &FLOWS,
            Self::Quick => &FLOWS[..5],
            Self::Smoke => &[64],
        }
    }

    /// Options of iperf3.
    pub(super) fn bulk(self) -> &'static [(&'static str, &'static str)] {
        const ALL: [(&str, &str); 4] = [
            ("tcp/streams=1", ""),
            ("tcp/streams=8", "--parallel 8"),
            ("udp/streams=1", "--udp --bitrate 0 --length 1400"),
            ("udp/streams=8", "--udp --bitrate 0 --length 1400 --parallel 8"),
        ];
        match self {
            Self::Full => &ALL,
            Self::Quick | Self::Smoke => &ALL[..1],
        }
    }

    /// Requests over HTTP, by the header that says what becomes of the connection.
    pub(super) fn requests(self) -> &'static [(&'static str, &'static str)] {
        const ALL: [(&str, &str); 2] =
            [("http/new-connections", "Connection: close"), ("http/keep-alive", "Accept: */*")];
        match self {
            Self::Full | Self::Smoke => &ALL,
            Self::Quick => &ALL[..1],
        }
    }

    /// Sizes of policies of which the publication is timed.
    pub(super) const fn published_prefixes(self) -> &'static [u32] {
        match self {
            Self::Full => &[16, 1_024, 16_384, 131_072, 1_048_576],
            Self::Quick => &[131_072],
            Self::Smoke => &[16],
        }
    }

    /// How often a policy of so many prefixes is published. `nft` takes minutes for the largest.
    pub(super) const fn publications(self, prefixes: u32) -> u32 {
        match self {
            Self::Full if prefixes < 1_000_000 => 3,
            Self::Full | Self::Quick | Self::Smoke => 1,
        }
    }

    /// Changes of the policy under traffic.
    pub(super) const fn updates(self) -> u32 {
        match self {
            Self::Full => 1_000,
            Self::Quick => 100,
            Self::Smoke => 10,
        }
    }

    /// Attachments of the first interface and of a second one.
    pub(super) const fn attachments(self) -> u32 {
        match self {
            Self::Full | Self::Quick => 5,
            Self::Smoke => 1,
        }
    }

    /// Interfaces that are attached one after the other.
    pub(super) const fn interfaces(self) -> u32 {
        match self {
            Self::Full => 200,
            Self::Quick => 20,
            Self::Smoke => 2,
        }
    }

    /// Plans of each shape.
    pub(super) const fn plans(self) -> u32 {
        match self {
            Self::Full | Self::Quick => 3,
            Self::Smoke => 1,
        }
    }

    /// Frames of new flows before any that count, so that the tables of all firewalls are full.
    pub(super) const fn new_flows_before(self) -> u32 {
        match self {
            Self::Full | Self::Quick => 300_000,
            Self::Smoke => 1_000,
        }
    }
}
