/* The control file of the stand-in library: `key value` lines, read anew whenever the file is another one.
 *
 * Whoever changes it writes a new file and renames it over the old one. Of a key given twice the last line holds.
 */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_LINES = 160, MAX_KEY = 32, MAX_VALUE = 256, EVERY = -1 };

typedef struct { int device; char key[MAX_KEY], value[MAX_VALUE]; } line;

/* Each thread keeps its own copy: callers of NVML may be many threads. */
static _Thread_local line lines[MAX_LINES];
static _Thread_local int count, selected;
static _Thread_local struct stat read_from;

static void keep(const char *written) {
    line *into = &lines[count];
    into->device = EVERY;
    if (!strncmp(written, "device ", 7)) {
        char *rest;
        into->device = (int)strtol(written + 7, &rest, 10);
        written = *rest ? rest + 1 : rest;
    }
    into->value[0] = 0;
    if (sscanf(written, "%31s %255[^\n]", into->key, into->value) >= 1) count++;
}

static int same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size
        && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

void load(int device) {
    const char *path = getenv("JOULESEAL_STANDIN");
    char written[MAX_KEY + MAX_VALUE + 16];
    struct stat found;
    FILE *file;
    selected = device;
    if (!path || stat(path, &found)) {
        count = 0;
        memset(&read_from, 0, sizeof read_from);
        return;
    }
    if (same(&found, &read_from)) return;
    file = fopen(path, "r");
    if (!file) return;
    count = 0;
    while (count < MAX_LINES && fgets(written, sizeof written, file)) keep(written);
    fclose(file);
    read_from = found;
}

const char *text(const char *key) {
    const char *common = NULL;
    for (int i = count - 1; i >= 0; i--) {
        if (strcmp(lines[i].key, key)) continue;
        if (lines[i].device == selected) return lines[i].value;
        if (lines[i].device == EVERY && !common) common = lines[i].value;
    }
    return common;
}

int64_t number(const char *key, int64_t otherwise) {
    const char *found = text(key);
    return found ? strtoll(found, NULL, 0) : otherwise;
}

/* The numbers of a file, one a line; as many as there is room for. */
int numbers(const char *path, unsigned int *out, int room) {
    FILE *file = path ? fopen(path, "r") : NULL;
    int found = 0;
    if (!file) return 0;
    while (found < room && fscanf(file, "%u", &out[found]) == 1) found++;
    fclose(file);
    return found;
}
