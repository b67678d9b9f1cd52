//! `sgfw flows`: live flows, and the memory of those that are over.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Subcommand;
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::error::CliError;
use super::flows_option::drain_time;
use super::output::Output;
use super::table::Table;
use crate::model::Protocol;
use crate::operations::Instance;
use crate::operations::commands::flows::{Swept, cut_orphaned, expire};
use crate::operations::flows::{Flow, FlowRow};
use crate::operations::queries::flows::flows;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the live flows with the rules that admitted them
    ///
    /// They come in no order, as they are read; columns line up over a thousand rows at a time. Those that take the place of
    /// others in a flood are counted only: what their addresses are is not recorded.
    #[command(after_help = "\
Examples:
  sgfw flows list
  sgfw flows list --orphaned
  sgfw flows list -o json | jq '.Flows[] | select(.State == \"established\")'")]
    List {
        /// Only those that no rule admits any more: they live on by their state
        #[arg(long)]
        orphaned: bool,
    },
    /// End the flows that no rule admits any more
    ///
    /// They end at once, or after a while in which they may come to an end by themselves.
    #[command(after_help = "\
Examples:
  sgfw flows list --orphaned
  sgfw flows cut-orphaned
  sgfw flows cut-orphaned --after 5m")]
    CutOrphaned {
        /// How long they may still live
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = drain_time)]
        after: Duration,
    },
    /// Give the places of ended flows back, for numbers: no packet is treated differently
    ///
    /// A live flow is never removed, however the sweep and its packets meet. One that a RST or FIN has put in doubt, which may be
    /// forged, is ended if its socket is gone. No process needs to run this: new flows take the places of ended ones.
    #[command(after_help = "\
Examples:
  sgfw flows expire
  sgfw flows expire -o json | jq .Removed")]
    Expire,
}

impl Command {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::List { orphaned } => list(instance, orphaned, output),
            Self::CutOrphaned { after } => show_cut(cut_orphaned(instance, after)?, after, output),
            Self::Expire => show_expired(&expire(instance)?, output),
        }
    }
}

/// Shows each flow as it is read: there may be millions.
fn list(instance: &Instance, orphaned: bool, output: &mut Output) -> Result<(), CliError> {
    let is_wanted = |flow: &Flow| !orphaned || flow.is_orphaned;
    if output.is_json() {
        let rows = Rows::new(|write: &mut dyn FnMut(Value) -> Result<(), CliError>| {
            flows(instance, |flow| if is_wanted(&flow) { write(flow_json(&flow)) } else { Ok(()) })
        });
        return rows.finish(output.json(&Listing { flows: &rows, unnamed_flows: &rows.unnamed }));
    }
    let mut table = Table::new(&[
        "PROTOCOL",
        "INITIATOR",
        "RESPONDER",
        "STARTED BY",
        "STATE",
        "#IDLE",
        "#EXPIRES IN",
        "INTERFACE",
        "RULES",
    ]);
    let unnamed = flows(instance, |flow| {
        if is_wanted(&flow) {
            table.row(cells(&flow));
            output.full_table(&mut table)?;
        }
        Ok::<_, CliError>(())
    })?;
    output.table(&table)?;
    if unnamed > 0 {
        output.note(format_args!("flows besides, whose addresses are not recorded: {unnamed}"));
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listing<'r, R: Serialize> {
    flows: &'r R,
    /// Known when all flows were read.
    unnamed_flows: &'r Cell<u64>,
}

/// Flows as an array of JSON that is written while they are read.
struct Rows<W> {
    walk: Cell<Option<W>>,
    unnamed: Cell<u64>,
    failure: Cell<Option<CliError>>,
}

impl<W: FnOnce(&mut dyn FnMut(Value) -> Result<(), CliError>) -> Result<u64, CliError>> Rows<W> {
    fn new(walk: W) -> Self {
        Self { walk: Cell::new(Some(walk)), unnamed: Cell::new(0), failure: Cell::new(None) }
    }

    /// What has gone wrong while flows were read, which the writer knows as a text only.
    fn finish(&self, written: Result<(), CliError>) -> Result<(), CliError> {
        self.failure.take().map_or(written, Err)
    }
}

impl<W> Serialize for Rows<W>
where
    W: FnOnce(&mut dyn FnMut(Value) -> Result<(), CliError>) -> Result<u64, CliError>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(None)?;
        let mut not_written = None;
        let mut write = |row: Value| {
            rows.serialize_element(&row).map_err(|error| {
                not_written = Some(error);
                CliError::from(io::Error::other("not written"))
            })
        };
        let walked = self.walk.take().map_or(Ok(0), |walk| walk(&mut write));
        match (walked, not_written) {
            (_, Some(error)) => Err(error),
            (Err(failure), None) => {
                self.failure.set(Some(failure));
                Err(S::Error::custom("the flows cannot be read"))
            }
            (Ok(unnamed), None) => {
                self.unnamed.set(unnamed);
                rows.end()
            }
        }
    }
}

