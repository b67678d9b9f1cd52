//! `cargo xtask guest`: tests that need devices or modules which a host may lack, in a machine under QEMU. By hand and in
//! `cargo xtask test --soak`: it takes a while, and nothing of it changes from day to day.

use anyhow::{Result, ensure};

use crate::kernels::apt::Apt;
use crate::kernels::architecture::Architecture;
use crate::kernels::debian::{self, Flavour, Series};
use crate::kernels::guest::Network;
use crate::kernels::programs::Programs;
use crate::kernels::test_guest::TestGuest;
use crate::{environment, requirement};

/// VLAN devices, bonds, cards with native XDP and one that refuses it; and `virtual_devices::`, bridges and macvlan devices.
const DEVICES: &str = "devices::";

/// The series of Debian 13.
const KERNEL: Series = Series::new(6, 12);

/// Options of `guest`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The series of Debian's kernel.
    #[arg(long, value_name = "VERSION", default_value_t = KERNEL)]
    kernel: Series,
    /// Take the kernel from this suite of Debian, as trixie-backports, instead of those that apt is configured for.
    #[arg(long, value_name = "SUITE")]
    suite: Option<String>,
    /// Run the tests of ring c whose names contain one of these; the default is those of devices.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { kernel: KERNEL, suite: None, names: Vec::new() }
    }
}

/// Boots the kernel and runs the tests.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    requirement::ensure_all(requirement::GUEST)?;
    ensure!(environment::is_root(), "the guest's network needs a namespace of its own: run it as root");
    let names = if arguments.names.is_empty() { vec![DEVICES.to_owned()] } else { arguments.names.clone() };
    let filters: Vec<String> = names.iter().map(|name| format!("netns/{name}")).collect();
    let apt = Apt::of(arguments.suite.as_deref(), Architecture::Amd64)?;
    let programs = Programs::of(&apt)?;
    // The kernels for cloud machines have no PPPoE, for one.
    for package in debian::packages(&apt, Flavour::Generic, &[arguments.kernel])? {
        let image = debian::image(&apt, &package)?;
        let guest = TestGuest::build(&programs, &image, Some(&package.modules()?))?;
        let console = guest.run(&filters.join(","), Network::Cards)?;
        println!("{}\n{console}", package.name);
    }
    Ok(())
}
