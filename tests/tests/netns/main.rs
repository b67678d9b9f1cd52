//! Ring c: the real `sgfw` between real peers, on hosts in network namespaces. One module per feature.
//!
//! A scenario builds its own lab, so that scenarios run side by side. Needs root and bpffs; without them the tests say
//! that they skip, and fail if `SGFW_REQUIRE_BPF=1`.

mod abi;
mod acceptance;
mod audit;
mod bad_input;
mod bench;
mod bug_classes;
mod busy_host;
mod concurrency;
mod confirm;
mod crash;
mod detach;
mod dhcp;
mod dns;
mod exempt;
mod expire;
mod flows_cut;
mod forged_sources;
mod hooks;
mod icmp;
mod lab;
mod large_packets;
mod lockout;
mod log;
mod management;
mod membership;
mod model;
mod neighbors;
mod nft_export;
mod panic;
mod persistence;
mod plan;
mod port_scan;
mod readme;
mod reattach;
mod reload;
mod repair;
mod replies;
mod resize;
mod scale;
mod settings;
mod sshd;
mod state_attacks;
mod state_capacity;
mod support;
mod three_tier;
mod throughput;
mod timeouts;
mod transcripts;
mod updates;
mod virtual_devices;
mod vlan;
mod vpn;
mod whole_flow;
