//! The kinds of watch, dispatched by exhaustive enums: a new kind does not compile until each question is answered.
//!
//! A kind says how its observations are judged and how its plans are made, and nothing else.

pub mod baseline;
pub mod service;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The declared part of a watch that is its kind's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    Service(service::Spec),
    Baseline(baseline::Spec),
}

impl Spec {
    /// Trees in which somebody's package manager means hands off.
    pub fn trees(&self) -> Vec<PathBuf> {
        match self {
            Spec::Service(_) => Vec::new(),
            Spec::Baseline(spec) => spec.trees(),
        }
    }
}
