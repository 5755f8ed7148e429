/* See challenge.h. */
#include "challenge.h"

#include <string.h>

#include <mbedtls/sha256.h>

/* With the NUL behind it: what is signed here is signed nowhere else. */
static const char DOMAIN[] = "gatepost-device-challenge-v1";

static size_t put(unsigned char *to, const void *bytes, size_t size)
{
    memcpy(to, bytes, size);
    return size;
}

static size_t put16(unsigned char *to, size_t number)
{
    to[0] = (unsigned char)(number >> 8);
    to[1] = (unsigned char)number;
    return 2;
}

int gatepost_signed_bytes(const struct gatepost_device *device, const unsigned char *challenge, unsigned char *message,
                          size_t *size)
{
    size_t id = strlen(device->id), topic = strlen(device->answer_topic), at = 0;
    int error;

    if (id == 0 || id > GATEPOST_ID_MAX || topic == 0 || topic > GATEPOST_TOPIC_MAX || device->certificate_count == 0
        || device->certificate_count > GATEPOST_CERTIFICATES_MAX)
        return GATEPOST_BAD_DEVICE;
    at += put(message + at, DOMAIN, sizeof DOMAIN);
    /* The gateway's id and the nonce, as they came. */
    at += put(message + at, challenge + 4, GATEPOST_DIGEST_SIZE + GATEPOST_NONCE_SIZE);
    error = mbedtls_sha256_ret(device->certificates[0].der, device->certificates[0].size, message + at, 0);
    if (error != 0)
        return error;
    at += GATEPOST_DIGEST_SIZE;
    message[at++] = (unsigned char)topic;
    at += put(message + at, device->answer_topic, topic);
    message[at++] = (unsigned char)id;
    at += put(message + at, device->id, id);
    *size = at;
    return 0;
}

int gatepost_answer(struct gatepost_device *device, const unsigned char *challenge, size_t size, unsigned char *answer,
                    size_t room, size_t *answer_size)
{
    unsigned char message[GATEPOST_SIGNED_MAX], digest[GATEPOST_DIGEST_SIZE], signature[GATEPOST_SIGNATURE_MAX];
    const unsigned char *gateway = challenge + 4, *nonce = gateway + GATEPOST_DIGEST_SIZE;
    size_t message_size, signature_size = 0, needed = 4 + GATEPOST_NONCE_SIZE + 1 + 2, at = 0, i;
    int error;

    if (size != GATEPOST_CHALLENGE_SIZE || memcmp(challenge, "GPC1", 4) != 0)
        return GATEPOST_NOT_A_CHALLENGE;
    if (device->gateway != NULL && memcmp(gateway, device->gateway, GATEPOST_DIGEST_SIZE) != 0)
        return GATEPOST_OTHER_GATEWAY;
    if (device->has_last_nonce && memcmp(nonce, device->last_nonce, GATEPOST_NONCE_SIZE) == 0)
        return GATEPOST_ANSWERED_BEFORE;

    error = gatepost_signed_bytes(device, challenge, message, &message_size);
    if (error != 0)
        return error;
    error = mbedtls_sha256_ret(message, message_size, digest, 0);
    if (error != 0)
        return error;
    error = device->sign(device->key, digest, signature, sizeof signature, &signature_size);
    if (error != 0)
        return error;

    needed += signature_size;
    for (i = 0; i < device->certificate_count; i++) {
        if (device->certificates[i].size > 0xffff)
            return GATEPOST_BAD_DEVICE;
        needed += 2 + device->certificates[i].size;
    }
    if (signature_size > sizeof signature || needed > room || needed > GATEPOST_ANSWER_MAX)
        return GATEPOST_NO_ROOM;

    at += put(answer + at, "GPA1", 4);
    at += put(answer + at, nonce, GATEPOST_NONCE_SIZE);
    answer[at++] = (unsigned char)device->certificate_count;
    for (i = 0; i < device->certificate_count; i++) {
        at += put16(answer + at, device->certificates[i].size);
        at += put(answer + at, device->certificates[i].der, device->certificates[i].size);
    }
    at += put16(answer + at, signature_size);
    at += put(answer + at, signature, signature_size);
    *answer_size = at;
    memcpy(device->last_nonce, nonce, GATEPOST_NONCE_SIZE);
    device->has_last_nonce = 1;
    return 0;
}
