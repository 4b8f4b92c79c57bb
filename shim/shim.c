/* SPDX-License-Identifier: Apache-2.0 */
/* The program that a container runtime starts under the name bridge, host-local, static or dhcp.
 *
 * It hands the call to the agent in one frame, with the two network namespaces as descriptors,
 * and prints the agent's answer. Without an agent it becomes the one-shot program, or says in the
 * protocol's own words that none is there. The frame: docs/reference/wire.md. It decides nothing
 * else, keeps nothing and allocates nothing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef SPANBRIDGE_VERSION
#define SPANBRIDGE_VERSION "of no release"
#endif
/* What `spanbridge cni install` looks for; it writes the path of the one-shot program behind it. */
#define MARK "Made by: spanbridge cni install; one-shot: "
#define START "SB\1" /* of every frame: magic, version */
#define NEWEST "1.1.0"

enum {
    HEADER_BYTES = 12,
    STRINGS_MAX_BYTES = 64 << 10,
    STDIN_MAX_BYTES = 1 << 20,
    PART_MAX_BYTES = 4 << 20, /* of an answer: standard output, standard error */
    DEADLINE_S = 130,         /* longer than a runtime or the agent waits for anything */
    DEADLINE_MAX_S = 24 * 60 * 60,
    VERSION_WAIT_MS = 500, /* nothing obliges the caller of VERSION to write or to close stdin */
};

/* Source: CNI specification 1.1.0, section 5 "Error". */
enum { CODE_ENVIRONMENT = 4, CODE_IO = 5, CODE_LATER = 11, CODE_NOT_AVAILABLE = 50 };

/* volatile: the compiler must not conclude anything from the bytes that it sees here. */
static volatile const char oneshot_path[1024] = MARK;

static unsigned char frame[HEADER_BYTES + 2 * PART_MAX_BYTES]; /* the call, then the answer */
static char answered_version[] = NEWEST;                       /* cniVersion of error documents */
static int code_later = CODE_LATER;
static int64_t timeout_ms = DEADLINE_S * 1000;
static int64_t deadline_ms;

static const char *environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : otherwise;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void start_deadline(void)
{
    double wanted_s = strtod(environment("SPANBRIDGE_SHIM_TIMEOUT", "0"), NULL);
    if (wanted_s >= 0.001 && wanted_s <= DEADLINE_MAX_S) /* false for NaN too */
        timeout_ms = (int64_t)(wanted_s * 1000);
    deadline_ms = now_ms() + timeout_ms;
}

/* ---- descriptors ---- */

