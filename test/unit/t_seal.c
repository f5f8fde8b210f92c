/* t_seal.c - keys and their rotation, forged and moved messages, MACs.  covers: AM-25 */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/envelope.h"
#include "io/seal.h"

static char dir[] = "/tmp/t_seal.XXXXXX", path[64], err[256];

static void put(const char *text)
{
	FILE *f = fopen(path, "w");

	CHECK(f != NULL);
	fputs(text, f);
	fclose(f);
	CHECK_EQ(0, chmod(path, 0600));
}

#define KEY_A "1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY_B "2 ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static void t_create_load(void)
{
	struct seal s;
	struct stat st;

	CHECK_EQ(0, seal_create(path));
	CHECK_EQ(-EEXIST, seal_create(path));
	CHECK_EQ(0, stat(path, &st));
	CHECK_EQ(0600, st.st_mode & 0777);
	CHECK_EQ(0, seal_load(&s, path, err, sizeof(err)));
	CHECK_EQ(1, s.count);
	CHECK_EQ(0, chmod(path, 0640));
	CHECK_EQ(-EPERM, seal_load(&s, path, err, sizeof(err)));
	CHECK(strstr(err, "0600") != NULL);
}

static void t_bad_key_files(void)
{
	static const char *const bad[] = {
	    "", "1 00 send\n",
	    "0 "
	    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
	    KEY_A " often\n", "hello\n"};
	struct seal s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(bad[i]);
		CHECK_EQ(-EINVAL, seal_load(&s, path, err, sizeof(err)));
	}
}

static void t_messages(void)
{
	struct seal s, other;
	uint8_t packet[512], plain[512];
	uint16_t sender, over;
	size_t n, len;

	put(KEY_A " send\n");
	CHECK_EQ(0, seal_load(&s, path, err, sizeof(err)));
	put(KEY_B " send\n");
	CHECK_EQ(0, seal_load(&other, path, err, sizeof(err)));
	n = seal_message(&s, 1, 2, 7, "status", 6, packet, sizeof(packet));
	CHECK_EQ(6 + ENVELOPE_OVERHEAD, n);
	CHECK_EQ(0, seal_open(&s, 2, packet, n, &sender, &over, plain, sizeof(plain), &len));
	CHECK(sender == 1 && over == 7 && len == 6 && memcmp(plain, "status", 6) == 0);
	CHECK_EQ(-EDESTADDRREQ,
		 seal_open(&s, 3, packet, n, &sender, &over, plain, sizeof(plain), &len));
	CHECK_EQ(-ENOKEY,
		 seal_open(&other, 2, packet, n, &sender, &over, plain, sizeof(plain), &len));
	seal_bind(&s, "another cluster");
	CHECK_EQ(-EKEYREJECTED,
		 seal_open(&s, 2, packet, n, &sender, &over, plain, sizeof(plain), &len));
	memset(s.cluster, 0, sizeof(s.cluster));
	for (size_t i = 0; i < n; i++) {
		packet[i] ^= 1;
		CHECK(seal_open(&s, 2, packet, n, &sender, &over, plain, sizeof(plain), &len) != 0);
		packet[i] ^= 1;
	}
	for (size_t i = 0; i < n; i++)
		CHECK(seal_open(&s, 2, packet, i, &sender, &over, plain, sizeof(plain), &len) != 0);
	CHECK_EQ(0, seal_message(&s, 1, 2, 7, "status", 6, packet, 6 + ENVELOPE_OVERHEAD - 1));
}

static void t_rotation(void)
{
	struct seal before, both, after;
	uint8_t packet[256], plain[64];
	uint16_t sender, over;
	size_t n, len;

	put(KEY_A " send\n");
	CHECK_EQ(0, seal_load(&before, path, err, sizeof(err)));
	put(KEY_A "\n" KEY_B " send\n");
	CHECK_EQ(0, seal_load(&both, path, err, sizeof(err)));
	put(KEY_B " send\n");
	CHECK_EQ(0, seal_load(&after, path, err, sizeof(err)));
	n = seal_message(&before, 1, 2, 0, "x", 1, packet, sizeof(packet));
	CHECK_EQ(0, seal_open(&both, 2, packet, n, &sender, &over, plain, sizeof(plain), &len));
	CHECK_EQ(-ENOKEY,
		 seal_open(&after, 2, packet, n, &sender, &over, plain, sizeof(plain), &len));
	n = seal_message(&both, 1, 2, 0, "x", 1, packet, sizeof(packet));
	CHECK_EQ(0, seal_open(&after, 2, packet, n, &sender, &over, plain, sizeof(plain), &len));
}

static void t_macs(void)
{
	struct seal s;
	uint8_t mac[SEAL_MAC_LEN];

	put(KEY_A "\n" KEY_B " send\n");
	CHECK_EQ(0, seal_load(&s, path, err, sizeof(err)));
	CHECK_EQ(2, seal_send_id(&s));
	CHECK(seal_mac(&s, 0, "slot", 4, mac));
	CHECK(seal_mac_ok(&s, 2, "slot", 4, mac));
	CHECK(!seal_mac_ok(&s, 1, "slot", 4, mac));
	CHECK(!seal_mac_ok(&s, 0, "slot", 4, mac));
	CHECK(!seal_mac_ok(&s, 2, "slob", 4, mac));
	CHECK(!seal_mac(&s, 9, "slot", 4, mac));
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/key", dir);
	CASE(t_create_load);
	CASE(t_bad_key_files);
	CASE(t_messages);
	CASE(t_rotation);
	CASE(t_macs);
	unlink(path);
	rmdir(dir);
	return check_end();
}
