//! Interfaces of the network namespace that the process is in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{if_indextoname, if_nameindex, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use super::HostError;
use super::capability::{Act, denied};

/// The index of an interface.
pub fn index_of(name: &str) -> Result<u32, HostError> {
    if let Ok(index) = if_nametoindex(name) {
        return Ok(index);
    }
    Err(HostError::NoSuchInterface { name: name.to_owned(), existing: names()? })
}

/// The name of the interface with this index, if there is one.
#[must_use]
pub fn name_of(index: u32) -> Option<String> {
    let name = if_indextoname(index).ok()?.to_string_lossy().into_owned();
    // nix 0.31 takes only -1 for a failure, and returns an empty name for the null pointer of one.
    (!name.is_empty()).then_some(name)
}

/// The names of all interfaces.
pub fn names() -> Result<Vec<String>, HostError> {
    let interfaces = if_nameindex().map_err(failed)?;
    Ok(interfaces.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect())
}

/// The addresses of every interface, each as the prefix that holds it alone, by the name of the interface. One without
/// addresses has none here.
pub fn addresses_by_name() -> Result<BTreeMap<String, Vec<IpNet>>, HostError> {
    let mut by_name: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    // Every interface has an entry for its link besides those for its addresses.
    for entry in getifaddrs().map_err(failed)? {
        let address = entry.address.as_ref().and_then(ip_address).map(IpNet::from);
        by_name.entry(entry.interface_name).or_default().extend(address);
    }
    Ok(by_name)
}

/// The addresses of an interface, as [`addresses_by_name`] has them.
pub fn addresses(name: &str) -> Result<Vec<IpNet>, HostError> {
    Ok(addresses_by_name()?.remove(name).unwrap_or_default())
}

fn failed(errno: Errno) -> HostError {
    match errno {
        Errno::EPERM | Errno::EACCES => denied(Act::Netlink, errno),
        errno => HostError::Interfaces(errno),
    }
}

fn ip_address(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_with_its_address() {
        assert!(names().unwrap().contains(&"lo".to_owned()));
        let index = index_of("lo").unwrap();
        assert_eq!(name_of(index).as_deref(), Some("lo"));
        assert_eq!(name_of(i32::MAX.cast_unsigned()), None);
        assert!(addresses("lo").unwrap().contains(&"127.0.0.1/32".parse().unwrap()));
    }

    #[test]
    fn an_unknown_interface_is_an_error_that_names_those_that_exist() {
        let error = index_of("nonesuch0").unwrap_err();
        assert!(
            matches!(error, HostError::NoSuchInterface { existing, .. } if existing.contains(&"lo".to_owned()))
        );
    }
}
