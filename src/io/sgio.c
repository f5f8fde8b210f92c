/* sgio.c - SCSI commands through SG_IO, NVMe's Reservation Report through its passthrough. */
#include "io/sgio.h"

#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>
#include <string.h>
#include <sys/ioctl.h>

#define ATTENTIONS_MAX 4

#define OP_TEST_UNIT_READY 0x00
#define OP_INQUIRY	   0x12
#define OP_PR_IN	   0x5e
#define OP_PR_OUT	   0x5f
#define PR_READ_KEYS	   0
#define PR_READ_RESERVATION 1
#define PR_CAPABILITIES	   2
#define PR_FULL_STATUS	   3
#define PR_REGISTER	   0
#define PR_REGISTER_IGNORE 6
#define PR_OUT_LEN	   24

#define STATUS_GOOD	0x00
#define STATUS_CONFLICT 0x18
#define HOST_TIME_OUT	0x03

#define NVME_REPORT 0x0e
#define NVME_EDS    1 /* extended data */

static int outcome_of(const struct sg_io_hdr *h, const uint8_t *sense)
{
	struct prin_sense s;

	if (h->host_status)
		return h->host_status == HOST_TIME_OUT ? -ETIMEDOUT : -EIO;
	if (h->status == STATUS_GOOD)
		return 0;
	if (h->status == STATUS_CONFLICT)
		return -EBADE;
	if (!prin_sense(sense, h->sb_len_wr, &s))
		return -EIO;
	return s.key == SENSE_ATTENTION	  ? -EAGAIN :
	       s.key == SENSE_ILLEGAL	  ? -EOPNOTSUPP :
	       s.key == SENSE_NOT_READY	  ? -ENODATA :
					    -EIO;
}

/* Bytes that came, or -errno. */
static int once(int fd, uint8_t *cdb, uint8_t cdb_len, int direction, void *buf, size_t size)
{
	uint8_t sense[64] = {0};
	struct sg_io_hdr h = {.interface_id = 'S', .dxfer_direction = direction, .cmd_len = cdb_len,
			      .mx_sb_len = sizeof(sense), .dxfer_len = (unsigned)size,
			      .dxferp = buf, .cmdp = cdb, .sbp = sense, .timeout = SGIO_MS};
	int rc;

	if (ioctl(fd, SG_IO, &h) < 0)
		return -errno;
	rc = outcome_of(&h, sense);
	if (rc)
		return rc;
	return h.resid > 0 && (unsigned)h.resid <= size ? (int)size - h.resid : (int)size;
}

static int command(int fd, uint8_t *cdb, uint8_t cdb_len, int direction, void *buf, size_t size)
{
	int rc = -EAGAIN;

	for (int i = 0; i < ATTENTIONS_MAX && rc == -EAGAIN; i++)
		rc = once(fd, cdb, cdb_len, direction, buf, size);
	return rc == -EAGAIN ? -EIO : rc;
}

void sgio_settle(int fd)
{
	uint8_t cdb[6] = {OP_TEST_UNIT_READY};

	command(fd, cdb, sizeof(cdb), SG_DXFER_NONE, NULL, 0);
}

int sgio_page83(int fd, uint8_t *page, size_t size)
{
	uint8_t cdb[6] = {OP_INQUIRY, 1, 0x83, (uint8_t)(size >> 8), (uint8_t)size};

	memset(page, 0, size);
	return command(fd, cdb, sizeof(cdb), SG_DXFER_FROM_DEV, page, size);
}

static int pr_in(int fd, uint8_t action, uint8_t *buf)
{
	uint8_t cdb[10] = {OP_PR_IN, action, [7] = PRIN_SIZE >> 8, [8] = PRIN_SIZE & 0xff};

	memset(buf, 0, PRIN_SIZE);
	return command(fd, cdb, sizeof(cdb), SG_DXFER_FROM_DEV, buf, PRIN_SIZE);
}

static int scsi_status(int fd, bool details, struct prin_status *st)
{
	uint8_t buf[PRIN_SIZE];
	struct prin_status full;
	int n = pr_in(fd, PR_READ_KEYS, buf);

	if (n >= 0)
		n = prin_keys(buf, (size_t)n, st);
	if (n == 0)
		n = pr_in(fd, PR_READ_RESERVATION, buf);
	if (n >= 0)
		n = prin_reservation(buf, (size_t)n, st);
	if (n || !details)
		return n;
	/* What follows only adds to what is known; targets may lack it. */
	n = pr_in(fd, PR_FULL_STATUS, buf);
	memset(&full, 0, sizeof(full));
	if (n >= 0 && prin_full(buf, (size_t)n, &full) == 0 && full.generation == st->generation) {
		st->count = full.count;
		memcpy(st->registrant, full.registrant, sizeof(st->registrant));
	}
	n = pr_in(fd, PR_CAPABILITIES, buf);
	if (n >= 0)
		prin_capabilities(buf, (size_t)n, st);
	return 0;
}

static int nvme_status(int fd, struct prin_status *st)
{
	uint8_t buf[PRIN_SIZE] = {0};
	int nsid = ioctl(fd, NVME_IOCTL_ID);
	struct nvme_passthru_cmd c = {.opcode = NVME_REPORT, .nsid = (uint32_t)nsid,
				      .addr = (uintptr_t)buf, .data_len = sizeof(buf),
				      .cdw10 = sizeof(buf) / 4 - 1, .cdw11 = NVME_EDS,
				      .timeout_ms = SGIO_MS};
	int rc;

	if (nsid <= 0)
		return nsid < 0 ? -errno : -EIO;
	rc = ioctl(fd, NVME_IOCTL_IO_CMD, &c);
	if (rc)
		return rc < 0 ? -errno : -EIO;
	return prin_nvme(buf, sizeof(buf), st);
}

int sgio_status(int fd, bool nvme, bool details, struct prin_status *st)
{
	memset(st, 0, sizeof(*st));
	return nvme ? nvme_status(fd, st) : scsi_status(fd, details, st);
}

int sgio_register_plain(int fd, uint64_t old, uint64_t new)
{
	uint8_t cdb[10] = {OP_PR_OUT, old ? PR_REGISTER : PR_REGISTER_IGNORE, [8] = PR_OUT_LEN};
	uint8_t list[PR_OUT_LEN] = {0};
	int rc;

	for (int i = 0; i < 8; i++) {
		list[i] = (uint8_t)(old >> (56 - 8 * i));
		list[8 + i] = (uint8_t)(new >> (56 - 8 * i));
	}
	rc = command(fd, cdb, sizeof(cdb), SG_DXFER_TO_DEV, list, sizeof(list));
	return rc < 0 ? rc : 0;
}
