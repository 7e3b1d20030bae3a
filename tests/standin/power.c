/* The power of the stand-in device and the energy under it: waves that are formulas, and one that is read from a file.
 *
 * Time is in microseconds after start_ns, power in milliwatts, energy in nanojoules (milliwatts times microseconds).
 * Whatever a sensor updates every so often, it updates at multiples of that period; of the activity wave, with the
 * first entry of the ring at or after each multiple, so that its value at an update is exactly what the ring says.
 */
#include "standin.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TAIL = 512 };

typedef struct { int64_t t_ns, microjoules; } entry;

static _Thread_local entry tail[TAIL];
static _Thread_local int entries;

int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static char wave(void) {
    const char *found = text("wave");
    return found ? *found : 'c';
}

static int64_t since_start(int64_t t_ns) { return (t_ns - number("start_ns", 0)) / NS_PER_US; }

/* The pulse's marks. */
static void pulse(int64_t *begin, int64_t *end, int64_t *after) {
    *begin = since_start(number("pulse_ns", INT64_MAX / 2));
    *end = since_start(number("pulse_end_ns", INT64_MAX / 2));
    *after = *end + number("trickle_ms", 0) * US_PER_MS;
}

static int64_t within(int64_t us, int64_t begin, int64_t end) { return us <= begin ? 0 : us < end ? us - begin : end - begin; }

static int64_t square_energy(int64_t us, int64_t low, int64_t high, int64_t period) {
    int64_t rest = us % period, half = period / 2;
    int64_t whole = us / period * half * (high + low);
    return whole + (rest < half ? rest * high : half * high + (rest - half) * low);
}

/* What a pulse took between its begin and `us`, which is not after its end. */
static int64_t inside_energy(int64_t us, int64_t begin, int64_t end) {
    int64_t mid = number("mid_mw", 0), high = number("high_mw", 300000), period = number("period_ms", 1000) * US_PER_MS;
    const char *inside = text("inside");
    char shape = inside ? *inside : 'c';
    if (us <= begin) return 0;
    if (shape == 's') return square_energy(us, mid, high, period) - square_energy(begin, mid, high, period);
    if (shape == 'r') return (us - begin) * mid + (int64_t)((double)(high - mid) * (double)(us - begin) / (double)(end - begin) * (double)(us - begin) / 2);
    return (us - begin) * high;
}

static int64_t pulse_energy(int64_t us) {
    int64_t begin, end, after, low = number("low_mw", 0);
    pulse(&begin, &end, &after);
    return us * low + inside_energy(us < end ? us : end, begin, end) - within(us, begin, end) * low
        + within(us, end, after) * number("trickle_mw", 0);
}

/* The end of the ring file: entries of (CLOCK_MONOTONIC ns, microjoules so far), as tests/standin/ring.py writes them. */
static void read_ring(void) {
    const char *path = text("ring");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat found;
    entries = 0;
    if (file < 0) return;
    if (!fstat(file, &found)) {
        off_t whole = found.st_size / (off_t)sizeof(entry), first = whole > TAIL ? whole - TAIL : 0;
        ssize_t got = pread(file, tail, sizeof tail, first * (off_t)sizeof(entry));
        entries = got > 0 ? (int)(got / (ssize_t)sizeof(entry)) : 0;
    }
    close(file);
}

/* The ring's energy at an instant: straight between entries, level before the first and after the last of them. */
static int64_t ring_energy(int64_t us) {
    int64_t t_ns = number("start_ns", 0) + us * NS_PER_US;
    int low = 0, high = entries - 1;
    if (!entries) return 0;
    if (t_ns <= tail[low].t_ns) return tail[low].microjoules * 1000;
    if (t_ns >= tail[high].t_ns) return tail[high].microjoules * 1000;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (tail[middle].t_ns <= t_ns) low = middle;
        else high = middle;
    }
    double share = (double)(t_ns - tail[low].t_ns) / (double)(tail[high].t_ns - tail[low].t_ns);
    return tail[low].microjoules * 1000 + (int64_t)(share * (double)(tail[high].microjoules - tail[low].microjoules) * 1000);
}

static int64_t energy(int64_t us) {
    int64_t low = number("low_mw", 0), high = number("high_mw", 300000), period = number("period_ms", 1000) * US_PER_MS;
    char shape = wave();
    if (shape == 'a') return ring_energy(us);
    if (us < 0) return us * low;
    if (shape == 's') return square_energy(us, low, high, period);
    if (shape == 'r') {
        int64_t rising = us < period ? us : period;
        return rising * low + (int64_t)((double)(high - low) * rising / period * rising / 2) + (us - rising) * high;
    }
    if (shape == 'p') return pulse_energy(us);
    return us * high;
}

static int64_t step(int64_t us, int64_t period) { return us >= 0 ? us / period : (us + 1) / period - 1; }

/* When something that is updated every `period` microseconds was last updated before `us`. */
static int64_t updated(int64_t us, int64_t period) {
    if (wave() != 'a') return step(us, period) * period;
    int64_t last = entries ? since_start(tail[0].t_ns) : 0;
    for (int i = 1; i < entries; i++) {
        int64_t here = since_start(tail[i].t_ns);
        if (here > us) break;
        if (step(here, period) > step(since_start(tail[i - 1].t_ns), period)) last = here;
    }
    return last;
}

static int64_t at_present(void) {
    if (wave() == 'a') read_ring();
    return now();
}

static int64_t mean_power(int64_t us, int64_t length) { return (energy(us) - energy(us - length)) / length; }

int64_t counter_mj(void) {
    int64_t frozen = number("frozen", -1), reset = number("reset_ns", 0), tick = number("tick_ms", 100) * US_PER_MS;
    int64_t at = at_present(), stop = number("frozen_ns", INT64_MAX), gain = number("gain_permille", 1000);
    if (frozen >= 0) return frozen;
    if (at > stop) at = stop;
    int64_t here = energy(updated(since_start(at), tick));
    if (reset && at >= reset) return (here - energy(updated(since_start(reset), tick))) / 1000000;
    return number("offset_mj", 0) + here / 1000000 * gain / 1000;
}

int64_t average_mw(void) {
    int64_t us = updated(since_start(at_present()), number("mean_ms", 100) * US_PER_MS);
    int64_t flicker = step(us, 100000) % 2 * number("dither_mw", 0), stuck = number("stuck_mw", -1);
    return stuck >= 0 ? stuck : mean_power(us, US_PER_S) + flicker;
}

int64_t instant_mw(void) {
    int64_t us = updated(since_start(at_present()), number("instant_ms", 100) * US_PER_MS);
    return mean_power(us, number("seen_ms", 25) * US_PER_MS);
}

/* How far the power of the last update stands between low_mw and high_mw. */
unsigned int busy_percent(void) {
    int64_t low = number("low_mw", 0), high = number("high_mw", 300000);
    int64_t percent = high > low ? 100 * (instant_mw() - low) / (high - low) : 0;
    return (unsigned)(percent < 0 ? 0 : percent > 100 ? 100 : percent);
}
