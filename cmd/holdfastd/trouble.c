/* trouble.c - what stands in a virtual server's way on this node: one line for people, from whoever
 * knows it first hand.  It is logged when it is new, and `holdfast status` shows it beside the
 * brain's reason until the virtual server serves here again. */
#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "daemon.h"

static bool is_new(struct daemon *d, unsigned vs, const char *fmt, va_list ap)
{
	char text[sizeof(d->trouble[vs].text)];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (strcmp(text, d->trouble[vs].text) == 0)
		return false;
	memcpy(d->trouble[vs].text, text, sizeof(text));
	return true;
}

void trouble_say(struct daemon *d, unsigned vs, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (is_new(d, vs, fmt, ap)) {
		log_err("vserver %s: %s", d->conf->vserver[vs].name, d->trouble[vs].text);
		diary_vserver(d, vs, LOG_L_ERR, d->trouble[vs].text);
	}
	va_end(ap);
}

void trouble_keep(struct daemon *d, unsigned vs, const char *text)
{
	snprintf(d->trouble[vs].text, sizeof(d->trouble[vs].text), "%s", text);
}

const char *trouble_text(const struct daemon *d, unsigned vs)
{
	return d->trouble[vs].text;
}

void trouble_over(struct daemon *d, unsigned vs)
{
	d->trouble[vs].text[0] = '\0';
}
