/*
 * As much of an MQTT 3.1.1 client as a device needs, over mbedTLS: CONNECT, SUBSCRIBE with QoS 1, PUBLISH, PINGREQ. It blocks, for
 * at most five seconds at a time. A device of yours has a better one; what Gatepost needs of it is in docs/device-challenge.md.
 */
#ifndef GATEPOST_MQTT_H
#define GATEPOST_MQTT_H

#include <stddef.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>

#define MQTT_PACKET_MAX 16384
#define MQTT_TIMEOUT_MS 5000

struct mqtt {
    mbedtls_net_context socket;
    mbedtls_ssl_context tls;
    unsigned short last_id;
    /* The message whose PUBACK came last. */
    unsigned short acknowledged;
    unsigned char packet[MQTT_PACKET_MAX];
};

/* A message that came. Points into the client's buffer, until the next packet is read. */
struct mqtt_message {
    const char *topic;
    size_t topic_size;
    const unsigned char *payload;
    size_t size;
    unsigned short id;
    int retained;
};

/* All of these: 0 or a negative number. `mqtt_close` is always to be called after `mqtt_connect`. */
int mqtt_connect(struct mqtt *mqtt, const mbedtls_ssl_config *config, const char *host, const char *port,
                 const char *name, const char *client_id);
int mqtt_subscribe(struct mqtt *mqtt, const char *topic);
/* Does not wait for PUBACK: `mqtt_read` meets it, and then `acknowledged` is this message's `last_id`. */
int mqtt_publish(struct mqtt *mqtt, const char *topic, const unsigned char *payload, size_t size, int qos);
/* Reads one packet; 1 when it is a message, which has been acknowledged. Waits for the first byte, so poll before. */
int mqtt_read(struct mqtt *mqtt, struct mqtt_message *message);
/* Whether something was received that has not been read. */
int mqtt_pending(const struct mqtt *mqtt);
int mqtt_ping(struct mqtt *mqtt);
void mqtt_close(struct mqtt *mqtt);

#endif
