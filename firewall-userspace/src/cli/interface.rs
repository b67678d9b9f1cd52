//! `sgfw interface`: attached interfaces and the security groups that they carry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::call::Call;
use super::dry_run::WOULD_SUCCEED;
use super::error::CliError;
use super::flows_option::{FlowsOption, done_with_flows};
use super::output::Output;
use super::settings::{SetOptions, SetTimeouts, settings_json, show_settings};
use super::status::warn_about_filter;
use super::table::Table;
use crate::model::{GroupId, GroupReference, IngressHook, Interface};
use crate::operations::commands::attach::{self, AttachRequest};
use crate::operations::commands::reload::{self, Reloaded};
use crate::operations::commands::{Attached, detach, interfaces};
use crate::operations::queries::groups::{group_names, names};
use crate::operations::queries::status::{
    self, EgressAttachment, IngressAttachment, InterfaceStatus, LivePrograms, Programs,
};
use crate::operations::{ChangeOptions, Instance, OperationError, with_sources};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Decide every packet of an interface by the rules of its groups, and print the interface's id
    ///
    /// Enforcement goes on when the command has ended, until `interface detach` or the next boot.
    #[command(after_help = "\
Examples:
  sgfw interface attach eth1 --group web
  sgfw interface attach eth1 --group web --group admin --ingress-hook xdp
  sgfw interface attach eth1 --group web --mount-bpffs
  sgfw interface attach eth1 --group web --audit")]
    Attach(Attach),
    /// Take the programs off an interface: its traffic is open from then on
    #[command(after_help = "\
Examples:
  sgfw interface detach eth1")]
    Detach {
        /// Name of the interface
        interface: String,
    },
    /// Replace the groups of an interface
    #[command(after_help = "\
Examples:
  sgfw interface set-groups eth1 --group web --group admin
  sgfw interface set-groups eth1 --group web --flows drain=5m --dry-run")]
    SetGroups {
        /// Name of the interface
        interface: String,
        /// Name or id of a group; repeat it for more
        #[arg(long = "group", required = true, value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        flows: FlowsOption,
        /// Find out what the change would do and whether it would be refused, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Put the programs of this sgfw in the place of the attached ones, without a gap
    ///
    /// What an upgrade of the package runs. Every packet is decided by the old programs or by the new ones; rules, open
    /// connections and counters stay. A running `sgfw log` sees nothing of the new programs: start it again.
    #[command(after_help = "\
Examples:
  sgfw interface reload
  sgfw interface reload eth1 eth2
  sgfw interface reload --flow-entries 1000000")]
    Reload {
        /// Names of interfaces; all that are attached if there are none
        #[arg(value_name = "INTERFACE")]
        interfaces: Vec<String>,
        /// For how many live flows there is to be room from now on, of all interfaces together. The flows that there are move
        /// along; if they do not fit nothing is changed
        #[arg(long, value_name = "N", conflicts_with = "interfaces", value_parser = flow_entries())]
        flow_entries: Option<u32>,
    },
    /// Change when silent flows of an interface end
    ///
    /// The change is in force at once, for a flow that exists from its next packet on. The timeouts of TCP that is established
    /// and those of UDP have the ranges and defaults of AWS.
    #[command(after_help = "\
Examples:
  sgfw interface set-timeouts eth1 --tcp-established 350
  sgfw interface set-timeouts eth1 --reset --udp-stream 60")]
    SetTimeouts(SetTimeouts),
    /// Change how traffic of an interface is treated apart from the rules
    #[command(after_help = "\
Examples:
  sgfw interface set-options eth1 --icmp-errors rules-only --tcp-strict on
  sgfw interface set-options eth1 --always-track-prefix 10.0.0.0/8 --always-track-prefix 2001:db8::/32
  sgfw interface set-options eth1 --exempt dhcp-client=off --exempt non-ip=off
  sgfw interface set-options eth1 --audit off")]
    SetOptions(SetOptions),
    /// Show an interface with its settings
    #[command(after_help = "\
Examples:
  sgfw interface show eth1
  sgfw interface show eth1 -o json | jq '.Interfaces[].ConnectionTrackingConfiguration'")]
    Show {
        /// Name of the interface
        interface: String,
    },
    /// List the interfaces with the hooks in force
    #[command(after_help = "\
Examples:
  sgfw interface list
  sgfw interface list -o json | jq '.Interfaces[] | select(.Attached | not)'")]
    List,
}

