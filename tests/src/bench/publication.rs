//! Time to put a policy into force, and to change one rule of it: the whole command, as an operator waits for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::contender::Contender;
use super::policy::{NAME, Size, list};
use super::rig::Rig;
use super::samples::{Row, Unit};
use super::{Extent, progress};
use crate::lab::{Family, Host};

/// What is in force before and after.
const SMALL: Size = Size { prefixes: 16, ranges: 16 };

/// A prefix that no list has.
const ADDED: &str = "203.0.113.7/32";

/// Policies of each size, in milliseconds: `sgfw apply` beside `nft --file`, then `sgfw rule authorize` beside
/// `nft add element`.
pub(super) fn times(extent: Extent) -> Result<Vec<Row>> {
    let rig = Rig::build(SMALL, None)?;
    let mut rows = Vec::new();
    for &prefixes in extent.published_prefixes() {
        progress(&format!("publication of {prefixes} prefixes, half of them IPv6"));
        let size = Size { prefixes: prefixes / 2, ..SMALL };
        let large = Files::write(rig.lab().directory(), size)?;
        let small = Files::write(rig.lab().directory(), SMALL)?;
        let mut whole = Row::new(format!("publish/whole/prefixes={prefixes}"), Unit::Milliseconds);
        let mut one = Row::new(format!("publish/one-rule/prefixes={prefixes}"), Unit::Milliseconds);
        for _ in 0..extent.publications(prefixes) {
            for contender in [Contender::SgfwTc, Contender::Nftables] {
                let host = rig.host(contender);
                whole.push(contender, milliseconds(large.publish(contender, host)?));
                one.push(contender, milliseconds(run(host, &change_of_one_rule(contender))?));
                // Which takes the rule away again.
                small.publish(contender, host)?;
            }
        }
        rows.extend([whole, one]);
    }
    Ok(rows)
}

/// A policy, as a file for each firewall.
pub(super) struct Files {
    document: PathBuf,
    ruleset: PathBuf,
}

impl Files {
    pub(super) fn write(directory: &Path, size: Size) -> Result<Self> {
        let name = format!("published-{}-{}", size.prefixes, size.ranges);
        let files = Self {
            document: directory.join(format!("{name}.json")),
            ruleset: directory.join(format!("{name}.nft")),
        };
        fs::write(&files.document, size.document().to_string())?;
        // One transaction: the table is there already.
        fs::write(&files.ruleset, format!("delete table inet {NAME}\n{}", size.ruleset()))?;
        Ok(files)
    }

    /// Puts the policy into force, and returns the time that it takes.
    pub(super) fn publish(&self, contender: Contender, host: &Host) -> Result<Duration> {
        let line = match contender {
            Contender::Nftables => format!("nft --file {}", self.ruleset.display()),
            _ => host.instance().line(&format!("apply --yes --file {}", self.document.display())),
        };
        run(host, &line)
    }
}

/// A command that adds something to what is open.
fn change_of_one_rule(contender: Contender) -> String {
    match contender {
        Contender::Nftables => format!("nft add element inet {NAME} {} {{ {ADDED} }}", list(Family::V4)),
        _ => format!("sgfw rule authorize {NAME} --ingress --protocol udp --port 7 --cidr {ADDED}"),
    }
}

fn run(host: &Host, line: &str) -> Result<Duration> {
    let line = match line.strip_prefix("sgfw ") {
        Some(arguments) => host.instance().line(arguments),
        None => line.to_owned(),
    };
    let start = Instant::now();
    let finished = host.run(&line);
    let time = start.elapsed();
    finished.success()?;
    Ok(time)
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
