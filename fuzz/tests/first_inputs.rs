//! Every surface withstands the inputs that its campaign begins with, each in the memory that its length allows.

use gatepost_fuzz::{self as fuzz, Seeds};

type Surface = (&'static str, fn(&[u8]), fn() -> Seeds);

macro_rules! surfaces {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), fuzz::$name::attack, fuzz::$name::seeds)),*] };
}

#[test]
fn every_surface_withstands_its_seeds() {
    let surfaces: [Surface; 32] = surfaces![
        acl_file,
        acl_reply,
        bundle,
        canary,
        canonical,
        certificate,
        chain,
        challenge,
        envelope,
        firewall,
        http_answer,
        link_packet,
        log,
        mosquitto_conf,
        mqtt_reply,
        note,
        observation,
        pack,
        packages,
        payload,
        proc,
        receipt,
        security_txt,
        server_hello,
        service_yaml,
        sshd_config,
        sudoers,
        tar,
        upload,
        websocket,
        whole_host,
        zstd,
    ];
    for (surface, attack, seeds) in surfaces {
        let seeds = seeds();
        assert!(seeds.len() >= 4, "{surface} has only {} seeds", seeds.len());
        for (name, bytes) in seeds {
            println!("{surface}: {name}");
            attack(&bytes);
        }
    }
}
