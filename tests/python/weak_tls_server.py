"""A TLS server with a weakness that Debian's own libraries cannot be talked into any more, by tlslite-ng, which is all Python.

    weak_tls_server.py CERTIFICATE KEY WEAKNESS

It serves on a port of its own on loopback, which it says in a line, and refuses every request as an HTTP server would.
"""

import socket
import sys
import threading

from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
from tlslite.constants import CipherSuite, ExtensionType
from tlslite.mathtls import RFC2409_GROUP2

# The number of nothing that is ever sent.
NOWHERE = 0xFAFA
REFUSED = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def sound():
    settings = HandshakeSettings()
    settings.minVersion, settings.maxVersion = (3, 3), (3, 4)
    settings.cipherNames = ["aes256gcm", "aes128gcm"]
    settings.keyExchangeNames = ["ecdhe_rsa"]
    settings.use_heartbeat_extension = False
    return settings


def ssl3(settings):
    settings.minVersion = (3, 0)
    settings.cipherNames += ["aes128"]
    settings.keyExchangeNames += ["rsa"]


def rc4(settings):
    settings.cipherNames += ["rc4"]


def small_blocks(settings):
    settings.cipherNames += ["3des"]


def heartbeat(settings):
    settings.use_heartbeat_extension = True


def no_master_secret(settings):
    settings.useExtendedMasterSecret = False


def no_tls13(settings):
    settings.maxVersion = (3, 3)


def tls10(settings):
    settings.minVersion = (3, 1)
    settings.cipherNames += ["aes128"]


def tls11(settings):
    settings.minVersion, settings.maxVersion = (3, 2), (3, 2)
    settings.cipherNames += ["aes128"]


def static_rsa(settings):
    settings.keyExchangeNames += ["rsa"]


def dh1024(settings):
    settings.keyExchangeNames += ["dhe_rsa"]
    settings.dhParams = RFC2409_GROUP2


def no_fallback(settings):
    tls10(settings)
    CipherSuite.TLS_FALLBACK_SCSV = NOWHERE


def no_secure_renegotiation(_settings):
    CipherSuite.TLS_EMPTY_RENEGOTIATION_INFO_SCSV = ExtensionType.renegotiation_info = NOWHERE


WEAKNESSES = {
    "nothing": lambda settings: None,
    "ssl3": ssl3,
    "rc4": rc4,
    "3des": small_blocks,
    "heartbeat": heartbeat,
    "no-extended-master-secret": no_master_secret,
    "no-tls13": no_tls13,
    "tls11-alone": tls11,
    "static-rsa": static_rsa,
    "dh1024": dh1024,
    "no-fallback": no_fallback,
    "no-secure-renegotiation": no_secure_renegotiation,
}


def serve(client, chain, key, settings):
    client.settimeout(5)
    try:
        tls = TLSConnection(client)
        tls.handshakeServer(certChain=chain, privateKey=key, settings=settings)
        if tls.read(max=4096, min=1):
            tls.write(REFUSED)
        tls.close()
    except Exception as error:  # Clients that break off are what a survey is made of.
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        client.close()


def main():
    certificate, key_file, weakness = sys.argv[1:]
    chain = X509CertChain()
    chain.parsePemList(open(certificate, encoding="ascii").read())
    key = parsePEMKey(open(key_file, encoding="ascii").read(), private=True)
    settings = sound()
    WEAKNESSES[weakness](settings)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(f"listening on {listener.getsockname()[1]}", flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, chain, key, settings), daemon=True).start()


if __name__ == "__main__":
    main()
