//! Exempt addresses.

use crate::model::{
    ExemptAddress, ExemptAddressId, ExemptProperties, ModelError, NewExemptAddress, aws_link_local,
};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};

/// Exempts addresses, all or none.
pub fn add(
    instance: &Instance,
    options: ChangeOptions<'_>,
    new: Vec<NewExemptAddress>,
) -> Result<Changed<Vec<ExemptAddress>>, OperationError> {
    if let Some(useless) = new.iter().find(|address| !address.properties.can_match()) {
        return Err(ModelError::ExemptsNothing { properties: useless.properties }.into());
    }
    instance.change(options, |transaction| {
        let mut known: Vec<ExemptProperties> =
            transaction.exempt_addresses()?.iter().map(|address| address.properties).collect();
        for &NewExemptAddress { properties, .. } in &new {
            if known.contains(&properties) {
                return Err(ModelError::DuplicateExemptAddress { properties }.into());
            }
            known.push(properties);
        }
        let added = with_ids(new)?;
        transaction.insert_exempt_addresses(&added)?;
        Ok(added)
    })
}

/// Exempts the link-local services of AWS, as far as they are not exempt yet. Returns those that are new.
pub fn add_aws_link_local(
    instance: &Instance,
    options: ChangeOptions<'_>,
) -> Result<Changed<Vec<ExemptAddress>>, OperationError> {
    let mut new = aws_link_local()?;
    instance.change(options, |transaction| {
        let known = transaction.exempt_addresses()?;
        new.retain(|new| known.iter().all(|known| known.properties != new.properties));
        let added = with_ids(new)?;
        transaction.insert_exempt_addresses(&added)?;
        Ok(added)
    })
}

/// Ends the exemption of addresses with exactly these properties, all or none.
pub fn remove(
    instance: &Instance,
    options: ChangeOptions<'_>,
    properties: &[ExemptProperties],
) -> Result<Changed<Vec<ExemptAddress>>, OperationError> {
    remove_by(
        instance,
        options,
        |address| properties.contains(&address.properties),
        |known| {
            let missing =
                properties.iter().find(|wanted| known.iter().all(|known| known.properties != **wanted));
            missing.map(|&properties| ModelError::ExemptAddressNotFound { properties })
        },
    )
}

/// Ends exemptions by id, all or none.
pub fn remove_by_id(
    instance: &Instance,
    options: ChangeOptions<'_>,
    ids: &[ExemptAddressId],
) -> Result<Changed<Vec<ExemptAddress>>, OperationError> {
    remove_by(
        instance,
        options,
        |address| ids.contains(&address.id),
        |known| {
            let missing = ids.iter().find(|id| known.iter().all(|known| known.id != **id));
            missing.map(|&id| ModelError::ExemptAddressIdNotFound { id })
        },
    )
}

/// Ends the exemptions that are `wanted`, unless one is `missing`.
fn remove_by(
    instance: &Instance,
    options: ChangeOptions<'_>,
    wanted: impl Fn(&ExemptAddress) -> bool,
    missing: impl FnOnce(&[ExemptAddress]) -> Option<ModelError>,
) -> Result<Changed<Vec<ExemptAddress>>, OperationError> {
    instance.change(options, |transaction| {
        let mut addresses = transaction.exempt_addresses()?;
        if let Some(error) = missing(&addresses) {
            return Err(error.into());
        }
        addresses.retain(wanted);
        let ids: Vec<ExemptAddressId> = addresses.iter().map(|address| address.id).collect();
        transaction.delete_exempt_addresses(&ids)?;
        Ok(addresses)
    })
}

fn with_ids(new: Vec<NewExemptAddress>) -> Result<Vec<ExemptAddress>, ModelError> {
    let with_id = |NewExemptAddress { properties, description }| {
        Ok(ExemptAddress { id: ExemptAddressId::random()?, properties, description })
    };
    new.into_iter().map(with_id).collect()
}
