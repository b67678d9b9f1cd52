//! Every tag.

use crate::model::{Resource, Tags};
use crate::operations::{Instance, OperationError};

/// Every resource that has tags, with its tags.
pub fn all_tags(instance: &Instance) -> Result<Vec<(Resource, Tags)>, OperationError> {
    instance.read(|snapshot| {
        let mut tagged = Vec::new();
        for group in snapshot.groups()? {
            tagged.push((Resource::Group(group.id), group.tags));
            tagged.extend(group.rules.into_iter().map(|rule| (Resource::Rule(rule.id), rule.tags)));
        }
        let lists = snapshot.prefix_lists()?.into_iter();
        tagged.extend(lists.map(|list| (Resource::PrefixList(list.id), list.tags)));
        tagged.retain(|(_, tags)| !tags.is_empty());
        Ok(tagged)
    })
}
