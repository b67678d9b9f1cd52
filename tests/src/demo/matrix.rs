//! Who should reach what in the demo, who does, and the difference.

use std::{fmt, thread};

use anyhow::{Result, ensure};

use crate::lab::{Family, Host, Lab, Reachability, ping, tcp_connect, udp_exchange};

/// The TCP ports that are probed on every host.
pub(super) const TCP_PORTS: [u16; 5] = [22, 80, 443, 8080, 5432];

/// The UDP port that is probed on every host.
pub(super) const UDP_PORT: u16 = 53;

/// Width of a column of the table.
const COLUMN: usize = 10;

/// What is probed on a host.
#[derive(Clone, Copy)]
enum Service {
    Ping,
    Udp(u16),
    Tcp(u16),
}

/// One service of one host, as another host sees it.
struct Cell {
    from: &'static str,
    to: &'static str,
    service: Service,
    expected: Reachability,
    /// Over IPv4 and IPv6.
    actual: [Reachability; 2],
}

/// Every service of every host, seen from every other host.
pub(super) struct Matrix {
    cells: Vec<Cell>,
}

impl Matrix {
    /// Probes everything at once: most answers are silence, which takes its time.
    pub(super) fn probe(lab: &Lab) -> Self {
        let cells = thread::scope(|scope| {
            let mut probes = Vec::new();
            for (from, to) in pairs(lab) {
                for service in services() {
                    probes.push(scope.spawn(move || Cell::probe(from, to, service)));
                }
            }
            let join = |probe: thread::ScopedJoinHandle<'_, Cell>| match probe.join() {
                Ok(cell) => cell,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            probes.into_iter().map(join).collect()
        });
        Self { cells }
    }

    /// Prints the verdict.
    ///
    /// # Errors
    ///
    /// When a probe ended differently from what it should.
    pub(super) fn verdict(&self) -> Result<()> {
        let probes = self.cells.len() * Family::ALL.len();
        let differences: Vec<String> = self.cells.iter().flat_map(Cell::differences).collect();
        ensure!(
            differences.is_empty(),
            "{} of {probes} probes ended differently from what the groups say:\n  {}",
            differences.len(),
            differences.join("\n  ")
        );
        println!("{probes} probes over IPv4 and IPv6, all as expected.");
        Ok(())
    }
}

/// The acceptance story.
fn expected(from: &str, to: &str, service: Service) -> Reachability {
    match (from, to, service) {
        // The client has no firewall, and new groups let everything out.
        (_, "client", _)
        | (_, "lb", Service::Tcp(80 | 443))
        | ("lb", "app", Service::Tcp(8080))
        | ("app", "db", Service::Tcp(5432)) => Reachability::Open,
        _ => Reachability::Filtered,
    }
}

fn pairs(lab: &Lab) -> impl Iterator<Item = (&Host, &Host)> {
    let to_others = |from| lab.hosts().iter().map(move |to| (from, to));
    lab.hosts().iter().flat_map(to_others).filter(|(from, to)| from.name() != to.name())
}

fn services() -> impl Iterator<Item = Service> {
    [Service::Ping, Service::Udp(UDP_PORT)].into_iter().chain(TCP_PORTS.map(Service::Tcp))
}

impl Cell {
    fn probe(from: &Host, to: &Host, service: Service) -> Self {
        let actual = Family::ALL.map(|family| {
            let address = to.address(family);
            match service {
                Service::Ping => ping(from, address),
                Service::Udp(port) => udp_exchange(from, address, port),
                Service::Tcp(port) => tcp_connect(from, address, port),
            }
        });
        let (from, to) = (from.name(), to.name());
        Self { from, to, service, expected: expected(from, to, service), actual }
    }

    fn differences(&self) -> Vec<String> {
        let Self { from, to, service, expected, .. } = self;
        let seen = Family::ALL.into_iter().zip(self.actual).filter(|(_, actual)| actual != expected);
        seen.map(|(family, actual)| {
            format!("{from} > {to} {service} over {family}: {actual}, not {expected}")
        })
        .collect()
    }

    /// What the table says: the answer and whether it is right, or both answers if they differ.
    fn summary(&self) -> String {
        let mark = if self.actual == [self.expected; 2] { "✓" } else { "✗" };
        match self.actual {
            [v4, v6] if v4 != v6 => format!("{v4}/{v6} {mark}"),
            [Reachability::Filtered, _] => format!("- {mark}"),
            [both, _] => format!("{both} {mark}"),
        }
    }
}

/// A table with a line for each pair of hosts.
impl fmt::Display for Matrix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:16}", "FROM > TO")?;
        for service in services() {
            write!(formatter, "{:>COLUMN$}", service.to_string())?;
        }
        writeln!(formatter)?;
        for pair in self.cells.chunk_by(|left, right| (left.from, left.to) == (right.from, right.to)) {
            let Some(first) = pair.first() else { continue };
            write!(formatter, "{:16}", format!("{} > {}", first.from, first.to))?;
            for cell in pair {
                write!(formatter, "{:>COLUMN$}", cell.summary())?;
            }
            writeln!(formatter)?;
        }
        writeln!(
            formatter,
            "\nopen: it answers   -: silence   ✓: as the groups say, over IPv4 and IPv6   ✗: not so"
        )
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping => formatter.write_str("ping"),
            Self::Udp(port) => write!(formatter, "udp/{port}"),
            Self::Tcp(port) => write!(formatter, "tcp/{port}"),
        }
    }
}