/// How many flows were cut, or will be.
pub(super) fn show_cut(flows: u64, after: Duration, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({ "CutFlows": flows, "AfterSeconds": after.as_secs() }));
    }
    if after.is_zero() {
        output.note(format_args!("flows that were cut: {flows}"));
    } else {
        let after = humantime::format_duration(after);
        output.note(format_args!("flows that end in {after} at the latest: {flows}"));
    }
    Ok(())
}

fn show_expired(Swept { removed, cut, asked }: &Swept, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&json!({ "Removed": removed, "Cut": cut, "AskedForSocket": asked }));
    }
    let mut table = Table::new(&["FLOWS", "#NUMBER"]);
    for (what, number) in [("removed", removed), ("cut", cut), ("asked for their socket", asked)] {
        table.row([what.to_owned(), number.to_string()]);
    }
    output.table(&table)
}

fn cells(Flow { row, interfaces, rules, .. }: &Flow) -> [String; 9] {
    let protocol = Protocol::from_number(row.protocol);
    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
    [
        protocol.to_string(),
        end(protocol, row.initiator, "id"),
        end(protocol, row.responder, "type"),
        row.started_by.name().to_owned(),
        state(row),
        duration(row.idle_seconds),
        duration(row.expires_in_seconds),
        interfaces.join(", "),
        rules.join(", "),
    ]
}

/// A live flow on one line.
pub(super) fn flow_text(Flow { row, interfaces, .. }: &Flow) -> String {
    let protocol = Protocol::from_number(row.protocol);
    let (initiator, responder) = (end(protocol, row.initiator, "id"), end(protocol, row.responder, "type"));
    let (interfaces, started_by, state) = (interfaces.join(", "), row.started_by.name(), row.state);
    format!("{interfaces} {started_by} {protocol} {initiator} -> {responder}, {state}")
}

/// A live flow for programs.
pub(super) fn flow_json(Flow { row, interfaces, rules, is_orphaned }: &Flow) -> Value {
    let end = |(address, port): (IpAddr, u16)| json!({ "Address": address.to_string(), "Port": port });
    json!({
        "Protocol": Protocol::from_number(row.protocol).to_string(),
        "Initiator": end(row.initiator),
        "Responder": end(row.responder),
        "StartedBy": row.started_by.name(),
        "State": row.state,
        "Protected": row.protected,
        "Doubt": row.doubt,
        "IdleSeconds": row.idle_seconds,
        "ExpiresInSeconds": row.expires_in_seconds,
        "Interfaces": interfaces,
        "Rules": rules.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Generation": row.generation,
        "Orphaned": is_orphaned,
        "CutInSeconds": row.cut_in_seconds,
    })
}

fn state(row: &FlowRow) -> String {
    match row.cut_in_seconds {
        Some(0) => "cut".to_owned(),
        Some(left) => format!("{}, cut in {}", row.state, duration(left)),
        None if row.doubt => format!("{} (in doubt)", row.state),
        None => row.state.to_owned(),
    }
}

/// ICMP queries have an identifier and a type where others have ports.
fn end(protocol: Protocol, (address, port): (IpAddr, u16), icmp_label: &str) -> String {
    match protocol {
        Protocol::Tcp | Protocol::Udp => SocketAddr::new(address, port).to_string(),
        Protocol::Icmp | Protocol::Icmpv6 => format!("{address} {icmp_label} {port}"),
        Protocol::All | Protocol::Other(_) => address.to_string(),
    }
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let smaller = |unit: u64| match unit {
        86_400 => (3_600, "h"),
        3_600 => (60, "m"),
        _ => (1, "s"),
    };
    for (unit, name) in UNITS {
        if seconds >= unit {
            let (next, next_name) = smaller(unit);
            return format!("{}{name}{}{next_name}", seconds / unit, seconds % unit / next);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_two_units() {
        assert_eq!(duration(9), "9s");
        assert_eq!(duration(75), "1m15s");
        assert_eq!(duration(3_600), "1h0m");
        assert_eq!(duration(431_999), "4d23h");
    }

    #[test]
    fn ends_are_written_as_their_protocol_has_them() {
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(end(Protocol::Tcp, (v4, 22), "id"), "192.0.2.1:22");
        assert_eq!(end(Protocol::Udp, (v6, 53), "id"), "[2001:db8::1]:53");
        assert_eq!(end(Protocol::Icmp, (v4, 7), "id"), "192.0.2.1 id 7");
        assert_eq!(end(Protocol::from_number(47), (v4, 0), "id"), "192.0.2.1");
    }
}
