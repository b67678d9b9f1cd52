//! What changes nothing: rows that a face can show.

pub mod flows;
pub mod plan;
pub mod prefix_lists;
pub mod quotas;
pub mod status;
pub mod tags;
pub mod tracking;
