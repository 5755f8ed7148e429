//! `docs/checks.md` is what pack, schemas and tests say. `GATEPOST_BLESS=1 cargo test -p gatepost-tests --test checks` rewrites it.

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::coverage::{Coverage, page, records, repository};

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

/// `docs/lynis.md` is written by hand; what it says is recorded has to be.
#[test]
fn what_is_said_to_answer_lynis_is_recorded() -> Result<()> {
    let text = std::fs::read_to_string(repository().join("docs/lynis.md"))?;
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for row in text.lines().filter(|line| line.contains("-") && line.starts_with("| ") && !line.starts_with("| --")) {
        let [id, answered, places] = row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>()[..] else {
            anyhow::bail!("not three columns: {row}");
        };
        *counts.entry(answered).or_default() += 1;
        if !["yes", "in part"].contains(&answered) {
            continue;
        }
        for place in places.split("<br>") {
            let (observation, place) =
                place.strip_prefix("observation of ").map_or((false, place), |place| (true, place));
            let (check, pointer) = place.split_once(' ').with_context(|| format!("{id}: {place}"))?;
            ensure!(records(check, observation, pointer.trim_matches('`')), "{id}: nothing is recorded at {place}");
        }
    }
    let told = [("yes", 54), ("in part", 41), ("no", 68), ("not a gateway's", 56), ("lynis's own", 15), ("passing", 9)];
    ensure!(counts == told.into(), "{counts:?}");
    Ok(())
}
