//! What the machine is like: network namespaces, interfaces and their addresses, open connections, privileges, kernel, bpffs.
//!
//! Called by `operations`. This module must not know about groups, the store or BPF maps.

mod bpffs;
mod capability;
mod error;
mod interface;
mod kernel;
mod namespace;
mod sockets;

pub use bpffs::mount as mount_bpffs;
pub use capability::{Act, Capability, denied, lacking};
pub use error::HostError;
pub use interface::{addresses, addresses_by_name, index_of, name_of, names};
pub use kernel::{require_no_preempt_rt, require_root};
pub use namespace::{current as current_namespace, enter as enter_namespace};
pub use sockets::{Connection, ConnectionProtocol, TcpStage, connections, tcp_connections};
