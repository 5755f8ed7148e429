"""Servers of the far side of a link that a test needs to lie, or to be slow: they do what their arguments say.

    far_side.py sntp ADDRESS AHEAD_SECONDS STRATUM LEAP [KISS]
    far_side.py http ADDRESS PORT DELAY_SECONDS HOW

`sntp` answers each question for the time (RFC 5905) by the machine's own clock, ahead by so much. `http` answers each request
after a delay: HOW is `well` (404), `drip` (a head that never ends, a byte at a time), `rubbish` (no HTTP) or
`unsteady` (as `well`, but every third request is not answered). Both say `ready`.
"""

import itertools
import socket
import struct
import sys
import threading
import time

EPOCH = 2_208_988_800


def stamp(ahead):
    now = time.time() + EPOCH + ahead
    return struct.pack("!II", int(now) & 0xFFFFFFFF, int(now % 1 * 2**32))


def sntp(address, ahead, stratum, leap, kiss=""):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 123))
    print("ready", flush=True)
    while True:
        asked, client = server.recvfrom(512)
        received = stamp(float(ahead))
        head = struct.pack("!BBbb", int(leap) << 6 | 4 << 3 | 4, int(stratum), 6, -20)
        answer = head + struct.pack("!II", 0, 0) + kiss.encode().ljust(4, b"\0")
        answer += received + asked[40:48] + received + stamp(float(ahead))
        server.sendto(answer, client)


def answer(client, number, delay, how):
    client.recv(65536)
    time.sleep(float(delay))
    if how == "unsteady" and number % 3 == 0:
        pass
    elif how == "rubbish":
        client.sendall(b"SSH-2.0-nobody\r\n")
    elif how == "drip":
        client.sendall(b"HTTP/1.1 200 OK\r\nx-drip: ")
        try:
            while True:
                client.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            pass
    else:
        client.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    client.close()


def http(address, port, delay, how):
    server = socket.create_server((address, int(port)), backlog=64)
    print("ready", flush=True)
    for number in itertools.count(1):
        client, _ = server.accept()
        threading.Thread(target=answer, args=(client, number, delay, how), daemon=True).start()


{"sntp": sntp, "http": http}[sys.argv[1]](*sys.argv[2:])
