//! `sgfw log`: dropped packets, while they are dropped.

use std::pin::pin;

use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;

use super::error::CliError;
use super::output::Output;
use crate::operations::Instance;
use crate::operations::queries::drops::{DropLog, DroppedPacket, drop_log};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sgfw interface attach eth1 --group web --log drops
  sgfw log
  sgfw log -o json | jq 'select(.Reason == \"no-rule\")'")]
pub(super) struct Log {}

impl Log {
    pub(super) fn run(self, instance: &Instance, output: &mut Output) -> Result<(), CliError> {
        let Some(drops) = drop_log(instance)? else {
            return Err(CliError::NothingLogs);
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Log)?;
        runtime.block_on(follow(&drops, output))
    }
}

/// Prints until Ctrl-C, or until the programs are gone.
async fn follow(drops: &DropLog, output: &mut Output) -> Result<(), CliError> {
    let (send, mut packets) = mpsc::unbounded_channel();
    let streaming = drops.follow(move |packet| {
        // Fails only when the receiver is gone, which is when this function has returned.
        let _ = send.send(packet);
    });
    let mut streaming = pin!(streaming);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            interrupted = &mut interrupt => return interrupted.map_err(CliError::Log),
            ended = &mut streaming => return Ok(ended?),
            Some(packet) = packets.recv() => print(&packet, output)?,
        }
    }
}

fn print(dropped: &DroppedPacket, output: &mut Output) -> Result<(), CliError> {
    let interface = dropped.interface.as_deref().unwrap_or("?");
    let (direction, reason) = (dropped.direction.name(), dropped.reason.name());
    if output.is_json() {
        output.line(json!({
            "Interface": interface,
            "Direction": direction,
            "Reason": reason,
            "Packet": dropped.packet,
        }))?;
    } else {
        let packet = dropped.packet.as_deref().unwrap_or("unreadable");
        output.line(format_args!("{interface} {direction} drop {reason} {packet}"))?;
    }
    output.flush()
}
