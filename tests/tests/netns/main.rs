//! Ring c: the real `sgfw` between real peers, on hosts in network namespaces. One module per feature.
//!
//! A scenario builds its own lab, so that scenarios run side by side. Needs root and bpffs; without them the tests say
//! that they skip, and fail if `SGFW_REQUIRE_BPF=1`.

mod bad_input;
mod concurrency;
mod detach;
mod dhcp;
mod dns;
mod hooks;
mod icmp;
mod lab;
mod log;
mod membership;
mod neighbors;
mod persistence;
mod port_scan;
mod readme;
mod reattach;
mod replies;
mod support;
mod three_tier;
mod throughput;
mod updates;
mod vpn;
