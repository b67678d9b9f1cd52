//! `sgfw exempt`: servers that every interface may talk to whatever its rules say.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::call::Call;
use super::error::CliError;
use super::group::parse_prefixes;
use super::output::Output;
use super::rule::ports;
use super::table::Table;
use crate::model::{
    Description, ExemptAddress, ExemptAddressId, ExemptProperties, NewExemptAddress, PortRange, Protocol,
    Service,
};
use crate::operations::Instance;
use crate::operations::commands::exempt;
use crate::operations::queries::exempt::exempt_addresses;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the exempt addresses
    #[command(after_help = "\
Examples:
  sgfw exempt list")]
    List,
    /// Let every interface talk to servers whatever its rules say, and print an id for each address
    ///
    /// Of TCP and UDP, what goes to a server's port passes, and what comes from it. Other protocols have no ports by which
    /// a reply is known, and pass both ways. None of it keeps state.
    #[command(
        group(ArgGroup::new("what").args(["preset", "protocol"]).required(true)),
        after_help = "\
Examples:
  sgfw exempt add --protocol udp --port 53 10.0.0.2/32 2001:db8::2/128 --description resolver
  sgfw exempt add --preset aws-link-local"
    )]
    Add {
        #[command(flatten)]
        addresses: Addresses,
        /// Those of a preset that are not exempt yet
        #[arg(long, value_enum, conflicts_with = "prefixes")]
        preset: Option<Preset>,
        /// Addresses of the servers
        #[arg(value_name = "PREFIX", required_unless_present = "preset")]
        prefixes: Vec<String>,
        /// Free text
        #[arg(long, value_name = "TEXT", conflicts_with = "preset")]
        description: Option<String>,
    },
    /// Leave addresses to the rules again: by id, or with --protocol those that have exactly the given properties
    #[command(after_help = "\
Examples:
  sgfw exempt remove exa-0123456789abcdef0
  sgfw exempt remove --protocol udp --port 53 10.0.0.2/32")]
    Remove {
        #[command(flatten)]
        addresses: Addresses,
        /// Ids, or with --protocol addresses
        #[arg(required = true, value_name = "EXEMPT-ID|PREFIX")]
        targets: Vec<String>,
    },
}

/// The properties of exempt addresses, but for the addresses.
#[derive(Debug, Args)]
pub(super) struct Addresses {
    /// tcp, udp, icmp, icmpv6, all, or a protocol number
    #[arg(long)]
    protocol: Option<String>,
    /// Port or ports of the servers, for tcp and udp
    #[arg(long, value_name = "P|P-Q", requires = "protocol")]
    port: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Preset {
    /// Amazon DNS, instance metadata, ECS task metadata and Amazon Time Sync on their link-local addresses, which AWS
    /// never filters
    AwsLinkLocal,
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List => list(call.instance, output),
            Self::Add { preset: Some(Preset::AwsLinkLocal), .. } => {
                show_ids(&output.made(exempt::add_aws_link_local(call.instance, call.options)?), output)
            }
            Self::Add { addresses, prefixes, description, .. } => {
                let description: Option<Description> = description.map(|text| text.parse()).transpose()?;
                let new = addresses
                    .properties(&prefixes, output)?
                    .into_iter()
                    .map(|properties| NewExemptAddress { properties, description: description.clone() });
                show_ids(&output.made(exempt::add(call.instance, call.options, new.collect())?), output)
            }
            Self::Remove { addresses, targets } if addresses.protocol.is_some() => show_ids(
                &output.made(exempt::remove(
                    call.instance,
                    call.options,
                    &addresses.properties(&targets, output)?,
                )?),
                output,
            ),
            Self::Remove { targets, .. } => {
                let ids = targets.iter().map(|id| id.parse());
                let ids = ids.collect::<Result<Vec<ExemptAddressId>, _>>()?;
                show_ids(&output.made(exempt::remove_by_id(call.instance, call.options, &ids)?), output)
            }
        }
    }
}

impl Addresses {
    fn properties(&self, prefixes: &[String], output: &Output) -> Result<Vec<ExemptProperties>, CliError> {
        let protocol = self.protocol.as_deref().ok_or(CliError::Usage("--protocol is missing"))?;
        let ports: Option<PortRange> = self.port.as_deref().map(str::parse).transpose()?;
        let service = Service::new(protocol.parse()?, ports, None)?;
        let prefixes = parse_prefixes(prefixes, output)?;
        Ok(prefixes.into_iter().map(|prefix| ExemptProperties { service, prefix }).collect())
    }
}

/// Exempt addresses for programs, in the style of rules.
pub(super) fn exempt_json(addresses: &[ExemptAddress]) -> Value {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Row {
        exempt_address_id: String,
        ip_protocol: String,
        from_port: Option<u16>,
        to_port: Option<u16>,
        cidr: String,
        description: Option<String>,
    }
    let row = |ExemptAddress { id, properties, description }: &ExemptAddress| Row {
        exempt_address_id: id.to_string(),
        ip_protocol: match properties.service.protocol() {
            Protocol::All => "-1".to_owned(),
            protocol => protocol.to_string(),
        },
        from_port: properties.service.ports().map(PortRange::first),
        to_port: properties.service.ports().map(PortRange::last),
        cidr: properties.prefix.to_string(),
        description: description.as_ref().map(ToString::to_string),
    };
    json!(addresses.iter().map(row).collect::<Vec<_>>())
}

/// Exempt addresses for people.
pub(super) fn exempt_table(addresses: &[ExemptAddress]) -> Table {
    let mut table = Table::new(&["EXEMPT ID", "PROTOCOL", "PORTS", "ADDRESS", "DESCRIPTION"]);
    for ExemptAddress { id, properties, description } in addresses {
        table.row([
            id.to_string(),
            properties.service.protocol().to_string(),
            ports(properties.service),
            properties.prefix.to_string(),
            description.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    table
}

fn list(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let addresses = exempt_addresses(instance)?;
    if output.is_json() {
        return output.json(&json!({ "ExemptAddresses": exempt_json(&addresses) }));
    }
    output.table(&exempt_table(&addresses))
}

fn show_ids(addresses: &[ExemptAddress], output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({ "ExemptAddresses": exempt_json(addresses) }));
    }
    addresses.iter().try_for_each(|address| output.line(address.id))
}
