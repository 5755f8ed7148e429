//! `[ingest]` and `[ingest.mqtt]`: the cloud ingest edge, spoken to by HTTP, by MQTT or by both.

use super::values::{is_address, pairs, web_address};
use crate::config::table::Table;
use crate::config::{Ingest, IngestMqtt};

pub(super) fn ingest(mut table: Table<'_>) -> (Option<Ingest>, Option<IngestMqtt>) {
    let url = web_address(&mut table, "url", &["https", "http"]);
    let ingest = Ingest {
        url: url.clone().unwrap_or_default(),
        plaintext_url: web_address(&mut table, "plaintext_url", &["http"]),
        ca_file: table.path("ca_file"),
        crl_file: table.path("crl_file"),
        token_file: table.path("token_file"),
        expired_token_file: table.path("expired_token_file"),
        client_certificate: table.path("client_certificate"),
        client_key: table.path("client_key"),
        thorough: table.flag("thorough") || !table.has("thorough"),
    };
    pairs(
        &table,
        &[("client_certificate", "client_key", ingest.client_certificate.is_some(), ingest.client_key.is_some())],
    );
    if ingest.expired_token_file.is_some() && ingest.token_file.is_none() {
        table.object("expired_token_file", "needs `token_file` beside it");
    }
    let mqtt = ingest_mqtt(table.table("mqtt"));
    if table.present() && !table.has("url") && !(table.has("mqtt") && table.only("mqtt")) {
        table.missing("url", "is needed, such as \"https://ingest.example/v1/events\"");
    }
    table.finish();
    (url.map(|_| ingest), mqtt)
}

fn ingest_mqtt(mut table: Table<'_>) -> Option<IngestMqtt> {
    let address = |table: &mut Table<'_>, name: &'static str| {
        let address = table.string(name)?;
        if !is_address(&address) {
            table.object(name, format!("{address:?} is not host:port, such as \"mqtt.example:8883\""));
        }
        Some(address)
    };
    let mqtt = IngestMqtt {
        address: address(&mut table, "address").unwrap_or_default(),
        plaintext: address(&mut table, "plaintext"),
        server_name: table.string("server_name"),
        ca_file: table.path("ca_file"),
        crl_file: table.path("crl_file"),
        client_certificate: table.path("client_certificate"),
        client_key: table.path("client_key"),
        username: table.string("username"),
        password_file: table.path("password_file"),
    };
    pairs(
        &table,
        &[
            ("client_certificate", "client_key", mqtt.client_certificate.is_some(), mqtt.client_key.is_some()),
            ("username", "password_file", mqtt.username.is_some(), mqtt.password_file.is_some()),
        ],
    );
    if table.present() && !table.has("address") {
        table.missing("address", "is needed, such as \"mqtt.example:8883\"");
    }
    table.finish();
    (!mqtt.address.is_empty()).then_some(mqtt)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, read};

    #[test]
    fn an_ingest_edge_speaks_http_or_mqtt_or_both() {
        let both = read(
            "[ingest]\nurl = \"https://edge/\"\nthorough = false\nclient_certificate = \"a\"\nclient_key = \"b\"\n\
             [ingest.mqtt]\naddress = \"mqtt.example:8883\"\nusername = \"g\"\npassword_file = \"p\"\n",
        );
        assert!(!both.ingest.unwrap().thorough);
        assert_eq!(both.ingest_mqtt.unwrap().password_file, Some("/c/p".into()));
        let mqtt = read("[ingest.mqtt]\naddress = \"mqtt.example:8883\"\n");
        assert!(mqtt.ingest.is_none() && mqtt.ingest_mqtt.is_some());
        for (text, expected) in [
            ("[ingest]\nurl = \"https://e/\"\nclient_key = \"k\"", "ingest.client_key: needs `client_certificate`"),
            ("[ingest]\nurl = \"https://e/\"\nexpired_token_file = \"k\"", "ingest.expired_token_file: needs"),
            ("[ingest]\nurl = \"https://e/\"\nthorough = \"no\"", "ingest.thorough: is string, true or false"),
            ("[ingest.mqtt]\nplaintext = \"e:1\"", "ingest.mqtt.address: is needed"),
            ("[ingest.mqtt]\naddress = \"e\"", "ingest.mqtt.address: \"e\" is not host:port"),
            ("[ingest]\nca_file = \"x\"\n[ingest.mqtt]\naddress = \"e:1\"", "ingest.url: is needed"),
        ] {
            let found = mistakes(&format!("{text}\n"));
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn secrets_have_no_place_in_a_url() {
        let found = mistakes("[ingest]\nurl = \"https://user:hunter2@edge/\"\n");
        assert!(found[0].contains("name secrets by file") && !found[0].contains("hunter2"), "{found:#?}");
    }
}
