//! A lab in which every contender stands ready with the same policy.

use std::fs;
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

use super::contender::{self, Contender};
use super::nft_counter;
use super::policy::{NAME, Size};
use crate::flood::{EmptyProgram, EmptyVerdict};
use crate::lab::{Host, INTERFACE, Lab, once_free};

/// The lab and what is set up in it.
pub(super) struct Rig {
    lab: Lab,
}

/// Programs of the contenders that have nothing else. They are detached when this is dropped.
#[must_use]
pub(super) struct EmptyPrograms {
    _links: Vec<OwnedFd>,
}

/// Sockets that nobody reads: what a firewall passes is thrown away at the last moment, at a cost that is the same for
/// all contenders.
#[must_use]
pub(super) struct Sinks {
    _sockets: Vec<UdpSocket>,
}

impl Rig {
    /// Builds the lab and puts the policy into force. `flow_entries` is the size of `sgfw`'s flow tables.
    pub(super) fn build(size: Size, flow_entries: Option<u32>) -> Result<Self> {
        let rig = Self { lab: Lab::build(&contender::topology())? };
        let document = rig.lab.directory().join("policy.json");
        fs::write(&document, size.document().to_string())?;
        let ruleset = rig.lab.directory().join("ruleset.nft");
        fs::write(&ruleset, size.ruleset())?;
        for contender in Contender::FIREWALLS {
            let host = rig.host(contender);
            let Some(hook) = contender.hook() else {
                host.run(&format!("nft --file {}", ruleset.display())).success()?;
                continue;
            };
            host.sgfw(&format!("apply --yes -f {}", document.display())).success()?;
            let entries = flow_entries.map(|entries| format!("--flow-entries {entries}")).unwrap_or_default();
            let attach =
                format!("interface attach {INTERFACE} --group {NAME} --ingress-hook {hook} {entries}");
            host.sgfw(&attach).success()?;
        }
        Ok(rig)
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(super) fn host(&self, contender: Contender) -> &Host {
        self.lab.host(contender.name())
    }

    /// Attaches programs that pass or drop everything for [`Contender::EmptyXdp`] and [`Contender::EmptyTc`].
    pub(super) fn attach_empty_programs(&self, verdict: EmptyVerdict) -> Result<EmptyPrograms> {
        let attach = |contender: Contender| {
            let hook = contender.hook().context("an empty program has a hook")?;
            self.host(contender).namespace().run(|| {
                let device = if_nametoindex(INTERFACE)?;
                EmptyProgram::load(hook, verdict)?.attach(device)
            })
        };
        let links = [Contender::EmptyXdp, Contender::EmptyTc].map(attach).into_iter();
        Ok(EmptyPrograms { _links: links.collect::<Result<_>>()? })
    }

    /// Binds a port of every host to a socket that nobody reads.
    pub(super) fn bind_sinks(&self, port: u16) -> Result<Sinks> {
        let bind = |contender| {
            self.host(contender).namespace().run(|| {
                let socket = once_free(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)))?;
                // The kernel makes it the smallest that there is.
                setsockopt(&socket, sockopt::RcvBuf, &0)?;
                Ok(socket)
            })
        };
        let sockets: Result<Vec<UdpSocket>> = Contender::ALL.into_iter().map(bind).collect();
        Ok(Sinks { _sockets: sockets? })
    }

    /// How many packets a contender has decided so far for a reason, after which its counter is named; without a
    /// firewall, how many have arrived.
    pub(super) fn decided(&self, contender: Contender, reason: &str) -> Result<u64> {
        let host = self.host(contender);
        match contender {
            Contender::SgfwXdp | Contender::SgfwTc => {
                let status = parse(&host.sgfw("--output json status").success()?)?;
                let rows = status["Counters"].as_array().context("status has no counters")?.iter();
                let rows = rows.filter(|row| row["Direction"] == "ingress" && row["Reason"] == reason);
                rows.map(|row| number(&row["Packets"])).sum()
            }
            Contender::Nftables => {
                host.namespace().run(|| nft_counter::packets(NAME, &format!("{reason}-frames")))
            }
            Contender::None | Contender::EmptyXdp | Contender::EmptyTc => {
                let link = host.run(&format!("ip -json -statistics link show dev {INTERFACE}")).success()?;
                number(&parse(&link)?[0]["stats64"]["rx"]["packets"])
            }
        }
    }

    /// Checks that a contender decided what was sent to it for `reason`, and nothing was lost on the way.
    pub(super) fn check_decided(
        &self,
        contender: Contender,
        reason: &str,
        before: u64,
        sent: u64,
    ) -> Result<()> {
        let decided = self.decided(contender, reason)? - before;
        // Neighbour discovery arrives too where everything is counted.
        let strays = if Contender::FIREWALLS.contains(&contender) { 0 } else { 32 };
        ensure!(
            (sent..=sent + strays).contains(&decided),
            "{contender} counted {decided} of {sent} frames as `{reason}`"
        );
        Ok(())
    }
}

pub(super) fn parse(json: &str) -> Result<Value> {
    serde_json::from_str(json).with_context(|| format!("not JSON: {json}"))
}

pub(super) fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("not a number: {value}"))
}
