//! Our facts of certificates beside those of programs that nobody here wrote, over the whole corpus.

use std::path::Path;

use anyhow::Result;
use gatepost_tests::agreement::certificates::{HEADING, Table, badkeys, explained, openssl, ours, samples};

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
        std::fs::write(&file, format!("{before}\n\n{}", table.markdown()))?;
    }
    settled(&table);
    Ok(())
}
