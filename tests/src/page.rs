//! A page of the documentation, whose blocks are what a test runs: so the page is proved.

use std::fs;

use anyhow::{Context, Result};

use crate::repository;

#[derive(Debug)]
pub struct Page {
    name: String,
    text: String,
}

impl Page {
    pub fn read(name: &str) -> Result<Page> {
        let text = fs::read_to_string(repository().join(name)).with_context(|| format!("read the page '{name}'"))?;
        Ok(Page { name: name.to_owned(), text })
    }

    /// The blocks of one language below a heading, in their order.
    pub fn blocks(&self, heading: &str, language: &str) -> Result<Vec<String>> {
        let below = self.text.split_once(&format!("\n{heading}\n"));
        let (_, below) = below.with_context(|| format!("'{}' has no '{heading}'", self.name))?;
        let section = below.split("\n#").next().unwrap_or_default();
        let fence = format!("```{language}\n");
        let opened = section.split(&fence).skip(1);
        Ok(opened.filter_map(|rest| rest.split_once("```").map(|(block, _)| block.to_owned())).collect())
    }
}
