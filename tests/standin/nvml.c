/* A stand-in for libnvidia-ml.so.1, for tests: our own code, written from NVML's public interface.
 *
 * Devices whose truth is known. What they do is said by the text file that JOULESEAL_STANDIN names, `key value` lines,
 * read anew whenever it is replaced, so that a test can change a device while somebody measures it:
 *
 *   devices N       how many there are, 1 to 8; their UUIDs end in ..0001 to ..0008         (default 1)
 *   device K key value    the same for device K alone, counted from 0; it goes before the common line
 *   name TEXT       what a device calls itself              (default "Jouleseal Stand-in 80GB")
 *   driver TEXT     the version of the driver               (default "stand-in")
 *   serial TEXT     the board's serial number               (default from the device's number)
 *   start_ns N      CLOCK_MONOTONIC at which the waveform begins            (default 0)
 *   wave constant|square|ramp|pulse|activity                                (default constant)
 *   wave pulse: low_mw but for high_mw between pulse_ns and pulse_end_ns (CLOCK_MONOTONIC), then low_mw + trickle_mw for
 *                   trickle_ms (a test moves the marks once the pulse is due; before it there is only low_mw)
 *   inside constant|square|ramp     what a pulse is (default constant, high_mw): a square between high_mw and mid_mw,
 *                   its period_ms counted from start_ns; or a ramp from mid_mw at its begin to high_mw at its end
 *   wave activity: what the file at `ring PATH` says, as tests/standin/activity.py writes it
 *   low_mw N, high_mw N, period_ms N                                        (constant uses high_mw; a ramp goes low..high)
 *   tick_ms N       how often the energy counter moves                      (default 100)
 *   mean_ms N       how often the 1 s mean power (field 185, and nvmlDeviceGetPowerUsage) moves     (default 100)
 *   instant_ms N, seen_ms N    how often the instant power (field 186) moves, and over how much of that time until then
 *                   it is the mean: 25 ms of every 100 ms by default, as is reported of A100 and H100 boards
 *   offset_mj N     what the counter held at start_ns                       (default 0)
 *   limit_mw N, memory_mb N, temperature N, reasons N, ecc N, mig N, clock N
 *   persistence N, compute_mode N, virtualization N, default_limit_mw N    (default: on, shared, none, 700000)
 *   pid N           a compute process on the device                         (default none)
 *   pids PATH       compute processes on the device: a file of numbers, one a line
 *   error N         every call about the device answers this NVML code      (15: lost, 3: not supported, ...)
 *   error_init N    nvmlInit answers this
 *   error_83 N, error_185 N, error_186 N    the same for one field; 83 is nvmlDeviceGetTotalEnergyConsumption too
 *   error_power N   nvmlDeviceGetPowerUsage answers this
 *   hang_ms N       every call about the device takes this long
 *   frozen N        the counter stands still at this many mJ
 *   frozen_ns N     the counter stands still from this CLOCK_MONOTONIC on
 *   gain_permille N the counter counts so much of the truth                 (default 1000)
 *   dither_mw N     the mean power's last digit flickers by so much, ten times a second (default 0)
 *   stuck_mw N      the mean power answers this and does not move
 *   reset_ns N      the counter begins again from 0 at this CLOCK_MONOTONIC
 */
#include "standin.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { FIELD_ENERGY = 83, FIELD_AVERAGE = 185, FIELD_INSTANT = 186 };
enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3 };
enum { ARCH_HOPPER = 9, BRAND_NVIDIA = 14, CUDA_VERSION = 12040, MAX_PROCESSES = 1024, MEMORY_CLOCK = 2 };

static char handles[MAX_DEVICES];

typedef struct {
    uint32_t field, scope;
    int64_t timestamp, latency;
    uint32_t type, status;
    union { uint32_t u; unsigned long long ull; } value;
} field_value;

typedef struct { unsigned int pid; unsigned long long memory; unsigned int gpu_instance, compute_instance; } process_info;
typedef struct { unsigned long long total, free, used; } memory_info;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_info_v2;
typedef struct { unsigned int gpu, memory; } utilization;
typedef struct { char legacy[16]; unsigned int domain, bus, device, id, subsystem; char bus_id[32]; } pci_info;

static int device_count(void) {
    int64_t count = number("devices", 1);
    return (int)(count < 1 ? 1 : count > MAX_DEVICES ? MAX_DEVICES : count);
}

static int index_of(const void *device) {
    const char *handle = device;
    return handle >= handles && handle < handles + MAX_DEVICES ? (int)(handle - handles) : -1;
}

