//! `docs/checks.md` is what pack, schemas and tests say. `GATEPOST_BLESS=1 cargo test -p gatepost-tests --test checks` rewrites it.

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::coverage::{Coverage, page, repository};

#[test]
fn every_control_stands_in_a_line_and_the_page_is_up_to_date() -> Result<()> {
    let page = page(&Coverage::read()?)?;
    let file = repository().join("docs/checks.md");
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        std::fs::write(&file, &page).with_context(|| file.display().to_string())?;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    ensure!(
        found == page,
        "docs/checks.md is not up to date; look at the change after running this with GATEPOST_BLESS=1"
    );
    Ok(())
}
