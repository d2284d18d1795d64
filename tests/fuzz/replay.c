/*
 * Runs a fuzz target on files instead of inventing input: the corpora are part of the tests, with any compiler.
 *
 *     replay FILE|DIRECTORY...
 */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned files;

static int run_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    /* The exact size: what reads past the end is then seen by a sanitizer. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    int rc = 1;
    if (f != NULL && data != NULL && fread(data, 1, size, f) == size) {
        (void)fprintf(stderr, "%s\n", path);
        rc = LLVMFuzzerTestOneInput(data, size);
        files++;
    }
    if (f != NULL)
        (void)fclose(f);
    free(data);
    return rc;
}

static int run(const char *path);

static int run_directory(const char *path)
{
    DIR *dir = opendir(path);
    int rc = dir == NULL;
    for (struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;) {
        char inner[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        rc = run(inner);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return rc;
}

static int run(const char *path)
{
    struct stat sb;
    if (stat(path, &sb) != 0) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    return S_ISDIR(sb.st_mode) ? run_directory(path) : run_file(path, (size_t)sb.st_size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (run(argv[i]) != 0)
            return 1;
    (void)fprintf(stderr, "%u inputs\n", files);
    return files == 0; /* a corpus that is not there tests nothing */
}
