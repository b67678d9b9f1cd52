//! The benchmark works: every part measures, and every frame is decided as it should be. The figures of so short a run
//! mean nothing.

use firewall_tests::bench::report::{baseline, to_json, to_svg, to_table};
use firewall_tests::bench::{self, Extent, Part};

use crate::support::privileged;

#[test]
fn the_benchmark_measures_everything_and_no_row_is_void() {
    privileged(|| {
        let report = bench::run(&Part::ALL, Extent::Smoke, "cargo xtask bench").unwrap();
        let void: Vec<_> = report.rows.iter().filter_map(|row| row.void.as_ref()).collect();
        assert!(void.is_empty(), "{void:?}");
        let table = to_table(&report);
        for part in
            ["path", "denied", "established", "bulk", "http", "publish", "updates", "plan", "memory", "sweep"]
        {
            assert!(table.contains(part), "{part} is missing in\n{table}");
        }
        assert!(to_svg(&report).unwrap().contains("ipv6/new-flow"));
        // A run held against itself.
        assert_eq!(baseline::regressions(&report, &to_json(&report)).unwrap(), []);
    });
}
