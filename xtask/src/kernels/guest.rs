//! A machine under QEMU, and what it says on its serial console.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::architecture::Architecture;
use super::filesystem::Initramfs;

/// A kernel counts interrupts of its timer as it boots, and panics if there are too few: as on an emulated machine that gets no CPU.
const BOOT_OPTIONS: &str = "quiet panic=-1 no_timer_check";

/// How long a guest may run, for the busiest machine: an end for one that hangs.
const SECONDS: &str = "1200";

/// The cards of a guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// None.
    None,
    /// Those that `tests/tests/netns/devices.rs` names: virtio-net and vmxnet3, each with another one at the other end of
    /// its cable, and one with offloads that its driver cannot turn off, as machines of clouds have them. That is plugged
    /// into a TAP device, which is the one thing that has them under QEMU; so QEMU gets a network namespace of its own. Cards
    /// without a ROM, lest the firmware look for something to boot there.
    Cards,
}

impl Network {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::None => &["-nic", "none"],
            Self::Cards => &[
                "-netdev",
                "hubport,id=virtio,hubid=0",
                "-device",
                "virtio-net-pci,netdev=virtio,romfile=,mac=52:54:00:00:00:01",
                "-netdev",
                "hubport,id=virtio-end,hubid=0",
                "-device",
                "virtio-net-pci,netdev=virtio-end,romfile=,mac=52:54:00:00:00:02",
                "-netdev",
                "tap,id=tap,ifname=sgfwtap0,script=no,downscript=no,vnet_hdr=on",
                "-device",
                "virtio-net-pci,netdev=tap,romfile=,mac=52:54:00:00:00:03,ctrl_guest_offloads=off",
                "-netdev",
                "hubport,id=vmware,hubid=1",
                "-device",
                "vmxnet3,netdev=vmware,romfile=,mac=52:54:00:00:00:04",
                "-netdev",
                "hubport,id=vmware-end,hubid=1",
                "-device",
                "virtio-net-pci,netdev=vmware-end,romfile=,mac=52:54:00:00:00:05",
            ],
        }
    }
}

/// Boots `image` until the guest ends itself, and returns its console. `variables` are those of the first process.
pub(crate) fn boot(
    architecture: Architecture,
    image: &Path,
    initramfs: &Initramfs,
    variables: &str,
    network: Network,
) -> Result<String> {
    ensure!(image.is_file(), "there is no kernel at {}", image.display());
    let mut qemu = match network {
        Network::None => Command::new("timeout"),
        Network::Cards => Command::new("unshare"),
    };
    if network == Network::Cards {
        qemu.args(["--net", "timeout"]);
    }
    qemu.args([SECONDS, architecture.qemu()])
        // Never KVM: it is absent or hangs where CI runs in a machine itself.
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "2G"])
        .args(architecture.machine())
        .args(["-nographic", "-no-reboot"])
        .args(network.options())
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(&initramfs.0)
        // A panic restarts the machine, which ends QEMU.
        .args(["-append", &format!("console={} {BOOT_OPTIONS} {variables}", architecture.console())]);
    console(&mut qemu)
}

/// What the guest has said. One that had to be ended is an error that says where it was.
fn console(qemu: &mut Command) -> Result<String> {
    let output = qemu.stdin(Stdio::null()).output().context("cannot start QEMU")?;
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "QEMU failed: {}\n{console}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(console)
}
