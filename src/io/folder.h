/* folder.h - the names in a folder made durable. */
#ifndef HF_IO_FOLDER_H
#define HF_IO_FOLDER_H

/* The folder `name` under the open one `dir_fd` (or AT_FDCWD).  0 or -errno. */
int folder_sync(int dir_fd, const char *name);
/* The folder that the file or folder at `path` stands in. */
int folder_sync_above(const char *path);

#endif
