//! The lab itself: what it built is gone afterwards, also when a scenario fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use firewall_tests::lab::{Host, IngressHook, Lab, Topology};

use crate::support::{privileged, protect};

const FAILURE: &str = "as a scenario fails";

#[test]
fn a_failed_scenario_leaves_nothing_behind() {
    privileged(|| {
        let mut traces = Vec::new();
        let scenario = catch_unwind(AssertUnwindSafe(|| {
            let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
            protect(lab.host("app"), IngressHook::Tc, "app", &[]);
            traces = lab.hosts().iter().flat_map(what_exists).collect();
            traces.push(lab.directory().to_path_buf());
            assert!(lab.host("app").instance().bpffs_directory.exists());
            panic!("{FAILURE}");
        }));
        assert_eq!(scenario.unwrap_err().downcast_ref::<String>().unwrap(), FAILURE);
        let left: Vec<_> = traces.iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

fn what_exists(host: &Host) -> [PathBuf; 2] {
    let namespace = Path::new("/run/netns").join(host.namespace().name());
    [namespace, host.instance().bpffs_directory.clone()]
}
