//! Any bytes, read as a frame by the parser and by a second reader: see [`firewall_tests::second_reader`].
//!
//! Input: one byte for the link and for whether the frame is a very large segment, then the frame.

#![no_main]

use firewall_common::packet::Link;
use firewall_tests::second_reader::check;
use libfuzzer_sys::fuzz_target;

/// Bit of the first byte: the frame is longer than the length fields of IP can say (BIG TCP).
const LARGE: u8 = 4;
const LARGE_FRAME: usize = 70_000;

fuzz_target!(|input: &[u8]| {
    let Some((kind, frame)) = input.split_first() else {
        return;
    };
    let link = match kind % 4 {
        0 => Link::None,
        tags => Link::Ethernet { stripped_tags: u32::from(tags) - 1 },
    };
    let mut frame = frame.to_vec();
    if kind & LARGE != 0 {
        frame.resize(LARGE_FRAME, 0);
    }
    let _ = check(&frame, link);
});
