/* temp.h -- output folders that appear whole or not at all: a temporary folder beside the place of the result, moved
** there when everything in it is written. Owns the list of temporary folders of this process, so that an interrupted
** command can remove them; knows nothing of what is written. Thread-safe. */
#ifndef MXG_TEMP_H
#define MXG_TEMP_H

#include "mxrt.h"

typedef struct mxg_temp mxg_temp;

/* Makes an empty folder "<place>.tmp-XXXXXX" beside `place` (missing parents of `place` are made too, and go again with
** the folder when it is removed). `place` may exist: then it must be a folder. MXG_ERR_IO. */
mxg_status mxg_temp_create(mxg_temp **out, const char *place, mxg_error *err);

/* The folder to write into, and the place it will have. They live with the object. */
const char *mxg_temp_path(const mxg_temp *temp);
const char *mxg_temp_place(const mxg_temp *temp);

/* Moves the folder to its place and frees the object: a folder there is replaced as a whole. On failure the old one is
** back where it was and the temporary one is removed. Unchanged files keep their old time. */
mxg_status mxg_temp_replace(mxg_temp *temp, mxg_error *err);

/* Moves every file of the folder into its place, over files of the same names; other files there stay. Frees the
 * object.
 */
mxg_status mxg_temp_merge(mxg_temp *temp, mxg_error *err);

/* Removes the folder with all it holds, and frees the object. NULL does nothing. */
void mxg_temp_remove(mxg_temp *temp);

/* For a process about to end on a signal: removes all temporary folders; every later commit fails. */
void mxg_temp_remove_all(void);

/* "dir/name" into `path`. False when it does not fit. */
bool mxg_path_join(char *path, size_t room, const char *dir, const char *name);
/* Whether a file's name ends with `extension`, ".d", and has something before it. */
bool mxg_name_has_extension(const char *name, const char *extension);

/* True when `name` can be a file of an output folder: 1 to 200 bytes of letters, digits, '.', '_', '-', not led by '.'
** or '-'. */
bool mxg_file_name_is_safe(const char *name);

/* Writes a whole new file. MXG_ERR_IO. */
mxg_status mxg_file_write(const char *path, const void *bytes, size_t count, mxg_error *err);

#endif
