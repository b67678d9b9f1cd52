use super::read;
use crate::document::write_yaml;
use crate::interchange::Source;

const STATE: &str = include_str!("../../../tests/fixtures/terraform/state.json");
const RAW: &str = include_str!("../../../tests/fixtures/terraform/terraform.tfstate");
const CREATE: &str = include_str!("../../../tests/fixtures/terraform/plan-create.json");
const CHANGE: &str = include_str!("../../../tests/fixtures/terraform/plan-change.json");

#[test]
fn p() {
    for (n, t) in [("create", CREATE), ("state", STATE), ("raw", RAW), ("change", CHANGE)] {
        let i = read(&[Source { name: n.into(), text: t.into() }], None).unwrap();
        println!("=== {n}\n{}", write_yaml(&i.document));
        for o in &i.not_carried_over {
            println!("{o}");
        }
    }
}
