//! The shapes of Terraform's files around the resources: a state or a plan as JSON ("JSON Output Format" of Terraform's
//! documentation), and the raw state.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::address::Address;
use crate::interchange::input::OtherFields;

/// The mode of a data source.
pub(super) const DATA: &str = "data";

/// Any of the three.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    /// Of a state or plan as JSON.
    pub(super) format_version: Option<String>,
    /// Of a state.
    pub(super) values: Option<Values>,
    /// Of a plan: the state after its apply, as far as it is known.
    pub(super) planned_values: Option<Values>,
    pub(super) resource_changes: Option<Vec<ResourceChange>>,
    pub(super) configuration: Option<Configuration>,
    /// Of a raw state.
    pub(super) version: Option<u64>,
    pub(super) resources: Option<Vec<StateResource>>,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

#[derive(Debug, Deserialize)]
pub(super) struct Values {
    #[serde(default)]
    pub(super) root_module: Module,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Module {
    #[serde(default)]
    pub(super) resources: Vec<ModuleResource>,
    #[serde(default)]
    pub(super) child_modules: Vec<Module>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModuleResource {
    pub(super) address: String,
    pub(super) mode: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) values: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResourceChange {
    pub(super) address: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) change: Change,
}

#[derive(Debug, Deserialize)]
pub(super) struct Change {
    #[serde(default)]
    pub(super) before: Value,
}

/// What was written in the configuration of a plan.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    pub(super) root_module: ConfiguredModule,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ConfiguredModule {
    #[serde(default)]
    pub(super) resources: Vec<ConfiguredResource>,
    #[serde(default)]
    pub(super) module_calls: BTreeMap<String, ModuleCall>,
    #[serde(default)]
    pub(super) outputs: BTreeMap<String, Output>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ConfiguredResource {
    /// Within its module, without index.
    pub(super) address: String,
    #[serde(default)]
    pub(super) expressions: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModuleCall {
    #[serde(default)]
    pub(super) expressions: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) module: ConfiguredModule,
}

#[derive(Debug, Deserialize)]
pub(super) struct Output {
    #[serde(default)]
    pub(super) expression: Value,
}

/// A resource of a raw state.
#[derive(Debug, Deserialize)]
pub(super) struct StateResource {
    module: Option<String>,
    mode: String,
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    index_key: Option<Value>,
    #[serde(default)]
    attributes: Value,
}

impl StateResource {
    /// Address, type, whether it is a data source, and attributes of each instance.
    pub(super) fn into_instances(self) -> impl Iterator<Item = (Address, String, bool, Value)> {
        let is_data = self.mode == DATA;
        let module = self.module.map(|module| format!("{module}.")).unwrap_or_default();
        let data = if is_data { "data." } else { "" };
        let resource = format!("{module}{data}{}.{}", self.kind, self.name);
        self.instances.into_iter().map(move |instance| {
            let index = instance.index_key.map(|key| format!("[{key}]")).unwrap_or_default();
            (Address::parse(&format!("{resource}{index}")), self.kind.clone(), is_data, instance.attributes)
        })
    }
}
