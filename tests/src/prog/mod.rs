//! The eBPF programs in the kernel, run on frames by `BPF_PROG_TEST_RUN`.
//!
//! A [`Harness`] is an instance of its own under `/sys/fs/bpf` with programs that are loaded and attached to nothing.
//! It plays scenarios like the other engines: a decision is the program's return code and the one counter that it
//! moved, and time passes by making every flow older.

mod ageing;
mod counters;
mod memory;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use firewall_common::abi::{Direction, KeyWords, MAX_INTERFACES, map};
use firewall_common::flow_table::life::Socket;
use firewall_common::reason::{Decision, Reason, Verdict};
use firewall_userspace::compile::{RuleSetIds, compile};
use firewall_userspace::datapath::{Datapath, LinkLayer};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::geteuid;

use crate::packets::Frame;
use crate::scenario::input::policy_input;
use crate::scenario::{Arrival, FLOW_ENTRIES, Firewall, Origin, Policy};
use ageing::StateMaps;
use counters::Counters;

const BPFFS: &str = "/sys/fs/bpf";

/// The arenas that others take the place of when a policy outgrows them.
const GROWING: [&str; 3] = [map::INTERVALS_V4, map::ADDRESSES_V6, map::CELLS];

/// Whether BPF programs can be loaded here. If not, says so; under `SGFW_REQUIRE_BPF=1` that is a failure.
///
/// # Panics
///
/// Under `SGFW_REQUIRE_BPF=1` where they cannot.
#[must_use]
pub fn can_load_programs() -> bool {
    let is_bpffs = statfs(BPFFS).is_ok_and(|filesystem| filesystem.filesystem_type() == BPF_FS_MAGIC);
    let missing = match (geteuid().is_root(), is_bpffs) {
        (true, true) => return true,
        (false, _) => "root",
        (true, false) => "a bpf filesystem at /sys/fs/bpf (mount -t bpf bpf /sys/fs/bpf)",
    };
    assert!(
        std::env::var_os("SGFW_REQUIRE_BPF").is_none_or(|value| value != "1"),
        "this test needs {missing}"
    );
    eprintln!("skipped: this test needs {missing}");
    false
}

/// Which program decides ingress frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// `ingress_xdp`.
    Xdp,
    /// `ingress_tc`.
    Tc,
}

impl Ingress {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tc];
}

/// Programs and maps of one instance.
pub struct Harness {
    ingress: Ingress,
    datapath: Datapath,
    programs: BTreeMap<u32, Ebpf>,
    /// Ids of those that grow.
    arenas: Vec<u32>,
    counters: Counters,
    state: StateMaps,
    rule_sets: RuleSetIds,
    // Last: the pins go after everything that was opened through them.
    directory: InstanceDirectory,
}

impl Harness {
    /// Creates the maps; programs are loaded when the first frame of their slot comes.
    ///
    /// # Errors
    ///
    /// What kept the kernel from it.
    pub fn new(ingress: Ingress) -> Result<Self> {
        Self::with_flow_entries(ingress, FLOW_ENTRIES)
    }

    /// As [`Harness::new`], with a flow table of another size.
    ///
    /// # Errors
    ///
    /// What kept the kernel from it.
    pub fn with_flow_entries(ingress: Ingress, flow_entries: u32) -> Result<Self> {
        let directory = InstanceDirectory::new();
        let datapath = Datapath::create(&directory.path, flow_entries).context("create the maps")?;
        let maps = directory.maps()?;
        Ok(Self {
            ingress,
            counters: Counters::open(&maps)?,
            state: StateMaps::open(&maps)?,
            datapath,
            programs: BTreeMap::new(),
            arenas: Vec::new(),
            rule_sets: RuleSetIds::default(),
            directory,
        })
    }

    /// The maps, to be changed as user space changes them.
    pub fn datapath(&mut self) -> &mut Datapath {
        &mut self.datapath
    }

