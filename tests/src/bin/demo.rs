//! The demo as a program of its own, so that `cargo xtask` can start it without being built with user space.

fn main() -> anyhow::Result<()> {
    firewall_tests::demo::run()
}
