/* The only program of the tests' container image: it stays until it is asked to go, as a sandbox's pause process does. */
#include <signal.h>
#include <unistd.h>

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

int main(void) {
    /* As pid 1 of its namespace it would otherwise never see these: the kernel drops unhandled signals to an init. */
    signal(SIGINT, leave);
    signal(SIGTERM, leave);
    for (;;) pause();
}
