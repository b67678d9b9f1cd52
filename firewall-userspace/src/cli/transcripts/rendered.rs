//! One error of each kind that no transcript provokes.

use std::io;

use firewall_common::abi::Direction;
use nix::errno::Errno;
use serde::ser::Error as _;

use crate::cli::error::CliError;
use crate::document::WriteError;
use crate::model::{GroupName, ModelError};
use crate::operations::CompileError;
use crate::operations::DatapathError;
use crate::operations::HostError;
use crate::operations::StoreError;
use crate::operations::{Act, Capability};
use crate::operations::{OperationError, SshSession};
use crate::plan::{PlanError, PlanErrors};

/// The errors that no transcript provokes, in the order of the tables.
pub(super) fn rendered() -> Vec<(&'static str, CliError)> {
    let mut rendered = rendered_of_the_command_line();
    rendered.extend(rendered_of_the_model_and_documents());
    rendered.extend(rendered_of_the_store_and_the_host());
    rendered.extend(rendered_of_the_datapath());
    rendered
}

fn rendered_of_the_command_line() -> Vec<(&'static str, CliError)> {
    let session = || SshSession {
        client: "203.0.113.7:50000".parse().unwrap(),
        server: "192.0.2.1:22".parse().unwrap(),
    };
    let interface = || "eth1".to_owned();
    let cannot = || OperationError::Datapath(DatapathError::FlowTableFull);
    vec![
        ("CliError::Output", CliError::Output(io::ErrorKind::StorageFull.into())),
        ("CliError::Log", CliError::Log(refused())),
        (
            "CliError::NotRepaired",
            CliError::NotRepaired { interface: interface(), source: Box::new(cannot()) },
        ),
        (
            "OperationError::WouldLockOut",
            OperationError::WouldLockOut { interface: interface(), session: session() }.into(),
        ),
        (
            "OperationError::PanicWouldLockOut",
            OperationError::PanicWouldLockOut { interface: interface(), session: session() }.into(),
        ),
        (
            "OperationError::IncompleteAttachment",
            OperationError::IncompleteAttachment { interface: interface() }.into(),
        ),
        ("OperationError::NoFreeSlot", OperationError::NoFreeSlot { slots: 64 }.into()),
        ("OperationError::OtherNamespace", OperationError::OtherNamespace.into()),
        (
            "OperationError::FiltersInOtherNamespace",
            OperationError::FiltersInOtherNamespace {
                interface: "eth1".to_owned(),
                pins: vec!["/sys/fs/bpf/sgfw/v6/links/0-2-egress-clsact-512".into()],
            }
            .into(),
        ),
        ("OperationError::NoDefaultGroup", OperationError::NoDefaultGroup.into()),
        (
            "OperationError::Unseen",
            OperationError::Unseen { failure: Box::new(cannot()), looking: Box::new(cannot()) }.into(),
        ),
        (
            "OperationError::NotUndone",
            OperationError::NotUndone { failure: Box::new(cannot()), undoing: Box::new(cannot()) }.into(),
        ),
        (
            "CompileError::TooManyServices",
            OperationError::from(CompileError::TooManyServices { limit: 65_535 }).into(),
        ),
        (
            "CompileError::TooManyPolicies",
            OperationError::from(CompileError::TooManyPolicies { limit: 64 }).into(),
        ),
        (
            "CompileError::NestedPrefixes",
            OperationError::from(CompileError::NestedPrefixes { limit: 128 }).into(),
        ),
        ("CompileError::NestedPorts", OperationError::from(CompileError::NestedPorts { limit: 1024 }).into()),
        (
            "CompileError::NoMoreRuleSets",
            OperationError::from(CompileError::NoMoreRuleSets { limit: 536_870_911 }).into(),
        ),
        (
            "CompileError::TooManyCells",
            OperationError::from(CompileError::TooManyCells { groups: groups(), limit: 4_194_304 }).into(),
        ),
        (
            "CompileError::TooManyMatches",
            OperationError::from(CompileError::TooManyMatches { groups: groups(), limit: 16_777_216 }).into(),
        ),
    ]
}