    /// Publishes a policy that is in force for so long, unless it is confirmed.
    ///
    /// # Errors
    ///
    /// What kept it from being published.
    pub fn publish_unconfirmed(&mut self, policy: &Policy, within: Duration) -> Result<()> {
        self.publish_for(policy, Some(within))
    }

    fn publish_for(&mut self, policy: &Policy, confirm_within: Option<Duration>) -> Result<()> {
        let compiled = compile(&policy_input(policy)?, &mut self.rule_sets)?;
        self.datapath.prepare(&compiled, 0)?.activate(confirm_within)?;
        self.follow_arenas()
    }

    /// Loads the programs again where a policy has outgrown its arenas: those that are attached were moved.
    fn follow_arenas(&mut self) -> Result<()> {
        let maps = self.directory.maps()?;
        let arenas = GROWING.iter().map(|name| memory::id_of(&maps, name)).collect::<Result<_>>()?;
        if std::mem::replace(&mut self.arenas, arenas) == self.arenas {
            return Ok(());
        }
        let slots: Vec<u32> = std::mem::take(&mut self.programs).into_keys().collect();
        slots.into_iter().try_for_each(|slot| self.load(slot))
    }

    /// How many bytes of the kernel's memory a map takes.
    ///
    /// # Errors
    ///
    /// What kept the kernel from telling.
    pub fn memory_of(&self, map: &str) -> Result<u64> {
        memory::of_map(&self.directory.maps()?, map)
    }

    /// Forgets every flow and fragment, for the next scenario, and what the last one may have left uncounted.
    ///
    /// # Errors
    ///
    /// What kept the kernel from it.
    pub fn forget_state(&mut self) -> Result<()> {
        for &slot in self.programs.keys() {
            for direction in [Direction::Ingress, Direction::Egress] {
                self.counters.packets(Arrival::new(slot, direction))?;
            }
        }
        self.state.clear(&self.datapath.flow_table()?)
    }

    /// Adds established flows that never end.
    ///
    /// # Errors
    ///
    /// One that finds no place.
    pub fn insert_flows(&mut self, keys: impl Iterator<Item = KeyWords>) -> Result<()> {
        self.state.insert(&self.datapath.flow_table()?, keys)
    }

    /// Loads the programs of a slot, if they are not yet loaded.
    ///
    /// # Errors
    ///
    /// What kept the kernel from it.
    pub fn load(&mut self, slot: u32) -> Result<()> {
        if self.programs.contains_key(&slot) {
            return Ok(());
        }
        let mut programs = self.datapath.load_programs(slot, LinkLayer::Ethernet)?;
        match self.ingress {
            Ingress::Xdp => {
                let program: &mut Xdp =
                    programs.program_mut("ingress_xdp").context("no ingress_xdp")?.try_into()?;
                program.load().context("load ingress_xdp")?;
            }
            Ingress::Tc => load_classifier(&mut programs, "ingress_tc")?,
        }
        load_classifier(&mut programs, "egress_tc")?;
        self.programs.insert(slot, programs);
        Ok(())
    }

    /// Whether the kernel makes a test run on a frame (`net/bpf/test_run.c`): it must have an Ethernet header and, on
    /// TC, the fixed IP header that the Ethertype promises. What arrives on a link may be shorter.
    #[must_use]
    pub fn can_run(&self, arrival: Arrival, frame: &[u8]) -> bool {
        let is_xdp = arrival.direction == Direction::Ingress && self.ingress == Ingress::Xdp;
        let network_header = match frame.get(12..14) {
            None => return false,
            Some([0x08, 0x00]) if !is_xdp => 20,
            Some([0x86, 0xdd]) if !is_xdp => 40,
            Some(_) => 0,
        };
        frame.len() >= 14 + network_header
    }

    /// Decides a frame by its bytes, whatever they are.
    ///
    /// # Errors
    ///
    /// Where the program could not be run, or did not count the frame once, under the reason of its verdict.
    pub fn decide_bytes(&mut self, arrival: Arrival, frame: &[u8]) -> Result<Reason> {
        Ok(self.decision(arrival, frame)?.reason())
    }

