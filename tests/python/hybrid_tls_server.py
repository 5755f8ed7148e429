"""A TLS server that speaks hybrid key exchange (X25519MLKEM768), by the newest OpenSSL, which comes with pyca/cryptography.

    hybrid_tls_server.py CERTIFICATE KEY

It serves on a port of its own on loopback, which it says in a line, and refuses every request as an HTTP server would.
"""

import socket
import sys
import threading

from OpenSSL import SSL

REFUSED = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def serve(context, client):
    try:
        tls = SSL.Connection(context, client)
        tls.set_accept_state()
        tls.do_handshake()
        if tls.recv(4096):
            tls.sendall(REFUSED)
        tls.shutdown()
    except SSL.Error as error:  # Clients that break off are what a survey is made of.
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        client.close()


def main():
    certificate, key = sys.argv[1:]
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(certificate)
    context.use_privatekey_file(key)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(f"listening on {listener.getsockname()[1]}", flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(context, client), daemon=True).start()


if __name__ == "__main__":
    main()
