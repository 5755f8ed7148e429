//! `[broker]` and `[broker.battery]`: where the broker is, and with what it is visited.

use super::values::{addresses, endpoints, pairs};
use crate::config::table::Table;
use crate::config::{Battery, Broker};

pub(super) fn broker(mut table: Table<'_>) -> Broker {
    let broker = Broker {
        server_name: table.string("server_name"),
        tls: addresses(&mut table, "tls"),
        plaintext: addresses(&mut table, "plaintext"),
        websockets: endpoints(&mut table, "websockets", ["ws", "wss"]),
        http_api: endpoints(&mut table, "http_api", ["http", "https"]),
        try_keep_alive: table.flag("try_keep_alive"),
        ca_file: table.path("ca_file"),
        client_certificate: table.path("client_certificate"),
        client_key: table.path("client_key"),
        username: table.string("username"),
        password_file: table.path("password_file"),
        certificate_file: table.path("certificate_file"),
        crl_file: table.path("crl_file"),
        key_file: table.path("key_file"),
        configuration_file: table.path("configuration_file"),
        battery: battery(table.table("battery")),
    };
    pairs(
        &table,
        &[
            ("client_certificate", "client_key", broker.client_certificate.is_some(), broker.client_key.is_some()),
            ("username", "password_file", broker.username.is_some(), broker.password_file.is_some()),
        ],
    );
    table.finish();
    broker
}

fn battery(mut table: Table<'_>) -> Battery {
    let battery = Battery {
        folder: table.path("folder"),
        expired: table.path("expired"),
        not_yet_valid: table.path("not_yet_valid"),
        server_only: table.path("server_only"),
        revoked: table.path("revoked"),
        canary: table.path("canary"),
        wrong_ca: table.path("wrong_ca"),
    };
    table.finish();
    battery
}
