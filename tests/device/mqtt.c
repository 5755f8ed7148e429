/* See mqtt.h. */
#include "mqtt.h"

#include <string.h>

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90, PINGREQ = 0xc0, DISCONNECT = 0xe0 };

static const int NOT_MQTT = -1, REFUSED = -2, TOO_LARGE = -3;
static const unsigned char KEEP_ALIVE = 20;

static int write_all(struct mqtt *mqtt, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        int written = mbedtls_ssl_write(&mqtt->tls, bytes, size);
        if (written == MBEDTLS_ERR_SSL_WANT_READ || written == MBEDTLS_ERR_SSL_WANT_WRITE)
            continue;
        if (written < 0)
            return written;
        bytes += written;
        size -= (size_t)written;
    }
    return 0;
}

static int read_all(struct mqtt *mqtt, unsigned char *bytes, size_t size)
{
    while (size > 0) {
        int got = mbedtls_ssl_read(&mqtt->tls, bytes, size);
        if (got == MBEDTLS_ERR_SSL_WANT_READ || got == MBEDTLS_ERR_SSL_WANT_WRITE)
            continue;
        if (got <= 0)
            return got == 0 ? MBEDTLS_ERR_SSL_CONN_EOF : got;
        bytes += got;
        size -= (size_t)got;
    }
    return 0;
}

/* A packet's type and the length of what follows, up to four bytes of seven bits, the lowest first. */
static int write_header(struct mqtt *mqtt, int type, size_t length)
{
    unsigned char header[5];
    size_t at = 0;

    header[at++] = (unsigned char)type;
    do {
        header[at] = (unsigned char)(length % 128);
        length /= 128;
        if (length > 0)
            header[at] |= 0x80;
        at++;
    } while (length > 0);
    return write_all(mqtt, header, at);
}

/* The next packet, whole, in the client's buffer; its type, or a negative number. */
static int read_packet(struct mqtt *mqtt, size_t *length)
{
    unsigned char type, byte = 0x80;
    size_t shift = 0;
    int error = read_all(mqtt, &type, 1);

    *length = 0;
    for (; error == 0 && (byte & 0x80) != 0; shift += 7) {
        if (shift > 21)
            return NOT_MQTT;
        error = read_all(mqtt, &byte, 1);
        *length |= (size_t)(byte & 0x7f) << shift;
    }
    if (error == 0 && *length > sizeof mqtt->packet)
        return TOO_LARGE;
    if (error == 0)
        error = read_all(mqtt, mqtt->packet, *length);
    return error != 0 ? error : type;
}

static size_t put_text(unsigned char *to, const char *text)
{
    size_t size = strlen(text);

    to[0] = (unsigned char)(size >> 8);
    to[1] = (unsigned char)size;
    memcpy(to + 2, text, size);
    return size + 2;
}

static size_t put_id(struct mqtt *mqtt, unsigned char *to)
{
    mqtt->last_id = (unsigned short)(mqtt->last_id == 0xffff ? 1 : mqtt->last_id + 1);
    to[0] = (unsigned char)(mqtt->last_id >> 8);
    to[1] = (unsigned char)mqtt->last_id;
    return 2;
}

static int shake_hands(struct mqtt *mqtt, const char *host, const char *port, const char *name)
{
    int error = mbedtls_net_connect(&mqtt->socket, host, port, MBEDTLS_NET_PROTO_TCP);

    if (error == 0)
        error = mbedtls_ssl_set_hostname(&mqtt->tls, name);
    if (error != 0)
        return error;
    mbedtls_ssl_set_bio(&mqtt->tls, &mqtt->socket, mbedtls_net_send, mbedtls_net_recv, mbedtls_net_recv_timeout);
    do
        error = mbedtls_ssl_handshake(&mqtt->tls);
    while (error == MBEDTLS_ERR_SSL_WANT_READ || error == MBEDTLS_ERR_SSL_WANT_WRITE);
    return error;
}

