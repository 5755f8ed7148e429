//! Our facts of certificates beside those of programs that nobody here wrote, over the whole corpus.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use gatepost_tests::agent::run;
use gatepost_tests::agreement::certificates::{HEADING, Table, badkeys, explained, openssl, ours, samples};
use gatepost_tests::agreement::host;
use gatepost_tests::process::{command, installed};

fn settled(table: &Table) {
    let open: Vec<_> = table.differences().into_iter().filter(|found| explained(found).is_none()).collect();
    assert!(open.is_empty(), "{} differences that nobody explained: {open:#?}", open.len());
}

#[test]
fn openssl_tells_the_same_of_every_certificate() -> Result<()> {
    let mut table = Table::default();
    for sample in samples()? {
        table.add(&sample.name, ours(&sample)?, vec![("openssl", openssl(&sample)?)]);
    }
    settled(&table);
    assert!(table.compared() > 900, "{} facts were compared", table.compared());
    Ok(())
}

#[test]
fn the_corpus_is_what_its_maker_makes() -> Result<()> {
    let maker = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/make_certificates.py");
    let mut check = command(&installed("python3", "python3")?);
    check.arg("-B").arg(maker).arg("--check");
    run(check, Duration::from_secs(600))?.expect_code(0)?;
    Ok(())
}

#[test]
#[ignore = "needs the package index: cargo xtask agreement"]
fn openssl_and_badkeys_tell_the_same_of_every_certificate() -> Result<()> {
    let all = samples()?;
    let mut keys = badkeys(&all)?;
    let mut table = Table::default();
    for sample in &all {
        let key = keys.remove(&sample.name).unwrap_or_default();
        table.add(&sample.name, ours(sample)?, vec![("openssl", openssl(sample)?), ("badkeys", key)]);
    }
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agreement.md");
        let text = std::fs::read_to_string(&file)?;
        let before = text.split_once(HEADING).map_or(text.as_str(), |(before, _)| before).trim_end();
        // What stands behind it is another test's.
        let behind =
            text.split_once(host::HEADING).map_or(String::new(), |(_, behind)| format!("\n{}{behind}", host::HEADING));
        std::fs::write(&file, format!("{before}\n\n{}{behind}", table.markdown()))?;
    }
    settled(&table);
    Ok(())
}
