//! What the fuzz targets stand on: tables that no compiler made, and scenarios out of the fuzzer's bytes.

pub mod scenario;
pub mod tables;
