/* A stand-in for libnvidia-ml.so.1, for tests: our own code, written from NVML's public interface.
 *
 * One device whose truth is known. What it does is said by the text file that JOULESEAL_STANDIN names, `key value` lines,
 * read anew at every call so that a test can change the device while somebody measures it:
 *
 *   start_ns N      CLOCK_MONOTONIC at which the waveform begins            (default 0)
 *   wave constant|square|ramp|pulse                                         (default constant)
 *   wave pulse: low_mw but for high_mw between pulse_ns and pulse_end_ns (CLOCK_MONOTONIC), then low_mw + trickle_mw for
 *                   trickle_ms (a test moves the marks once the pulse is due; before it there is only low_mw)
 *   low_mw N, high_mw N, period_ms N                                        (constant uses high_mw; a ramp goes low..high)
 *   tick_ms N       how often the energy counter moves                      (default 100)
 *   offset_mj N     what the counter held at start_ns                       (default 0)
 *   limit_mw N, memory_mb N, temperature N, reasons N, ecc N, mig N, clock N
 *   persistence N, compute_mode N, virtualization N, default_limit_mw N    (default: on, shared, none, 700000)
 *   pid N           a compute process on the device                         (default none)
 *   error N         every call about the device answers this NVML code      (15: lost, 3: not supported, ...)
 *   error_83 N, error_185 N, error_186 N    the same for one field
 *   hang_ms N       every call about the device takes this long
 *   frozen N        the counter stands still at this many mJ
 *   frozen_ns N     the counter stands still from this CLOCK_MONOTONIC on
 *   gain_permille N the counter counts so much of the truth                 (default 1000)
 *   dither_mw N     the mean power's last digit flickers by so much, ten times a second (default 0)
 *   stuck_mw N      the mean power answers this and does not move
 *   reset_ns N      the counter begins again from 0 at this CLOCK_MONOTONIC
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { FIELD_ENERGY = 83, FIELD_AVERAGE = 185, FIELD_INSTANT = 186 };
enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3 };

static const char UUID[] = "GPU-57a2d111-0000-4000-8000-000000000001";
static const char NAME[] = "Jouleseal Stand-in 80GB";
static int device_object;
#define DEVICE ((void *)&device_object)

typedef struct {
    uint32_t field, scope;
    int64_t timestamp, latency;
    uint32_t type, status;
    union { uint32_t u; unsigned long long ull; } value;
} field_value;

typedef struct { unsigned int pid; unsigned long long memory; unsigned int gpu_instance, compute_instance; } process_info;
typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned int gpu, memory; } utilization;

static char script[4096];

static void load(void) {
    const char *path = getenv("JOULESEAL_STANDIN");
    FILE *file = path ? fopen(path, "r") : NULL;
    size_t n = 0;
    if (file) {
        n = fread(script, 1, sizeof script - 1, file);
        fclose(file);
    }
    script[n] = 0;
}

static const char *text(const char *key) {
    static char line[256];
    size_t length = strlen(key);
    for (const char *at = script; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
        if (!strncmp(at, key, length) && at[length] == ' ') {
            sscanf(at + length + 1, "%255s", line);
            return line;
        }
    return NULL;
}

static int64_t number(const char *key, int64_t otherwise) {
    const char *found = text(key);
    return found ? strtoll(found, NULL, 0) : otherwise;
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static char wave(void) {
    const char *found = text("wave");
    return found ? *found : 'c';
}

/* The pulse's marks in microseconds after the start. */
static void pulse(int64_t *begin, int64_t *end, int64_t *tail) {
    int64_t start = number("start_ns", 0);
    *begin = (number("pulse_ns", INT64_MAX / 2) - start) / 1000;
    *end = (number("pulse_end_ns", INT64_MAX / 2) - start) / 1000;
    *tail = *end + number("trickle_ms", 0) * 1000;
}

static int64_t within(int64_t us, int64_t begin, int64_t end) { return us <= begin ? 0 : us < end ? us - begin : end - begin; }

static int64_t pulse_power(int64_t us) {
    int64_t begin, end, tail, low = number("low_mw", 0);
    pulse(&begin, &end, &tail);
    if (us >= begin && us < end) return number("high_mw", 300000);
    return us >= end && us < tail ? low + number("trickle_mw", 0) : low;
}

static int64_t pulse_energy(int64_t us) {
    int64_t begin, end, tail, low = number("low_mw", 0);
    pulse(&begin, &end, &tail);
    return us * low + within(us, begin, end) * (number("high_mw", 300000) - low)
        + within(us, end, tail) * number("trickle_mw", 0);
}

/* Power in milliwatts and energy in nanojoules (milliwatts times microseconds), `us` microseconds after the start. */
static int64_t power(int64_t us) {
    int64_t low = number("low_mw", 0), high = number("high_mw", 300000), period = number("period_ms", 1000) * 1000;
    if (us < 0) return low;
    if (wave() == 's') return us % period < period / 2 ? high : low;
    if (wave() == 'r') return us < period ? low + (high - low) * us / period : high;
    if (wave() == 'p') return pulse_power(us);
    return high;
}

static int64_t energy(int64_t us) {
    int64_t low = number("low_mw", 0), high = number("high_mw", 300000), period = number("period_ms", 1000) * 1000;
    if (us < 0) return us * low;
    if (wave() == 's') {
        int64_t rest = us % period, half = period / 2;
        int64_t whole = us / period * half * (high + low);
        return whole + (rest < half ? rest * high : half * high + (rest - half) * low);
    }
    if (wave() == 'r') {
        int64_t rising = us < period ? us : period;
        return rising * low + (int64_t)((double)(high - low) * rising / period * rising / 2) + (us - rising) * high;
    }
    if (wave() == 'p') return pulse_energy(us);
    return us * high;
}

