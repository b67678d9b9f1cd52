//! The first process of a guest that `cargo xtask kernels` boots.

fn main() -> anyhow::Result<()> {
    firewall_tests::guest::run()
}
