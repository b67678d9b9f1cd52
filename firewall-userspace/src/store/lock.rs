//! The lock that lets one writer at a time change an instance.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::StoreError;

const LOCK_FILE: &str = "lock";
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Held by the one process that may change the instance; the kernel releases it when the process ends, however it
/// ends.
#[derive(Debug)]
pub struct WriteLock {
    _file: File,
}

impl WriteLock {
    /// Waits for the lock of a state directory, but not longer than `timeout`.
    pub fn acquire(directory: &Path, timeout: Duration) -> Result<Self, StoreError> {
        let path = directory.join(LOCK_FILE);
        let cannot_lock = |source| StoreError::CannotLock { path: path.clone(), source };
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(cannot_lock)?;
        let deadline = Instant::now() + timeout;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(source)) => return Err(cannot_lock(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StoreError::LockHeld { path, seconds: timeout.as_secs() });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(POLL_INTERVAL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_writer_waits_and_then_gives_up() {
        let directory = tempfile::tempdir().unwrap();
        let first = WriteLock::acquire(directory.path(), Duration::ZERO).unwrap();
        let error = WriteLock::acquire(directory.path(), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, StoreError::LockHeld { .. }), "{error}");
        drop(first);
        WriteLock::acquire(directory.path(), Duration::ZERO).unwrap();
    }
}
