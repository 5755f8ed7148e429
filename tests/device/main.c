/* The simulator's commands, and its command line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/error.h>

#include "options.h"

const char *option(const struct options *options, const char *name)
{
    int i;

    for (i = 0; i + 1 < options->count; i += 2)
        if (strncmp(options->words[i], "--", 2) == 0 && strcmp(options->words[i] + 2, name) == 0)
            return options->words[i + 1];
    return NULL;
}

const char *needed(const struct options *options, const char *name)
{
    const char *value = option(options, name);

    if (value == NULL) {
        fprintf(stderr, "--%s is needed\n", name);
        exit(2);
    }
    return value;
}

void check(int error, const char *what)
{
    char words[160];

    if (error == 0)
        return;
    mbedtls_strerror(error, words, sizeof words);
    fprintf(stderr, "%s: %s (%d)\n", what, words, error);
    exit(1);
}

void from_hex(const char *digits, unsigned char *bytes, int size)
{
    int i;
    unsigned byte;

    check(strlen(digits) != (size_t)size * 2, digits);
    for (i = 0; i < size; i++) {
        check(sscanf(digits + 2 * i, "%2x", &byte) != 1, digits);
        bytes[i] = (unsigned char)byte;
    }
}

void print_hex(const char *name, const unsigned char *bytes, int size)
{
    int i;

    printf("%s ", name);
    for (i = 0; i < size; i++)
        printf("%02x", bytes[i]);
    printf("\n");
}

int main(int count, char **words)
{
    struct options options = { count - 2, words + 2 };

    if (count > 1 && strcmp(words[1], "run") == 0)
        return run(&options);
    if (count > 1 && strcmp(words[1], "provision") == 0)
        return provision(&options);
    if (count > 1 && strcmp(words[1], "vectors") == 0)
        return vectors(&options);
    fprintf(stderr, "gatepost-device run | provision | vectors, with --name value\n");
    return 2;
}
