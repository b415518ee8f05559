/* linux/jre/bin/dynamsoftdls of the test double: takes a Java command line and is itself the server.
 *
 * Answers 200 on /page/index.html with the page that stands in the "jar", 404 elsewhere; listens on all addresses, and
 * on the data port on loopback only. Writes below the working folder: data/ (a counter of starts), logs/dls.log and
 * data/in use.lock while it runs. Gives no licence and no authorisation of any kind.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef DATA_PORT
#define DATA_PORT 30201
#endif
#define LOCK "data/in use.lock"

static volatile sig_atomic_t stopping = 0;
static char page[16384];
static FILE *logfile;

static void on_term(int signal_number) { stopping = signal_number; }

static void say(const char *text) {
    char when[32];
    time_t now = time(NULL);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime(&now));
    fprintf(logfile, "%s INFO %s\n", when, text);
    fflush(logfile);
}

static void die(const char *what) {
    fprintf(stderr, "dynamsoftdls: %s: %s\n", what, strerror(errno));
    if (logfile) say(what);
    exit(1);
}

static int listen_on(int port, int loopback_only) {
    int one = 1, zero = 0, fd;
    struct sockaddr_in6 all = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    v4.sin_addr.s_addr = htonl(loopback_only ? INADDR_LOOPBACK : INADDR_ANY);
    if (!loopback_only && (fd = socket(AF_INET6, SOCK_STREAM, 0)) >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
        if (bind(fd, (struct sockaddr *)&all, sizeof all) == 0 && listen(fd, 64) == 0) return fd;
        if (errno == EADDRINUSE) die("Web server failed to start. Port was already in use.");
        close(fd);
    }
    fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&v4, sizeof v4) || listen(fd, 64)) die("bind");
    return fd;
}

static void answer(int fd) {
    char request[4096], head[256];
    struct timeval patience = {2, 0};
    ssize_t n;
    size_t length;
    const char *status = "404 Not Found", *body = "test double, not a licence server: nothing here\n";
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    n = read(fd, request, sizeof request - 1);
    if (n > 0) {
        request[n] = 0;
        if (!strncmp(request, "GET /page/index.html", 20) && strchr(" ?#", request[20])) {
            status = "200 OK";
            body = page;
        }
        length = strlen(body);
        snprintf(head, sizeof head,
                 "HTTP/1.1 %s\r\nContent-Type: text/html;charset=UTF-8\r\nContent-Length: %zu\r\n"
                 "Connection: close\r\n\r\n", status, length);
        if (write(fd, head, strlen(head)) < 0 || write(fd, body, length) < 0) say("client went away");
    }
    close(fd);
}

static void read_page(const char *jar) {
    FILE *file = fopen(jar, "r");
    if (!file) die("Unable to access jarfile");
    page[fread(page, 1, sizeof page - 1, file)] = 0;
    fclose(file);
}

static void count_start(void) {
    int starts = 0;
    FILE *file;
    mkdir("data", 0755);
    mkdir("logs", 0755);
    logfile = fopen("logs/dls.log", "a");
    if (!logfile) die("logs/dls.log");
    if ((file = fopen("data/starts.txt", "r"))) {
        if (fscanf(file, "%d", &starts) != 1) starts = 0;
        fclose(file);
    }
    file = fopen("data/starts.txt", "w");
    if (!file || fprintf(file, "%d\n", starts + 1) < 0 || fclose(file)) die("data/starts.txt");
    if (!(file = fopen(LOCK, "w"))) die(LOCK);
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
}

int main(int argc, char **argv) {
    int port = 8080, data_port = DATA_PORT, i;
    const char *jar = NULL;
    struct pollfd sockets[2];
    struct sigaction stop = {.sa_handler = on_term};
    for (i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "-D", 2)) continue;
        if (!strcmp(argv[i], "--add-opens") && i + 1 < argc) i++;
        else if (!strcmp(argv[i], "-jar") && i + 1 < argc) jar = argv[++i];
        else if (!strncmp(argv[i], "--server.port=", 14)) port = atoi(argv[i] + 14);
        else if (!strncmp(argv[i], "--data.port=", 12)) data_port = atoi(argv[i] + 12);
        else {
            fprintf(stderr, "Unrecognized option: %s\n", argv[i]);
            return 1;
        }
    }
    if (!jar) {
        fprintf(stderr, "usage: dynamsoftdls [options] -jar JAR [--server.port=N] [--data.port=N]\n");
        return 1;
    }
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    read_page(jar);
    count_start();
    say("starting the test double of the license server");
    sleep(1); /* the documentation says that a start takes seconds */
    sockets[0] = (struct pollfd){listen_on(port, 0), POLLIN, 0};
    sockets[1] = (struct pollfd){listen_on(data_port, 1), POLLIN, 0};
    say("started");
    while (!stopping) {
        if (poll(sockets, 2, -1) <= 0) continue;
        if (sockets[0].revents) answer(accept(sockets[0].fd, NULL, NULL));
        if (sockets[1].revents) close(accept(sockets[1].fd, NULL, NULL));
    }
    say("stopped");
    unlink(LOCK);
    return 128 + stopping;
}
