/* conf_net.c - addresses and networks, both families in one form. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/conf_lex.h"

static const uint8_t V4[12] = {[10] = 0xff, [11] = 0xff};

bool conf_net_is_v4(const struct conf_net *n)
{
	return memcmp(n->addr, V4, 12) == 0 && n->prefix >= 96;
}

bool conf_is_host_name(const char *text)
{
	bool letter = false;

	if (strchr(text, ':'))
		return false;
	for (const char *p = text; *p; p++) {
		bool alpha = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');

		if (!alpha && !(*p >= '0' && *p <= '9') && *p != '-' && *p != '.' && *p != '_')
			return false;
		letter |= alpha;
	}
	return letter;
}

/* 255.255.254.0 -> 23; false when it is no mask of IPv4. */
static bool mask_bits(const char *text, unsigned *bits)
{
	struct in_addr mask;
	uint32_t m;

	if (inet_pton(AF_INET, text, &mask) != 1)
		return false;
	m = ntohl(mask.s_addr);
	*bits = m ? 32 - (unsigned)__builtin_ctz(m) : 0;
	return m == 0 || (~m & (~m + 1)) == 0;
}

bool conf_net_parse(const char *text, bool prefix_allowed, struct conf_net *out)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	unsigned bits = 0, most;
	char host[64];

	memset(out, 0, sizeof(*out));
	if (n == 0 || n >= sizeof(host) || (slash && !prefix_allowed))
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	if (inet_pton(AF_INET, host, out->addr + 12) == 1) {
		memcpy(out->addr, V4, 12);
		most = 32;
	} else if (inet_pton(AF_INET6, host, out->addr) == 1) {
		most = 128;
	} else {
		return false;
	}
	if (!slash) {
		out->prefix = 128;
		return true;
	}
	if (most == 32 && mask_bits(slash + 1, &bits)) {
		out->prefix = (uint8_t)(bits + 96);
		return true;
	}
	if (!slash[1] || strlen(slash + 1) > 3)
		return false;
	for (const char *p = slash + 1; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		bits = bits * 10 + (unsigned)(*p - '0');
	}
	if (bits > most)
		return false;
	out->prefix = (uint8_t)(bits + 128 - most);
	return true;
}

bool conf_net_has(const struct conf_net *n, const uint8_t addr[16])
{
	unsigned whole = n->prefix / 8, rest = n->prefix % 8;

	if (memcmp(n->addr, addr, whole) != 0)
		return false;
	return rest == 0 || (n->addr[whole] ^ addr[whole]) >> (8 - rest) == 0;
}

const char *conf_net_text(const struct conf_net *n, bool with_prefix, char out[64])
{
	bool v4 = conf_net_is_v4(n);
	size_t len;

	if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? n->addr + 12 : n->addr, out, 48))
		out[0] = '\0';
	len = strlen(out);
	if (with_prefix)
		snprintf(out + len, 64 - len, "/%u", n->prefix - (v4 ? 96U : 0U));
	return out;
}

socklen_t conf_net_sockaddr(const struct conf_net *n, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (conf_net_is_v4(n)) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, n->addr + 12, 4);
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, n->addr, 16);
	return sizeof(*in6);
}
