//! The programs: loaded once, pinned beside the maps that they work by, and put on every interface from there.
//!
//! The verifier takes most of the time that a first attachment takes, so each program meets it once. A build of sgfw has a
//! directory of its own, and a reload begins with an empty one.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;

use aya::Ebpf;
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya_obj::programs::XdpAttachType;
use firewall_common::abi::ANY_SLOT;
use firewall_common::flow_table::layout::TableParameters;

use super::arena::Sizes;
use super::attach::{IngressAttachment, LinkLayer};
use super::pin::{Hook, Pin};
use super::{Datapath, DatapathError, OBJECT, remove_directory};

/// Names of the programs: plain, and with a log line for each dropped packet.
struct ProgramNames {
    ingress_xdp: &'static str,
    ingress_tc: &'static str,
    egress_tc: &'static str,
}

const PLAIN: ProgramNames =
    ProgramNames { ingress_xdp: "ingress_xdp", ingress_tc: "ingress_tc", egress_tc: "egress_tc" };
const LOGGING: ProgramNames =
    ProgramNames { ingress_xdp: "ingress_xdp_log", ingress_tc: "ingress_tc_log", egress_tc: "egress_tc_log" };

impl ProgramNames {
    const fn of(log_drops: bool) -> &'static Self {
        if log_drops { &LOGGING } else { &PLAIN }
    }

    const fn all(&self) -> [&'static str; 3] {
        [self.ingress_xdp, self.ingress_tc, self.egress_tc]
    }
}

/// One program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    name: &'static str,
    /// Of the one interface that it decides for; [`ANY_SLOT`] for any.
    slot: u32,
}

impl Wanted {
    pub(super) const fn egress(log_drops: bool) -> Self {
        Self { name: ProgramNames::of(log_drops).egress_tc, slot: ANY_SLOT }
    }

    /// The program that decides ingress packets of an interface at a hook.
    pub(super) const fn ingress(
        hook: IngressAttachment,
        log_drops: bool,
        slot: u32,
        lends_xdp: bool,
    ) -> Self {
        let names = ProgramNames::of(log_drops);
        match hook {
            IngressAttachment::XdpNative if lends_xdp => Self { name: names.ingress_xdp, slot },
            IngressAttachment::XdpNative | IngressAttachment::XdpGeneric => {
                Self { name: names.ingress_xdp, slot: ANY_SLOT }
            }
            IngressAttachment::Tcx | IngressAttachment::Clsact => {
                Self { name: names.ingress_tc, slot: ANY_SLOT }
            }
        }
    }

    /// The program to take the place of one that has this name and decides at the hook of a pin.
    pub(super) fn like(name: &str, pin: &Pin, lends_xdp: bool) -> Self {
        let log_drops = LOGGING.all().contains(&name);
        match pin.hook {
            Hook::Egress(_) => Self::egress(log_drops),
            Hook::Ingress(hook) => Self::ingress(hook, log_drops, pin.slot, lends_xdp),
        }
    }

    /// Of what the kernel says about it.
    pub(super) fn error(self) -> impl Fn(ProgramError) -> DatapathError {
        DatapathError::in_program(self.name)
    }

    fn file_name(self) -> String {
        match self.slot {
            ANY_SLOT => self.name.to_owned(),
            slot => format!("{}-{slot}", self.name),
        }
    }
}

/// Globals of the programs, constants from the load on.
mod global {
    pub(super) const SLOT: &str = "SLOT";
    pub(super) const LINK: &str = "LINK";
    pub(super) const SECRETS: &str = "SECRETS";
    pub(super) const NEAR_BITS: &str = "NEAR_BITS";
    pub(super) const FAR_BITS: &str = "FAR_BITS";
    pub(super) const OUTER_BITS: &str = "OUTER_BITS";
    pub(super) const TIME_SHIFT: &str = "TIME_SHIFT";
    pub(super) const WEAK_ORDER: &str = "WEAK_ORDER";
    pub(super) const INTERVAL_NODES: &str = "INTERVAL_NODES";
    pub(super) const PREFIX_LINES: &str = "PREFIX_LINES";
    pub(super) const CELL_LINES: &str = "CELL_LINES";
}

/// Whether the CPUs may reorder what the programs store and load.
const WEAK_ORDER: u32 = if cfg!(target_arch = "x86_64") { 0 } else { 1 };

/// Tells one build's programs from another's.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    OBJECT.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

