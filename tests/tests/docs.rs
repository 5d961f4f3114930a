//! What the pages promise to list, they list: every hold, and no other.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};
use hostward_core::hold::Hold;
use hostward_tests::repository;

#[test]
fn the_page_on_holds_has_a_row_for_each_of_them() -> Result<()> {
    let page = fs::read_to_string(repository().join("docs/usage/holds.md")).context("read the page on holds")?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(label, _)| label));
    let described: BTreeSet<&str> = rows.collect();
    let all: BTreeSet<&str> = Hold::ALL.iter().map(|hold| hold.label()).collect();
    assert_eq!(described, all, "on the left what the page describes, on the right what there is");
    Ok(())
}
