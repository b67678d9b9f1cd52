//! Terraform: reads `terraform show -json` of a state or a plan and `terraform.tfstate`, writes a configuration.
//!
//! The resources are those of the provider `hashicorp/aws`. Places are resource addresses, which say more to whoever
//! wrote the configuration than paths in the JSON.

mod address;
mod attributes;
mod hcl;
mod plan;
mod references;
mod resources;
mod rules;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use super::draft::Draft;
use super::{ImportError, Imported, Source, input};
use address::Address;
use references::References;
use shape::{File, Module};

pub use write::write;

const EXPECTED: &str = "the output of `terraform show -json` or a terraform.tfstate";
/// The version of terraform.tfstate since Terraform 0.12.
const STATE_VERSION: u64 = 4;

/// Reads the files as one policy; only the groups of `vpc` if it is given. Of a plan, what will be after its apply.
pub fn read(files: &[Source], vpc: Option<&str>) -> Result<Imported, ImportError> {
    let mut draft = Draft::default();
    for file in files {
        add_file(&mut draft, file)?;
    }
    draft.into_document(vpc)
}

/// A resource, or a data source.
#[derive(Debug)]
struct Resource {
    address: Address,
    /// File and address.
    place: String,
    kind: String,
    is_data: bool,
    values: serde_json::Value,
}

impl Resource {
    /// Parses the attributes.
    fn attributes<T: serde::de::DeserializeOwned>(&self) -> Result<T, ImportError> {
        input::parse_part(&self.place, self.values.clone())
    }

    /// Whether only an apply will tell the identifier.
    fn has_unknown_id(&self) -> bool {
        !self.values["id"].is_string()
    }
}

fn add_file(draft: &mut Draft, file: &Source) -> Result<(), ImportError> {
    let shape: File = input::parse(file)?;
    let mut resources = Vec::new();
    if shape.format_version.is_some() {
        let values = shape.planned_values.or(shape.values);
        values.into_iter().for_each(|values| add_module(&mut resources, file, values.root_module));
    } else if let Some(version) = shape.version {
        if version != STATE_VERSION {
            return Err(ImportError::StateVersion { file: file.name.clone(), version });
        }
        for resource in shape.resources.into_iter().flatten() {
            resources.extend(resource.into_instances().map(|(address, kind, is_data, values)| Resource {
                place: format!("{}: {address}", file.name),
                address,
                kind,
                is_data,
                values,
            }));
        }
    } else {
        let keys = shape.other.into_keys().collect();
        return Err(ImportError::OtherJson { file: file.name.clone(), expected: EXPECTED, keys });
    }
    let configuration = shape.configuration.map(|configuration| configuration.root_module);
    let references = References::new(configuration.as_ref(), &resources);
    let replaced = plan::rules_before(&file.name, shape.resource_changes.unwrap_or_default())?;
    resources::add(draft, &resources, &references, &replaced)
}

fn add_module(resources: &mut Vec<Resource>, file: &Source, module: Module) {
    for resource in module.resources {
        resources.push(Resource {
            place: format!("{}: {}", file.name, resource.address),
            address: Address::parse(&resource.address),
            kind: resource.kind,
            is_data: resource.mode == shape::DATA,
            values: resource.values,
        });
    }
    for child in module.child_modules {
        add_module(resources, file, child);
    }
}
