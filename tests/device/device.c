/*
 * A device as an STM32 with STM32Cube's mbedTLS would be met: a TLS server that shows its certificate, and an MQTT client
 * that publishes readings and answers challenges. For tests; `challenge.c` is what firmware would take from here.
 *
 *   gatepost-device run --id ID --certificate FILE --key FILE [--listen ADDRESS:PORT]
 *       [--broker ADDRESS:PORT --authorities FILE [--broker-name localhost] [--prefix gatepost/device] [--gateway HEX]]
 *       [--answer-certificate FILE] [--answer-key FILE] [--signs-for ID]    other ones in answers than towards the broker
 *       [--misbehave replay | garbage | huge | endless | silent]
 *
 * Says on standard output what it does, a line each. A line `publish TOPIC PAYLOAD` on standard input is published with
 * QoS 1; `published` is the answer when the broker has it. It ends when standard input does.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>

#include "challenge.h"
#include "mqtt.h"
#include "options.h"

/* What one thread needs of mbedTLS: nothing of it is shared, since using a key changes it. */
struct identity {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt chain;
    mbedtls_x509_crt authorities;
    mbedtls_pk_context key;
    mbedtls_ssl_config tls;
};

static void split(const char *address, char *host, size_t room, const char **port)
{
    const char *colon = strrchr(address, ':');

    check(colon == NULL || (size_t)(colon - address) >= room ? MBEDTLS_ERR_NET_UNKNOWN_HOST : 0, address);
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    *port = colon + 1;
}