static int64_t counter_mj(void) {
    int64_t frozen = number("frozen", -1), reset = number("reset_ns", 0);
    int64_t start = number("start_ns", 0), tick = number("tick_ms", 100) * 1000, at = now();
    int64_t stop = number("frozen_ns", INT64_MAX), gain = number("gain_permille", 1000);
    if (at > stop) at = stop;
    int64_t us = (at - start) / 1000 / tick * tick;
    if (frozen >= 0) return frozen;
    if (reset && at >= reset) {
        int64_t from = (reset - start) / 1000 / tick * tick;
        return (energy(us) - energy(from)) / 1000000;
    }
    return number("offset_mj", 0) + energy(us) / 1000000 * gain / 1000;
}

static int64_t average(int64_t us) {
    int64_t flicker = us / 100000 % 2 * number("dither_mw", 0), stuck = number("stuck_mw", -1);
    return stuck >= 0 ? stuck : (energy(us) - energy(us - 1000000)) / 1000000 + flicker;
}

static int enter(void *device) {
    struct timespec pause;
    load();
    pause.tv_sec = number("hang_ms", 0) / 1000;
    pause.tv_nsec = number("hang_ms", 0) % 1000 * 1000000;
    nanosleep(&pause, NULL);
    return device == DEVICE ? (int)number("error", SUCCESS) : INVALID_ARGUMENT;
}

#define ENTER(device) do { int status = enter(device); if (status) return status; } while (0)

int nvmlInitWithFlags(unsigned int flags) { (void)flags; load(); return (int)number("error_init", SUCCESS); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : code == 3 ? "Not Supported" : "Stand-in error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned int size) { snprintf(out, size, "stand-in"); return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = DEVICE;
    return index ? INVALID_ARGUMENT : SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = DEVICE;
    return strcmp(uuid, UUID) ? NOT_FOUND : SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *out, unsigned int size) { ENTER(device); snprintf(out, size, "%s", UUID); return SUCCESS; }
int nvmlDeviceGetName(void *device, char *out, unsigned int size) { ENTER(device); snprintf(out, size, "%s", NAME); return SUCCESS; }

int nvmlDeviceGetMemoryInfo(void *device, memory_info *out) {
    ENTER(device);
    out->total = (unsigned long long)number("memory_mb", 81559) << 20;
    out->used = 1ULL << 30;
    out->free = out->total - out->used;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned int *out) { ENTER(device); *out = (unsigned)number("limit_mw", 700000); return SUCCESS; }

int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) {
    ENTER(device);
    if (number("mig", -1) < 0) return NOT_SUPPORTED;
    *current = *pending = (unsigned)number("mig", 0);
    return SUCCESS;
}

int nvmlDeviceGetEccMode(void *device, unsigned int *current, unsigned int *pending) {
    ENTER(device);
    *current = *pending = (unsigned)number("ecc", 1);
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(void *device, unsigned int *out) { ENTER(device); *out = (unsigned)number("persistence", 1); return SUCCESS; }
int nvmlDeviceGetComputeMode(void *device, unsigned int *out) { ENTER(device); *out = (unsigned)number("compute_mode", 0); return SUCCESS; }
int nvmlDeviceGetVirtualizationMode(void *device, unsigned int *out) { ENTER(device); *out = (unsigned)number("virtualization", 0); return SUCCESS; }
int nvmlDeviceGetPowerManagementDefaultLimit(void *device, unsigned int *out) { ENTER(device); *out = (unsigned)number("default_limit_mw", 700000); return SUCCESS; }
int nvmlDeviceGetVbiosVersion(void *device, char *out, unsigned int size) { ENTER(device); snprintf(out, size, "stand-in"); return SUCCESS; }

int nvmlDeviceGetClockInfo(void *device, int kind, unsigned int *out) { ENTER(device); *out = (unsigned)number("clock", kind == 1 ? 1980 : 2619); return SUCCESS; }
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *out) { ENTER(device); *out = (unsigned long long)number("reasons", 0); return SUCCESS; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *out) { ENTER(device); (void)sensor; *out = (unsigned)number("temperature", 41); return SUCCESS; }

int nvmlDeviceGetUtilizationRates(void *device, utilization *out) {
    ENTER(device);
    out->gpu = power((now() - number("start_ns", 0)) / 1000) > number("low_mw", 0) ? 100 : 0;
    out->memory = 0;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, process_info *out) {
    unsigned int room = *count;
    ENTER(device);
    *count = number("pid", 0) ? 1 : 0;
    if (!*count) return SUCCESS;
    if (!out || room < 1) return INSUFFICIENT_SIZE;
    memset(out, 0, sizeof *out);
    out->pid = (unsigned)number("pid", 0);
    return SUCCESS;
}

int nvmlDeviceGetFieldValues(void *device, int count, field_value *values) {
    int64_t us, error;
    char key[16];
    ENTER(device);
    us = (now() - number("start_ns", 0)) / 1000;
    for (int i = 0; i < count; i++) {
        field_value *field = &values[i];
        snprintf(key, sizeof key, "error_%u", field->field);
        error = number(key, SUCCESS);
        field->status = (uint32_t)error;
        field->timestamp = now() / 1000;
        field->latency = 0;
        if (error) continue;
        field->type = field->field == FIELD_ENERGY ? TYPE_UNSIGNED_LONG_LONG : TYPE_UNSIGNED_INT;
        if (field->field == FIELD_ENERGY) field->value.ull = (unsigned long long)counter_mj();
        else if (field->field == FIELD_AVERAGE) field->value.u = (uint32_t)average(us);
        else if (field->field == FIELD_INSTANT) field->value.u = (uint32_t)power(us);
        else field->status = NOT_SUPPORTED;
    }
    return SUCCESS;
}