static int enter(const void *device) {
    int index = index_of(device);
    if (index < 0) return INVALID_ARGUMENT;
    load(index);
    int64_t hang = number("hang_ms", 0);
    if (hang) {
        struct timespec pause = {.tv_sec = hang / 1000, .tv_nsec = hang % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    return (int)number("error", SUCCESS);
}

#define ENTER(device) do { int status = enter(device); if (status) return status; } while (0)
#define GET(function, type, value) \
    int function(void *device, type *out) { ENTER(device); *out = (type)(value); return SUCCESS; }
#define GET_TEXT(function, ...) \
    int function(void *device, char *out, unsigned int size) { ENTER(device); snprintf(out, size, __VA_ARGS__); return SUCCESS; }

/* What a device does not have; the arguments that follow the device are never looked at. */
#define ABSENT(function) int function(void *device) { ENTER(device); return NOT_SUPPORTED; }

static const char *or_else(const char *found, const char *otherwise) { return found ? found : otherwise; }

static void uuid_of(int index, char *out, size_t size) { snprintf(out, size, "GPU-57a2d111-0000-4000-8000-%012d", index + 1); }
static void bus_id_of(int index, char *out, size_t size) { snprintf(out, size, "00000000:%02X:00.0", 0x17 + index); }

/* A handle of the device whose text, as `of` makes it, is the one wanted. */
static int find(const char *wanted, void (*of)(int, char *, size_t), void **device) {
    char found[96];
    load(0);
    for (int index = 0; index < device_count(); index++) {
        of(index, found, sizeof found);
        *device = &handles[index];
        if (!strcmp(wanted, found)) return SUCCESS;
    }
    return NOT_FOUND;
}

#pragma GCC visibility push(default)

int nvmlInitWithFlags(unsigned int flags) { (void)flags; load(0); return (int)number("error_init", SUCCESS); }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : code == 3 ? "Not Supported" : "Stand-in error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned int size) { load(0); snprintf(out, size, "%s", or_else(text("driver"), "stand-in")); return SUCCESS; }
int nvmlSystemGetNVMLVersion(char *out, unsigned int size) { return nvmlSystemGetDriverVersion(out, size); }
int nvmlSystemGetCudaDriverVersion(int *out) { *out = CUDA_VERSION; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = CUDA_VERSION; return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned int *count) { load(0); *count = (unsigned)device_count(); return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    load(0);
    if (index >= (unsigned)device_count()) return INVALID_ARGUMENT;
    *device = &handles[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { return find(uuid, uuid_of, device); }
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device) { return find(bus_id, bus_id_of, device); }

int nvmlDeviceGetUUID(void *device, char *out, unsigned int size) { ENTER(device); uuid_of(index_of(device), out, size); return SUCCESS; }
GET_TEXT(nvmlDeviceGetName, "%s", or_else(text("name"), "Jouleseal Stand-in 80GB"))
GET_TEXT(nvmlDeviceGetVbiosVersion, "stand-in")

int nvmlDeviceGetSerial(void *device, char *out, unsigned int size) {
    ENTER(device);
    if (text("serial")) snprintf(out, size, "%s", text("serial"));
    else snprintf(out, size, "57a2d111%04d", index_of(device) + 1);
    return SUCCESS;
}

GET(nvmlDeviceGetIndex, unsigned int, index_of(device))
GET(nvmlDeviceGetMinorNumber, unsigned int, index_of(device))
GET(nvmlDeviceGetBrand, unsigned int, BRAND_NVIDIA)
GET(nvmlDeviceGetArchitecture, unsigned int, ARCH_HOPPER)
GET(nvmlDeviceGetPersistenceMode, unsigned int, number("persistence", 1))
GET(nvmlDeviceGetComputeMode, unsigned int, number("compute_mode", 0))
GET(nvmlDeviceGetVirtualizationMode, unsigned int, number("virtualization", 0))
GET(nvmlDeviceGetDisplayMode, unsigned int, 0)
GET(nvmlDeviceGetDisplayActive, unsigned int, 0)
GET(nvmlDeviceGetPerformanceState, unsigned int, 0)
GET(nvmlDeviceGetPowerState, unsigned int, 0)
GET(nvmlDeviceGetNumGpuCores, unsigned int, 16896)
GET(nvmlDeviceGetEnforcedPowerLimit, unsigned int, number("limit_mw", 700000))
GET(nvmlDeviceGetPowerManagementLimit, unsigned int, number("limit_mw", 700000))
GET(nvmlDeviceGetPowerManagementDefaultLimit, unsigned int, number("default_limit_mw", 700000))
GET(nvmlDeviceGetPowerManagementMode, unsigned int, 1)
GET(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, number("reasons", 0))
GET(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, number("reasons", 0))

ABSENT(nvmlDeviceGetFanSpeed)
ABSENT(nvmlDeviceGetEncoderUtilization)
ABSENT(nvmlDeviceGetDecoderUtilization)
ABSENT(nvmlDeviceGetPcieThroughput)
ABSENT(nvmlDeviceGetTotalEccErrors)
ABSENT(nvmlDeviceGetProcessUtilization)
ABSENT(nvmlDeviceGetDriverModel)

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) { ENTER(device); *major = 9; *minor = 0; return SUCCESS; }

int nvmlDeviceGetPowerManagementLimitConstraints(void *device, unsigned int *least, unsigned int *most) {
    ENTER(device);
    *least = 200000;
    *most = 700000;
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(void *device, pci_info *out) {
    ENTER(device);
    memset(out, 0, sizeof *out);
    out->bus = (unsigned)(0x17 + index_of(device));
    bus_id_of(index_of(device), out->bus_id, sizeof out->bus_id);
    snprintf(out->legacy, sizeof out->legacy, "%s", out->bus_id + 4);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, memory_info *out) {
    ENTER(device);
    out->total = (unsigned long long)number("memory_mb", 81559) << 20;
    out->used = 1ULL << 30;
    out->free = out->total - out->used;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, memory_info_v2 *out) {
    memory_info plain;
    int status = nvmlDeviceGetMemoryInfo(device, &plain);
    if (status) return status;
    out->total = plain.total;
    out->used = plain.used;
    out->free = plain.free;
    out->reserved = 0;
    return SUCCESS;
}

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

int nvmlDeviceGetClockInfo(void *device, int kind, unsigned int *out) {
    ENTER(device);
    *out = (unsigned)number("clock", kind == MEMORY_CLOCK ? 2619 : 1980);
    return SUCCESS;
}

int nvmlDeviceGetMaxClockInfo(void *device, int kind, unsigned int *out) { ENTER(device); *out = kind == MEMORY_CLOCK ? 2619 : 1980; return SUCCESS; }
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *out) { ENTER(device); (void)sensor; *out = (unsigned)number("temperature", 41); return SUCCESS; }

int nvmlDeviceGetUtilizationRates(void *device, utilization *out) {
    ENTER(device);
    out->gpu = busy_percent();
    out->memory = 0;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, process_info *out) {
    unsigned int pids[MAX_PROCESSES], room = *count;
    ENTER(device);
    int found = numbers(text("pids"), pids, MAX_PROCESSES - 1);
    if (number("pid", 0)) pids[found++] = (unsigned)number("pid", 0);
    *count = (unsigned)found;
    if (!found) return SUCCESS;
    if (!out || room < (unsigned)found) return INSUFFICIENT_SIZE;
    memset(out, 0, sizeof *out * (size_t)found);
    for (int i = 0; i < found; i++) {
        out[i].pid = pids[i];
        out[i].gpu_instance = out[i].compute_instance = UINT32_MAX;
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *device, unsigned int *count, process_info *out) {
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *count, process_info *out) {
    ENTER(device);
    (void)out;
    *count = 0;
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v2(void *device, unsigned int *count, process_info *out) {
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out);
}

int nvmlDeviceGetPowerUsage(void *device, unsigned int *out) {
    ENTER(device);
    *out = (unsigned)average_mw();
    return (int)number("error_power", SUCCESS);
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *out) {
    ENTER(device);
    *out = (unsigned long long)counter_mj();
    return (int)number("error_83", SUCCESS);
}

int nvmlDeviceGetFieldValues(void *device, int count, field_value *values) {
    char key[16];
    ENTER(device);
    for (int i = 0; i < count; i++) {
        field_value *field = &values[i];
        snprintf(key, sizeof key, "error_%u", field->field);
        field->status = field->scope ? NOT_SUPPORTED : (uint32_t)number(key, SUCCESS);
        field->timestamp = now() / NS_PER_US;
        field->latency = 0;
        if (field->status) continue;
        field->type = field->field == FIELD_ENERGY ? TYPE_UNSIGNED_LONG_LONG : TYPE_UNSIGNED_INT;
        if (field->field == FIELD_ENERGY) field->value.ull = (unsigned long long)counter_mj();
        else if (field->field == FIELD_AVERAGE) field->value.u = (uint32_t)average_mw();
        else if (field->field == FIELD_INSTANT) field->value.u = (uint32_t)instant_mw();
        else field->status = NOT_SUPPORTED;
    }
    return SUCCESS;
}

#pragma GCC visibility pop
