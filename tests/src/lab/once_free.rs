//! What is in use for a moment longer than it looks.

use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Far longer than a child takes from its fork to its program.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tries again what the kernel refuses because of something that was closed a moment ago: a child that another thread is
/// starting has the descriptors of this process until it runs its program.
///
/// # Errors
///
/// Any other error at once; that it is in use, if it is still.
pub(crate) fn once_free<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error)
                if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::ResourceBusy)
                    && start.elapsed() < PATIENCE =>
            {
                sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_port_is_had_when_the_last_copy_of_its_socket_is_closed() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, copy) = (socket.local_addr().unwrap(), socket.try_clone().unwrap());
        drop(socket);
        assert_eq!(UdpSocket::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
        let holder = std::thread::spawn(move || {
            sleep(Duration::from_millis(100));
            drop(copy);
        });
        once_free(|| UdpSocket::bind(address)).unwrap();
        holder.join().unwrap();
    }

    #[test]
    fn other_errors_are_told_at_once() {
        let mut attempts = 0;
        let outcome: io::Result<()> = once_free(|| {
            attempts += 1;
            Err(ErrorKind::PermissionDenied.into())
        });
        assert_eq!((outcome.unwrap_err().kind(), attempts), (ErrorKind::PermissionDenied, 1));
    }
}
