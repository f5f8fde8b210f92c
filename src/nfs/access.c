/* access.c - permission rules. */
#include "nfs/access.h"

#include <errno.h>

#include "xdr/nfs3_xdr.h"

bool access_in_group(const struct cred *c, uint32_t gid)
{
	if (c->gid == gid)
		return true;
	for (uint32_t i = 0; i < c->gid_count; i++) {
		if (c->gids[i] == gid)
			return true;
	}
	return false;
}

static unsigned superuser_bits(const struct store_inode *in)
{
	/* Root may not execute what nobody may execute. */
	if (in->type == STORE_DIR || (in->mode & 0111))
		return MAY_READ | MAY_WRITE | MAY_EXEC;
	return MAY_READ | MAY_WRITE;
}

unsigned access_bits(const struct store_inode *in, const struct cred *c)
{
	if (c->uid == 0)
		return superuser_bits(in);
	if (c->uid == in->uid)
		return in->mode >> 6 & 7;
	if (access_in_group(c, in->gid))
		return in->mode >> 3 & 7;
	return in->mode & 7;
}

int access_check(const struct store_inode *in, const struct cred *c, unsigned want)
{
	return (access_bits(in, c) & want) == want ? 0 : -EACCES;
}

int access_data(const struct store_inode *in, const struct cred *c, unsigned want)
{
	unsigned have = access_bits(in, c);

	if ((have & want) == want || c->uid == in->uid)
		return 0;
	if (want == MAY_READ && (have & MAY_EXEC))
		return 0;
	return -EACCES;
}

int access_remove(const struct store_inode *dir, const struct store_inode *victim,
		  const struct cred *c)
{
	int err = access_check(dir, c, MAY_WRITE | MAY_EXEC);

	if (err)
		return err;
	if (!(dir->mode & MODE_STICKY) || c->uid == 0)
		return 0;
	return c->uid == dir->uid || c->uid == victim->uid ? 0 : -EPERM;
}

uint32_t access_nfs3(const struct store_inode *in, const struct cred *c, uint32_t asked,
		     bool writable)
{
	unsigned have = access_bits(in, c);
	bool dir = in->type == STORE_DIR;
	uint32_t ok = 0;

	if (have & MAY_READ)
		ok |= ACCESS3_READ;
	if (have & MAY_EXEC)
		ok |= dir ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
	if (have & MAY_WRITE && writable && (!dir || have & MAY_EXEC))
		ok |= ACCESS3_MODIFY | ACCESS3_EXTEND | (dir ? ACCESS3_DELETE : 0U);
	return ok & asked;
}

/* What a change of owner or contents leaves of the mode. */
static uint32_t without_setid(const struct store_inode *in, uint32_t mode)
{
	if (in->type == STORE_DIR)
		return mode;
	/* Set-group-ID without group execution once meant mandatory locking: it stays. */
	return mode & ~(MODE_SETUID | (mode & 0010 ? MODE_SETGID : 0U));
}

static int check_owner_change(const struct store_inode *in, const struct cred *c,
			      const struct store_attr *a)
{
	if (c->uid == 0)
		return 0;
	/* chown is restricted: only root gives files away, owners choose among their groups. */
	if (a->set_uid && (a->uid != in->uid || c->uid != in->uid))
		return -EPERM;
	if (a->set_gid && (c->uid != in->uid || (a->gid != in->gid && !access_in_group(c, a->gid))))
		return -EPERM;
	return 0;
}

static int check_times(const struct store_inode *in, const struct cred *c,
		       const struct store_attr *a)
{
	if (c->uid == 0 || c->uid == in->uid)
		return 0;
	if (a->set_atime == STORE_TIME_CLIENT || a->set_mtime == STORE_TIME_CLIENT)
		return -EPERM;
	if (a->set_atime == STORE_TIME_SERVER || a->set_mtime == STORE_TIME_SERVER)
		return access_check(in, c, MAY_WRITE);
	return 0;
}

static int check_size(const struct store_inode *in, const struct cred *c,
		      const struct store_attr *a)
{
	if (!a->set_size)
		return 0;
	if (in->type == STORE_DIR)
		return -EISDIR;
	if (in->type != STORE_REG)
		return -EINVAL;
	if (a->size > (uint64_t)STORE_FILE_SIZE_MAX)
		return -EFBIG;
	return access_data(in, c, MAY_WRITE);
}

static void edit_mode(const struct store_inode *in, const struct cred *c, struct store_attr *a)
{
	uint32_t gid = a->set_gid ? a->gid : in->gid;
	uint32_t mode = a->set_mode ? a->mode & 07777 : in->mode;
	bool owner_changes = a->set_uid || a->set_gid;

	if (a->set_mode && c->uid != 0 && !access_in_group(c, gid))
		mode &= ~MODE_SETGID;
	if (owner_changes || (a->set_size && c->uid != 0))
		mode = without_setid(in, mode);
	if (a->set_mode || mode != in->mode) {
		a->set_mode = true;
		a->mode = mode;
	}
}

int access_setattr(const struct store_inode *in, const struct cred *c, struct store_attr *a)
{
	int err;

	if (a->set_mode && c->uid != 0 && c->uid != in->uid)
		return -EPERM;
	err = check_owner_change(in, c, a);
	if (!err)
		err = check_times(in, c, a);
	if (!err)
		err = check_size(in, c, a);
	if (!err)
		edit_mode(in, c, a);
	return err;
}

bool access_write_clears(const struct store_inode *in, const struct cred *c, uint32_t *mode)
{
	if (c->uid == 0)
		return false;
	*mode = without_setid(in, in->mode);
	return *mode != in->mode;
}

void access_new(const struct store_inode *dir, const struct cred *c, enum store_type type,
		struct store_attr *a)
{
	/* Only root makes files for others; what a user asks for beyond that is not an error. */
	if (!a->set_uid || c->uid != 0)
		a->uid = c->uid;
	if (!a->set_gid || c->uid != 0)
		a->gid = dir->mode & MODE_SETGID ? dir->gid : c->gid;
	if (!a->set_mode)
		a->mode = type == STORE_DIR ? 0700 : 0600;
	a->mode = type == STORE_LNK ? 0777 : a->mode & 07777;
	if (type == STORE_DIR)
		a->mode |= dir->mode & MODE_SETGID;
	else if (c->uid != 0 && !access_in_group(c, a->gid))
		a->mode &= ~MODE_SETGID;
	a->set_uid = a->set_gid = a->set_mode = true;
}
