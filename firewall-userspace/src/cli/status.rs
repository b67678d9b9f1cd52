//! `sgfw status`: one screen about everything.

use clap::Args;
use firewall_common::abi::Direction;
use firewall_common::reason::Verdict;
use ipnet::IpNet;
use serde_json::{Value, json};

use super::error::CliError;
use super::exempt::{exempt_json, exempt_table};
use super::interface::{interface_json, interface_table};
use super::output::Output;
use super::panic::IN_PANIC;
use super::settings::exempt_kinds;
use super::table::Table;
use crate::operations::Instance;
use crate::operations::queries::groups::names;
use crate::operations::queries::status::{
    self, CounterRow, FilterBefore, HookRow, InterfaceStatus, KernelStatus, Occupancy, Programs,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sgfw status
  sgfw status --verbose
  sgfw status -o json | jq '.Counters[] | select(.Verdict == \"drop\")'")]
pub(super) struct Status {
    /// Say too why the packets of each interface are decided at the hook where they are
    #[arg(short, long)]
    verbose: bool,
}

impl Status {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        let status = status::status(instance)?;
        if output.is_json() {
            return output.json(&json(&status));
        }
        if status.is_panic {
            output.line(IN_PANIC.to_uppercase())?;
            output.line("`sgfw panic off` ends it.\n")?;
        } else {
            warn_about_audit_mode(&status, output);
        }
        output.table(&interface_table(&status.interfaces, &names(&status.groups)))?;
        output.line("")?;
        output.line(generation(&status))?;
        if status.kernel.as_ref().is_some_and(|kernel| kernel.is_moving) {
            output.line(MOVING)?;
        }
        warn_about_interfaces(&status, output);
        for (interface, before) in &status.filters_before {
            warn_about_filter(interface, before, output);
        }
        if let Some(pending) = status.pending {
            output.line(format_args!(
                "Generation {} waits to be confirmed: without `sgfw confirm` the one before it is back in {} s.",
                pending.generation,
                pending.left.as_secs()
            ))?;
        }
        if self.verbose {
            output.line("")?;
            output.table(&hook_table(&status)?)?;
        }
        show_exempt(&status, output)?;
        let Some(kernel) = &status.kernel else {
            return Ok(());
        };
        warn_about_unknown_interface(kernel, output);
        output.line("")?;
        output.table(&counter_table(kernel))?;
        output.line("")?;
        output.table(&class_table(&kernel.flow_table))?;
        output.line("")?;
        output.line(capacity(&kernel.flow_table))?;
        warn_about_full_table(&kernel.flow_table, output);
        Ok(())
    }
}

const MOVING: &str = "Some interfaces work by tables that others were to replace, which was interrupted; the policy is the same \
                      in both. `sgfw repair`, or the next change, finishes it.";

/// Nobody should take an interface for protected that is not.
fn warn_about_audit_mode(status: &status::Status, output: &Output) {
    for InterfaceStatus { interface, .. } in
        status.interfaces.iter().filter(|status| status.interface.options.audit)
    {
        output.warn(format_args!("{} is in audit mode: nothing is dropped", interface.name));
    }
}

/// An interface without programs is open, and one that is gone is not what the operator thinks is there.
fn warn_about_interfaces(status: &status::Status, output: &Output) {
    for InterfaceStatus { interface, programs } in &status.interfaces {
        let name = &interface.name;
        match programs {
            Programs::Attached(_) | Programs::InOtherNamespace => {}
            Programs::Incomplete(links) => {
                let direction = links.missing().map_or("", Direction::name);
                output.warn(format_args!(
                    "{name} has lost its {direction} program, and its {direction} traffic is open; `sgfw repair` attaches it \
                     again"
                ));
            }
            Programs::NotAttached => output.warn(format_args!(
                "{name} has lost its programs, and its traffic is open; `sgfw repair` attaches it again"
            )),
            Programs::NoInterface(addresses) if addresses.is_empty() => {
                output.warn(format_args!("there is no interface {name} now"));
            }
            Programs::NoInterface(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(IpNet::to_string).collect();
                output.warn(format_args!(
                    "there is no interface {name} now; its groups keep the addresses that it had: {}",
                    addresses.join(", ")
                ));
            }
        }
    }
}

/// An interface that got another index has its programs still: one that was moved to another network namespace.
fn warn_about_unknown_interface(kernel: &KernelStatus, output: &Output) {
    if kernel.counters.get(status::UNKNOWN).is_some_and(|rows| !rows.is_empty()) {
        output.warn(
            "packets were dropped on an interface that the programs do not know (unknown-interface): it was moved to another \
             network namespace, or its entry is gone; `sgfw repair` enters attached ones again",
        );
    }
}

/// Whoever accepts a packet before sgfw lets it by.
pub(super) fn warn_about_filter(interface: &str, before: &FilterBefore, output: &Output) {
    let FilterBefore { direction, filter } = before;
    let direction = direction.name();
    output.warn(format_args!(
        "the filter {filter} meets the {direction} packets of {interface} before sgfw does, and what it accepts passes; \
         `tc filter show dev {interface} {direction}` shows it"
    ));
}

/// Why packets are decided where they are.
fn hook_table(status: &status::Status) -> Result<Table, CliError> {
    let mut table = Table::new(&["INTERFACE", "ASKED FOR", "INGRESS HOOK", "BECAUSE"]);
    for HookRow { interface, asked, attached, because } in status::hooks(&status.interfaces)? {
        table.row([interface, asked.name().to_owned(), attached.name().to_owned(), because.to_owned()]);
    }
    Ok(table)
}

