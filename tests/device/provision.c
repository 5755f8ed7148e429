/*
 * What a provisioning station does, with mbedTLS: makes a key for a device and writes a certificate for it, in the
 * encodings that firmware on STM32Cube's mbedTLS makes and meets. Whatever can be wrong with a certificate can be asked for.
 *
 *   gatepost-device provision --key FILE --certificate FILE --name CN
 *       [--issuer-certificate FILE --issuer-key FILE]   self-signed without
 *       [--curve secp256r1] [--rsa BITS]                only if there is no key in FILE yet
 *       [--from 20260101000000] [--to 20270101000000] [--serial HEX] [--alternative NAME]
 *       [--usage client | server | both | none] [--hash SHA256] [--signing no]
 *       [--authority yes | leaf]                        leaf: CA:TRUE on what is a device's otherwise
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/md.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

#include "options.h"

/* A key is nobody else's to read. */
static void save(const char *path, const unsigned char *text, mode_t mode)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");

    if (file == NULL || fputs((const char *)text, file) == EOF || fclose(file) != 0) {
        fprintf(stderr, "%s cannot be written\n", path);
        exit(1);
    }
}

static void make_key(const struct options *options, const char *path, mbedtls_pk_context *key,
                     mbedtls_ctr_drbg_context *random)
{
    const char *curve = option(options, "curve"), *bits = option(options, "rsa");
    unsigned char pem[8192];

    if (bits != NULL) {
        check(mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA)), "RSA");
        check(mbedtls_rsa_gen_key(mbedtls_pk_rsa(*key), mbedtls_ctr_drbg_random, random, (unsigned)atoi(bits), 65537),
              "the key");
    } else {
        const mbedtls_ecp_curve_info *info = mbedtls_ecp_curve_info_from_name(curve != NULL ? curve : "secp256r1");
        check(info == NULL ? MBEDTLS_ERR_ECP_FEATURE_UNAVAILABLE : 0, "the curve");
        check(mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), "EC");
        check(mbedtls_ecp_gen_key(info->grp_id, mbedtls_pk_ec(*key), mbedtls_ctr_drbg_random, random), "the key");
    }
    check(mbedtls_pk_write_key_pem(key, pem, sizeof pem), path);
    save(path, pem, 0600);
}

/* Extended key usage (RFC 5280, section 4.2.1.12): a sequence of id-kp-clientAuth, id-kp-serverAuth or both. */
static void set_usage(mbedtls_x509write_cert *certificate, const char *usage)
{
    static const char CLIENT[] = "\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02", SERVER[] = "\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";
    unsigned char value[64] = { 0x30 };
    size_t at = 2;

    if (strcmp(usage, "none") == 0)
        return;
    if (strcmp(usage, "server") != 0) {
        memcpy(value + at, CLIENT, 10);
        at += 10;
    }
    if (strcmp(usage, "client") != 0) {
        memcpy(value + at, SERVER, 10);
        at += 10;
    }
    value[1] = (unsigned char)(at - 2);
    check(mbedtls_x509write_crt_set_extension(certificate, "\x55\x1d\x25", 3, 0, value, at), "the usage");
}

/* Subject alternative name with one DNS name (RFC 5280, section 4.2.1.6). */
static void set_alternative(mbedtls_x509write_cert *certificate, const char *name)
{
    unsigned char value[4 + 100] = { 0x30, 0, 0x82, 0 };
    size_t size = strlen(name);

    check(size > 100 ? MBEDTLS_ERR_X509_INVALID_NAME : 0, name);
    value[1] = (unsigned char)(size + 2);
    value[3] = (unsigned char)size;
    memcpy(value + 4, name, size);
    check(mbedtls_x509write_crt_set_extension(certificate, "\x55\x1d\x11", 3, 0, value, size + 4), name);
}

/*
 * Authority key identifier (RFC 5280, section 4.2.1.1): what the issuer's certificate has as its own. mbedTLS computes one from
 * the key, by SHA-1, which is not what every CA does.
 */
static void set_authority(mbedtls_x509write_cert *certificate, const mbedtls_x509_crt *issuer)
{
    static const unsigned char OWN[] = { 0x06, 0x03, 0x55, 0x1d, 0x0e, 0x04 };
    const unsigned char *at = issuer->v3_ext.p;
    unsigned char value[4 + 64] = { 0x30, 0, 0x80, 0 };
    size_t left = issuer->v3_ext.len;

    for (; left > sizeof OWN + 3; at++, left--) {
        size_t size = at[sizeof OWN + 2];
        if (memcmp(at, OWN, sizeof OWN) != 0 || size > 64 || left < sizeof OWN + 3 + size)
            continue;
        value[1] = (unsigned char)(size + 2);
        value[3] = (unsigned char)size;
        memcpy(value + 4, at + sizeof OWN + 3, size);
        check(mbedtls_x509write_crt_set_extension(certificate, "\x55\x1d\x23", 3, 0, value, size + 4), "the issuer's key identifier");
        return;
    }
}