static void load(struct identity *identity, const struct options *options, int side, const char *certificate,
                 const char *key)
{
    mbedtls_entropy_init(&identity->entropy);
    mbedtls_ctr_drbg_init(&identity->random);
    mbedtls_x509_crt_init(&identity->chain);
    mbedtls_x509_crt_init(&identity->authorities);
    mbedtls_pk_init(&identity->key);
    mbedtls_ssl_config_init(&identity->tls);
    check(mbedtls_ctr_drbg_seed(&identity->random, mbedtls_entropy_func, &identity->entropy, NULL, 0), "random numbers");
    check(mbedtls_x509_crt_parse_file(&identity->chain, certificate), certificate);
    check(mbedtls_pk_parse_keyfile(&identity->key, key, NULL), key);
    check(mbedtls_ssl_config_defaults(&identity->tls, side, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), "TLS");
    mbedtls_ssl_conf_min_version(&identity->tls, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_rng(&identity->tls, mbedtls_ctr_drbg_random, &identity->random);
    mbedtls_ssl_conf_read_timeout(&identity->tls, MQTT_TIMEOUT_MS);
    /* mbedTLS does not look whether they belong together, which is as well: some tests are about that. */
    check(mbedtls_ssl_conf_own_cert(&identity->tls, &identity->chain, &identity->key), "the certificate and its key");
    if (side == MBEDTLS_SSL_IS_CLIENT) {
        check(mbedtls_x509_crt_parse_file(&identity->authorities, needed(options, "authorities")), "the authorities");
        mbedtls_ssl_conf_ca_chain(&identity->tls, &identity->authorities, NULL);
        mbedtls_ssl_conf_authmode(&identity->tls, MBEDTLS_SSL_VERIFY_REQUIRED);
    }
}

/* The TLS server: shakes hands and listens to whatever the client has to say, which is nothing a device would answer. */
static void *serve(void *state)
{
    const struct options *options = state;
    static struct identity identity;
    mbedtls_net_context listener, client;
    mbedtls_ssl_context tls;
    char host[64];
    unsigned char heard[256];
    const char *port;
    int got;

    load(&identity, options, MBEDTLS_SSL_IS_SERVER, needed(options, "certificate"), needed(options, "key"));
    split(needed(options, "listen"), host, sizeof host, &port);
    mbedtls_net_init(&listener);
    check(mbedtls_net_bind(&listener, host, port, MBEDTLS_NET_PROTO_TCP), needed(options, "listen"));
    printf("serving\n");
    for (;;) {
        mbedtls_net_init(&client);
        mbedtls_ssl_init(&tls);
        if (mbedtls_net_accept(&listener, &client, NULL, 0, NULL) == 0 && mbedtls_ssl_setup(&tls, &identity.tls) == 0) {
            mbedtls_ssl_set_bio(&tls, &client, mbedtls_net_send, mbedtls_net_recv, mbedtls_net_recv_timeout);
            do
                got = mbedtls_ssl_handshake(&tls);
            while (got == MBEDTLS_ERR_SSL_WANT_READ || got == MBEDTLS_ERR_SSL_WANT_WRITE);
            while (got == 0 || got > 0)
                got = mbedtls_ssl_read(&tls, heard, sizeof heard) > 0 ? 1 : -1;
            (void)mbedtls_ssl_close_notify(&tls);
        }
        mbedtls_ssl_free(&tls);
        mbedtls_net_free(&client);
    }
    return NULL;
}

/* The signing function of a device whose key is in its memory. */
static int sign(void *state, const unsigned char digest[GATEPOST_DIGEST_SIZE], unsigned char *signature, size_t room,
                size_t *size)
{
    struct identity *identity = state;

    if (room < MBEDTLS_PK_SIGNATURE_MAX_SIZE && room < mbedtls_pk_get_len(&identity->key))
        return GATEPOST_NO_ROOM;
    return mbedtls_pk_sign(&identity->key, MBEDTLS_MD_SHA256, digest, GATEPOST_DIGEST_SIZE, signature, size,
                           mbedtls_ctr_drbg_random, &identity->random);
}

/* What the MQTT client is in the middle of. */
struct session {
    struct mqtt mqtt;
    struct gatepost_device device;
    const char *misbehave;
    char challenge_topic[GATEPOST_TOPIC_MAX + 1], answer_topic[GATEPOST_TOPIC_MAX + 1];
    unsigned char answer[GATEPOST_ANSWER_MAX];
    size_t answer_size;
    int reading_id;
};

static int behaves(const struct session *session, const char *how)
{
    return session->misbehave != NULL && strncmp(session->misbehave, how, strlen(how)) == 0;
}

static int answer(struct session *session, const struct mqtt_message *message)
{
    static unsigned char noise[1 << 20];
    const char *topic = session->answer_topic;
    int error;

    if (behaves(session, "silent"))
        return 0;
    memset(noise, 'x', sizeof noise);
    if (behaves(session, "garbage"))
        return mqtt_publish(&session->mqtt, topic, noise, 200, 1);
    if (behaves(session, "huge"))
        return mqtt_publish(&session->mqtt, topic, noise, sizeof noise, 1);
    if (behaves(session, "endless")) {
        do
            error = mqtt_publish(&session->mqtt, topic, noise, 200, 0);
        while (error == 0);
        return error;
    }
    if (!behaves(session, "replay") || session->answer_size == 0) {
        error = gatepost_answer(&session->device, message->payload, message->size, session->answer,
                                sizeof session->answer, &session->answer_size);
        if (error != 0) {
            printf("not answered: %d\n", error);
            return 0;
        }
    }
    error = mqtt_publish(&session->mqtt, topic, session->answer, session->answer_size, 1);
    printf("answered\n");
    return error;
}

/* Takes a line from standard input, and with its end ends. */
static int obey(struct session *session)
{
    char line[4096], *topic, *payload;

    if (fgets(line, sizeof line, stdin) == NULL)
        exit(0);
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "publish ", 8) != 0 || (payload = strchr(topic = line + 8, ' ')) == NULL) {
        printf("not understood: %s\n", line);
        return 0;
    }
    *payload++ = 0;
    session->reading_id = 0;
    if (mqtt_publish(&session->mqtt, topic, (const unsigned char *)payload, strlen(payload), 1) != 0)
        return -1;
    session->reading_id = session->mqtt.last_id;
    return 0;
}

