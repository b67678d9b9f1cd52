//! What changes nothing: rows that a face can show.

pub mod drops;
pub mod exempt;
pub mod export;
pub mod flows;
pub mod groups;
pub mod history;
pub mod management;
pub mod panic;
pub mod plan;
pub mod prefix_lists;
pub mod quotas;
pub mod rules;
pub mod status;
pub mod tags;
pub mod tracking;
