//! Exempt addresses.

use rusqlite::{Row, params};

use super::{CorruptValue, Snapshot, StoreError, Transaction, parse_column, parse_optional_column};
use crate::model::{ExemptAddress, ExemptAddressId, ExemptProperties, PortRange, Protocol, Service};

impl Snapshot<'_> {
    /// Every exempt address, in the order in which they were added.
    pub fn exempt_addresses(&self) -> Result<Vec<ExemptAddress>, StoreError> {
        self.known(|memo| &mut memo.exempt_addresses, || self.read_exempt_addresses())
    }

    fn read_exempt_addresses(&self) -> Result<Vec<ExemptAddress>, StoreError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM exempt_addresses ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        let mut addresses = Vec::new();
        while let Some(row) = rows.next()? {
            addresses.push(ExemptAddress {
                id: parse_column(row, "id")?,
                properties: ExemptProperties {
                    service: read_service(row)?,
                    prefix: parse_column(row, "prefix")?,
                },
                description: parse_optional_column(row, "description")?,
            });
        }
        Ok(addresses)
    }
}

impl Transaction<'_> {
    /// Stores new exempt addresses. The caller has seen that they are not there yet.
    pub fn insert_exempt_addresses(&self, addresses: &[ExemptAddress]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached(
            "INSERT INTO exempt_addresses (id, protocol, ports, prefix, description) VALUES (?, ?, ?, ?, ?)",
        )?;
        for ExemptAddress { id, properties, description } in addresses {
            statement.execute(params![
                id.to_string(),
                properties.service.protocol().to_string(),
                properties.service.ports().map(|ports| ports.to_string()),
                properties.prefix.to_string(),
                description.as_ref().map(|description| description.as_str()),
            ])?;
        }
        self.note(|memo| &mut memo.exempt_addresses, |known| known.extend_from_slice(addresses));
        Ok(())
    }

    /// Deletes exempt addresses.
    pub fn delete_exempt_addresses(&self, ids: &[ExemptAddressId]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("DELETE FROM exempt_addresses WHERE id = ?")?;
        for id in ids {
            statement.execute([id.to_string()])?;
        }
        self.note(|memo| &mut memo.exempt_addresses, |known| known.retain(|known| !ids.contains(&known.id)));
        Ok(())
    }
}

fn read_service(row: &Row<'_>) -> Result<Service, StoreError> {
    let protocol: Protocol = parse_column(row, "protocol")?;
    let ports: Option<PortRange> = parse_optional_column(row, "ports")?;
    Service::new(protocol, ports, None).map_err(|error| StoreError::Corrupt {
        column: "protocol",
        value: protocol.to_string(),
        source: CorruptValue::from(error),
    })
}
