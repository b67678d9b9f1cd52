//! What guests of one kind of processor differ in.

use clap::ValueEnum;

/// A kind of processor, as Debian calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// x86-64, as the machine that runs this.
    #[default]
    Amd64,
    /// AArch64, all of it emulated.
    Arm64,
}

impl Architecture {
    /// In the names of Debian's packages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// QEMU's program.
    pub(crate) const fn qemu(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// The machine that QEMU emulates.
    pub(crate) const fn machine(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["-cpu", "max"],
            Self::Arm64 => &["-machine", "virt", "-cpu", "cortex-a72"],
        }
    }

    /// Its serial port, to the kernel.
    pub(crate) const fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }

    /// The program that takes debug information out of programs.
    pub(crate) const fn strip(self) -> &'static str {
        match self {
            Self::Amd64 => "strip",
            Self::Arm64 => "aarch64-linux-gnu-strip",
        }
    }
}
