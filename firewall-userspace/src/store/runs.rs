//! Runs: many entries of a prefix list in one row, because a list may have a million.
//!
//! The prefixes of a run are bytes, one after another: a first byte that says family and length, then the address.
//! Entries share a run only if everything else about them (the description) is equal.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::{CorruptValue, StoreError, parse_text};

/// Entries of a run at most: a change of one of them writes all of them, twice with how it is undone.
const LONGEST: usize = 128;

/// The first byte of an IPv6 prefix is its length and this; that of an IPv4 prefix is its length.
const IPV6: u8 = 64;

/// The column in which the prefixes are.
const COLUMN: &str = "prefix";

/// The prefixes of a run as they are stored.
pub(super) fn pack(prefixes: &[IpNet]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(prefixes.len() * 17);
    for prefix in prefixes {
        match prefix {
            IpNet::V4(prefix) => {
                packed.push(prefix.prefix_len());
                packed.extend_from_slice(&prefix.addr().octets());
            }
            IpNet::V6(prefix) => {
                packed.push(IPV6 + prefix.prefix_len());
                packed.extend_from_slice(&prefix.addr().octets());
            }
        }
    }
    packed
}

/// The prefixes of the run that a row is.
pub(super) fn prefixes(row: &Row<'_>) -> Result<Vec<IpNet>, StoreError> {
    match row.get_ref(COLUMN)? {
        ValueRef::Blob(packed) => unpack(packed).ok_or_else(|| StoreError::Corrupt {
            column: COLUMN,
            value: packed.escape_ascii().to_string(),
            source: CorruptValue::Run,
        }),
        text => Ok(vec![parse_text(text.as_str().map_err(rusqlite::Error::from)?, COLUMN)?]),
    }
}

fn unpack(mut packed: &[u8]) -> Option<Vec<IpNet>> {
    let mut prefixes = Vec::with_capacity(packed.len() / 5);
    while let Some((&first, rest)) = packed.split_first() {
        let prefix;
        (prefix, packed) = match first.checked_sub(IPV6) {
            None => {
                let (address, rest) = rest.split_first_chunk()?;
                (Ipv4Net::new(Ipv4Addr::from_octets(*address), first).ok()?.into(), rest)
            }
            Some(length) => {
                let (address, rest) = rest.split_first_chunk()?;
                (Ipv6Net::new(Ipv6Addr::from_octets(*address), length).ok()?.into(), rest)
            }
        };
        prefixes.push(prefix);
    }
    Some(prefixes)
}

/// Takes what is next to each other and goes together into runs, as far as one may be long.
pub(super) fn split<T>(items: &[T], goes_together: impl Fn(&T, &T) -> bool) -> impl Iterator<Item = &[T]> {
    items.chunk_by(goes_together).flat_map(|together| together.chunks(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_both_families_come_back_in_their_order_whatever_their_length() {
        let texts = ["0.0.0.0/0", "255.255.255.255/32", "::/0", "10.0.0.0/8", "2001:db8::1/128", "fe80::/64"];
        let prefixes: Vec<IpNet> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(unpack(&pack(&prefixes)), Some(prefixes));
        assert_eq!(unpack(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_is_no_run_is_refused() {
        for damaged in [&[32, 10, 0, 0][..], &[33, 10, 0, 0, 0], &[IPV6 + 128, 1], &[193; 17]] {
            assert_eq!(unpack(damaged), None, "{damaged:?}");
        }
    }
}