static mbedtls_md_type_t hash(const char *name)
{
    const mbedtls_md_info_t *info = mbedtls_md_info_from_string(name);

    check(info == NULL ? MBEDTLS_ERR_MD_FEATURE_UNAVAILABLE : 0, name);
    return mbedtls_md_get_type(info);
}

static const char *or(const char *value, const char *otherwise)
{
    return value != NULL ? value : otherwise;
}

int provision(const struct options *options)
{
    const char *key_file = needed(options, "key"), *issuer_file = option(options, "issuer-certificate");
    const char *name = needed(options, "name"), *usage = or(option(options, "usage"), "client");
    const char *kind = or(option(options, "authority"), "no");
    int authority = strcmp(kind, "yes") == 0, claims = authority || strcmp(kind, "leaf") == 0;
    unsigned key_usage = option(options, "signing") != NULL ? MBEDTLS_X509_KU_KEY_AGREEMENT : MBEDTLS_X509_KU_DIGITAL_SIGNATURE;
    mbedtls_x509write_cert certificate;
    mbedtls_x509_crt issuer;
    mbedtls_pk_context key, issuer_key, *signer = &key;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_mpi serial;
    char subject[160], issuer_name[512];
    unsigned char pem[8192];
    FILE *file;

    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_pk_init(&key);
    mbedtls_pk_init(&issuer_key);
    mbedtls_x509_crt_init(&issuer);
    mbedtls_mpi_init(&serial);
    mbedtls_x509write_crt_init(&certificate);
    check(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "random numbers");

    file = fopen(key_file, "r");
    if (file != NULL) {
        fclose(file);
        check(mbedtls_pk_parse_keyfile(&key, key_file, NULL), key_file);
    } else {
        make_key(options, key_file, &key, &random);
    }
    snprintf(subject, sizeof subject, "CN=%s", name);
    snprintf(issuer_name, sizeof issuer_name, "%s", subject);
    if (issuer_file != NULL) {
        check(mbedtls_x509_crt_parse_file(&issuer, issuer_file), issuer_file);
        check(mbedtls_pk_parse_keyfile(&issuer_key, needed(options, "issuer-key"), NULL), "the issuer's key");
        check(mbedtls_x509_dn_gets(issuer_name, sizeof issuer_name, &issuer.subject) < 0, "the issuer's name");
        signer = &issuer_key;
    }
    if (option(options, "serial") != NULL) {
        check(mbedtls_mpi_read_string(&serial, 16, option(options, "serial")), "the serial number");
    } else {
        check(mbedtls_mpi_fill_random(&serial, 16, mbedtls_ctr_drbg_random, &random), "the serial number");
        /* Positive, and always of the same length. */
        check(mbedtls_mpi_set_bit(&serial, 127, 0) | mbedtls_mpi_set_bit(&serial, 126, 1), "the serial number");
    }

    mbedtls_x509write_crt_set_version(&certificate, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&certificate, hash(or(option(options, "hash"), "SHA256")));
    mbedtls_x509write_crt_set_subject_key(&certificate, &key);
    mbedtls_x509write_crt_set_issuer_key(&certificate, signer);
    check(mbedtls_x509write_crt_set_subject_name(&certificate, subject), subject);
    check(mbedtls_x509write_crt_set_issuer_name(&certificate, issuer_name), issuer_name);
    check(mbedtls_x509write_crt_set_serial(&certificate, &serial), "the serial number");
    check(mbedtls_x509write_crt_set_validity(&certificate, or(option(options, "from"), "20260101000000"),
                                             or(option(options, "to"), "20270101000000")),
          "the validity");
    check(mbedtls_x509write_crt_set_basic_constraints(&certificate, claims, claims ? 0 : -1), "basic constraints");
    if (authority)
        key_usage = MBEDTLS_X509_KU_KEY_CERT_SIGN | MBEDTLS_X509_KU_CRL_SIGN;
    else if (claims)
        key_usage |= MBEDTLS_X509_KU_KEY_CERT_SIGN;
    check(mbedtls_x509write_crt_set_key_usage(&certificate, key_usage), "the key usage");
    check(mbedtls_x509write_crt_set_subject_key_identifier(&certificate), "the key identifier");
    if (issuer_file != NULL)
        set_authority(&certificate, &issuer);
    if (!authority)
        set_usage(&certificate, usage);
    if (option(options, "alternative") != NULL)
        set_alternative(&certificate, option(options, "alternative"));
    check(mbedtls_x509write_crt_pem(&certificate, pem, sizeof pem, mbedtls_ctr_drbg_random, &random), "the certificate");
    save(needed(options, "certificate"), pem, 0644);
    return 0;
}
