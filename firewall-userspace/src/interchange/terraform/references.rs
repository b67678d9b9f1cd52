//! Which resources an expression of the configuration names. A plan does not have the identifiers of what it is to
//! create, but its configuration has the expressions that stand for them.

use serde_json::Value;

use super::Resource;
use super::address::{Address, Step};
use super::shape::ConfiguredModule;

/// A chain of variables and outputs is as long as modules are nested; Terraform has no cycles, a file may.
const MAX_CHAIN: usize = 32;

/// The expressions of a plan, and what they can name.
pub(super) struct References<'p> {
    configuration: Option<&'p ConfiguredModule>,
    resources: &'p [Resource],
}

/// What stands for the value of an attribute that is not known.
pub(super) enum Expression<'p> {
    /// Nothing was written: the attribute is not set.
    NotSet,
    /// One resource that is to be created.
    Resource(&'p Resource),
    /// Something else, or one of several.
    Other,
}

impl<'p> References<'p> {
    pub(super) const fn new(configuration: Option<&'p ConfiguredModule>, resources: &'p [Resource]) -> Self {
        Self { configuration, resources }
    }

    /// What the expression of an attribute of a resource names among the resources of some types.
    pub(super) fn of(&self, resource: &Resource, attribute: &str, types: &[&str]) -> Expression<'p> {
        let module = resource.address.module();
        let configured = self.module(module).and_then(|configured| {
            let address = resource.address.in_configuration();
            configured.resources.iter().find(|resource| resource.address == address)
        });
        let Some(references) =
            configured.and_then(|configured| configured.expressions.get(attribute)).and_then(references)
        else {
            return Expression::NotSet;
        };
        let mut named = Vec::new();
        self.follow(module, &references, types, MAX_CHAIN, &mut named);
        let mut candidates: Vec<&Resource> = self
            .resources
            .iter()
            .filter(|candidate| candidate.has_unknown_id())
            .filter(|candidate| named.iter().any(|address| address.means(&candidate.address)))
            .collect();
        let follows_index =
            references.iter().any(|reference| ["each.key", "each.value", "count.index"].contains(reference));
        if candidates.len() > 1 && follows_index {
            candidates.retain(|candidate| candidate.address.index() == resource.address.index());
        }
        match candidates[..] {
            [candidate] => Expression::Resource(candidate),
            _ => Expression::Other,
        }
    }

    /// Collects the resources that references stand for, through variables and outputs of modules.
    fn follow(
        &self,
        module: &[Step],
        references: &[&str],
        types: &[&str],
        chain: usize,
        named: &mut Vec<Address>,
    ) {
        if chain == 0 {
            return;
        }
        for reference in most_specific(references) {
            let steps = reference.steps();
            let next = match steps {
                [kind, _, ..] if types.contains(&kind.name.as_str()) => {
                    named.push(Address::within(module, &steps[..2]));
                    continue;
                }
                [var, name, ..] if var.name == "var" => self.variable(module, &name.name),
                [word, call, output, ..] if word.name == "module" => {
                    let child = [module, &[word.clone(), call.clone()]].concat();
                    self.output(child, &output.name)
                }
                _ => None,
            };
            if let Some((module, references)) = next {
                self.follow(&module, &references, types, chain - 1, named);
            }
        }
    }

    /// What the caller of a module gives for a variable, and the module of the caller.
    fn variable(&self, module: &[Step], name: &str) -> Option<(Vec<Step>, Vec<&'p str>)> {
        let (caller, call) = module.split_at(module.len().checked_sub(2)?);
        let call = self.module(caller)?.module_calls.get(&call[1].name)?;
        Some((caller.to_vec(), references(call.expressions.get(name)?)?))
    }

    /// What a module gives as an output.
    fn output(&self, module: Vec<Step>, name: &str) -> Option<(Vec<Step>, Vec<&'p str>)> {
        let references = references(&self.module(&module)?.outputs.get(name)?.expression)?;
        Some((module, references))
    }

    fn module(&self, path: &[Step]) -> Option<&'p ConfiguredModule> {
        path.chunks_exact(2).try_fold(self.configuration?, |module, call| {
            Some(&module.module_calls.get(&call[1].name)?.module)
        })
    }
}

fn references(expression: &Value) -> Option<Vec<&str>> {
    Some(expression.get("references")?.as_array()?.iter().filter_map(Value::as_str).collect())
}

/// Terraform lists `a.b[0].id`, `a.b[0]` and `a.b` for one reference; the last two would mean other instances as well.
fn most_specific(references: &[&str]) -> Vec<Address> {
    let is_start_of = |start: &str, longer: &&str| {
        longer.strip_prefix(start).is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    references
        .iter()
        .filter(|reference| !references.iter().any(|other| is_start_of(reference, other)))
        .map(|reference| Address::parse(reference))
        .collect()
}
