//! The checked-in schemas are those of the types. `GATEPOST_BLESS=1 cargo test -p gatepost-evidence` rewrites them.

use std::fs;
use std::path::Path;

#[test]
fn checked_in_schemas_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let bless = std::env::var_os("GATEPOST_BLESS").is_some();
    let schemas = gatepost_evidence::schema::all();
    for (name, schema) in &schemas {
        let text = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
        let file = folder.join(name);
        if bless {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, text).unwrap();
        } else {
            let found = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(
                found, text,
                "{name} has drifted from its type; look at the change, then run with GATEPOST_BLESS=1"
            );
        }
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(schemas.contains_key(&name), "{name} belongs to no type");
    }
}
