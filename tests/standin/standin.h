/* What the parts of the stand-in library say to each other; the script's keys are described in nvml.c. */
#ifndef JOULESEAL_STANDIN_H
#define JOULESEAL_STANDIN_H

#include <stdint.h>

enum { MAX_DEVICES = 8 };
enum { NS_PER_US = 1000, US_PER_MS = 1000, US_PER_S = 1000000 };
static const int64_t NS_PER_S = 1000000000;

/* script.c: the script as it stands now, for one device (its own `device K key value` lines go before the common ones). */
void load(int device);
const char *text(const char *key);
int64_t number(const char *key, int64_t otherwise);
int numbers(const char *path, unsigned int *out, int room);

/* power.c: what the selected device does, at this instant. */
int64_t now(void);
int64_t counter_mj(void);
int64_t average_mw(void);
int64_t instant_mw(void);
unsigned int busy_percent(void);

#endif
