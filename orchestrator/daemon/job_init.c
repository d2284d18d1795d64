#include "orchestrator/daemon/report.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/lineage.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define KEY_RANDOM_BYTES 32u

/*
 * Makes the repository, its key when there is none, and prepares the server.
 * Safe to repeat: what is there is only proved.
 */

static tide_status write_key(const char *path, struct tide_err *err)
{
    uint8_t random[KEY_RANDOM_BYTES];
    char text[2 * KEY_RANDOM_BYTES + 2];

    tide_status s = tide_random(random, sizeof random, err);
    if (s != TIDE_OK)
        return s;
    tide_hex(random, sizeof random, text); /* hexadecimal, so that it can be printed and typed again */
    text[sizeof text - 2] = '\n';
    s = tide_file_replace(path, text, sizeof text - 1, 0600, err);
    tide_wipe(random, sizeof random);
    tide_wipe(text, sizeof text);
    return s == TIDE_OK ? s : tide_wrap(err, s, "making the key file");
}

/* A directory that does not exist at all: a repository to be made, as far as anybody can tell from here. */
static bool is_absent_directory(const char *url)
{
    return strncmp(url, "file://", 7) == 0 && access(url + 7, F_OK) != 0 && errno == ENOENT;
}

/* A new key would lock us out of a repository that has one already, so it is made only for one that is not there. */
static tide_status ensure_key_file(struct report *r, struct tide_err *err)
{
    struct job *job = r->job;
    TIDE_AUTO(settings_repo_clear) struct settings_repo describe = {0};

    tide_status s = settings_repo_describe(job->config, job->instance, &describe, err);
    if (s != TIDE_OK)
        return s;
    const char *path = config_value(job->config, CONFIG_REPOSITORY, describe.name, "encryption_key_file").text;
    if (path == NULL || access(path, F_OK) == 0)
        return TIDE_OK;
    if (errno != ENOENT)
        return tide_fail_errno(err, errno, "could not open the key file \"%s\"", path);

    struct repo *there = NULL;
    struct tide_err why = TIDE_ERR_INIT;
    s = repo_open(&(struct repo_options){.url = describe.url, .cancel = job->cancel}, &there, &why);
    repo_close(there);
    if (s == TIDE_OK || s == TIDE_DENIED) {
        s = tide_fail(err, TIDE_DENIED, "the repository \"%s\" is there, but its key file \"%s\" is not",
                      describe.url, path);
        return tide_hint(err, s, "Put the key file back; a new key would open nothing.  Nothing was changed.");
    }
    if (s != TIDE_NOT_FOUND && !(s == TIDE_UNAVAILABLE && is_absent_directory(describe.url))) {
        *err = why;
        return tide_wrap(err, s, "looking for repository \"%s\"", describe.name);
    }
    s = write_key(path, err);
    if (s != TIDE_OK)
        return s;
    report_add(r, 0, "repository.key_made",
               "print it and lock the paper away; keep a copy on another host, never beside the repository",
               "a new key was written to \"%s\": without this file nothing can be restored", path);
    return TIDE_OK;
}

static tide_status make_repository(struct report *r, struct tide_err *err)
{
    struct job *job = r->job;
    TIDE_AUTO(settings_repo_clear) struct settings_repo repo = {0};
    bool created = false;

    tide_status s = ensure_key_file(r, err);
    if (s == TIDE_OK)
        s = settings_repo_read(job->config, job->instance, &repo, err);
    if (s != TIDE_OK)
        return s;
    s = repo_init(&(struct repo_options){.url = repo.url,
                                         .key = repo.key.len > 0 ? &repo.key : NULL,
                                         .codec = repo.codec,
                                         .level = repo.level,
                                         .cancel = job->cancel},
                  &created, &job->repo, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "making repository \"%s\"", repo.name);
    s = job_start_pulse(job, err);
    if (s != TIDE_OK)
        return s;
    report_add(r, 0, created ? "repository.made" : "repository.there", NULL, "repository \"%s\" %s, id %s", repo.url,
               created ? "was made" : "is there", repo_id(job->repo));
    if (!repo_is_encrypted(job->repo))
        report_add(r, 1, "repository.encryption", "set encryption_key_file and init a new repository",
                   "the repository is not encrypted: whoever reads it has the whole database");
    return TIDE_OK;
}

static tide_status prepare_instance(struct report *r, struct tide_err *err)
{
    struct job *job = r->job;
    struct tide_findings sink = report_sink(r);
    struct tide_setup_params params = {.struct_size = sizeof params};
    void *handle = NULL;

    tide_status s = job_open_plugin(job, err);
    if (s == TIDE_OK)
        s = instance_ensure(job->repo, job->instance, job->plugin->name, err);
    if (s != TIDE_OK || job->plugin->setup == NULL)
        return s;
    s = (tide_status)job->plugin->open(job->host, &handle, err);
    if (s == TIDE_OK)
        s = (tide_status)job->plugin->setup(handle, &params, &sink, err);
    job->plugin->close(handle);
    return s == TIDE_OK ? s : tide_wrap(err, s, "preparing instance \"%s\"", job->instance);
}

tide_status job_init(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(report_clear) struct report r = {0};

    if (!config_has(job->config, CONFIG_INSTANCE, job->instance)) {
        tide_status s = tide_fail(err, TIDE_INVALID, "there is no section [instance %s]", job->instance);
        return tide_hint(err, s, "Write one into the configuration; tidemark.conf(5) has an example.");
    }
    if (!repo_name_is_valid(job->instance))
        return tide_fail(err, TIDE_INVALID,
                         "\"%s\" cannot be an instance's name: small letters, digits, '.', '_', '-'", job->instance);
    tide_status s = report_init(&r, job, err);
    if (s == TIDE_OK)
        s = make_repository(&r, err);
    if (s == TIDE_OK)
        s = prepare_instance(&r, err);
    if (s != TIDE_OK)
        return s;
    job->data = json_pack("{s:i, s:s, s:O}", "schema", 1, "repository_id", repo_id(job->repo), "findings", r.list);
    /* What is critical here keeps the next backup from working; init itself has done what it can. */
    job->degraded = r.worst >= 2;
    return TIDE_OK;
}