    /// As [`Harness::decide_bytes`], and whether audit mode has passed what would be dropped.
    ///
    /// # Errors
    ///
    /// As [`Harness::decide_bytes`].
    pub fn decision(&mut self, arrival: Arrival, frame: &[u8]) -> Result<Decision> {
        self.load(arrival.slot)?;
        self.stop_the_clock()?;
        let verdict = self.run(arrival, frame)?;
        let decision = self.counters.moved(arrival, u64::try_from(frame.len())?)?;
        ensure!(
            decision.verdict() == verdict,
            "the verdict is {verdict:?}, but the reason counted is `{}`",
            decision.reason().name()
        );
        Ok(decision)
    }

    fn stop_the_clock(&mut self) -> Result<()> {
        self.state.stop_the_clock(|| Ok(self.datapath.flow_table()?))
    }

    /// Checks that nothing was counted but the frames decided, over all directions and reasons of the slots in use.
    ///
    /// # Errors
    ///
    /// Where something was.
    pub fn reconcile(&mut self) -> Result<()> {
        self.counters.reconcile(self.programs.keys().copied())
    }

    /// Checks that nothing was counted but the frames decided, over all slots, directions and reasons.
    ///
    /// # Errors
    ///
    /// Where something was.
    pub fn reconcile_all_slots(&mut self) -> Result<()> {
        self.counters.reconcile(0..MAX_INTERFACES)
    }

    /// How many frames each reason has been counted for since it was last looked at.
    ///
    /// # Errors
    ///
    /// What kept the kernel from telling.
    pub fn counted(&mut self, arrival: Arrival) -> Result<BTreeMap<Reason, u64>> {
        self.counters.packets(arrival)
    }

    /// Runs the program of a loaded slot on a frame and leaves the counters to others. Threads may do so at a time.
    ///
    /// # Errors
    ///
    /// Where the program could not be run.
    pub fn run(&self, arrival: Arrival, frame: &[u8]) -> Result<Verdict> {
        Ok(self.run_repeatedly(arrival, frame, 1)?.0)
    }

    /// Runs the program of a loaded slot on a frame so many times, and returns the last verdict and the time of one run
    /// on average.
    ///
    /// # Errors
    ///
    /// Where the program could not be run.
    pub fn run_repeatedly(&self, arrival: Arrival, frame: &[u8], times: u32) -> Result<(Verdict, Duration)> {
        let context = context(arrival.origin);
        let ctx_in = arrival.is_forwarded().then_some(context.as_slice());
        let options = TestRunOptions { data_in: Some(frame), ctx_in, repeat: times, ..TestRunOptions::new() };
        match self.program(arrival)? {
            Program::Xdp(program) => {
                let outcome = program.test_run(options)?;
                // XDP_DROP and XDP_PASS of `linux/bpf.h`.
                let verdict = match outcome.return_value {
                    1 => Verdict::Drop,
                    2 => Verdict::Pass,
                    other => bail!("the XDP program returned {other}"),
                };
                Ok((verdict, outcome.duration))
            }
            Program::Tc(program) => {
                let outcome = program.test_run(options)?;
                // TC_ACT_SHOT and TC_ACT_UNSPEC of `linux/pkt_cls.h`.
                let verdict = match outcome.return_value.cast_signed() {
                    2 => Verdict::Drop,
                    -1 => Verdict::Pass,
                    other => bail!("the TC program returned {other}"),
                };
                Ok((verdict, outcome.duration))
            }
        }
    }

    /// How many instructions the verifier walked through to accept the program of a loaded slot.
    ///
    /// # Errors
    ///
    /// Where the kernel does not tell.
    pub fn verified_instructions(&self, arrival: Arrival) -> Result<u32> {
        let info = match self.program(arrival)? {
            Program::Xdp(program) => program.info()?,
            Program::Tc(program) => program.info()?,
        };
        info.verified_instruction_count().context("the kernel does not count them")
    }