#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Name of the interface
    interface: String,
    /// Name or id of a group; repeat it for more
    #[arg(long = "group", required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Where to decide what arrives; `sgfw status` shows the hook in force
    #[arg(long, value_enum, default_value_t = Hook::Auto, value_name = "HOOK")]
    ingress_hook: Hook,
    /// What the programs log, for `sgfw log`
    #[arg(long, value_enum, default_value_t = LogLevel::Off, value_name = "WHAT")]
    log: LogLevel,
    /// Begin in audit mode: nothing is dropped, and `sgfw status` counts what would be. `set-options --audit off` ends it
    #[arg(long)]
    audit: bool,
    /// For how many live flows there is room at the least, of all interfaces together; only where nothing is attached yet
    /// [default: as before for interfaces that are stored, else 262144]
    #[arg(long, value_name = "N", value_parser = flow_entries())]
    flow_entries: Option<u32>,
    /// Mount a bpf filesystem at this directory first, if none is mounted there [default DIR: /sys/fs/bpf]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "/sys/fs/bpf")]
    mount_bpffs: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hook {
    /// XDP in the driver where it is cheapest, TC elsewhere
    Auto,
    /// XDP
    Xdp,
    /// TC
    Tc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    /// Nothing
    Off,
    /// Each dropped packet
    Drops,
}

impl From<Hook> for IngressHook {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::Auto => Self::Auto,
            Hook::Xdp => Self::Xdp,
            Hook::Tc => Self::Tc,
        }
    }
}

impl Command {
    pub(super) fn run(self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Attach(arguments) => attach(arguments, call, output),
            Self::Detach { interface } => {
                let leftovers =
                    detach::detach(call.instance, call.options.operator, call.options.guard, &interface)?;
                output.leftovers(&leftovers);
                output.note(format_args!("{interface} is detached; its traffic is open"));
                output.done()
            }
            Self::SetGroups { interface, groups, flows, dry_run } => {
                let options = ChangeOptions { dry_run, ..flows.choose(call.options) };
                let changed =
                    interfaces::set_groups(call.instance, options, &interface, &parse_groups(&groups)?)?;
                output.leftovers(&changed.leftovers);
                done_with_flows(&changed.orphaned_flows, options, output)?;
                if dry_run {
                    output.note(WOULD_SUCCEED);
                }
                Ok(())
            }
            Self::Reload { interfaces, flow_entries } => reload(&interfaces, flow_entries, call, output),
            Self::SetTimeouts(command) => command.run(call, output),
            Self::SetOptions(command) => command.run(call, output),
            Self::Show { interface } => show(&interface, call.instance, output),
            Self::List => list(call.instance, output),
        }
    }
}

/// One interface as JSON.
pub(super) fn interface_json(status: &InterfaceStatus, group_names: &BTreeMap<GroupId, String>) -> Value {
    let InterfaceStatus { interface, programs } = status;
    let groups: Vec<Value> = interface
        .groups
        .iter()
        .map(|id| json!({ "GroupId": id.to_string(), "GroupName": group_names.get(id) }))
        .collect();
    let is_attached = match programs {
        Programs::Attached(_) => Some(true),
        Programs::Incomplete(_) | Programs::NotAttached | Programs::NoInterface(_) => Some(false),
        // Cannot be seen from here.
        Programs::InOtherNamespace => None,
    };
    let (ingress, egress) = hooks_in_force(programs);
    let mut json = json!({
        "NetworkInterfaceId": interface.id.to_string(),
        "Name": interface.name,
        "Groups": groups,
        "Attached": is_attached,
        "RequestedIngressHook": interface.ingress_hook.name(),
        "IngressHook": ingress,
        "EgressHook": egress,
        "LogDrops": interface.log_drops,
    });
    if let Value::Object(fields) = &mut json {
        fields.extend(settings_json(&interface.options));
    }
    json
}

/// Interfaces for people.
pub(super) fn interface_table(
    interfaces: &[InterfaceStatus],
    group_names: &BTreeMap<GroupId, String>,
) -> Table {
    let headers = ["INTERFACE", "INTERFACE ID", "INGRESS HOOK", "EGRESS HOOK", "MODE", "GROUPS"];
    let mut table = Table::new(&headers);
    for InterfaceStatus { interface, programs } in interfaces {
        let (ingress, egress) = hooks(programs);
        table.row([
            interface.name.clone(),
            interface.id.to_string(),
            ingress.to_owned(),
            egress.to_owned(),
            if interface.options.audit { "audit" } else { "enforce" }.to_owned(),
            carried(interface, group_names),
        ]);
    }
    table
}

/// The hooks in force of ingress and egress.
fn hooks_in_force(programs: &Programs) -> (Option<&'static str>, Option<&'static str>) {
    match programs {
        Programs::Attached(attachment) => (Some(attachment.ingress.name()), Some(attachment.egress.name())),
        Programs::Incomplete(LivePrograms { ingress, egress, .. }) => {
            (ingress.map(IngressAttachment::name), egress.map(EgressAttachment::name))
        }
        Programs::NotAttached | Programs::NoInterface(_) | Programs::InOtherNamespace => (None, None),
    }
}

