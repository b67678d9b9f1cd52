//! `sgfw import`: policies of AWS and Terraform as policy files.
//!
//! Nothing is changed: the file that comes out is there to be looked at, and then for `plan` and `apply`.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::error::CliError;
use super::omissions;
use super::output::Output;
use crate::document;
use crate::interchange::aws::{self, ListEntries};
use crate::interchange::{ImportError, Imported, Source, terraform};
use crate::model::{Document, DocumentInterface, GroupReference};

const STDIN: &str = "-";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a policy file from what the AWS CLI prints
    ///
    /// Reads the output of `aws ec2 describe-security-groups`, `describe-security-group-rules` (for the identifiers and
    /// tags of rules), `describe-managed-prefix-lists` and `get-managed-prefix-list-entries`. What a host cannot have is
    /// listed on stderr.
    #[command(after_help = "\
Examples:
  aws ec2 describe-security-groups | sgfw import aws - --interface eth1=web --out policy.yaml
  sgfw import aws groups.json rules.json lists.json --entries pl-0123456789abcdef0=offices.json
  sgfw import aws groups.json --vpc vpc-0123456789abcdef0 --strict")]
    Aws(Aws),
    /// Write a policy file from a state or a plan of Terraform
    ///
    /// Reads the output of `terraform show -json`, and terraform.tfstate. Of a plan, what will be after its apply. What a
    /// host cannot have is listed on stderr.
    #[command(after_help = "\
Examples:
  terraform show -json | sgfw import terraform - --interface eth1=web --out policy.yaml
  terraform show -json plan.bin | sgfw import terraform -
  sgfw import terraform terraform.tfstate --strict")]
    Terraform(Terraform),
}

#[derive(Debug, Args)]
pub(super) struct Aws {
    /// Files, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Entries of a prefix list, for the output of `get-managed-prefix-list-entries` does not say of which
    #[arg(long, value_name = "PL=FILE", value_parser = assignment)]
    entries: Vec<(String, String)>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(super) struct Terraform {
    /// Files, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// Take the groups of this VPC alone
    #[arg(long, value_name = "VPC")]
    vpc: Option<String>,
    /// Let an interface carry groups. Repeat it for more interfaces
    #[arg(long = "interface", value_name = "NAME=GROUP[,GROUP]", value_parser = assignment)]
    interfaces: Vec<(String, String)>,
    /// Write to a file instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write nothing and fail if something is not carried over, but for what says nothing about traffic
    #[arg(long)]
    strict: bool,
}

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportFailure {
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("the files have no group \"{group}\" for interface {interface}")]
    UnknownGroup { group: String, interface: String, existing: Vec<String> },
    #[error("not everything is carried over: {count} left out")]
    NotCarriedOver { count: usize },
}

impl Command {
    pub(super) fn run(self, output: &mut Output) -> Result<(), CliError> {
        let (imported, options) = match self {
            Self::Aws(Aws { files, entries, options }) => {
                let entries = entries.into_iter().map(|(prefix_list, path)| {
                    Ok(ListEntries { prefix_list, file: source(Path::new(&path))? })
                });
                let entries = entries.collect::<Result<Vec<_>, CliError>>()?;
                (aws::read(&sources(&files)?, &entries, options.vpc.as_deref()), options)
            }
            Self::Terraform(Terraform { files, options }) => {
                (terraform::read(&sources(&files)?, options.vpc.as_deref()), options)
            }
        };
        options.show(imported.map_err(ImportFailure::from)?, output)
    }
}

impl ImportFailure {
    pub(super) fn help(&self) -> Option<String> {
        match self {
            Self::Import(error) => import_help(error),
            Self::UnknownGroup { existing, .. } => Some(format!("there are: {}", existing.join(", "))),
            Self::NotCarriedOver { .. } => Some("leave --strict out to import the rest".to_owned()),
        }
    }
}

