//! Rule packs out of bundles: TOML and CEL that somebody else wrote.

use gatepost_rules::pack::Pack;

use crate::Seeds;
use crate::golden::BUNDLES;

/// A pack that loads is the same every time, and one that does not says why.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Pack::parse(text) {
        Ok(pack) => {
            let again = Pack::parse(text).expect("it loaded a moment ago");
            assert_eq!(pack.reference().digest, again.reference().digest);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The pack of the golden bundles, with other expressions.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let packs = BUNDLES["agent"].iter().filter(|(path, _)| path.starts_with("packs/"));
    for (number, (_, content)) in packs.enumerate() {
        let text = String::from_utf8_lossy(content).into_owned();
        seeds.push((format!("pack-{number}"), text.clone().into_bytes()));
        let expressions = [
            "facts.requests.exists(r, r == 1)",
            "(((((((((facts.unauthenticated_accepted)))))))))",
            "!(facts.unauthenticated_accepted && true) || size(\'a\') == 1",
            "[1, 2].map(x, x * 2)[0] == 2",
        ];
        for (at, expression) in expressions.iter().enumerate() {
            let text = text.replace("\"facts.unauthenticated_accepted\"", &format!("\"{expression}\""));
            seeds.push((format!("pack-{number}-{at}"), text.into_bytes()));
        }
    }
    seeds
}
