//! A lab: hosts in network namespaces around a router, with the real `sgfw` on any of them.
//!
//! The [`demo`](crate::demo) and the network tests (`tests/netns`) build one, run servers and clients in its hosts
//! and drive `sgfw` as an operator does. A lab knows nothing about security groups: what should be reachable is the
//! business of its callers. It never touches the machine's own interfaces, and what it made is gone after its drop.

mod finished;
mod host;
mod leftovers;
mod namespace;
mod once_free;
mod packet_socket;
mod probe;
mod process;
mod server;
mod sgfw;
mod stepper;
mod topology;
mod without_tcx;

use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::Uid;
use tempfile::TempDir;

pub use finished::Finished;
pub use host::{Host, INTERFACE, INTERFACE_INDEX};
pub use namespace::Namespace;
pub(crate) use once_free::once_free;
pub use packet_socket::PacketSocket;
pub use probe::{Reachability, ping, receive, tcp_connect, udp_exchange};
pub use process::Process;
pub use server::{TcpServer, UdpServer};
pub use sgfw::{IngressHook, Instance, binary};
pub use stepper::{Step, Stepped};
pub use topology::{Family, HostPlan, Link, Topology};
pub use without_tcx::{has_tcx, without_tcx};

/// Where bpffs is mounted.
pub const BPFFS: &str = "/sys/fs/bpf";

/// The name of the router in every lab.
pub const ROUTER: &str = "router";

/// Labs that this process has built.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A running topology.
#[derive(Debug)]
pub struct Lab {
    // Fields drop in this order: hosts unpin what they attached before their namespaces go.
    hosts: Vec<Host>,
    router: Namespace,
    bpffs: PathBuf,
    directory: TempDir,
}

impl Lab {
    /// Builds `topology` from nothing.
    ///
    /// # Errors
    ///
    /// When `ip` refuses something; the error shows its input and its words.
    pub fn build(topology: &Topology) -> Result<Self> {
        leftovers::remove();
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let owner = format!("{}-{number}", std::process::id());
        let prefix = format!("{}{owner}", leftovers::NAMESPACE_PREFIX);
        let bpffs = Path::new(BPFFS).join(format!("{}{owner}", leftovers::BPFFS_PREFIX));
        let directory = format!("{}{owner}-", leftovers::DIRECTORY_PREFIX);
        let directory = tempfile::Builder::new().prefix(&directory).tempdir()?;
        // Servers that give up root must reach what their test puts here.
        open_to_everybody(directory.path())?;

        let router = Namespace::create(format!("{prefix}-{ROUTER}"))?;
        router.forward()?;
        let mut hosts = Vec::new();
        for plan in &topology.hosts {
            let namespace = Namespace::create(format!("{prefix}-{}", plan.name))?;
            let state = directory.path().join(plan.name);
            hosts.push(Host::new(plan, namespace, state, bpffs.join(plan.name)));
        }
        let lab = Self { hosts, router, bpffs, directory };
        lab.router.ip_batch("link set lo up")?;
        lab.hosts.iter().try_for_each(|host| lab.connect(host, INTERFACE_INDEX))?;
        Ok(lab)
    }

    /// The host that the topology calls `name`.
    #[track_caller]
    pub fn host(&self, name: &str) -> &Host {
        match self.hosts.iter().find(|host| host.name() == name) {
            Some(host) => host,
            None => panic!("the topology has no host `{name}`"),
        }
    }

    /// Every host but the router, in the order of the topology.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The namespace between the hosts. Its end of a host's link is called `to-HOST`.
    pub fn router(&self) -> &Namespace {
        &self.router
    }

    /// A folder for the files of this lab, removed with it. Everybody may enter it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Connects a host to the router: a veth pair, addresses and default routes of both families. A scenario that
    /// has taken the interface away makes it anew, with the same `index` or another one.
    ///
    /// # Errors
    ///
    /// When `ip` refuses something, as it does when the host is connected already.
    pub fn connect(&self, host: &Host, index: u32) -> Result<()> {
        let (name, link) = (host.name(), host.link());
        let [v4_length, v6_length] = Family::ALL.map(Family::link_prefix_length);
        let [router_v4, router_v6] = Family::ALL.map(|family| link.router(family));
        let [host_v4, host_v6] = Family::ALL.map(|family| link.host(family));
        self.router.ip_batch(&format!(
            "link add to-{name} type veth peer name {INTERFACE} index {index} netns {}\n\
             link set to-{name} up\n\
             address add {router_v4}/{v4_length} dev to-{name}\n\
             address add {router_v6}/{v6_length} dev to-{name} nodad\n",
            host.namespace().name(),
        ))?;
        host.namespace().ip_batch(&format!(
            "link set lo up\n\
             link set {INTERFACE} up\n\
             address add {host_v4}/{v4_length} dev {INTERFACE}\n\
             address add {host_v6}/{v6_length} dev {INTERFACE} nodad\n\
             route add default via {router_v4}\n\
             route add default via {router_v6}\n",
        ))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.hosts.clear();
        // Gone already unless a host left something behind, which must not outlive the lab either.
        leftovers::remove_pins(&self.bpffs);
    }
}

/// What this process lacks to make namespaces and load programs, if anything.
pub fn missing_privilege() -> Option<&'static str> {
    if !Uid::effective().is_root() {
        return Some("root");
    }
    let mounted = statfs(BPFFS).is_ok_and(|file_system| file_system.filesystem_type() == BPF_FS_MAGIC);
    (!mounted).then_some("bpffs (mount -t bpf bpf /sys/fs/bpf)")
}

fn open_to_everybody(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open {} to other users", directory.display()))
}

/// Runs `command` to its end with `input`, and returns what it wrote to standard output.
fn run(command: &mut Command, input: &str) -> Result<String> {
    let mut file = tempfile::tempfile()?;
    std::io::Write::write_all(&mut file, input.as_bytes())?;
    file.rewind()?;
    let output = command.stdin(Stdio::from(file)).output();
    let output = output.with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}\n{input}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let mut text = String::new();
    output.stdout.as_slice().read_to_string(&mut text)?;
    Ok(text)
}