/* One connection to the broker, from its beginning to its end. */
static int converse(struct session *session, const struct identity *identity, const struct options *options)
{
    struct mqtt *mqtt = &session->mqtt;
    struct mqtt_message message;
    char host[64];
    const char *port, *name = option(options, "broker-name");
    int error;

    split(needed(options, "broker"), host, sizeof host, &port);
    error = mqtt_connect(mqtt, &identity->tls, host, port, name != NULL ? name : "localhost", needed(options, "id"));
    if (error == 0)
        error = mqtt_subscribe(mqtt, session->challenge_topic);
    if (error == 0)
        printf("connected\n");
    while (error >= 0) {
        struct pollfd ready[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = mqtt->socket.fd, .events = POLLIN } };
        int some = mqtt_pending(mqtt) ? 1 : poll(ready, 2, 10000);
        if (some == 0)
            error = mqtt_ping(mqtt);
        if (some > 0 && (mqtt_pending(mqtt) || ready[1].revents != 0)) {
            error = mqtt_read(mqtt, &message);
            /* A challenge that the broker kept for everybody is nobody's question. */
            if (error == 1 && !message.retained)
                error = answer(session, &message);
            if (session->reading_id != 0 && mqtt->acknowledged == session->reading_id) {
                printf("published\n");
                session->reading_id = 0;
            }
        }
        if (error >= 0 && some > 0 && ready[0].revents != 0)
            error = obey(session);
    }
    mqtt_close(mqtt);
    return error;
}

static void prepare(struct session *session, struct identity *identity, const struct options *options)
{
    struct gatepost_device *device = &session->device;
    const char *prefix = option(options, "prefix"), *gateway = option(options, "gateway"), *id = needed(options, "id");
    static unsigned char gateway_id[GATEPOST_DIGEST_SIZE];
    const mbedtls_x509_crt *certificate;

    memset(session, 0, sizeof *session);
    session->misbehave = option(options, "misbehave");
    device->id = option(options, "signs-for") != NULL ? option(options, "signs-for") : id;
    snprintf(session->challenge_topic, sizeof session->challenge_topic, "%s/%s/challenge",
             prefix != NULL ? prefix : "gatepost/device", id);
    snprintf(session->answer_topic, sizeof session->answer_topic, "%s/%s/answer",
             prefix != NULL ? prefix : "gatepost/device", id);
    device->answer_topic = session->answer_topic;
    if (gateway != NULL) {
        from_hex(gateway, gateway_id, sizeof gateway_id);
        device->gateway = gateway_id;
    }
    for (certificate = &identity->chain; certificate != NULL; certificate = certificate->next) {
        check(device->certificate_count == GATEPOST_CERTIFICATES_MAX ? MBEDTLS_ERR_X509_BUFFER_TOO_SMALL : 0, "the chain");
        device->certificates[device->certificate_count].der = certificate->raw.p;
        device->certificates[device->certificate_count++].size = certificate->raw.len;
    }
    device->sign = sign;
    device->key = identity;
}

int run(const struct options *options)
{
    static struct identity identity, answering;
    static struct session session;
    const char *certificate = needed(options, "certificate"), *key = needed(options, "key");
    const char *other_certificate = option(options, "answer-certificate"), *other_key = option(options, "answer-key");
    pthread_t server;

    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (option(options, "listen") != NULL)
        check(pthread_create(&server, NULL, serve, (void *)options), "the TLS server");
    if (option(options, "broker") == NULL) {
        while (getchar() != EOF)
            ;
        return 0;
    }
    load(&identity, options, MBEDTLS_SSL_IS_CLIENT, certificate, key);
    load(&answering, options, MBEDTLS_SSL_IS_CLIENT, other_certificate != NULL ? other_certificate : certificate,
         other_key != NULL ? other_key : key);
    prepare(&session, &answering, options);
    for (;;) {
        char words[120];
        struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

        mbedtls_strerror(converse(&session, &identity, options), words, sizeof words);
        printf("not connected: %s\n", words);
        /* A line that came waits for the next connection; the end of all lines is the end. */
        if (poll(&input, 1, 50) > 0 && (input.revents & POLLHUP) != 0 && (input.revents & POLLIN) == 0)
            return 0;
        if ((input.revents & POLLIN) != 0)
            usleep(50000);
    }
}
