//! Where packets are decided is where the operator wants it, and `sgfw` says where that is.

use firewall_tests::lab::{INTERFACE, Lab, Topology};

use crate::support::{create_group, json, privileged};

#[test]
fn the_hook_in_force_is_shown() {
    privileged(|| {
        // On veth, XDP would cost TCP its segmentation offload, so that `auto` does not use it.
        for (wanted, ingress, because) in [
            ("xdp", "xdp-native", "it was asked for"),
            ("tc", "tcx", "it was asked for"),
            ("auto", "tcx", "the device is made of software"),
        ] {
            let lab = Lab::build(&Topology::star(["app"])).unwrap();
            let app = lab.host("app");
            create_group(app, "app", &[]);
            let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {wanted}");
            app.sgfw(&attach).expect_success();
            for command in ["status", "interface list"] {
                let interface = &json(app, command)["Interfaces"][0];
                assert_eq!(interface["IngressHook"], ingress, "{wanted}");
                assert_eq!(interface["EgressHook"], "tcx", "{wanted}");
            }
            let explained = app.sgfw("status --verbose").expect_success();
            let line = explained.lines().find(|line| line.contains(because));
            let line = line.unwrap_or_else(|| panic!("{explained}"));
            assert!(line.starts_with(INTERFACE) && line.contains(wanted) && line.contains(ingress), "{line}");
        }
    });
}
