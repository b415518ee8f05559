/* linux/bin/dynamsoftdlsx of the test double: starts "Java", waits for it, ends with it.
 *
 * Usage: dynamsoftdlsx PROGRAM [ARGUMENT...]
 * Started by root it goes on as VENDOR_USER, which it creates when the host has none: the vendor's `ps` listing shows
 * both processes owned by a user of that kind. With -DSELF_DAEMON it puts itself in the background.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef VENDOR_USER
#define VENDOR_USER "dynamsoftdls"
#endif

static pid_t java = -1;

static void pass_on(int signal_number) {
    if (java > 0) kill(java, signal_number);
}

static void die(const char *what) {
    fprintf(stderr, "dynamsoftdlsx: %s: %s\n", what, strerror(errno));
    exit(70);
}

static int run(char *const command[]) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    return child < 0 || waitpid(child, &status, 0) < 0 ? -1 : status;
}

static void leave_root(void) {
    struct passwd *user;
    if (geteuid() != 0) return;
    user = getpwnam(VENDOR_USER);
    if (!user) {
        char *const create[] = {"useradd", "-r", "-M", "-s", "/sbin/nologin", VENDOR_USER, NULL};
        run(create);
        user = getpwnam(VENDOR_USER);
    }
    if (!user) die("no user " VENDOR_USER);
    mkdir("data", 0755);
    mkdir("logs", 0755);
    if (chown("data", user->pw_uid, user->pw_gid) || chown("logs", user->pw_uid, user->pw_gid)) die("chown");
    if (setgroups(0, NULL) || setgid(user->pw_gid) || setuid(user->pw_uid)) die("setuid");
}

#ifdef SELF_DAEMON
static void go_to_background(void) {
    int null;
    if (fork() != 0) _exit(0);
    setsid();
    if (fork() != 0) _exit(0);
    null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
}
#endif

int main(int argc, char **argv) {
    int status;
    if (argc < 2) {
        fprintf(stderr, "usage: dynamsoftdlsx PROGRAM [ARGUMENT...]\n");
        return 64;
    }
    leave_root();
#ifdef SELF_DAEMON
    go_to_background();
#endif
    signal(SIGTERM, pass_on);
    signal(SIGINT, pass_on);
    java = fork();
    if (java < 0) die("fork");
    if (java == 0) {
        execv(argv[1], argv + 1);
        die(argv[1]);
    }
    while (waitpid(java, &status, 0) < 0)
        if (errno != EINTR) die("wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
