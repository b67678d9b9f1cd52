//! The example of the library does what it says.

#[path = "../examples/own_namespace.rs"]
#[expect(dead_code, reason = "its `main` is for whoever runs it")]
mod own_namespace;

use firewall_userspace::operations::queries::tracking::Tracking;

#[test]
fn the_example_protects_an_interface_of_a_namespace_of_its_own() {
    if !nix::unistd::geteuid().is_root() {
        let may_skip = std::env::var_os("SGFW_REQUIRE_BPF").is_none_or(|value| value != "1");
        assert!(may_skip, "this test needs root, and SGFW_REQUIRE_BPF=1 forbids to skip it");
        eprintln!("skipped: this test needs root");
        return;
    }
    assert_eq!(own_namespace::run().unwrap(), Tracking::Tracked);
}
