//! How traffic on the interfaces is treated apart from the rules.

use std::collections::BTreeMap;

use rusqlite::{Row, params};

use super::{CorruptValue, Snapshot, StoreError, Transaction, parse_column};
use crate::model::{Exemption, FlowTimeouts, IcmpErrors, InterfaceId, InterfaceOptions, Timeout};

impl Snapshot<'_> {
    /// The options of interfaces that have tables of their own.
    pub(super) fn listed_options(&self) -> Result<BTreeMap<InterfaceId, InterfaceOptions>, StoreError> {
        let mut options: BTreeMap<InterfaceId, InterfaceOptions> = BTreeMap::new();
        self.read_timeouts(&mut options)?;
        self.read_not_exempt(&mut options)?;
        self.read_always_track(&mut options)?;
        Ok(options)
    }

    fn read_timeouts(&self, options: &mut BTreeMap<InterfaceId, InterfaceOptions>) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM interface_timeouts")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let of_interface = options.entry(parse_column(row, "interface")?).or_default();
            let (timeout, seconds): (String, u32) = (row.get("timeout")?, row.get("seconds")?);
            let corrupt = |source: CorruptValue| StoreError::Corrupt {
                column: "timeout",
                value: format!("{timeout} {seconds}"),
                source,
            };
            let known = Timeout::from_name(&timeout).ok_or(CorruptValue::UnknownName).map_err(corrupt)?;
            // What an older version allowed may come back out of the history.
            let seconds = seconds.min(*known.range().end());
            of_interface.timeouts.set(known, seconds).map_err(|error| corrupt(error.into()))?;
        }
        Ok(())
    }

    fn read_not_exempt(
        &self,
        options: &mut BTreeMap<InterfaceId, InterfaceOptions>,
    ) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM interface_not_exempt")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let of_interface = options.entry(parse_column(row, "interface")?).or_default();
            let kind: String = row.get("kind")?;
            let known = Exemption::from_name(&kind).ok_or(StoreError::Corrupt {
                column: "kind",
                value: kind,
                source: CorruptValue::UnknownName,
            })?;
            of_interface.exemptions.set(known, false);
        }
        Ok(())
    }

    fn read_always_track(
        &self,
        options: &mut BTreeMap<InterfaceId, InterfaceOptions>,
    ) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM interface_always_track")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let of_interface = options.entry(parse_column(row, "interface")?).or_default();
            of_interface.always_track.insert(parse_column(row, "prefix")?);
        }
        Ok(())
    }
}

/// Adds the options that stand in the row of the interface.
pub(super) fn read_options(row: &Row<'_>, listed: InterfaceOptions) -> Result<InterfaceOptions, StoreError> {
    let icmp_errors: String = row.get("icmp_errors")?;
    Ok(InterfaceOptions {
        // The schema admits no other name.
        icmp_errors: IcmpErrors::from_name(&icmp_errors).unwrap_or_default(),
        tcp_strict: row.get("tcp_strict")?,
        audit: row.get("audit")?,
        ..listed
    })
}

impl Transaction<'_> {
    /// Stores the options of an interface that is there.
    pub(super) fn save_interface_options(
        &self,
        interface: InterfaceId,
        options: &InterfaceOptions,
    ) -> Result<(), StoreError> {
        let interface = interface.to_string();
        self.sql.execute(
            "UPDATE interfaces SET icmp_errors = ?2, tcp_strict = ?3, audit = ?4 WHERE id = ?1",
            params![interface, options.icmp_errors.name(), options.tcp_strict, options.audit],
        )?;
        for table in ["interface_timeouts", "interface_not_exempt", "interface_always_track"] {
            self.sql.execute(&format!("DELETE FROM {table} WHERE interface = ?"), [&interface])?;
        }
        let insert = "INSERT INTO interface_timeouts (interface, timeout, seconds) VALUES (?, ?, ?)";
        let mut statement = self.sql.prepare_cached(insert)?;
        let defaults = FlowTimeouts::default();
        let differs = |timeout: &Timeout| options.timeouts.get(*timeout) != defaults.get(*timeout);
        for timeout in Timeout::ALL.into_iter().filter(differs) {
            statement.execute(params![interface, timeout.name(), options.timeouts.get(timeout)])?;
        }
        let insert = "INSERT INTO interface_not_exempt (interface, kind) VALUES (?, ?)";
        let mut statement = self.sql.prepare_cached(insert)?;
        for kind in Exemption::ALL.into_iter().filter(|kind| !options.exemptions.has(*kind)) {
            statement.execute(params![interface, kind.name()])?;
        }
        let insert = "INSERT INTO interface_always_track (interface, prefix) VALUES (?, ?)";
        let mut statement = self.sql.prepare_cached(insert)?;
        for prefix in &options.always_track {
            statement.execute(params![interface, prefix.to_string()])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::OpenFlags;

    use super::*;
    use crate::store::{DATABASE, MIGRATIONS, Store, connect};

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn timeouts_of_the_eighth_version_become_no_longer_than_they_may_be_also_out_of_the_history() {
        let directory = tempfile::tempdir().unwrap();
        let old = connect(&directory.path().join(DATABASE), OpenFlags::SQLITE_OPEN_CREATE).unwrap();
        MIGRATIONS[..8].iter().for_each(|step| old.execute_batch(step).unwrap());
        let interface = InterfaceId::random().unwrap();
        old.execute_batch("PRAGMA user_version = 8").unwrap();
        old.execute(
            "INSERT INTO interfaces (id, name, slot, zone, ingress_hook, log_drops)
             VALUES (?, 'eth7', 0, 1, 'auto', 0)",
            [interface.to_string()],
        )
        .unwrap();
        let insert = "INSERT INTO interface_timeouts VALUES (?, ?, 86400)";
        for timeout in ["tcp-fin", "tcp-closed", "other"] {
            old.execute(insert, [&interface.to_string(), timeout]).unwrap();
        }
        drop(old);
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let timeouts = |store: &mut Store| {
            let timeouts = store.snapshot().unwrap().interfaces().unwrap().remove(0).options.timeouts;
            (timeouts.tcp_fin, timeouts.tcp_closed, timeouts.other)
        };
        assert_eq!(timeouts(&mut store), (7_200, 7_200, 86_400));
        store.connection.execute("UPDATE interface_timeouts SET seconds = 86400", []).unwrap();
        assert_eq!(timeouts(&mut store), (7_200, 7_200, 86_400));
    }
}
