//! What is stored, as a document.

use crate::document::of_stored;
use crate::model::Document;
use crate::operations::policy::state;
use crate::operations::{Instance, OperationError};
use crate::plan::State;

/// Groups, prefix lists and interfaces, so that planning the document changes nothing.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn document(instance: &Instance) -> Result<Document, OperationError> {
    let State { groups, members, prefix_lists, interfaces } = instance.read(state)?;
    Ok(of_stored(&groups, members, &prefix_lists, interfaces))
}