impl Datapath {
    /// Loads the object for one slot, or for [`ANY_SLOT`], sharing this instance's maps. No program is loaded yet.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses the object.
    pub fn load_programs(&self, slot: u32, layer: LinkLayer) -> Result<Ebpf, DatapathError> {
        let link: u32 = match layer {
            LinkLayer::Ethernet => 0,
            LinkLayer::None => 1,
        };
        let TableParameters { secrets, geometry, time_shift } = self.table_parameters()?;
        let Sizes { interval_nodes, prefix_lines, cell_lines } = self.arena_sizes()?;
        let programs = self
            .loader()
            .override_global(global::SLOT, &slot, true)
            .override_global(global::LINK, &link, true)
            .override_global(global::SECRETS, &secrets.0, true)
            .override_global(global::NEAR_BITS, &geometry.near_bits, true)
            .override_global(global::FAR_BITS, &geometry.far_bits, true)
            .override_global(global::OUTER_BITS, &geometry.outer_bits, true)
            .override_global(global::TIME_SHIFT, &time_shift, true)
            .override_global(global::WEAK_ORDER, &WEAK_ORDER, true)
            .override_global(global::INTERVAL_NODES, &interval_nodes, true)
            .override_global(global::PREFIX_LINES, &prefix_lines, true)
            .override_global(global::CELL_LINES, &cell_lines, true)
            .load(OBJECT)?;
        Ok(programs)
    }

    /// The XDP program, loaded if it is not yet.
    pub(super) fn xdp_program(&self, wanted: Wanted) -> Result<Xdp, DatapathError> {
        self.see_to(&[wanted])?;
        Xdp::from_pin(self.program_path(wanted), XdpAttachType::Interface).map_err(wanted.error())
    }

    /// The TC program, loaded if it is not yet.
    pub(super) fn tc_program(&self, wanted: Wanted) -> Result<SchedClassifier, DatapathError> {
        self.see_to(&[wanted])?;
        SchedClassifier::from_pin(self.program_path(wanted)).map_err(wanted.error())
    }

    /// Loads and pins these programs, at the same time, except those that are.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses one. Others may be there then.
    pub(super) fn see_to(&self, wanted: &[Wanted]) -> Result<(), DatapathError> {
        let mut missing: BTreeMap<u32, Vec<&'static str>> = BTreeMap::new();
        for program in wanted {
            let path = self.program_path(*program);
            if !path.try_exists().map_err(DatapathError::reading(&path))? {
                missing.entry(program.slot).or_default().push(program.name);
            }
        }
        missing.into_iter().try_for_each(|(slot, names)| self.load_for(slot, names))
    }

    fn load_for(&self, slot: u32, names: Vec<&'static str>) -> Result<(), DatapathError> {
        let mut programs = self.load_programs(slot, LinkLayer::Ethernet)?;
        let loaded = load(&mut programs, &names);
        let directory = self.build_directory();
        fs::create_dir_all(&directory).map_err(DatapathError::creating(&directory))?;
        for name in names {
            let path = self.program_path(Wanted { name, slot });
            let program =
                programs.program_mut(name).ok_or(DatapathError::MissingProgram { program: name })?;
            if program.fd().is_ok() && !path.exists() {
                program.pin(&path).map_err(|source| DatapathError::Pin { path, source })?;
            }
        }
        loaded
    }

    /// Lets go of the loaded programs, so that they are loaded again when they are asked for. Interfaces keep those that they
    /// have.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be removed.
    pub fn forget_programs(&self) -> Result<(), DatapathError> {
        remove_directory(&self.programs_directory())
    }

    fn program_path(&self, wanted: Wanted) -> PathBuf {
        self.build_directory().join(wanted.file_name())
    }

    fn build_directory(&self) -> PathBuf {
        self.programs_directory().join(BUILD.as_str())
    }

    fn programs_directory(&self) -> PathBuf {
        self.maps_directory().join("programs")
    }
}

/// Loads these programs at the same time.
///
/// # Errors
///
/// [`DatapathError`] where the kernel refuses one. Others may be loaded then.
fn load(programs: &mut Ebpf, names: &[&'static str]) -> Result<(), DatapathError> {
    thread::scope(|scope| {
        let name_of = |found: &str| names.iter().copied().find(|name| *name == found);
        let loads: Vec<_> = programs
            .programs_mut()
            .filter_map(|(name, program)| Some((name_of(name)?, program)))
            .map(|(name, program)| scope.spawn(move || load_one(name, program)))
            .collect();
        // All of them, so that no panic is left to the end of the scope.
        let outcomes: Vec<_> = loads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn load_one(name: &'static str, program: &mut Program) -> Result<(), DatapathError> {
    let loaded = match program {
        Program::Xdp(xdp) => xdp.load(),
        Program::SchedClassifier(classifier) => classifier.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(DatapathError::in_program(name))
}
