//! A policy and a sequence of frames, with what is expected of each.
//!
//! Scenarios are text ([`notation`]): the conformance table is a file of them, and a mismatch between two engines is
//! kept as one. Whatever implements [`Firewall`] can play them.

mod filler;
pub mod input;
pub mod notation;
mod policy;
pub mod tables;

use anyhow::{Context, Result, ensure};
use firewall_common::abi::Direction;
use firewall_common::flow_table::life::Socket;
use firewall_common::reason::Reason;

use crate::packets::Frame;
pub use filler::{fill, live_flows};
pub use policy::{Group, Interface, Management, Peer, Policy, Rule};

/// How many live flows a firewall in a scenario has places for at the least: few, so that a step can fill the table.
pub const FLOW_ENTRIES: u32 = 1024;

/// Something that decides frames by a policy.
pub trait Firewall {
    /// Puts a policy into force.
    ///
    /// # Errors
    ///
    /// What kept it from it.
    fn publish(&mut self, policy: &Policy) -> Result<()>;

    /// Decides one frame.
    ///
    /// # Errors
    ///
    /// Where no decision came about, or not exactly one counter counted it.
    fn decide(&mut self, arrival: Arrival, frame: &Frame) -> Result<Reason>;

    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// What kept it from it.
    fn wait(&mut self, seconds: u32) -> Result<()>;

    /// Has established flows of others take every place that holds no protected flow ([`fill`]).
    ///
    /// # Errors
    ///
    /// What kept it from it.
    fn fill(&mut self) -> Result<()>;

    /// Has the kernel say this about the socket of any flow from now on. Before, there are none.
    ///
    /// # Errors
    ///
    /// What kept it from it.
    fn sockets(&mut self, sockets: Socket) -> Result<()>;

    /// Removes ended flows, as `sgfw flows expire` does.
    ///
    /// # Errors
    ///
    /// What kept it from it.
    fn sweep(&mut self) -> Result<()>;

    /// How many live flows it holds, those of [`Firewall::fill`] aside.
    ///
    /// # Errors
    ///
    /// What kept it from counting.
    fn flows(&mut self) -> Result<usize>;
}

/// Where a frame is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Slot of the interface.
    pub slot: u32,
    /// Direction, seen from the host.
    pub direction: Direction,
    /// Of what leaves: where it comes from.
    pub origin: Origin,
}

/// Where what leaves the host comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The host has made it.
    Host,
    /// It came in by another device.
    OtherDevice,
    /// It came in by the interface that it leaves by.
    SameInterface,
}

impl Arrival {
    /// A frame that arrives, or that the host has made.
    #[must_use]
    pub const fn new(slot: u32, direction: Direction) -> Self {
        Self { slot, direction, origin: Origin::Host }
    }

    /// Whether it leaves the host without having been made there.
    #[must_use]
    pub fn is_forwarded(&self) -> bool {
        self.direction == Direction::Egress && self.origin != Origin::Host
    }
}

/// A policy and what happens under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// One line that says what it is about.
    pub title: String,
    /// Why it is about no frames, if it is not.
    pub unplayable: Option<String>,
    /// What happens, in order. It begins with a policy.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A policy comes into force.
    Publish(Policy),
    /// A frame is decided.
    Frame {
        /// Where.
        arrival: Arrival,
        /// What.
        frame: Frame,
        /// How the decision must end, where the scenario says.
        expected: Option<Reason>,
    },
    /// Seconds pass.
    Wait(u32),
    /// Established flows of others take every place that holds no protected flow.
    Fill,
    /// From now on the kernel says this about the socket of any flow.
    Sockets(Socket),
    /// Ended flows are removed.
    Sweep,
    /// So many live flows must be held.
    Flows(usize),
}

impl Scenario {
    /// Whether it says what the kernel knows about sockets, which a test run of programs cannot be told.
    #[must_use]
    pub fn has_sockets(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Sockets(_)))
    }

    /// Plays the scenario and returns the reason of each frame.
    ///
    /// # Errors
    ///
    /// A step that the firewall could not do, with the step.
    pub fn play(&self, firewall: &mut impl Firewall) -> Result<Vec<Reason>> {
        let mut reasons = Vec::new();
        for step in &self.steps {
            reasons.extend(step.play(firewall).with_context(|| format!("{}: at `{step}`", self.title))?);
        }
        Ok(reasons)
    }

    /// Plays the scenario and compares each decision with the expected one.
    ///
    /// # Errors
    ///
    /// The first step that did not end as expected.
    pub fn check(&self, firewall: &mut impl Firewall) -> Result<()> {
        let mut reasons = Vec::new();
        for step in &self.steps {
            let context = || format!("{}: at `{step}`", self.title);
            reasons.extend(step.play(firewall).with_context(context)?);
            if let (Step::Frame { expected: Some(expected), .. }, Some(reason)) = (step, reasons.last()) {
                ensure!(reason == expected, "{}: decided as `{}`", context(), reason.name());
            }
        }
        Ok(())
    }
}

impl Step {
    /// Plays it, and returns the reason if it is a frame.
    ///
    /// # Errors
    ///
    /// What the firewall could not do.
    pub fn play(&self, firewall: &mut impl Firewall) -> Result<Option<Reason>> {
        match self {
            Self::Publish(policy) => firewall.publish(policy)?,
            Self::Frame { arrival, frame, .. } => return firewall.decide(*arrival, frame).map(Some),
            Self::Wait(seconds) => firewall.wait(*seconds)?,
            Self::Fill => firewall.fill()?,
            Self::Sockets(sockets) => firewall.sockets(*sockets)?,
            Self::Sweep => firewall.sweep()?,
            Self::Flows(expected) => {
                let flows = firewall.flows()?;
                ensure!(flows == *expected, "{flows} flows");
            }
        }
        Ok(None)
    }

    /// Whether playing it can show that something is wrong.
    #[must_use]
    pub const fn is_expectation(&self) -> bool {
        matches!(self, Self::Frame { expected: Some(_), .. } | Self::Flows(_))
    }
}