impl Options {
    fn show(&self, imported: Imported, output: &mut Output) -> Result<(), CliError> {
        let Imported { mut document, not_carried_over } = imported;
        self.add_interfaces(&mut document)?;
        omissions::show(&not_carried_over, output);
        let count = not_carried_over.iter().filter(|omission| !omission.is_note()).count();
        if self.strict && count > 0 {
            return Err(ImportFailure::NotCarriedOver { count }.into());
        }
        let text =
            if output.is_json() { document::write_json(&document)? } else { document::write_yaml(&document) };
        let Some(path) = &self.out else {
            return output.text(&text);
        };
        fs::write(path, text).map_err(|source| CliError::CannotWriteFile { path: path.clone(), source })
    }

    /// What each interface is to carry, in the order in which they were given.
    fn add_interfaces(&self, document: &mut Document) -> Result<(), CliError> {
        let groups = document.groups.as_deref().unwrap_or_default();
        let mut interfaces: Vec<DocumentInterface> = Vec::new();
        for (name, carried) in &self.interfaces {
            let position = interfaces.iter().position(|interface| interface.name == *name);
            let position = position.unwrap_or_else(|| {
                interfaces.push(DocumentInterface { name: name.clone(), groups: Vec::new(), options: None });
                interfaces.len() - 1
            });
            for group in carried.split(',') {
                let reference: GroupReference = group.parse()?;
                let known = groups.iter().find(|known| match &reference {
                    GroupReference::Id(id) => known.id == Some(*id),
                    GroupReference::Name(name) => known.name.collides_with(name),
                });
                let known = known.ok_or_else(|| ImportFailure::UnknownGroup {
                    group: group.to_owned(),
                    interface: name.clone(),
                    existing: groups.iter().map(|group| group.name.to_string()).collect(),
                })?;
                interfaces[position].groups.push(GroupReference::Name(known.name.clone()));
            }
        }
        document.interfaces = (!interfaces.is_empty()).then_some(interfaces);
        Ok(())
    }
}

fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, CliError> {
    paths.iter().map(|path| source(path)).collect()
}

fn source(path: &Path) -> Result<Source, CliError> {
    let is_stdin = path == Path::new(STDIN);
    let text = if is_stdin { read_stdin() } else { fs::read_to_string(path) };
    let text = text.map_err(|source| CliError::CannotReadFile { path: path.to_owned(), source })?;
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    Ok(Source { name, text })
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// `NAME=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn import_help(error: &ImportError) -> Option<String> {
    let help = match error {
        ImportError::OtherJson { .. } => {
            "`sgfw import aws` reads what the AWS CLI prints, `sgfw import terraform` what `terraform show -json` prints"
                .to_owned()
        }
        ImportError::StateVersion { .. } => {
            "`terraform show -json` prints the state of any version in a form that is read".to_owned()
        }
        ImportError::NoGroups => "add the output of `aws ec2 describe-security-groups`".to_owned(),
        ImportError::DescribedTwice { .. } => "give one of the two".to_owned(),
        ImportError::SameName { vpcs, .. } if !vpcs.is_empty() => {
            format!("a host is one VPC; choose with --vpc {}", vpcs.join(" or --vpc "))
        }
        ImportError::SameName { .. } => "rename one of them".to_owned(),
        ImportError::UnknownVpc { known, .. } if known.is_empty() => "leave --vpc out".to_owned(),
        ImportError::UnknownVpc { known, .. } => format!("there are: {}", known.join(", ")),
        ImportError::EntriesOfUnknownList { .. } => {
            "say so with --entries PL=FILE, and give the output of `aws ec2 describe-managed-prefix-lists`".to_owned()
        }
        ImportError::UndescribedList { .. } => {
            "add the output of `aws ec2 describe-managed-prefix-lists`".to_owned()
        }
        ImportError::Json { .. } | ImportError::Invalid { .. } => return None,
    };
    Some(help)
}
