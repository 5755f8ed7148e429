/*
 * Test vectors of the challenge: answers what it is told to and prints every step. ECDSA is deterministic in mbedTLS
 * (RFC 6979), so the same key and challenge give the same answer, everywhere.
 *
 *   gatepost-device vectors --certificate FILE --key FILE --id ID --topic TOPIC --challenge HEX
 */
#include <stdio.h>
#include <string.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include "challenge.h"
#include "options.h"

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_numbers;

static int sign(void *key, const unsigned char digest[GATEPOST_DIGEST_SIZE], unsigned char *signature, size_t room,
                size_t *size)
{
    (void)room;
    return mbedtls_pk_sign(key, MBEDTLS_MD_SHA256, digest, GATEPOST_DIGEST_SIZE, signature, size,
                           mbedtls_ctr_drbg_random, &random_numbers);
}

int vectors(const struct options *options)
{
    unsigned char challenge[GATEPOST_CHALLENGE_SIZE], message[GATEPOST_SIGNED_MAX], answer[GATEPOST_ANSWER_MAX];
    struct gatepost_device device = { .sign = sign };
    const mbedtls_x509_crt *certificate;
    mbedtls_x509_crt chain;
    mbedtls_pk_context key;
    size_t size;

    mbedtls_x509_crt_init(&chain);
    mbedtls_pk_init(&key);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random_numbers);
    check(mbedtls_ctr_drbg_seed(&random_numbers, mbedtls_entropy_func, &entropy, NULL, 0), "random numbers");
    check(mbedtls_x509_crt_parse_file(&chain, needed(options, "certificate")), "the certificate");
    check(mbedtls_pk_parse_keyfile(&key, needed(options, "key"), NULL), "the key");
    from_hex(needed(options, "challenge"), challenge, sizeof challenge);
    device.id = needed(options, "id");
    device.answer_topic = needed(options, "topic");
    device.key = &key;
    for (certificate = &chain; certificate != NULL && device.certificate_count < GATEPOST_CERTIFICATES_MAX;
         certificate = certificate->next) {
        device.certificates[device.certificate_count].der = certificate->raw.p;
        device.certificates[device.certificate_count++].size = certificate->raw.len;
    }
    printf("id %s\ntopic %s\n", device.id, device.answer_topic);
    print_hex("challenge", challenge, sizeof challenge);
    check(gatepost_signed_bytes(&device, challenge, message, &size), "what is signed");
    print_hex("signed", message, (int)size);
    check(gatepost_answer(&device, challenge, sizeof challenge, answer, sizeof answer, &size), "the answer");
    print_hex("answer", answer, (int)size);
    return 0;
}
