//! A kernel without TCX, by which egress is attached whatever the ingress hook: nothing can be attached, and `sgfw` says what
//! is missing. `cargo xtask kernels 6.1 --flow` runs this on Debian 12's kernel, which answers EINVAL, as one does that is
//! built without `CONFIG_NET_XGRESS`.

use std::fs;

use firewall_tests::lab::Reachability::Open;
use firewall_tests::lab::{Family, INTERFACE, Lab, TcpServer, Topology, tcp_connect};

use crate::support::create_group;

#[test]
#[ignore = "needs a kernel without TCX: `cargo xtask kernels 6.1 --flow`"]
fn what_the_kernel_lacks_is_said_and_nothing_is_left_behind() {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 80, |_| Ok(())).unwrap();
    create_group(app, "app", &[]);
    for hook in ["auto", "xdp", "tc"] {
        let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
        let refused = app.sgfw(&attach).expect_failure(69);
        for words in ["the kernel has no TCX", INTERFACE, "came with Linux 6.6 and needs CONFIG_NET_XGRESS"] {
            assert!(refused.contains(words), "{hook}: {refused}");
        }
        let pins = fs::read_dir(&app.instance().bpffs_directory).map_or(0, Iterator::count);
        assert_eq!(pins, 0, "{hook}: something is pinned");
        for family in Family::ALL {
            assert_eq!(tcp_connect(client, app.address(family), 80), Open, "{hook}, {family}");
        }
    }
}