fn groups() -> Vec<GroupName> {
    ["web", "app"].into_iter().filter_map(|name| name.parse().ok()).collect()
}

fn rendered_of_the_model_and_documents() -> Vec<(&'static str, CliError)> {
    let of_plan = |error: PlanError| CliError::Operation(PlanErrors(vec![error]).into());
    let json = serde_json::from_str::<u8>("{").unwrap_err();
    vec![
        ("ModelError::NoRandomness", ModelError::NoRandomness(getrandom::Error::UNSUPPORTED).into()),
        ("ModelError::NoGroups", ModelError::NoGroups { interface: "eth1".to_owned() }.into()),
        (
            "PlanError::InterfaceListedTwice",
            of_plan(PlanError::InterfaceListedTwice { interface: "eth1".to_owned() }),
        ),
        (
            "SavedPlanError::InvalidValue",
            CliError::SavedPlan {
                path: "change.plan".into(),
                source: ModelError::UnknownProtocol { text: "gre".to_owned() }.into(),
            },
        ),
        ("WriteError::Toml", WriteError::Toml(toml::ser::Error::custom("no such form")).into()),
        ("WriteError::Json", WriteError::Json(json).into()),
    ]
}

fn rendered_of_the_store_and_the_host() -> Vec<(&'static str, CliError)> {
    let path = || "/var/lib/sgfw/sgfw.db".into();
    let store = |error: StoreError| CliError::Operation(error.into());
    let no_name = ModelError::InvalidGroupName { name: "sg-web".to_owned() };
    let (no_random, no_decode) =
        (ModelError::NoRandomness(getrandom::Error::UNSUPPORTED), "too short".into());
    let lab = || "lab".to_owned();
    vec![
        (
            "StoreError::UnknownSchema",
            store(StoreError::UnknownSchema { path: path(), found: 99, supported: 1 }),
        ),
        (
            "StoreError::Corrupt",
            store(StoreError::Corrupt { column: "name", value: "sg-web".to_owned(), source: no_name.into() }),
        ),
        ("StoreError::DefaultGroup", store(StoreError::DefaultGroup(no_random))),
        ("HostError::NotRoot", HostError::NotRoot.into()),
        (
            "HostError::LacksCapability",
            HostError::LacksCapability {
                act: Act::Bpf,
                missing: vec![Capability::Bpf, Capability::Perfmon, Capability::NetAdmin],
            }
            .into(),
        ),
        ("HostError::Forbidden", HostError::Forbidden { act: Act::Bpf, source: Box::new(refused()) }.into()),
        ("HostError::PreemptRt", HostError::PreemptRt.into()),
        (
            "HostError::CannotEnterNamespace",
            HostError::CannotEnterNamespace { name: lab(), source: Errno::EINVAL }.into(),
        ),
        ("HostError::UnknownNamespace", HostError::UnknownNamespace(refused()).into()),
        ("HostError::Interfaces", HostError::Interfaces(Errno::ENOMEM).into()),
        ("HostError::Sockets", HostError::Sockets(refused()).into()),
        ("HostError::SocketMessage", HostError::SocketMessage(no_decode).into()),
        (
            "HostError::CannotMount",
            HostError::CannotMount { path: "/sys/fs/bpf".into(), source: refused() }.into(),
        ),
    ]
}

