/* The simulator's command line: `--name value`, each name once or several times. */
#ifndef GATEPOST_OPTIONS_H
#define GATEPOST_OPTIONS_H

struct options {
    int count;
    char **words;
};

/* The value of `--name`; NULL when it is not there. */
const char *option(const struct options *options, const char *name);
/* The same, but the program ends with words when it is not there. */
const char *needed(const struct options *options, const char *name);
/* Ends the program with words and what mbedTLS says of `error`, if that is not 0. */
void check(int error, const char *what);
/* `size` bytes from their hexadecimal digits; ends the program when they are not that. */
void from_hex(const char *digits, unsigned char *bytes, int size);
void print_hex(const char *name, const unsigned char *bytes, int size);

int provision(const struct options *options);
int run(const struct options *options);
int vectors(const struct options *options);

#endif
