use proptest::prelude::*;

use super::*;
use crate::model::{DocumentInterface, InterfaceOptions, Timeout};
use crate::plan::strategy;

fn plan(document: Document) -> SavedPlan {
    SavedPlan { default_group: "sg-0123456789abcdef0".parse().unwrap(), generation: 41, document }
}

proptest! {
    #[test]
    fn a_plan_reads_back_as_it_was_saved(document in strategy::document()) {
        let plan = plan(document);
        prop_assert_eq!(SavedPlan::from_bytes(&plan.to_bytes().unwrap()).unwrap(), plan);
    }
}

#[test]
fn options_and_missing_sections_read_back_too() {
    let mut options = InterfaceOptions { tcp_strict: true, ..InterfaceOptions::default() };
    options.timeouts.set(Timeout::Udp, 45).unwrap();
    options.exemptions.arp = false;
    options.always_track.insert("10.0.0.0/8".parse().unwrap());
    let interface = |options| DocumentInterface {
        name: "eth7".to_owned(),
        groups: vec!["web".parse().unwrap(), "sg-0123456789abcdef1".parse().unwrap()],
        options,
    };
    let interfaces = Some(vec![interface(None), interface(Some(options))]);
    let plan = plan(Document { interfaces, ..Document::default() });
    assert_eq!(SavedPlan::from_bytes(&plan.to_bytes().unwrap()).unwrap(), plan);
}

#[test]
fn whatever_is_changed_or_cut_off_is_noticed() {
    let bytes = plan(Document::default()).to_bytes().unwrap();
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1;
        SavedPlan::from_bytes(&changed).unwrap_err();
        SavedPlan::from_bytes(&bytes[..position]).unwrap_err();
    }
    let longer = [&bytes[..], b" "].concat();
    assert!(matches!(SavedPlan::from_bytes(&longer), Err(SavedPlanError::Damaged)));
}

#[test]
fn other_files_and_other_versions_are_told_apart() {
    for foreign in [&b""[..], b"version: 1\ngroups: []\n", b"sgfw-plan\n", b"sgfw-plan x\n", b"\xff\n"] {
        assert!(matches!(SavedPlan::from_bytes(foreign), Err(SavedPlanError::NotAPlan)));
    }
    let text = String::from_utf8(plan(Document::default()).to_bytes().unwrap()).unwrap();
    let newer = text.replacen("sgfw-plan 1", "sgfw-plan 2", 1);
    let error = SavedPlan::from_bytes(newer.as_bytes()).unwrap_err();
    assert!(matches!(error, SavedPlanError::UnknownVersion { found: 2, supported: 1 }), "{error}");
}
