//! The data plane's log: what was dropped and why, while it happens.
//!
//! The programs write `name=value` pairs through aya-log (`firewall-ebpf/src/log.rs`); here they become one line of
//! text each. Only interfaces that were attached with logging write any.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{MapInfo, loaded_maps};
use aya::programs::loaded_programs;
use aya_log::EbpfLogger;
use firewall_common::abi::Direction;
use firewall_common::reason::Reason;
use log::{Log, Metadata, Record};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use super::{Datapath, DatapathError};

/// The name that aya-log gives its ring buffer. All programs have the same one, those that take the place of others too, so that
/// whoever reads it goes on.
pub(super) const RING: &str = "AYA_LOGS";

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropLine {
    /// Slot of the interface.
    pub slot: u32,
    /// Direction, seen from the host.
    pub direction: Direction,
    /// Why.
    pub reason: Reason,
    /// What the packet was, as far as it could be read: `tcp 203.0.113.5:40000 > 10.0.0.5:22`.
    pub packet: Option<String>,
}

/// Calls `print` for each packet that is dropped, until the programs are gone or the caller stops polling.
///
/// # Errors
///
/// [`DatapathError`] where the logs of the attached programs cannot be opened.
pub async fn stream(
    datapath: &Datapath,
    print: impl Fn(DropLine) + Clone + Send + Sync + 'static,
) -> Result<(), DatapathError> {
    let mut tasks = JoinSet::new();
    for program in datapath.logging_programs()? {
        let printer = Printer { print: print.clone() };
        let logger = EbpfLogger::init_from_id_with_logger(program, printer)
            .map_err(|source| DatapathError::Log { program, source: Box::new(source) })?;
        // SAFETY: the logger owns its ring buffer and always gives that one descriptor.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
            .map_err(|failed| DatapathError::LogSocket(failed.into()))?;
        tasks.spawn(follow(logger));
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

impl Datapath {
    /// One program of each ring buffer that programs log to.
    fn logging_programs(&self) -> Result<Vec<u32>, DatapathError> {
        let attached = self.program_ids()?;
        let is_ring = |map: &MapInfo| map.name_as_str() == Some(RING);
        let mut rings = BTreeSet::new();
        for map in loaded_maps() {
            match map.map_err(DatapathError::in_map(RING)) {
                Ok(map) if is_ring(&map) => drop(rings.insert(map.id())),
                Err(error) if error.denied().is_some() => return Err(error),
                // Of another name, or gone meanwhile.
                _ => {}
            }
        }
        let mut programs = BTreeMap::new();
        for program in loaded_programs().filter_map(Result::ok).filter(|found| attached.contains(&found.id()))
        {
            for map in program.map_ids().ok().flatten().into_iter().flatten() {
                if rings.contains(&map) {
                    programs.insert(map, program.id());
                }
            }
        }
        Ok(programs.into_values().collect())
    }
}

async fn follow<P: Fn(DropLine) + Send + Sync>(mut logger: AsyncFd<EbpfLogger<Printer<P>>>) {
    while let Ok(mut ready) = logger.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

struct Printer<P> {
    print: P,
}

impl<P: Fn(DropLine) + Send + Sync> Log for Printer<P> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(line) = parse(&record.args().to_string()) {
            (self.print)(line);
        }
    }

    fn flush(&self) {}
}

fn parse(line: &str) -> Option<DropLine> {
    let fields: BTreeMap<&str, &str> =
        line.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    let direction = match *fields.get("direction")? {
        "0" => Direction::Ingress,
        _ => Direction::Egress,
    };
    Some(DropLine {
        slot: fields.get("slot")?.parse().ok()?,
        direction,
        reason: Reason::from_number(fields.get("reason")?.parse().ok()?)?,
        packet: packet(&fields),
    })
}

fn packet(fields: &BTreeMap<&str, &str>) -> Option<String> {
    let (source, destination) = (fields.get("source")?, fields.get("destination")?);
    let protocol = *fields.get("protocol")?;
    let [a, b, c, d] = fields.get("head")?.parse::<u32>().ok()?.to_be_bytes();
    let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(match protocol {
        "6" => format!("tcp {} > {}", end(source, ports.0), end(destination, ports.1)),
        "17" => format!("udp {} > {}", end(source, ports.0), end(destination, ports.1)),
        "1" => format!("icmp {a}/{b} {source} > {destination}"),
        "58" => format!("icmpv6 {a}/{b} {source} > {destination}"),
        _ => format!("protocol {protocol} {source} > {destination}"),
    })
}

fn end(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_programs_becomes_text() {
        let line = parse(
            "slot=2 direction=0 reason=16 protocol=6 source=203.0.113.5 destination=10.0.0.5 head=2621440022",
        )
        .unwrap();
        assert_eq!((line.slot, line.direction, line.reason), (2, Direction::Ingress, Reason::NoRule));
        assert_eq!(line.packet.unwrap(), "tcp 203.0.113.5:40000 > 10.0.0.5:22");
    }

    #[test]
    fn addresses_of_ipv6_stand_in_brackets_and_icmp_shows_its_type() {
        let udp =
            "slot=0 direction=1 reason=16 protocol=17 source=2001:db8::1 destination=2001:db8::2 head=65589";
        assert_eq!(parse(udp).unwrap().packet.unwrap(), "udp [2001:db8::1]:1 > [2001:db8::2]:53");
        let icmp =
            "slot=0 direction=0 reason=16 protocol=1 source=10.0.0.1 destination=10.0.0.2 head=134217728";
        assert_eq!(parse(icmp).unwrap().packet.unwrap(), "icmp 8/0 10.0.0.1 > 10.0.0.2");
    }

    #[test]
    fn an_unreadable_packet_has_a_reason_all_the_same() {
        let line = parse("slot=0 direction=0 reason=19").unwrap();
        assert_eq!((line.reason, line.packet), (Reason::Truncated, None));
        assert_eq!(parse("nonsense"), None);
    }
}