    fn program(&self, arrival: Arrival) -> Result<Program<'_>> {
        let programs = self.programs.get(&arrival.slot).context("the slot has no programs")?;
        let name = match (arrival.direction, self.ingress) {
            (Direction::Ingress, Ingress::Xdp) => {
                let program = programs.program("ingress_xdp").context("no ingress_xdp")?;
                return Ok(Program::Xdp(program.try_into()?));
            }
            (Direction::Ingress, Ingress::Tc) => "ingress_tc",
            (Direction::Egress, _) => "egress_tc",
        };
        Ok(Program::Tc(programs.program(name).context(name)?.try_into()?))
    }
}

/// The `__sk_buff` of a frame in a test run (`linux/bpf.h`): it leaves by the loopback device, number 1. Of all that may be
/// said about it, only by what it came in counts here.
fn context(origin: Origin) -> [u8; SK_BUFF_BYTES] {
    let came_in_by: u32 = match origin {
        Origin::Host => 0,
        Origin::SameInterface => LOOPBACK,
        Origin::OtherDevice => LOOPBACK + 1,
    };
    let mut context = [0; SK_BUFF_BYTES];
    context[INGRESS_IFINDEX..][..4].copy_from_slice(&came_in_by.to_ne_bytes());
    context[INGRESS_IFINDEX + 4..][..4].copy_from_slice(&LOOPBACK.to_ne_bytes());
    context
}

const SK_BUFF_BYTES: usize = 192;
/// Offset of `ingress_ifindex`, which `ifindex` follows: `len`, `pkt_type`, `mark`, `queue_mapping`, `protocol`, three words on
/// VLANs and `priority` come before.
const INGRESS_IFINDEX: usize = 9 * 4;
const LOOPBACK: u32 = 1;

/// A loaded program.
enum Program<'a> {
    Xdp(&'a Xdp),
    Tc(&'a SchedClassifier),
}

fn load_classifier(programs: &mut Ebpf, name: &'static str) -> Result<()> {
    let program: &mut SchedClassifier = programs.program_mut(name).context(name)?.try_into()?;
    program.load().with_context(|| format!("load {name}"))
}

impl Firewall for Harness {
    fn publish(&mut self, policy: &Policy) -> Result<()> {
        self.publish_for(policy, None)
    }

    fn decide(&mut self, arrival: Arrival, frame: &Frame) -> Result<Reason> {
        self.decide_bytes(arrival, &frame.to_bytes())
    }

    fn wait(&mut self, seconds: u32) -> Result<()> {
        self.stop_the_clock()?;
        self.state.age(&self.datapath.flow_table()?, seconds)
    }

    fn fill(&mut self) -> Result<()> {
        self.state.fill(&self.datapath.flow_table()?)
    }

    fn sockets(&mut self, sockets: Socket) -> Result<()> {
        ensure!(sockets == Socket::None, "a test run finds no sockets but those of the machine");
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        self.stop_the_clock()?;
        let expired = self.datapath.expire_flows(|_, _| false)?;
        Ok(self.datapath.settle_flows(&expired.asks, |_| Socket::None)?)
    }

    fn flows(&mut self) -> Result<usize> {
        self.stop_the_clock()?;
        self.state.flow_count(&self.datapath.flow_table()?)
    }
}

/// A directory in the bpffs that nobody else uses, removed with everything pinned in it.
#[derive(Debug)]
struct InstanceDirectory {
    path: PathBuf,
}

impl InstanceDirectory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { path: Path::new(BPFFS).join(format!("sgfw-prog-{}-{number}", std::process::id())) }
    }

    /// The one directory of the instance, `v<ABI version>`, has the pinned maps.
    fn maps(&self) -> Result<PathBuf> {
        let mut versions = std::fs::read_dir(&self.path)?;
        let version = versions.next().context("the instance's directory is empty")??;
        Ok(version.path().join("maps"))
    }
}

impl Drop for InstanceDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
