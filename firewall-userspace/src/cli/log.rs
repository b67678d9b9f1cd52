//! `sgfw log`: dropped packets, while they are dropped.

use std::collections::BTreeMap;
use std::pin::pin;

use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;

use super::error::CliError;
use super::output::Output;
use crate::datapath::Datapath;
use crate::datapath::log::{DropLine, stream};
use crate::operations::Instance;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sgfw interface attach eth1 --group web --log drops
  sgfw log
  sgfw log -o json | jq 'select(.Reason == \"no-rule\")'")]
pub(super) struct Log {}

impl Log {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        let interfaces = instance.read(|snapshot| Ok(snapshot.interfaces()?))?;
        let datapath = instance.datapath(&interfaces)?;
        let logging: BTreeMap<u32, String> = interfaces
            .into_iter()
            .filter(|interface| interface.log_drops)
            .map(|interface| (interface.slot, interface.name))
            .collect();
        let Some(datapath) = datapath.filter(|_| !logging.is_empty()) else {
            return Err(CliError::NothingLogs);
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Log)?;
        runtime.block_on(follow(&datapath, &logging, output))
    }
}

/// Prints until Ctrl-C, or until the programs are gone.
async fn follow(
    datapath: &Datapath,
    interfaces: &BTreeMap<u32, String>,
    output: &mut Output,
) -> Result<(), CliError> {
    let (send, mut lines) = mpsc::unbounded_channel();
    let streaming = stream(datapath, move |line| {
        // Fails only when the receiver is gone, which is when this function has returned.
        let _ = send.send(line);
    });
    let mut streaming = pin!(streaming);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            interrupted = &mut interrupt => return interrupted.map_err(CliError::Log),
            ended = &mut streaming => return Ok(ended?),
            Some(line) = lines.recv() => print(&line, interfaces, output)?,
        }
    }
}

fn print(line: &DropLine, interfaces: &BTreeMap<u32, String>, output: &mut Output) -> Result<(), CliError> {
    let interface = interfaces.get(&line.slot).map_or("?", String::as_str);
    let (direction, reason) = (line.direction.name(), line.reason.name());
    if output.is_json() {
        output.line(json!({
            "Interface": interface,
            "Direction": direction,
            "Reason": reason,
            "Packet": line.packet,
        }))?;
    } else {
        let packet = line.packet.as_deref().unwrap_or("unreadable");
        output.line(format_args!("{interface} {direction} drop {reason} {packet}"))?;
    }
    output.flush()
}
