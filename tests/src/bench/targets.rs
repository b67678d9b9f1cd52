//! The targets (`docs/decisions.md`, "Targets"), as questions to the rows.

use serde::Serialize;

use super::contender::Contender::{self, EmptyXdp, Nftables, None as NoFirewall, SgfwTc, SgfwXdp};
use super::samples::Row;

/// A number that is to be at most, or at least, something.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What it is about.
    pub target: &'static str,
    /// The number made of medians; none if its rows are missing or void.
    pub measured: Option<f64>,
    /// The same number made of the least samples: what a quiet machine would show.
    pub of_least: Option<f64>,
    /// What it is to be.
    #[serde(flatten)]
    pub limit: Limit,
    /// Whether it is.
    pub met: Option<bool>,
}

/// What a number is to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// That or less.
    AtMost(f64),
    /// That or more.
    AtLeast(f64),
}

impl Limit {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

/// A number made of medians, or of least samples.
enum Measure {
    /// The first divided by the second; each is a scenario and a contender.
    Quotient((&'static str, Contender), (&'static str, Contender)),
    /// What a contender adds to the time without a firewall, divided by what nftables adds.
    AddedCost(&'static str, Contender),
    /// The number itself.
    Value(&'static str, Contender),
}

const DENIED: &str = "ipv4/denied/prefixes=16/ranges=16";
const NEW_FLOW: &str = "ipv4/new-flow/prefixes=16/ranges=16";
const NEW_FLOW_OF_MANY: &str = "ipv4/new-flow/prefixes=131072/ranges=16";
const NEW_FLOW_IPV6: &str = "ipv6/new-flow/prefixes=16/ranges=16";
const NEW_FLOW_IPV6_OF_MANY: &str = "ipv6/new-flow/prefixes=131072/ranges=16";
const ESTABLISHED: &str = "ipv4/established/prefixes=16/ranges=16";
const ESTABLISHED_OF_MANY: &str = "ipv4/established/prefixes=131072/ranges=16";
const ONE_FLOW: &str = "ipv4/established/flows=1";
const SOME_FLOWS: &str = "ipv4/established/flows=1024";
const MANY_FLOWS: &str = "ipv4/established/flows=16384";
const VERY_MANY_FLOWS: &str = "ipv4/established/flows=65536";
const MOST_FLOWS: &str = "ipv4/established/flows=262144";
const SWEEP: &str = "sweep/flows=1048576";
const BULK: &str = "bulk/tcp/streams=1";
const BULK_PARALLEL: &str = "bulk/tcp/streams=8";
const CONNECTIONS: &str = "http/new-connections";
const DENIED_OWN: &str = "updates/no-rule/own-policy";
const DENIED_OTHER: &str = "updates/no-rule/another's-policy";
const UNTRACKED_OWN: &str = "updates/untracked/own-policy";
const UNTRACKED_OTHER: &str = "updates/untracked/another's-policy";
const PUBLISH: &str = "publish/whole/prefixes=131072";
const PUBLISH_ONE: &str = "publish/one-rule/prefixes=131072";

const GIBIBYTE: f64 = 1_073_741_824.0;

const TARGETS: [(&str, Measure, Limit); 41] = [
    (
        "denied: frames/s of native XDP, over nftables'",
        Measure::Quotient((DENIED, Nftables), (DENIED, SgfwXdp)),
        Limit::AtLeast(5.0),
    ),
    (
        "denied: time on native XDP, over an empty program's that drops",
        Measure::Quotient((DENIED, SgfwXdp), (DENIED, EmptyXdp)),
        Limit::AtMost(2.0),
    ),
    (
        "established, 1 flow: time added on TC, over what nftables adds",
        Measure::AddedCost(ONE_FLOW, SgfwTc),
        Limit::AtMost(0.2),
    ),
    ("established, 1k flows: the same", Measure::AddedCost(SOME_FLOWS, SgfwTc), Limit::AtMost(0.2)),
    ("established, 16k flows: the same", Measure::AddedCost(MANY_FLOWS, SgfwTc), Limit::AtMost(0.2)),
    (
        "established, 64k flows: the same",
        Measure::AddedCost(VERY_MANY_FLOWS, SgfwTc),
        Limit::AtMost(1.0 / 3.0),
    ),
    ("established, 256k flows: the same", Measure::AddedCost(MOST_FLOWS, SgfwTc), Limit::AtMost(1.0 / 3.0)),
    (
        "established, 1 flow: time added on XDP, over what nftables adds",
        Measure::AddedCost(ONE_FLOW, SgfwXdp),
        Limit::AtMost(0.2),
    ),
    ("established, 1k flows: the same", Measure::AddedCost(SOME_FLOWS, SgfwXdp), Limit::AtMost(0.2)),
    ("established, 16k flows: the same", Measure::AddedCost(MANY_FLOWS, SgfwXdp), Limit::AtMost(0.2)),
    (
        "established, 64k flows: the same",
        Measure::AddedCost(VERY_MANY_FLOWS, SgfwXdp),
        Limit::AtMost(1.0 / 3.0),
    ),
    ("established, 256k flows: the same", Measure::AddedCost(MOST_FLOWS, SgfwXdp), Limit::AtMost(1.0 / 3.0)),
    (
        "new flows: frames/s on TC, over nftables'",
        Measure::Quotient((NEW_FLOW, Nftables), (NEW_FLOW, SgfwTc)),
        Limit::AtLeast(3.0),
    ),
    (
        "new flows: frames/s on XDP, over nftables'",
        Measure::Quotient((NEW_FLOW, Nftables), (NEW_FLOW, SgfwXdp)),
        Limit::AtLeast(3.0),
    ),
    (
        "growth: time of an established flow on TC at 131072 prefixes, over that at 16",
        Measure::Quotient((ESTABLISHED_OF_MANY, SgfwTc), (ESTABLISHED, SgfwTc)),
        // None, beyond noise.
        Limit::AtMost(1.1),
    ),
    (
        "growth: the same on XDP",
        Measure::Quotient((ESTABLISHED_OF_MANY, SgfwXdp), (ESTABLISHED, SgfwXdp)),
        Limit::AtMost(1.1),
    ),
    (
        "growth: time of a new flow on TC at 131072 prefixes, over that at 16",
        Measure::Quotient((NEW_FLOW_OF_MANY, SgfwTc), (NEW_FLOW, SgfwTc)),
        Limit::AtMost(2.5),
    ),
    (
        "growth: the same on XDP",
        Measure::Quotient((NEW_FLOW_OF_MANY, SgfwXdp), (NEW_FLOW, SgfwXdp)),
        Limit::AtMost(2.5),
    ),
    (
        "growth: the same on TC, of IPv6",
        Measure::Quotient((NEW_FLOW_IPV6_OF_MANY, SgfwTc), (NEW_FLOW_IPV6, SgfwTc)),
        Limit::AtMost(2.5),
    ),
    (
        "growth: the same on XDP",
        Measure::Quotient((NEW_FLOW_IPV6_OF_MANY, SgfwXdp), (NEW_FLOW_IPV6, SgfwXdp)),
        Limit::AtMost(2.5),
    ),
    (
        "bulk TCP: Gbit/s of one stream, over no firewall's",
        Measure::Quotient((BULK, SgfwTc), (BULK, NoFirewall)),
        Limit::AtLeast(0.97),
    ),
    (
        "bulk TCP: Gbit/s of eight streams, over no firewall's",
        Measure::Quotient((BULK_PARALLEL, SgfwTc), (BULK_PARALLEL, NoFirewall)),
        Limit::AtLeast(0.97),
    ),
    (
        "HTTP: connections/s, over no firewall's",
        Measure::Quotient((CONNECTIONS, SgfwTc), (CONNECTIONS, NoFirewall)),
        Limit::AtLeast(0.97),
    ),
    (
        "HTTP: connections/s, over nftables'",
        Measure::Quotient((CONNECTIONS, SgfwTc), (CONNECTIONS, Nftables)),
        Limit::AtLeast(1.0),
    ),
    (
        "publish 131072 prefixes: ms of the whole command",
        Measure::Value(PUBLISH, SgfwTc),
        Limit::AtMost(500.0),
    ),
    (
        "publish one rule on top of them: ms of the whole command",
        Measure::Value(PUBLISH_ONE, SgfwTc),
        Limit::AtMost(50.0),
    ),
    (
        "updates: time of a denied frame while its policy changes, over that while another's does",
        Measure::Quotient((DENIED_OWN, SgfwTc), (DENIED_OTHER, SgfwTc)),
        Limit::AtMost(1.1),
    ),
    (
        "updates: time of an untracked frame, the same",
        Measure::Quotient((UNTRACKED_OWN, SgfwTc), (UNTRACKED_OTHER, SgfwTc)),
        Limit::AtMost(1.1),
    ),
    (
        "attach: ms of processor time for the first interface, on TC",
        Measure::Value("attach/first/cpu", SgfwTc),
        Limit::AtMost(400.0),
    ),
    ("attach: the same for a second one", Measure::Value("attach/second/cpu", SgfwTc), Limit::AtMost(50.0)),
    (
        "attach: ms until 200 interfaces are attached",
        Measure::Value("attach/all/interfaces=200", SgfwTc),
        Limit::AtMost(10_000.0),
    ),
    (
        "repair: ms until ten interfaces are attached again",
        Measure::Value("repair/interfaces=10", SgfwTc),
        Limit::AtMost(1_000.0),
    ),
    (
        "plan, 100 000 rules for a host each: ms of the whole command",
        Measure::Value("plan/hosts-ipv4/rules=100000/time", SgfwTc),
        Limit::AtMost(10_000.0),
    ),
    (
        "plan, 100 000 rules for a host each: bytes",
        Measure::Value("plan/hosts-ipv4/rules=100000/memory", SgfwTc),
        Limit::AtMost(GIBIBYTE),
    ),
    (
        "plan, the same, IPv6: ms of the whole command",
        Measure::Value("plan/hosts-ipv6/rules=100000/time", SgfwTc),
        Limit::AtMost(10_000.0),
    ),
    (
        "plan, the same, IPv6: bytes",
        Measure::Value("plan/hosts-ipv6/rules=100000/memory", SgfwTc),
        Limit::AtMost(GIBIBYTE),
    ),
    (
        "plan, 3 200 ranges of ports, each in the one before: ms of the whole command",
        Measure::Value("plan/nested-ports/rules=3200/time", SgfwTc),
        Limit::AtMost(10_000.0),
    ),
    (
        "plan, 3 200 ranges of ports, each in the one before: bytes",
        Measure::Value("plan/nested-ports/rules=3200/memory", SgfwTc),
        Limit::AtMost(GIBIBYTE),
    ),
    ("sweep: ms of a million flows", Measure::Value(SWEEP, SgfwTc), Limit::AtMost(50.0)),
    ("memory: bytes of a flow", Measure::Value("memory/per-flow", SgfwTc), Limit::AtMost(128.0)),
    (
        "memory: bytes of a prefix, and of its copy",
        Measure::Value("memory/per-prefix", SgfwTc),
        Limit::AtMost(200.0),
    ),
];

/// What became of every target.
pub(super) fn outcomes(rows: &[Row]) -> Vec<Outcome> {
    let outcome = |(target, measure, limit): &(&'static str, Measure, Limit)| {
        let measured = measure.of(rows, Row::median);
        let of_least = measure.of(rows, Row::least);
        let met = measured.map(|value| limit.is_met(value));
        Outcome { target, measured, of_least, limit: *limit, met }
    };
    TARGETS.iter().map(outcome).collect()
}

impl Measure {
    fn of(&self, rows: &[Row], one: fn(&Row, Contender) -> Option<f64>) -> Option<f64> {
        let number =
            |scenario: &str, contender| one(rows.iter().find(|row| row.scenario == scenario)?, contender);
        match *self {
            Self::Quotient((scenario, of), (other, by)) => Some(number(scenario, of)? / number(other, by)?),
            Self::AddedCost(scenario, contender) => {
                let without = number(scenario, NoFirewall)?;
                Some((number(scenario, contender)? - without) / (number(scenario, Nftables)? - without))
            }
            Self::Value(scenario, contender) => number(scenario, contender),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Unit;
    use super::*;

    #[test]
    fn targets_are_met_or_missed_by_the_medians_and_unknown_where_rows_are_void() {
        let mut row = Row::new(DENIED, Unit::NanosecondsPerFrame);
        for (contender, time) in [(Nftables, 600.0), (SgfwXdp, 100.0), (EmptyXdp, 40.0)] {
            row.push(contender, time);
        }
        let met = |row: &Row| {
            let outcomes = outcomes(std::slice::from_ref(row));
            [outcomes[0].met, outcomes[1].met, outcomes[2].met]
        };
        assert_eq!(met(&row), [Some(true), Some(false), None]);
        row.void = Some("frames were lost".to_owned());
        assert_eq!(met(&row), [None, None, None]);
    }

    #[test]
    fn what_a_firewall_adds_is_measured_against_no_firewall() {
        let mut row = Row::new(ONE_FLOW, Unit::NanosecondsPerFrame);
        for (contender, time) in [(NoFirewall, 600.0), (SgfwTc, 650.0), (Nftables, 1000.0)] {
            row.push(contender, time);
        }
        assert_eq!(Measure::AddedCost(ONE_FLOW, SgfwTc).of(&[row], Row::median), Some(0.125));
    }
}