fn rendered_of_the_datapath() -> Vec<(&'static str, CliError)> {
    let interface = || "eth1".to_owned();
    let pin = || "/sys/fs/bpf/sgfw/links/0-eth1-ingress".into();
    let program = "ingress_tc";
    let errors = [
        ("DatapathError::TooManyAlike", DatapathError::TooManyAlike { interface: interface(), index: 1024 }),
        ("DatapathError::NoSuchInterface", DatapathError::NoSuchInterface { name: interface() }),
        ("DatapathError::NoTc", DatapathError::NoTc { interface: interface() }),
        (
            "DatapathError::OtherQdisc",
            DatapathError::OtherQdisc { interface: interface(), kind: "ingress".to_owned() },
        ),
        (
            "DatapathError::Clsact",
            DatapathError::Clsact {
                action: "put a filter on",
                interface: interface(),
                source: Box::new(aya::programs::ProgramError::NotLoaded),
            },
        ),
        (
            "DatapathError::FilterGone",
            DatapathError::FilterGone { interface: interface(), direction: Direction::Egress },
        ),
        ("DatapathError::NoLink", DatapathError::NoLink { interface: interface(), hook: "XDP" }),
        (
            "DatapathError::Verifier",
            DatapathError::Verifier { program, reason: "R1 invalid mem access".to_owned() },
        ),
        (
            "DatapathError::Program",
            DatapathError::Program { program, source: Box::new(aya::programs::ProgramError::NotLoaded) },
        ),
        ("DatapathError::FlowsDoNotFit", DatapathError::FlowsDoNotFit { flows: 12, flow_entries: 1024 }),
        ("DatapathError::NoRandomness", DatapathError::NoRandomness(getrandom::Error::UNSUPPORTED)),
        ("DatapathError::FlowTableFull", DatapathError::FlowTableFull),
        (
            "DatapathError::Map",
            DatapathError::Map { map: "FLOW_LINES", source: Box::new(aya::maps::MapError::KeyNotFound) },
        ),
        ("DatapathError::NoSysfs", DatapathError::NoSysfs),
        (
            "DatapathError::Object",
            DatapathError::Object { source: Box::new(aya::EbpfError::UnexpectedPinningType { name: 9 }) },
        ),
        ("DatapathError::Io", DatapathError::Io { action: "create", path: pin(), source: refused() }),
        ("DatapathError::Interfaces", DatapathError::Interfaces(Box::new(rtnetlink::Error::RequestFailed))),
        (
            "DatapathError::Netlink",
            DatapathError::Netlink {
                interface: interface(),
                source: Box::new(rtnetlink::Error::RequestFailed),
            },
        ),
        ("DatapathError::NetlinkSocket", DatapathError::NetlinkSocket(refused())),
        ("DatapathError::Clock", DatapathError::Clock(Errno::EFAULT)),
        (
            "DatapathError::Log",
            DatapathError::Log { program: 7, source: Box::new(aya_log::Error::MapNotFound) },
        ),
        (
            "DatapathError::Link",
            DatapathError::Link { path: pin(), source: aya::programs::links::LinkError::InvalidLink },
        ),
        (
            "DatapathError::Pin",
            DatapathError::Pin { path: pin(), source: aya::pin::PinError::NoFd { name: interface() } },
        ),
        ("DatapathError::MissingProgram", DatapathError::MissingProgram { program }),
        ("DatapathError::LogSocket", DatapathError::LogSocket(refused())),
        ("DatapathError::ForeignPin", DatapathError::ForeignPin { path: pin() }),
        ("DatapathError::OtherVersion", DatapathError::OtherVersion { version: 1 }),
        ("DatapathError::UnreadableFlows", DatapathError::UnreadableFlows { version: 1 }),
        ("DatapathError::AwaitingConfirmation", DatapathError::AwaitingConfirmation),
        (
            "DatapathError::NoMemory",
            DatapathError::NoMemory { what: "lines of IPv6 prefixes", needed: 9_000_000, mebibytes: 1408 },
        ),
        (
            "DatapathError::TooLarge",
            DatapathError::TooLarge { what: "cells", needed: 2_000_000, limit: 1_048_576 },
        ),
    ];
    // As they are: what becomes of one that is forbidden depends on the process.
    errors.into_iter().map(|(name, error)| (name, OperationError::Datapath(error).into())).collect()
}

/// What the kernel says to whom it does not trust.
fn refused() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

impl From<HostError> for CliError {
    fn from(error: HostError) -> Self {
        Self::Operation(error.into())
    }
}

impl From<DatapathError> for CliError {
    fn from(error: DatapathError) -> Self {
        Self::Operation(error.into())
    }
}