/* Waits until fd is ready: 0, or -1 with errno, ETIMEDOUT among others. */
static int await(int fd, short events, int64_t until_ms)
{
    struct pollfd one = {.fd = fd, .events = events};
    for (;;) {
        int64_t left_ms = until_ms - now_ms();
        int ready = poll(&one, 1, left_ms > 0 ? (int)left_ms : 0);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -1;
        if (left_ms <= 0) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

/* Reads until length bytes or the end are there: how many, or -1 with errno. */
static ssize_t read_full(int fd, unsigned char *to, size_t length)
{
    size_t got = 0;
    while (got < length) {
        if (await(fd, POLLIN, deadline_ms) != 0)
            return -1;
        ssize_t n = read(fd, to + got, length - got);
        if (n == 0)
            break;
        if (n > 0)
            got += (size_t)n;
        else if (errno != EINTR && errno != EAGAIN)
            return -1;
    }
    return (ssize_t)got;
}

static int write_full(int fd, const void *from, size_t length)
{
    const unsigned char *at = from;
    while (length > 0) {
        ssize_t n = write(fd, at, length);
        if (n >= 0) {
            at += n;
            length -= (size_t)n;
        } else if (errno == EAGAIN) { /* the runtime gave a pipe that does not block */
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

/* What we open must not become descriptor 0, 1 or 2 where the runtime closed one of them. */
static void fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) == 0);
    if (fd > STDERR_FILENO)
        close(fd);
}

/* ---- what it says itself ---- */

static void print_member(const char *name, const char *text)
{
    printf("%s\"", name);
    for (; *text != '\0'; text++) {
        unsigned byte = (unsigned char)*text;
        if (byte < ' ' || byte == '"' || byte == '\\')
            printf("\\u%04x", byte);
        else
            putchar(byte > '~' ? '?' : *text); /* perhaps no UTF-8 */
    }
    putchar('"');
}

/* Prints an error document; the result is the exit status. */
__attribute__((format(printf, 3, 4))) static int fail(int code, const char *details,
                                                      const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print_member("{\"cniVersion\": ", answered_version);
    printf(", \"code\": %d", code);
    print_member(", \"msg\": ", text);
    print_member(", \"details\": ", details);
    puts("}");
    return 1;
}

static int print_about(void)
{
    fprintf(stderr,
            "CNI %s plugin of Spanbridge " SPANBRIDGE_VERSION ", shim\n"
            "CNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, " NEWEST "\n",
            program_invocation_short_name);
    return 0;
}

/* Error documents repeat the version of the configuration where it stands in plain sight. */
static void note_version(const unsigned char *text, size_t length)
{
    static const char key[] = "\"cniVersion\"";
    static const char *const others[] = {"\"0.3.1\"", "\"0.4.0\"", "\"1.0.0\""};
    const unsigned char *end = text + length;
    const unsigned char *at = memmem(text, length, key, sizeof key - 1);
    for (at = at != NULL ? at + sizeof key - 1 : end; at < end; at++)
        if (memchr(" \t\r\n:", *at, 5) == NULL)
            break;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (end - at >= 7 && memcmp(at, others[i], 7) == 0)
            memcpy(answered_version, at + 1, 5);
}

/* ---- without an agent ---- */

/* Returns only when there is no one-shot program, or it cannot be started: 0, or errno. */
static int become_oneshot(void)
{
    char path[sizeof oneshot_path];
    for (size_t i = sizeof MARK - 1; i < sizeof oneshot_path; i++)
        path[i - (sizeof MARK - 1)] = oneshot_path[i];
    char *chosen = getenv("SPANBRIDGE_ONESHOT");
    chosen = chosen != NULL ? chosen : path;
    if (*chosen == '\0')
        return 0;
    /* A script loses argv[0] to its interpreter. */
    if (setenv("SPANBRIDGE_PROGRAM", program_invocation_short_name, 1) == 0)
        execv(chosen, (char *[]){chosen, NULL});
    return errno;
}

static int without_agent(const char *verb, const char *socket_path, int cause)
{
    char details[1024];
    int oneshot = become_oneshot();
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(verb, "VERSION") == 0) {
        puts("{\"cniVersion\": \"" NEWEST "\", \"supportedVersions\": "
             "[\"0.3.1\", \"0.4.0\", \"1.0.0\", \"" NEWEST "\"]}");
        return fflush(stdout) == 0 ? 0 : 1;
    }
    snprintf(details, sizeof details, "start it: spanbridge agent run; no one-shot program: %s",
             oneshot == 0 ? "none is installed" : strerror(oneshot));
    return fail(code_later, details, "cannot reach the agent at %s: %s", socket_path,
                strerror(cause));
}

/* Connects to the agent: a descriptor, or -1 with errno, EAGAIN when it accepts no call in time. */
static int connect_agent(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* connect waits while the queue of a listening socket is full. */
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    while (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        if (errno != EINTR)
            return -1;
    return fd;
}

/* ---- with an agent ---- */

/* Puts the program and the CNI variables behind the header: their length, 0 when too long. */
static size_t put_strings(void)
{
    size_t used = 0;
    char **next = environ;
    for (const char *each = program_invocation_short_name; each != NULL; each = *next++) {
        size_t length = strlen(each) + 1;
        if (used > 0 && strncmp(each, "CNI_", 4) != 0)
            continue;
        if (length > STRINGS_MAX_BYTES - used)
            return 0;
        memcpy(frame + HEADER_BYTES + used, each, length);
        used += length;
    }
    return used;
}

/* Opens the caller's network namespace and the sandbox, notes in the header which: how many. */
static size_t open_namespaces(int passed[2])
{
    const char *paths[2] = {"/proc/self/ns/net", environment("CNI_NETNS", "")};
    size_t count = 0;
    frame[3] = 0;
    for (unsigned i = 0; i < 2; i++) {
        /* O_NONBLOCK: whatever the path names, opening it must not wait. */
        passed[count] = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (passed[count] >= 0) {
            frame[3] = (unsigned char)(frame[3] | 1U << i);
            count++;
        }
    }
    return count;
}

/* Sends the frame; the descriptors go with its first byte. 0, or -1 with errno. */
static int send_call(int fd, size_t strings, size_t input)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    const uint32_t lengths[2] = {htonl((uint32_t)strings), htonl((uint32_t)input)};
    struct iovec rest = {.iov_base = frame, .iov_len = HEADER_BYTES + strings + input};
    struct msghdr message = {.msg_iov = &rest, .msg_iovlen = 1};
    int passed[2];
    size_t count = open_namespaces(passed);
    memcpy(frame, START, 3);
    memcpy(frame + 4, lengths, sizeof lengths);
    if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int));
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(head), passed, count * sizeof(int));
    }
    while (rest.iov_len > 0) {
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            rest.iov_base = (unsigned char *)rest.iov_base + n;
            rest.iov_len -= (size_t)n;
            message.msg_control = NULL;
            message.msg_controllen = 0;
        } else if (errno == EAGAIN) {
            if (await(fd, POLLOUT, deadline_ms) != 0)
                return -1;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

static int fail_unanswered(ssize_t got, size_t wanted)
{
    if (got < 0 && errno == ETIMEDOUT)
        return fail(code_later, "the agent gives the call up; see: spanbridge agent status",
                    "cannot finish the call: no answer in %g s", (double)timeout_ms / 1000);
    return fail(code_later, "the agent ended or failed during the call; repeat it",
                "cannot finish the call: the agent hung up after %zd of %zu bytes of its answer",
                got < 0 ? 0 : got, wanted);
}

/* Prints what the agent answers; the result is the exit status. */
static int print_answer(int fd)
{
    uint32_t lengths[2];
    ssize_t got = read_full(fd, frame, HEADER_BYTES);
    if (got != HEADER_BYTES)
        return fail_unanswered(got, HEADER_BYTES);
    memcpy(lengths, frame + 4, sizeof lengths);
    size_t out = ntohl(lengths[0]);
    size_t err = ntohl(lengths[1]);
    if (memcmp(frame, START, 3) != 0 || out > PART_MAX_BYTES || err > PART_MAX_BYTES)
        return fail(code_later, "install shim and agent of one release: spanbridge cni install",
                    "cannot read the agent's answer: it is no frame of version %d", START[2]);
    got = read_full(fd, frame + HEADER_BYTES, out + err);
    if (got != (ssize_t)(out + err))
        return fail_unanswered(got, out + err);
    write_full(STDERR_FILENO, frame + HEADER_BYTES + out, err);
    return write_full(STDOUT_FILENO, frame + HEADER_BYTES, out) == 0 ? frame[3] : 1;
}

static int call_agent(int fd, const char *verb)
{
    size_t strings = put_strings();
    if (strings == 0)
        return fail(CODE_ENVIRONMENT, "the runtime sets them; shorten CNI_ARGS or CNI_PATH",
                    "cannot pass the CNI variables: more than %d bytes", STRINGS_MAX_BYTES);
    unsigned char *input = frame + HEADER_BYTES + strings;
    ssize_t got = 0;
    if (strcmp(verb, "VERSION") != 0 ||
        await(STDIN_FILENO, POLLIN, now_ms() + VERSION_WAIT_MS) == 0)
        got = read_full(STDIN_FILENO, input, STDIN_MAX_BYTES + 1);
    if (got < 0)
        return fail(CODE_IO, "the runtime writes it to standard input and closes that",
                    "cannot read the network configuration: %s", strerror(errno));
    note_version(input, (size_t)got);
    if (got > STDIN_MAX_BYTES)
        return fail(CODE_IO, "shorten it",
                    "cannot read the network configuration: more than %d bytes", STDIN_MAX_BYTES);
    /* An agent that refuses the call may answer and close before it has read all of it. */
    if (send_call(fd, strings, (size_t)got) != 0 && errno != EPIPE && errno != ECONNRESET)
        return fail(code_later, "see: spanbridge agent status",
                    "cannot pass the call to the agent: %s", strerror(errno));
    return print_answer(fd);
}

int main(void)
{
    const char *path = environment("SPANBRIDGE_SOCKET", "/run/spanbridge/agent.sock");
    const char *verb = environment("CNI_COMMAND", "");
    if (*verb == '\0')
        return print_about();
    if (strcmp(verb, "STATUS") == 0) /* it has a code of its own for "an ADD would fail now" */
        code_later = CODE_NOT_AVAILABLE;
    fill_standard_descriptors();
    start_deadline();
    int fd = connect_agent(path);
    if (fd < 0 && errno == EAGAIN)
        return fail(code_later, "see: spanbridge agent status",
                    "cannot reach the agent at %s: it took no call in time", path);
    if (fd < 0)
        return without_agent(verb, path, errno);
    signal(SIGPIPE, SIG_IGN);
    return call_agent(fd, verb);
}
