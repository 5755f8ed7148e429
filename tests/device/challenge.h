/*
 * The device's part of Gatepost's challenge: to prove over MQTT that it has the private key of its certificate, without a
 * TLS server of its own. docs/device-challenge.md is the protocol; this is its reference, and meant to be copied.
 *
 * Needs SHA-256 and the DER of the device's certificates from mbedTLS. The private key may be anywhere: signing is a
 * function of yours, so that a secure element (STSAFE-A, ATECC) never has to give it away. Allocates nothing, keeps 33
 * bytes between calls, and signs nothing but what begins with the protocol's own name.
 */
#ifndef GATEPOST_CHALLENGE_H
#define GATEPOST_CHALLENGE_H

#include <stddef.h>

#define GATEPOST_DIGEST_SIZE 32
#define GATEPOST_NONCE_SIZE 32
/* "GPC1", the gateway's id, the nonce. */
#define GATEPOST_CHALLENGE_SIZE (4 + GATEPOST_DIGEST_SIZE + GATEPOST_NONCE_SIZE)
/* The longest device id and topic, and the largest certificate, signature and answer there may be. */
#define GATEPOST_ID_MAX 64
#define GATEPOST_TOPIC_MAX 255
#define GATEPOST_CERTIFICATES_MAX 4
#define GATEPOST_SIGNATURE_MAX 512
#define GATEPOST_ANSWER_MAX 8192
/* The most bytes that are hashed and signed. */
#define GATEPOST_SIGNED_MAX (29 + 3 * GATEPOST_DIGEST_SIZE + 1 + GATEPOST_TOPIC_MAX + 1 + GATEPOST_ID_MAX)

/* Why a challenge is not answered. What mbedTLS or the signing function says is returned as it is, and is negative too. */
#define GATEPOST_NOT_A_CHALLENGE (-1)
#define GATEPOST_OTHER_GATEWAY (-2)
#define GATEPOST_ANSWERED_BEFORE (-3)
#define GATEPOST_NO_ROOM (-4)
#define GATEPOST_BAD_DEVICE (-5)

/* One certificate, DER. */
struct gatepost_certificate {
    const unsigned char *der;
    size_t size;
};

/*
 * Signs a SHA-256 digest with the key of the device's certificate: ECDSA as the DER of r and s (RFC 3279, section 2.2.3),
 * or RSA with PKCS #1 v1.5. Writes at most `room` bytes; 0, or a negative number of its own.
 */
typedef int (*gatepost_sign)(void *key, const unsigned char digest[GATEPOST_DIGEST_SIZE], unsigned char *signature,
                             size_t room, size_t *size);

struct gatepost_device {
    /* Its id, as the gateway's configuration has it: printable ASCII without space, '/', '+' and '#'. */
    const char *id;
    /* The topic that it answers on: PREFIX/ID/answer. */
    const char *answer_topic;
    /* The id of the one gateway that it answers, from its provisioning; NULL: whoever may write to its topic. */
    const unsigned char *gateway;
    /* Its certificate, then those that lead to the anchor, which itself is left out. */
    struct gatepost_certificate certificates[GATEPOST_CERTIFICATES_MAX];
    size_t certificate_count;
    gatepost_sign sign;
    void *key;
    /* The nonce that was answered last: none is answered twice in a row, since QoS 1 may bring it twice. */
    unsigned char last_nonce[GATEPOST_NONCE_SIZE];
    unsigned char has_last_nonce;
};

/*
 * Answers `challenge`, the payload of a message on PREFIX/ID/challenge: writes at most `room` bytes to be published on
 * the device's answer topic. 0, or why not; then nothing is to be sent.
 */
int gatepost_answer(struct gatepost_device *device, const unsigned char *challenge, size_t size, unsigned char *answer,
                    size_t room, size_t *answer_size);

/* The bytes whose SHA-256 is signed; for tests. `message` has room for GATEPOST_SIGNED_MAX. */
int gatepost_signed_bytes(const struct gatepost_device *device, const unsigned char *challenge, unsigned char *message,
                          size_t *size);

#endif