/// What passes whatever the rules say.
fn show_exempt(status: &status::Status, output: &mut Output) -> Result<(), CliError> {
    let mut kinds = Table::new(&["INTERFACE", "EXEMPT TRAFFIC"]);
    for InterfaceStatus { interface, .. } in &status.interfaces {
        kinds.row([interface.name.clone(), exempt_kinds(&interface.options).join(", ")]);
    }
    output.line("")?;
    output.table(&kinds)?;
    if status.exempt_addresses.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.table(&exempt_table(&status.exempt_addresses))
}

/// AWS users learn of a full table by connections that fail; here it is said before.
fn warn_about_full_table(table: &Occupancy, output: &Output) {
    const WARN_ABOVE_PERCENT: u64 = 80;
    let remedy = "`sgfw interface reload --flow-entries N` makes the flow table larger";
    if let Some(since) = table.first_refused_at {
        output.warn(format_args!(
            "the flow table was full: {} packets were dropped since {}; {remedy}",
            table.refused,
            humantime::format_rfc3339_seconds(since)
        ));
    } else if table.percent() > WARN_ABOVE_PERCENT {
        output.warn(format_args!(
            "the flow table is {} % full of connections; a full table drops packets that need a new entry. {remedy}",
            table.percent()
        ));
    }
}

fn json(status: &status::Status) -> Value {
    let names = names(&status.groups);
    let interfaces: Vec<Value> =
        status.interfaces.iter().map(|interface| interface_json(interface, &names)).collect();
    let kernel = status.kernel.as_ref();
    let counters = kernel.iter().flat_map(|kernel| rows(kernel)).map(|(interface, row)| {
        json!({
            "Interface": interface,
            "Direction": row.direction.name(),
            "Verdict": verdict(row),
            "Reason": row.decision.reason().name(),
            "Packets": row.counter.packets,
            "Bytes": row.counter.bytes,
        })
    });
    json!({
        "Interfaces": interfaces,
        "Generation": {
            "Stored": status.stored_generation,
            "InForce": kernel.map(|kernel| kernel.generation),
            "ConfirmWithinSeconds": status.pending.map(|pending| pending.left.as_secs()),
        },
        "ReplacingTables": kernel.is_some_and(|kernel| kernel.is_moving),
        "NeedsRepair": status.needs_repair(),
        "FiltersBefore": status.filters_before.iter().map(filter_json).collect::<Vec<_>>(),
        "Panic": status.is_panic,
        "ExemptAddresses": exempt_json(&status.exempt_addresses),
        "Counters": counters.collect::<Vec<_>>(),
        "FlowTable": kernel.map(|kernel| table_json(&kernel.flow_table)),
    })
}

fn filter_json((interface, before): &(String, FilterBefore)) -> Value {
    let FilterBefore { direction, filter } = before;
    json!({
        "Interface": interface,
        "Direction": direction.name(),
        "Name": filter.name,
        "Priority": filter.priority,
        "Handle": filter.handle,
        "ProgramId": filter.program,
    })
}

fn table_json(table: &Occupancy) -> Value {
    let classes: Vec<Value> = table
        .classes
        .iter()
        .map(|class| json!({ "Class": class.name, "Flows": class.flows, "Evicted": class.evicted }))
        .collect();
    json!({
        "Flows": table.flows(),
        "Capacity": table.capacity,
        "Slots": table.slots,
        "Percent": table.percent(),
        "Classes": classes,
        "Refused": table.refused,
        "FirstRefusedAt": table.first_refused_at.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
    })
}

fn generation(status: &status::Status) -> String {
    let stored = status.stored_generation;
    match &status.kernel {
        None => format!("Generation {stored} is stored; nothing of it is in force."),
        Some(kernel) if kernel.generation == stored => format!("Generation {stored} is in force."),
        Some(kernel) => format!(
            "Generation {stored} is stored, but {} is in force: a change was interrupted. `sgfw repair` puts the \
             stored one into force.",
            kernel.generation
        ),
    }
}

fn counter_table(kernel: &KernelStatus) -> Table {
    let mut table = Table::new(&["INTERFACE", "DIRECTION", "VERDICT", "REASON", "#PACKETS", "#BYTES"]);
    for (interface, row) in rows(kernel) {
        table.row([
            interface.to_owned(),
            row.direction.name().to_owned(),
            verdict(row).to_owned(),
            row.decision.reason().name().to_owned(),
            row.counter.packets.to_string(),
            row.counter.bytes.to_string(),
        ]);
    }
    table
}

fn class_table(table: &Occupancy) -> Table {
    let mut rows = Table::new(&["FLOWS", "#LIVE", "#EVICTED"]);
    for class in &table.classes {
        rows.row([class.name.to_owned(), class.flows.to_string(), class.evicted.to_string()]);
    }
    rows
}

/// How many flows there are, and how many of those that are never evicted there may be.
fn capacity(table: &Occupancy) -> String {
    format!(
        "{} live flows, {} of them protected; there is room for at least {} protected ones. Packets dropped for want of a place: {}.",
        table.flows(),
        table.protected(),
        table.capacity,
        table.refused
    )
}

fn rows(kernel: &KernelStatus) -> impl Iterator<Item = (&str, &CounterRow)> {
    kernel.counters.iter().flat_map(|(interface, rows)| rows.iter().map(move |row| (interface.as_str(), row)))
}

fn verdict(row: &CounterRow) -> &'static str {
    match row.decision.verdict() {
        Verdict::Pass if row.decision.is_audited() => "would-drop",
        Verdict::Pass => "pass",
        Verdict::Drop => "drop",
    }
}
