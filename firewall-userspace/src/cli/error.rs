//! How a command that failed ends: message, advice, exit status.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::global::Format;
use super::help::operation_help;
use super::import::ImportFailure;
use super::output::say;
use super::plan::{plan_help, saved_plan_help};
use crate::document::{Color, DocumentErrors, Finding, WriteError};
use crate::model::ModelError;
use crate::operations::DatapathError;
use crate::operations::HostError;
use crate::operations::StoreError;
use crate::operations::{OperationError, with_sources};
use crate::plan::{PlanError, SavedPlanError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Operation(#[from] OperationError),
    #[error(transparent)]
    Import(#[from] ImportFailure),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// What clap cannot see.
    #[error("{0}")]
    Usage(&'static str),
    #[error("cannot follow the log")]
    Log(#[source] io::Error),
    #[error("no interface is attached with a log")]
    NothingLogs,
    /// What is wrong with policy files.
    #[error(transparent)]
    Document(#[from] DocumentErrors),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{}", path.display())]
    SavedPlan { path: PathBuf, source: SavedPlanError },
    #[error("cannot read {}", path.display())]
    CannotReadFile { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    CannotWriteFile { path: PathBuf, source: io::Error },
    /// The first interface of which it is so.
    #[error("interface {interface} has no programs still")]
    NotRepaired { interface: String, source: Box<OperationError> },
    /// There is no terminal.
    #[error("nothing is applied without being asked for, and there is no terminal to ask")]
    NobodyToAsk,
    #[error("nothing was applied")]
    Declined,
}

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> Self {
        Self::Operation(error.into())
    }
}

/// The exit statuses of `sgfw`, after sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExitStatus {
    Done = 0,
    Failed = 1,
    /// As `terraform plan -detailed-exitcode` says it.
    ChangesPending = 2,
    /// Not of sysexits.h: a script can tell this refusal from every other failure.
    WouldLockOut = 5,
    Usage = 64,
    InvalidData = 65,
    Unavailable = 69,
    CannotWriteState = 73,
    TryAgain = 75,
    NotPermitted = 77,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// One thing that is wrong.
struct Mistake {
    code: Option<&'static str>,
    message: String,
    help: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "error[{code}]: {}", self.message)?,
            None => write!(f, "error: {}", self.message)?,
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

impl Mistake {
    fn json(&self) -> Value {
        json!({ "Code": self.code, "Message": self.message, "Help": self.help })
    }
}

impl CliError {
    /// Says on stderr what is wrong and how to mend it.
    pub(super) fn report(&self, format: Format) -> ExitStatus {
        if let Self::Document(errors) = self {
            report_document(errors, format);
            return ExitStatus::InvalidData;
        }
        let status = self.exit_status();
        if format == Format::Json {
            let (code, message, help) = (self.aws_code(), with_sources(self), self.help());
            let mut error =
                json!({ "Code": code, "Message": message, "Help": help, "ExitStatus": status as u8 });
            if let Self::Operation(OperationError::Plan(_)) = self {
                error["Mistakes"] = self.mistakes().iter().map(Mistake::json).collect();
            }
            say(json!({ "Error": error }));
            return status;
        }
        self.mistakes().iter().for_each(say);
        status
    }

    /// What people read on stderr.
    #[cfg(test)]
    pub(super) fn rendered(&self) -> String {
        self.mistakes().iter().map(|mistake| format!("{mistake}\n")).collect()
    }

    /// Each thing that is wrong; only documents have several.
    fn mistakes(&self) -> Vec<Mistake> {
        let Self::Operation(OperationError::Plan(errors)) = self else {
            return vec![Mistake { code: self.aws_code(), message: with_sources(self), help: self.help() }];
        };
        let mistake = |error: &PlanError| Mistake {
            code: error.aws_code(),
            message: error.to_string(),
            help: plan_help(error),
        };
        errors.0.iter().map(mistake).collect()
    }

    fn aws_code(&self) -> Option<&'static str> {
        match self {
            Self::Operation(OperationError::Model(error)) => error.aws_code(),
            Self::Operation(OperationError::Plan(errors)) => errors.0.first().and_then(PlanError::aws_code),
            _ => None,
        }
    }

    pub(super) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Usage(_) | Self::NobodyToAsk => ExitStatus::Usage,
            Self::Output(_)
            | Self::Log(_)
            | Self::Write(_)
            | Self::CannotWriteFile { .. }
            | Self::Declined => ExitStatus::Failed,
            Self::NothingLogs
            | Self::Import(_)
            | Self::Document(_)
            | Self::SavedPlan { .. }
            | Self::CannotReadFile { .. } => ExitStatus::InvalidData,
            Self::Operation(error) => operation_status(error),
            Self::NotRepaired { source, .. } => operation_status(source),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Operation(error) => operation_help(error),
            Self::NotRepaired { source, .. } => operation_help(source),
            Self::Import(error) => error.help(),
            Self::NothingLogs => Some(
                "detach an interface and attach it with `sgfw interface attach … --log drops`".to_owned(),
            ),
            Self::NobodyToAsk => {
                Some("add --yes, or apply a plan that was saved with `sgfw plan -O`".to_owned())
            }
            Self::SavedPlan { source, .. } => saved_plan_help(source),
            Self::Usage(_)
            | Self::Output(_)
            | Self::Log(_)
            | Self::Document(_)
            | Self::Write(_)
            | Self::CannotReadFile { .. }
            | Self::CannotWriteFile { .. }
            | Self::Declined => None,
        }
    }
}

/// Every mistake in policy files: to people with the line where it stands.
fn report_document(errors: &DocumentErrors, format: Format) {
    if format == Format::Json {
        let findings: Vec<Value> = errors.findings().map(finding_json).collect();
        let status = ExitStatus::InvalidData as u8;
        let error = json!({ "Message": errors.to_string(), "ExitStatus": status, "Mistakes": findings });
        return say(json!({ "Error": error }));
    }
    // https://no-color.org
    let wants_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let color = if wants_color && io::stderr().is_terminal() { Color::Yes } else { Color::No };
    say(errors.render(color));
}

fn finding_json(finding: Finding) -> Value {
    let Finding { file, position, field, aws_code, message, hint } = finding;
    let (line, column) = position.unzip();
    json!({
        "File": file, "Line": line, "Column": column, "Field": field,
        "Code": aws_code, "Message": message, "Help": hint,
    })
}

fn operation_status(error: &OperationError) -> ExitStatus {
    match error {
        OperationError::Model(ModelError::NoRandomness(_))
        | OperationError::NotConfirmedInTime { .. }
        | OperationError::NotUndone { .. }
        | OperationError::Unseen { .. }
        | OperationError::NoDefaultGroup => ExitStatus::Failed,
        OperationError::Model(_)
        | OperationError::Compile(_)
        | OperationError::AlreadyAttached { .. }
        | OperationError::FlowTablesExist
        | OperationError::NotAttached { .. }
        | OperationError::IncompleteAttachment { .. }
        | OperationError::NoFreeSlot { .. }
        | OperationError::ForeignPins { .. }
        | OperationError::NothingToConfirm
        | OperationError::UnknownGeneration { .. }
        | OperationError::AttachedSince { .. }
        | OperationError::OtherNamespace
        | OperationError::FiltersInOtherNamespace { .. }
        | OperationError::Plan(_)
        | OperationError::PlanOutdated { .. }
        | OperationError::PlanOfOtherInstance { .. } => ExitStatus::InvalidData,
        OperationError::AwaitingConfirmation { .. } => ExitStatus::TryAgain,
        OperationError::WouldLockOut { .. }
        | OperationError::PanicWouldLockOut { .. }
        | OperationError::WouldCloseManagement { .. } => ExitStatus::WouldLockOut,
        OperationError::Store(error) => store_status(error),
        OperationError::Host(error) => host_status(error),
        OperationError::Datapath(error) => datapath_status(error),
    }
}

fn store_status(error: &StoreError) -> ExitStatus {
    if error.is_about_waiting() {
        ExitStatus::TryAgain
    } else if error.is_about_writing() {
        ExitStatus::CannotWriteState
    } else {
        ExitStatus::Failed
    }
}

fn host_status(error: &HostError) -> ExitStatus {
    match error {
        HostError::NotRoot | HostError::LacksCapability { .. } | HostError::Forbidden { .. } => {
            ExitStatus::NotPermitted
        }
        HostError::PreemptRt | HostError::CannotMount { .. } => ExitStatus::Unavailable,
        HostError::NoSuchNamespace { .. } | HostError::NoSuchInterface { .. } => ExitStatus::InvalidData,
        HostError::CannotEnterNamespace { .. }
        | HostError::UnknownNamespace(_)
        | HostError::Interfaces(_)
        | HostError::Sockets(_)
        | HostError::SocketMessage(_) => ExitStatus::Failed,
    }
}

fn datapath_status(error: &DatapathError) -> ExitStatus {
    match error {
        DatapathError::BpffsNotMounted { .. }
        | DatapathError::NoSysfs
        | DatapathError::NoTc { .. }
        | DatapathError::NoLink { .. } => ExitStatus::Unavailable,
        DatapathError::NoSuchInterface { .. }
        | DatapathError::XdpNeedsEthernet { .. }
        | DatapathError::OtherQdisc { .. }
        | DatapathError::OtherVersion { .. }
        | DatapathError::UnreadableFlows { .. }
        | DatapathError::FlowsDoNotFit { .. }
        | DatapathError::NoMemory { .. }
        | DatapathError::TooLarge { .. } => ExitStatus::InvalidData,
        _ => ExitStatus::Failed,
    }
}
