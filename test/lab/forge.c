/* forge.c - sends what must not be taken to a node's heartbeat port, and brings back what was really sent.
 *
 *	forge send -k KEY -c CLUSTER -s SENDER -r RECEIVER -w WAY -t ADDRESS -p PORT [-n TIMES]
 *		[KIND]
 *	forge record -o FILE -n PACKETS		heartbeats seen on any interface of this namespace
 *	forge play -i FILE -t ADDRESS -p PORT [-d SECONDS]	those for that address, again and again
 *
 * send: every kind of test/unit/lib_forge.c, or the one named; WAY is the number of the network. IPv4. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../unit/lib_forge.h"

struct options {
	const char *key, *cluster, *address, *in, *out;
	unsigned sender, receiver, way, port, times, seconds;
};

/* What a record file holds, one behind the other; the bytes follow. */
struct record {
	uint32_t address; /* both as on the wire */
	uint16_t port, len;
};

static int send_all(const struct options *o, const char *only)
{
	struct forge f = {.sender = (uint16_t)o->sender, .receiver = (uint16_t)o->receiver,
			  .path = (uint16_t)o->way, .generation = 1U << 30, .sequence = 1};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t packet[4096];
	char err[256];

	if (seal_load(&f.seal, o->key, err, sizeof(err)) ||
	    inet_pton(AF_INET, o->address, &to.sin_addr) != 1) {
		fprintf(stderr, "forge: %s\n", err);
		return 1;
	}
	seal_bind(&f.seal, o->cluster);
	for (const struct forge_kind *k = forge_packets; k->name; k++) {
		size_t len = forge_packet(&f, k->name, packet, sizeof(packet));

		if (only && strcmp(only, k->name) != 0)
			continue;
		for (unsigned i = 0; i < o->times; i++)
			if (sendto(fd, packet, len, 0, (struct sockaddr *)&to, sizeof(to)) < 0) {
				perror("forge: sendto");
				return 1;
			}
		printf("%s=%s\n", k->name, drop_name(k->why));
	}
	return 0;
}

/* A heartbeat among what the interfaces carry: UDP over IPv4, and the envelope's magic. */
static bool heartbeat(const uint8_t *p, size_t len, struct record *r, const uint8_t **payload)
{
	const struct iphdr *ip = (const struct iphdr *)p;
	const struct udphdr *udp = (const struct udphdr *)(p + sizeof(*ip));

	if (len < sizeof(*ip) + sizeof(*udp) + 4 || ip->version != 4 || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP)
		return false;
	*payload = p + sizeof(*ip) + sizeof(*udp);
	r->address = ip->daddr;
	r->port = udp->dest;
	r->len = (uint16_t)(len - sizeof(*ip) - sizeof(*udp));
	return memcmp(*payload, "HFE1", 4) == 0;
}

static int record_all(const struct options *o)
{
	/* All, for a bridge takes its frames away before those who ask for one protocol. */
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL));
	struct timeval limit = {.tv_sec = 10};
	uint8_t packet[8192] __attribute__((aligned(8)));
	FILE *f = fopen(o->out, "we");
	const uint8_t *payload;
	struct record r;

	if (fd < 0 || !f || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit))) {
		perror("forge: record");
		return 1;
	}
	for (unsigned n = 0; n < o->times;) {
		ssize_t len = recv(fd, packet, sizeof(packet), 0);

		if (len < 0) {
			perror("forge: record");
			return 1;
		}
		if (heartbeat(packet, (size_t)len, &r, &payload)) {
			fwrite(&r, sizeof(r), 1, f);
			fwrite(payload, r.len, 1, f);
			n++;
		}
	}
	return fclose(f) ? 1 : 0;
}

static unsigned play_once(FILE *f, int fd, const struct sockaddr_in *to)
{
	static uint8_t packet[65536];
	unsigned sent = 0;
	struct record r;

	rewind(f);
	while (fread(&r, sizeof(r), 1, f) == 1 && fread(packet, 1, r.len, f) == r.len) {
		if (r.address != to->sin_addr.s_addr || r.port != to->sin_port)
			continue;
		sent += sendto(fd, packet, r.len, 0, (const struct sockaddr *)to, sizeof(*to)) == r.len;
		usleep(2000);
	}
	return sent;
}

static int play(const struct options *o)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	FILE *f = fopen(o->in, "re");
	time_t end = time(NULL) + (time_t)o->seconds;
	unsigned sent = 0;

	if (!f || inet_pton(AF_INET, o->address, &to.sin_addr) != 1) {
		perror("forge: play");
		return 1;
	}
	do
		sent += play_once(f, fd, &to);
	while (sent && time(NULL) < end);
	printf("played=%u\n", sent);
	return sent ? 0 : 1;
}

static unsigned number(const char *text)
{
	return (unsigned)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	struct options o = {.times = 1};
	int c;

	while ((c = getopt(argc, argv, "k:c:s:r:w:t:p:n:o:i:d:")) != -1)
		switch (c) {
		case 'k':
			o.key = optarg;
			break;
		case 'c':
			o.cluster = optarg;
			break;
		case 's':
			o.sender = number(optarg);
			break;
		case 'r':
			o.receiver = number(optarg);
			break;
		case 'w':
			o.way = number(optarg);
			break;
		case 't':
			o.address = optarg;
			break;
		case 'p':
			o.port = number(optarg);
			break;
		case 'n':
			o.times = number(optarg);
			break;
		case 'o':
			o.out = optarg;
			break;
		case 'i':
			o.in = optarg;
			break;
		case 'd':
			o.seconds = number(optarg);
			break;
		default:
			return 2;
		}
	setlinebuf(stdout);
	if (optind < argc && strcmp(argv[optind], "send") == 0 && o.key && o.cluster && o.address)
		return send_all(&o, argv[optind + 1]);
	if (optind < argc && strcmp(argv[optind], "record") == 0 && o.out)
		return record_all(&o);
	if (optind < argc && strcmp(argv[optind], "play") == 0 && o.in && o.address)
		return play(&o);
	fprintf(stderr, "forge: send, record or play; see the head of test/lab/forge.c\n");
	return 2;
}
