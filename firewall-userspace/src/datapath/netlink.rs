//! Questions to the kernel by rtnetlink, in the network namespace of the thread that asks.

use rtnetlink::Handle;

use super::DatapathError;

/// Runs `ask` to its end.
///
/// # Errors
///
/// [`DatapathError`] where there is no socket, and those of `ask`.
pub(super) fn run<T>(ask: impl AsyncFnOnce(Handle) -> Result<T, DatapathError>) -> Result<T, DatapathError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(DatapathError::NetlinkSocket)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(DatapathError::NetlinkSocket)?;
        tokio::spawn(connection);
        ask(handle).await
    })
}
