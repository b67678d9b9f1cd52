//! `sgfw export`: what is stored, as a file.

use clap::{Args, ValueEnum};

use super::error::CliError;
use super::omissions;
use super::output::Output;
use crate::document;
use crate::interchange::{Exported, aws, nft, terraform};
use crate::model::Document;
use crate::operations::Instance;
use crate::operations::queries::export;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// What the file is for
    #[arg(long, value_enum, default_value_t = Target::Native, value_name = "TARGET")]
    format: Target,
    /// The language of the file, for the native format [default: yaml, or json with -o json]
    #[arg(short = 'f', long, value_enum, value_name = "LANGUAGE")]
    language: Option<Language>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// sgfw itself: a policy file of the shape that `sgfw schema` describes
    Native,
    /// AWS: groups, rules and prefix lists as the AWS CLI prints them
    Aws,
    /// Terraform: resources of the provider hashicorp/aws
    Terraform,
    /// nftables: a ruleset that does the same without sgfw
    Nft,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Yaml,
    Toml,
    Json,
}

impl Export {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        if self.language.is_some() && self.format != Target::Native {
            return Err(CliError::Usage("-f chooses the language of the native format alone"));
        }
        let document = export::document(instance)?;
        match self.format {
            Target::Native => self.native(&document, output),
            Target::Aws => show(&aws::write(&document), output),
            Target::Terraform => show(&terraform::write(&document), output),
            Target::Nft => show(&nft::write(&document), output),
        }
    }

    fn native(&self, document: &Document, output: &mut Output) -> Result<(), CliError> {
        let default = if output.is_json() { Language::Json } else { Language::Yaml };
        let text = match self.language.unwrap_or(default) {
            Language::Yaml => document::write_yaml(document),
            Language::Toml => document::write_toml(document)?,
            Language::Json => document::write_json(document)?,
        };
        output.text(&text)
    }
}

fn show(exported: &Exported, output: &mut Output) -> Result<(), CliError> {
    omissions::show(&exported.not_carried_over, output);
    output.text(&exported.text)
}
