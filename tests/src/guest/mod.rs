//! What a guest under QEMU does as its first process. It loads every program into its kernel and says on the console what
//! became of each (`cargo xtask kernels`), or it runs tests (`kernels --flow`, `cargo xtask guest`). Then it ends the machine.
//!
//! Lines for xtask begin with `sgfw-guest:`:
//! `loaded PROGRAM INSTRUCTIONS`, `refused PROGRAM REASON`, `control PROGRAM loaded|REASON`, `tests passed|failed`,
//! `finished`.

use std::env;
use std::fs::{File, OpenOptions, create_dir_all};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use firewall_common::abi::ANY_SLOT;
use firewall_userspace::datapath::{Datapath, LinkLayer};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::getpid;

/// What a line for xtask begins with.
const MARK: &str = "sgfw-guest:";

/// The object that `sgfw` carries.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../firewall-userspace/bpf/firewall.bpfel.o"
));

/// Set on the kernel's command line, which makes it a variable of the first process: the control is loaded too.
const CONTROL: &str = "SGFW_CONTROL";

/// `goto +0`, which does nothing.
const NO_OPERATION: [u8; 8] = [0x05, 0, 0, 0, 0, 0, 0, 0];

/// How verifiers before 6.12 refuse a packet offset without a bound.
const UNBOUNDED: [&str; 2] =
    ["math between pkt pointer and register with unbounded", "invalid access to packet"];

/// Loads the programs and ends the machine.
///
/// # Errors
///
/// Where this is not the first process of a guest. What goes wrong later is said on the console.
pub fn run() -> Result<()> {
    ensure!(getpid().as_raw() == 1, "this is the first process of a guest: `cargo xtask kernels` boots it");
    mount_filesystems()?;
    let mut console = OpenOptions::new().write(true).open("/dev/console").context("open the console")?;
    let outcome = match env::var("SGFW_TESTS") {
        Ok(filters) => run_tests(&mut console, &filters),
        Err(_) => load_programs(&mut console),
    };
    match outcome {
        Ok(()) => writeln!(console, "{MARK} finished")?,
        Err(error) => writeln!(console, "{MARK} failed {error:#}")?,
    }
    // QEMU is told to end where the machine would start again.
    reboot(RebootMode::RB_AUTOBOOT).context("end the machine")?;
    Ok(())
}

fn mount_filesystems() -> Result<()> {
    for (kind, target) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("bpf", "/sys/fs/bpf"),
        ("tmpfs", "/run"),
    ] {
        let _ = create_dir_all(target);
        mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mount {kind} on {target}"))?;
    }
    Ok(())
}

/// Runs tests, one after another: the machine is slow. `filters` are as `netns/vlan::,prog/tables::`, each a test binary and
/// what the names contain.
fn run_tests(console: &mut File, filters: &str) -> Result<()> {
    load_drivers();
    let mut has_passed = true;
    for (binary, filter) in filters.split(',').filter_map(|filter| filter.split_once('/')) {
        let status = Command::new(format!("/bin/{binary}"))
            .args(["--test-threads=1", "--include-ignored", filter])
            // Inherited by everything that tests start.
            .env("PATH", "/bin:/sbin")
            .env("SGFW_BIN", "/bin/sgfw")
            .env("SGFW_REQUIRE_BPF", "1")
            .stdout(console.try_clone().context("the console")?)
            .stderr(console.try_clone().context("the console")?)
            .status()
            .context("start the tests")?;
        has_passed &= status.success();
    }
    writeln!(console, "{MARK} tests {}", if has_passed { "passed" } else { "failed" })?;
    Ok(())
}

/// Those of the guest's cards: where no udev runs, no device asks for its own. A kernel may lack one; the tests of that card
/// find none then.
fn load_drivers() {
    for driver in ["virtio_pci", "virtio_net", "vmxnet3"] {
        let _ = Command::new("/sbin/modprobe").args(["--quiet", driver]).status();
    }
}

fn load_programs(console: &mut File) -> Result<()> {
    // As `sgfw` does: with maps that are pinned.
    let datapath = Datapath::create(Path::new("/sys/fs/bpf/sgfw"), 1024).context("create the maps")?;
    let mut programs = datapath.load_programs(ANY_SLOT, LinkLayer::Ethernet).context("load the object")?;
    for (name, outcome) in load(&mut programs) {
        match outcome {
            Ok(instructions) => writeln!(console, "{MARK} loaded {name} {instructions}")?,
            Err(error) => writeln!(console, "{MARK} refused {name} {}", last_lines(&log_of(&error)))?,
        }
    }
    if env::var_os(CONTROL).is_some() {
        let mut programs = EbpfLoader::new().load(&without_mask(OBJECT)?).context("load the control")?;
        for (name, outcome) in load(&mut programs) {
            let outcome = match outcome {
                Ok(_) => "loaded".to_owned(),
                Err(error) => {
                    let log = log_of(&error);
                    let reason = UNBOUNDED.into_iter().find(|reason| log.contains(reason));
                    reason.map_or_else(|| last_lines(&log), |reason| format!("unbounded: {reason}"))
                }
            };
            writeln!(console, "{MARK} control {name} {outcome}")?;
        }
    }
    Ok(())
}

/// Loads all programs at the same time: how many instructions the verifier walked through, or its refusal.
fn load(programs: &mut Ebpf) -> Vec<(String, Result<u32, ProgramError>)> {
    thread::scope(|scope| {
        let loads: Vec<_> = programs
            .programs_mut()
            .map(|(name, program)| (name.to_owned(), scope.spawn(|| load_one(program))))
            .collect();
        loads.into_iter().map(|(name, load)| (name, load.join().expect("no panic"))).collect()
    })
}

fn load_one(program: &mut Program) -> Result<u32, ProgramError> {
    match program {
        Program::Xdp(xdp) => xdp.load()?,
        Program::SchedClassifier(classifier) => classifier.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(program.info()?.verified_instruction_count().unwrap_or_default())
}

fn log_of(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { verifier_log, io_error } => format!("{verifier_log}\n{io_error}"),
        error => error.to_string(),
    }
}

/// The end of a log, in one line.
fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// The object as it would be without the bound on packet offsets (`bounded` in `firewall-ebpf/src/packet.rs`): each such
/// instruction does nothing.
fn without_mask(object: &[u8]) -> Result<Vec<u8>> {
    let mut control = object.to_vec();
    let mut masks = 0;
    // Sections of code are aligned to an instruction's size.
    for instruction in control.chunks_exact_mut(8) {
        let (operation, register) = (instruction[0], instruction[1]);
        if operation == 0x57 && register < 10 && instruction[2..] == [0, 0, 0xff, 0x07, 0, 0] {
            instruction.copy_from_slice(&NO_OPERATION);
            masks += 1;
        }
    }
    ensure!(masks > 0, "the object has no bounds to take away");
    Ok(control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_lacks_every_bound_and_nothing_else() {
        let control = without_mask(OBJECT).unwrap();
        assert!(without_mask(&control).is_err());
        let changed = control.chunks(8).zip(OBJECT.chunks(8)).filter(|(after, before)| after != before);
        assert!(changed.into_iter().all(|(after, before)| after == NO_OPERATION && before[0] == 0x57));
    }
}
