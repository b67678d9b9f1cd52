//! What is stored beside what the kernel has.

use std::collections::BTreeMap;

use super::{ApplyError, Instance};
use crate::datapath::{Attachment, CounterRow, Datapath, FlowRow, FlowTableFill};
use crate::host;
use crate::model::{Interface, RuleId, SecurityGroup};

/// An interface and its programs.
#[derive(Clone, Debug)]
pub struct InterfaceStatus {
    /// As it is stored.
    pub interface: Interface,
    /// What is on it.
    pub programs: Programs,
}

/// The programs of an interface.
#[derive(Clone, Debug)]
pub enum Programs {
    /// They decide its packets.
    Attached(Attachment),
    /// They are gone: after a reboot, with a device that was deleted, or because somebody removed them.
    NotAttached,
    /// They are pinned, and the interface is in another network namespace, if that still exists.
    InOtherNamespace,
}

/// Everything that `sgfw status` shows.
#[derive(Debug)]
pub struct Status {
    /// The interfaces, by name.
    pub interfaces: Vec<InterfaceStatus>,
    /// Every group, to name those of the interfaces.
    pub groups: Vec<SecurityGroup>,
    /// Generation of the store.
    pub stored_generation: u64,
    /// What the kernel says, if anything is attached.
    pub kernel: Option<KernelStatus>,
}

/// The kernel's part of a [`Status`].
#[derive(Debug)]
pub struct KernelStatus {
    /// Generation of the policy in force.
    pub generation: u64,
    /// Counters by interface name.
    pub counters: BTreeMap<String, Vec<CounterRow>>,
    /// How full the flow tables are.
    pub flow_tables: Vec<FlowTableFill>,
}

/// A live flow.
#[derive(Debug)]
pub struct Flow {
    /// As the kernel has it.
    pub row: FlowRow,
    /// The interfaces of its zone.
    pub interfaces: Vec<String>,
    /// The rules that admitted it. They may be gone by now.
    pub rules: Vec<RuleId>,
}

/// The interfaces with their programs, and all groups.
pub fn interfaces(instance: &Instance) -> Result<(Vec<InterfaceStatus>, Vec<SecurityGroup>), ApplyError> {
    let stored = Stored::read(instance)?;
    let datapath = instance.datapath(&stored.interfaces)?;
    Ok((stored.with_programs(datapath.as_ref())?, stored.groups))
}

/// The state of everything.
pub fn status(instance: &Instance) -> Result<Status, ApplyError> {
    let stored = Stored::read(instance)?;
    let datapath = instance.datapath(&stored.interfaces)?;
    let interfaces = stored.with_programs(datapath.as_ref())?;
    let kernel = datapath.map(|datapath| kernel_status(&datapath, &interfaces)).transpose()?;
    Ok(Status { interfaces, groups: stored.groups, stored_generation: stored.generation, kernel })
}

/// The live flows.
pub fn flows(instance: &Instance) -> Result<Vec<Flow>, ApplyError> {
    let (interfaces, rule_sets) =
        instance.read(|snapshot| Ok((snapshot.interfaces()?, snapshot.rule_sets()?)))?;
    let Some(datapath) = instance.datapath(&interfaces)? else {
        return Ok(Vec::new());
    };
    let with_names = |row: FlowRow| {
        let in_zone = interfaces.iter().filter(|interface| interface.zone == row.zone);
        let rules = rule_sets.get(&row.rule_set).cloned().unwrap_or_default();
        Flow { interfaces: in_zone.map(|interface| interface.name.clone()).collect(), rules, row }
    };
    Ok(datapath.flows()?.into_iter().map(with_names).collect())
}

/// What the store has to say. It is read at once, so that no writer waits for the kernel's answers.
struct Stored {
    interfaces: Vec<Interface>,
    groups: Vec<SecurityGroup>,
    namespace: u64,
    generation: u64,
}

impl Stored {
    fn read(instance: &Instance) -> Result<Self, ApplyError> {
        instance.read(|snapshot| {
            Ok(Self {
                interfaces: snapshot.interfaces()?,
                groups: snapshot.groups()?,
                namespace: snapshot.namespace()?,
                generation: snapshot.generation()?,
            })
        })
    }

    fn with_programs(&self, datapath: Option<&Datapath>) -> Result<Vec<InterfaceStatus>, ApplyError> {
        let attachments = datapath.map(Datapath::attachments).transpose()?.unwrap_or_default();
        let pinned = datapath.map(Datapath::pinned_slots).transpose()?.unwrap_or_default();
        let is_here = host::current_namespace()? == self.namespace;
        let programs_of = |slot| match attachments.iter().find(|attachment| attachment.slot == slot) {
            Some(attachment) => Programs::Attached(attachment.clone()),
            None if !is_here && pinned.contains(&slot) => Programs::InOtherNamespace,
            None => Programs::NotAttached,
        };
        let status_of = |interface: &Interface| InterfaceStatus {
            programs: programs_of(interface.slot),
            interface: interface.clone(),
        };
        Ok(self.interfaces.iter().map(status_of).collect())
    }
}

fn kernel_status(datapath: &Datapath, interfaces: &[InterfaceStatus]) -> Result<KernelStatus, ApplyError> {
    let mut counters = BTreeMap::new();
    for InterfaceStatus { interface, .. } in interfaces {
        counters.insert(interface.name.clone(), datapath.counters(interface.slot)?);
    }
    let (generation, flow_tables) = (datapath.generation()?, datapath.flow_tables()?);
    Ok(KernelStatus { generation, counters, flow_tables })
}