int mqtt_connect(struct mqtt *mqtt, const mbedtls_ssl_config *config, const char *host, const char *port,
                 const char *name, const char *client_id)
{
    unsigned char body[128] = { 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02 /* clean session */, 0, KEEP_ALIVE };
    size_t length;
    int error;

    mbedtls_net_init(&mqtt->socket);
    mbedtls_ssl_init(&mqtt->tls);
    mqtt->last_id = mqtt->acknowledged = 0;
    if (strlen(client_id) > sizeof body - 12)
        return TOO_LARGE;
    error = mbedtls_ssl_setup(&mqtt->tls, config);
    if (error == 0)
        error = shake_hands(mqtt, host, port, name);
    length = 10 + put_text(body + 10, client_id);
    if (error == 0)
        error = write_header(mqtt, CONNECT, length);
    if (error == 0)
        error = write_all(mqtt, body, length);
    if (error == 0)
        error = read_packet(mqtt, &length);
    if (error < 0)
        return error;
    if (error != CONNACK || length != 2)
        return NOT_MQTT;
    return mqtt->packet[1] == 0 ? 0 : REFUSED;
}

int mqtt_subscribe(struct mqtt *mqtt, const char *topic)
{
    unsigned char body[300];
    size_t length = put_id(mqtt, body);
    int type;

    if (strlen(topic) > sizeof body - 5)
        return TOO_LARGE;
    length += put_text(body + length, topic);
    body[length++] = 1;
    type = write_header(mqtt, SUBSCRIBE, length);
    if (type == 0)
        type = write_all(mqtt, body, length);
    while (type >= 0 && type != SUBACK)
        type = read_packet(mqtt, &length);
    if (type < 0)
        return type;
    return length == 3 && mqtt->packet[2] <= 2 ? 0 : REFUSED;
}

int mqtt_publish(struct mqtt *mqtt, const char *topic, const unsigned char *payload, size_t size, int qos)
{
    unsigned char head[300];
    size_t length;
    int type;

    if (strlen(topic) > sizeof head - 4)
        return TOO_LARGE;
    length = put_text(head, topic);
    if (qos > 0)
        length += put_id(mqtt, head + length);
    type = write_header(mqtt, PUBLISH | (qos > 0 ? 2 : 0), length + size);
    if (type == 0)
        type = write_all(mqtt, head, length);
    if (type == 0)
        type = write_all(mqtt, payload, size);
    return type;
}

int mqtt_read(struct mqtt *mqtt, struct mqtt_message *message)
{
    size_t length, topic;
    int type = read_packet(mqtt, &length);

    if (type == PUBACK && length == 2)
        mqtt->acknowledged = (unsigned short)(mqtt->packet[0] << 8 | mqtt->packet[1]);
    if (type < 0 || (type & 0xf0) != PUBLISH)
        return type < 0 ? type : 0;
    topic = length < 2 ? length : (size_t)mqtt->packet[0] << 8 | mqtt->packet[1];
    if (topic + 2 > length)
        return NOT_MQTT;
    message->topic = (const char *)mqtt->packet + 2;
    message->topic_size = topic;
    message->retained = type & 1;
    message->payload = mqtt->packet + 2 + topic;
    message->size = length - 2 - topic;
    if ((type & 0x06) != 0) {
        unsigned char answer[4] = { PUBACK, 2, 0, 0 };
        if (message->size < 2)
            return NOT_MQTT;
        memcpy(answer + 2, message->payload, 2);
        message->payload += 2;
        message->size -= 2;
        type = write_all(mqtt, answer, sizeof answer);
    }
    return type < 0 ? type : 1;
}

int mqtt_pending(const struct mqtt *mqtt)
{
    return mbedtls_ssl_get_bytes_avail(&mqtt->tls) > 0 || mbedtls_ssl_check_pending(&mqtt->tls);
}

int mqtt_ping(struct mqtt *mqtt)
{
    return write_header(mqtt, PINGREQ, 0);
}

void mqtt_close(struct mqtt *mqtt)
{
    if (mqtt->tls.state == MBEDTLS_SSL_HANDSHAKE_OVER) {
        (void)write_header(mqtt, DISCONNECT, 0);
        (void)mbedtls_ssl_close_notify(&mqtt->tls);
    }
    mbedtls_net_free(&mqtt->socket);
    mbedtls_ssl_free(&mqtt->tls);
}
