//! `sgfw management`: from where the operator must always be able to open a new connection.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::call::Call;
use super::error::CliError;
use super::group::parse_prefixes;
use super::output::Output;
use super::table::Table;
use crate::model::{
    ManagementPrefix, ManagementProperties, ManagementService, ModelError, PortRange, Protocol,
};
use crate::operations::Instance;
use crate::operations::commands::management;
use crate::operations::queries::management::management_prefixes;
use crate::operations::queries::status::is_stored;

const SSH_PORT: &str = "22";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the management prefixes
    #[command(after_help = "\
Examples:
  sgfw management list")]
    List,
    /// Declare from where the operator must always be able to open a new connection, and print an id for each prefix
    ///
    /// This admits nothing: a rule does. But every change after which not all addresses of the prefix would be admitted is
    /// refused, this one included, unless it is made with --allow-lockout. In panic mode the prefixes are all that is
    /// admitted, by rules with the ids that are printed. The interface may be one that is not attached yet.
    #[command(after_help = "\
Examples:
  sgfw management add eth1 203.0.113.0/24 2001:db8::/48
  sgfw management add eth1 --protocol udp --port 51820 0.0.0.0/0")]
    Add(Declaration),
    /// Take back the declarations with exactly these properties
    #[command(after_help = "\
Examples:
  sgfw management remove eth1 203.0.113.0/24
  sgfw management remove eth1 --protocol udp --port 51820 0.0.0.0/0")]
    Remove(Declaration),
}

#[derive(Debug, Args)]
pub(super) struct Declaration {
    /// Name of the interface by which the connections arrive
    interface: String,
    /// Where the operator is; repeat it for more
    #[arg(required = true, value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// tcp or udp
    #[arg(long, default_value = "tcp")]
    protocol: String,
    /// Port or ports of this host [default: 22 for tcp]
    #[arg(long, value_name = "P|P-Q")]
    port: Option<String>,
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List => list(call.instance, output),
            Self::Add(declaration) => {
                let added = output.made(management::add(
                    call.instance,
                    call.options,
                    declaration.properties(output)?,
                )?);
                warn_if_not_attached(&declaration.interface, call.instance, output)?;
                show_ids(&added, output)
            }
            Self::Remove(declaration) => show_ids(
                &output.made(management::remove(
                    call.instance,
                    call.options,
                    &declaration.properties(output)?,
                )?),
                output,
            ),
        }
    }
}

impl Declaration {
    fn properties(&self, output: &Output) -> Result<Vec<ManagementProperties>, CliError> {
        let protocol: Protocol = self.protocol.parse()?;
        let ports: PortRange = match (&self.port, protocol) {
            (Some(ports), _) => ports.parse()?,
            (None, Protocol::Udp) => return Err(ModelError::PortsRequired { protocol }.into()),
            (None, _) => SSH_PORT.parse()?,
        };
        let service = ManagementService::new(protocol, ports)?;
        let interface = &self.interface;
        let prefixes = parse_prefixes(&self.prefixes, output)?.into_iter();
        Ok(prefixes
            .map(|prefix| ManagementProperties { interface: interface.clone(), service, prefix })
            .collect())
    }
}

/// It may be a typing error, by which nothing would be guarded.
fn warn_if_not_attached(interface: &str, instance: &Instance, output: &Output) -> Result<(), CliError> {
    if !is_stored(instance, interface)? {
        output.warn(format_args!("interface {interface} is not attached; this will count once it is"));
    }
    Ok(())
}

fn management_json(prefixes: &[ManagementPrefix]) -> Value {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Row {
        security_group_rule_id: String,
        interface: String,
        ip_protocol: String,
        from_port: u16,
        to_port: u16,
        cidr: String,
    }
    let row = |ManagementPrefix { rule, properties }: &ManagementPrefix| Row {
        security_group_rule_id: rule.to_string(),
        interface: properties.interface.clone(),
        ip_protocol: properties.service.protocol().to_string(),
        from_port: properties.service.ports().first(),
        to_port: properties.service.ports().last(),
        cidr: properties.prefix.to_string(),
    };
    json!({ "ManagementPrefixes": prefixes.iter().map(row).collect::<Vec<_>>() })
}

fn list(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let prefixes = management_prefixes(instance)?;
    if output.is_json() {
        return output.json(&management_json(&prefixes));
    }
    let mut table = Table::new(&["RULE ID", "INTERFACE", "PROTOCOL", "PORTS", "ADDRESS"]);
    for ManagementPrefix { rule, properties } in &prefixes {
        table.row([
            rule.to_string(),
            properties.interface.clone(),
            properties.service.protocol().to_string(),
            properties.service.ports().to_string(),
            properties.prefix.to_string(),
        ]);
    }
    output.table(&table)
}

fn show_ids(prefixes: &[ManagementPrefix], output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&management_json(prefixes));
    }
    prefixes.iter().try_for_each(|prefix| output.line(prefix.rule))
}
