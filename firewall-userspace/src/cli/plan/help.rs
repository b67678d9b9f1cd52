//! How to mend what is wrong with a document or with a saved plan.

use super::super::help::model_help;
use crate::model::ModelError;
use crate::plan::{PlanError, SavedPlanError};

/// Advice about a document that cannot be planned.
pub(in crate::cli) fn plan_help(error: &PlanError) -> Option<String> {
    let help = match error {
        PlanError::Group { source: ModelError::DuplicateGroup { .. }, .. } => {
            "a document lists each group once; leave the id out to mean the group of that name that exists".to_owned()
        }
        PlanError::PrefixList { source: ModelError::DuplicatePrefixList { .. }, .. } => {
            "a document lists each prefix list once; leave the id out to mean the list of that name that exists".to_owned()
        }
        PlanError::Group { source: ModelError::HasDependents { .. }, .. } => {
            "keep the group in the document, or list the interfaces with the groups that they are to carry instead"
                .to_owned()
        }
        PlanError::Group { source: ModelError::GroupNotFound { .. }, .. }
        | PlanError::Interface { source: ModelError::GroupNotFound { .. }, .. } => {
            "a document that lists groups lists every group; what it does not list is deleted".to_owned()
        }
        PlanError::Group { source: ModelError::PrefixListNotFound { .. }, .. } => {
            "a document that lists prefix lists lists every one; what it does not list is deleted".to_owned()
        }
        PlanError::Group { source, .. }
        | PlanError::PrefixList { source, .. }
        | PlanError::Interface { source, .. } => return model_help(source),
        PlanError::GroupRenamed { .. } => {
            "leave the id out to make another group of that name in its place".to_owned()
        }
        PlanError::GroupDescribedAnew { .. } => {
            "describe it as it is, or make another group under another name".to_owned()
        }
        PlanError::PrefixListFamily { .. } => "make another prefix list under another name".to_owned(),
        PlanError::InterfaceListedTwice { .. } => "list it once, with all its groups".to_owned(),
        PlanError::InterfaceNotAttached { interface } => {
            format!("attach it first: `sgfw interface attach {interface} --group default`")
        }
    };
    Some(help)
}

/// Advice about a file that is no plan.
pub(in crate::cli) fn saved_plan_help(error: &SavedPlanError) -> Option<String> {
    let help = match error {
        SavedPlanError::NotAPlan => {
            "`sgfw plan -f FILE -O PLAN` saves one; `sgfw apply -f FILE` applies a policy file"
        }
        SavedPlanError::UnknownVersion { .. } => "apply it with the sgfw that made it, or make it anew",
        SavedPlanError::Damaged | SavedPlanError::Unreadable(_) | SavedPlanError::InvalidValue(_) => {
            "make it anew with `sgfw plan -O`"
        }
    };
    Some(help.to_owned())
}
