/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds answers to the shim's own reader of answers, many in one process.
 *
 * Standard input: for each case a length of 4 bytes in the machine's order, and the bytes.
 * Into the file that argv[1] names: the exit status of each case, one byte. Built with
 * sanitizers, which end it at the first access outside of an object.
 */
#define main shim_main
#include "../../../shim/shim.c"
#undef main

int main(int argc, char **argv)
{
    uint32_t length;
    FILE *statuses = argc > 1 ? fopen(argv[1], "wb") : NULL;
    if (statuses == NULL)
        return 2;
    while (fread(&length, sizeof length, 1, stdin) == 1) {
        int ends[2];
        /* Exactly as long as the case: a sanitizer sees one byte too many. */
        unsigned char *bytes = malloc(length > 0 ? length : 1);
        if (bytes == NULL || fread(bytes, 1, length, stdin) != length ||
            socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
            return 2;
        memcpy(answered_version, NEWEST, sizeof answered_version);
        note_version(bytes, length);
        start_deadline();
        if (write_full(ends[0], bytes, length) != 0)
            return 2;
        close(ends[0]);
        fputc(print_answer(ends[1]), statuses);
        close(ends[1]);
        free(bytes);
    }
    return fclose(statuses) == 0 ? 0 : 2;
}