/// The same for people.
fn hooks(programs: &Programs) -> (&'static str, &'static str) {
    let none = match programs {
        Programs::NoInterface(_) => "no interface",
        Programs::InOtherNamespace => "in another netns",
        Programs::Attached(_) | Programs::Incomplete(_) | Programs::NotAttached => "not attached",
    };
    let (ingress, egress) = hooks_in_force(programs);
    (ingress.unwrap_or(none), egress.unwrap_or(none))
}

fn carried(interface: &Interface, group_names: &BTreeMap<GroupId, String>) -> String {
    let groups = interface.groups.iter().filter_map(|id| group_names.get(id)).map(String::as_str);
    groups.collect::<Vec<_>>().join(", ")
}

fn attach(arguments: Attach, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
    let request = AttachRequest {
        groups: parse_groups(&arguments.groups)?,
        interface: arguments.interface,
        ingress_hook: arguments.ingress_hook.into(),
        log_drops: arguments.log == LogLevel::Drops,
        audit: arguments.audit,
        flow_entries: arguments.flow_entries,
        mount_bpffs: arguments.mount_bpffs,
    };
    let Attached { interface, attachment, native_xdp_refused, filters_before, taken_over, leftovers } =
        attach::attach(call.instance, call.options.operator, call.options.guard, &request)?;
    output.leftovers(&leftovers);
    let (ingress, egress) = (attachment.ingress.name(), attachment.egress.name());
    let mode = if interface.options.audit { " in audit mode" } else { "" };
    output
        .note(format_args!("{} is attached{mode}; ingress by {ingress}, egress by {egress}", interface.name));
    if let Some(reason) = native_xdp_refused {
        output.note(format_args!("native XDP was refused: {reason}"));
    }
    for before in &filters_before {
        warn_about_filter(&interface.name, before, output);
    }
    match taken_over {
        Ok(0) => {}
        Ok(count) => output.note(format_args!("live connections taken over: {count}")),
        Err(error) => output.warn(format_args!(
            "not every live connection was taken over, the others may be cut: {}",
            with_sources(&error)
        )),
    }
    if output.is_json() {
        let status = InterfaceStatus { interface, programs: Programs::Attached(attachment) };
        return output.json(&interface_json(&status, &group_names(call.instance)?));
    }
    output.line(interface.id)
}

/// At most 128 bytes for each: two gigabytes.
fn flow_entries() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1024..=16_777_216)
}

fn reload(
    wanted: &[String],
    flow_entries: Option<u32>,
    call: Call<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let Reloaded { interfaces: reloaded, lost_flows, leftovers } =
        reload::reload(call.instance, call.options.operator, wanted, flow_entries)?;
    output.leftovers(&leftovers);
    if lost_flows > 0 {
        output.warn(format_args!("flows that could not be taken along: {lost_flows}"));
    }
    let reloaded: Vec<InterfaceStatus> = reloaded
        .into_iter()
        .map(|(interface, attachment)| InterfaceStatus {
            interface,
            programs: Programs::Attached(attachment),
        })
        .collect();
    for InterfaceStatus { interface, .. } in &reloaded {
        output.note(format_args!("{} has new programs", interface.name));
    }
    if !output.is_json() {
        return Ok(());
    }
    output.json(&interfaces_json(&reloaded, &group_names(call.instance)?))
}

fn show(name: &str, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let (interfaces, groups) = status::interfaces(instance)?;
    let names = names(&groups);
    let not_attached = || OperationError::NotAttached { interface: name.to_owned() };
    let status = interfaces.iter().find(|status| status.interface.name == name).ok_or_else(not_attached)?;
    if output.is_json() {
        return output.json(&interfaces_json(std::slice::from_ref(status), &names));
    }
    let InterfaceStatus { interface, programs } = status;
    let (ingress, egress) = hooks(programs);
    output.line(format_args!("Interface:     {}", interface.name))?;
    output.line(format_args!("Interface id:  {}", interface.id))?;
    output.line(format_args!("Groups:        {}", carried(interface, &names)))?;
    output.line(format_args!("Ingress hook:  {ingress}"))?;
    output.line(format_args!("Egress hook:   {egress}"))?;
    show_settings(&interface.options, output)
}

fn list(instance: &Instance, output: &mut Output) -> Result<(), CliError> {
    let (interfaces, groups) = status::interfaces(instance)?;
    let names = names(&groups);
    if output.is_json() {
        return output.json(&interfaces_json(&interfaces, &names));
    }
    output.table(&interface_table(&interfaces, &names))
}

fn interfaces_json(interfaces: &[InterfaceStatus], group_names: &BTreeMap<GroupId, String>) -> Value {
    let interfaces: Vec<Value> =
        interfaces.iter().map(|status| interface_json(status, group_names)).collect();
    json!({ "Interfaces": interfaces })
}

fn parse_groups(texts: &[String]) -> Result<Vec<GroupReference>, CliError> {
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}
