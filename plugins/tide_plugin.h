#ifndef TIDE_PLUGIN_H
#define TIDE_PLUGIN_H

/*
 * The contract between Tidemark and a plugin for one database engine.
 *
 * A plugin is a shared object that exports one symbol, tide_plugin_entry.  It
 * includes this header and nothing else of ours, and is linked with
 * -Wl,-z,defs: whatever it needs of the core comes through struct tide_host.
 *
 * Growing without a break
 *   Every struct that crosses the boundary begins with struct_size and only
 *   grows at its end; no field changes its meaning, no enum value is reused.
 *   The reader copies min(theirs, ours) and takes the rest as zero.  Arrays of
 *   structs carry their stride.  A new major number refuses old plugins.
 *
 * Life of an instance handle
 *
 *   entry -> open -> { check, setup, clock, log_identify, log_stream,
 *                      backup (which calls the sink), ... } -> close
 *
 *   The core calls one function of a handle at a time; it opens a second handle
 *   when it needs two conversations with a server (a stream and a clock).  Two
 *   handles never share state.  What takes a host and no handle (log_scan_*,
 *   log_file_locate, inspect, restore_*, recover, activate) needs no server and
 *   may be called from several threads, each with objects of its own.
 *
 * Rules
 *   Whoever allocates frees; the boundary passes (pointer, length) which is
 *   valid during the call only, unless said otherwise.  No exit(), abort(),
 *   signal handlers, setlocale() or writing to stdout and stderr.  Long work
 *   polls host->cancelled() and waits on host->cancel_fd() beside its socket.
 *   A status that a sink returned is passed on untouched.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TIDE_PLUGIN_ABI 1u
#define TIDE_PLUGIN_ENTRY "tide_plugin_entry"

#if defined(__GNUC__)
#define TIDE_PLUGIN_EXPORT __attribute__((visibility("default")))
#define TIDE_PLUGIN_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define TIDE_PLUGIN_EXPORT
#define TIDE_PLUGIN_PRINTF(f, a)
#endif

/* ------------------------------------------------------------- outcomes */

/*
 * What a caller can decide on.  Values are stored nowhere, but shared with
 * binaries: append only.
 */
typedef enum tide_status {
    TIDE_OK = 0,
    TIDE_NOT_FOUND = 1,
    TIDE_EXISTS = 2,
    TIDE_AGAIN = 3,        /* a retry may help: connection lost, 503 */
    TIDE_DENIED = 4,       /* credentials, permissions, wrong key */
    TIDE_INVALID = 5,      /* usage or configuration */
    TIDE_CORRUPT = 6,      /* proof failed: stop, name the object */
    TIDE_UNSUPPORTED = 7,  /* this version or method cannot */
    TIDE_CANCELLED = 8,
    TIDE_NO_MEMORY = 9,
    TIDE_IO = 10,
    TIDE_BUSY = 11,        /* somebody else holds the lease or the lock */
    TIDE_REFUSED = 12,     /* a safety rule says no */
    TIDE_OUTSIDE = 13,     /* the target is outside the restore window */
    TIDE_UNAVAILABLE = 14, /* the repository cannot be reached; retries are used up */
    TIDE_FULL = 15,        /* no space left */
} tide_status;

struct tide_err; /* the core's; filled by host->set_error */

enum tide_log_level { TIDE_LOG_ERROR = 0, TIDE_LOG_WARN = 1, TIDE_LOG_INFO = 2, TIDE_LOG_DEBUG = 3 };

/* ------------------------------------------------------------ positions */

/*
 * A place in a log, in an order-preserving form: compare hi, then lo.  What
 * the numbers mean is the plugin's (WAL: hi 0, lo the LSN; binlog: hi the
 * file's number, lo the offset).  {0,0} is "none".
 */
struct tide_pos {
    uint64_t hi, lo;
};

static inline int tide_pos_cmp(struct tide_pos a, struct tide_pos b)
{
    if (a.hi != b.hi)
        return a.hi < b.hi ? -1 : 1;
    return a.lo < b.lo ? -1 : a.lo > b.lo;
}

static inline bool tide_pos_is_none(struct tide_pos p)
{
    return p.hi == 0 && p.lo == 0;
}

/* Times are microseconds since 1970-01-01 UTC. */
#define TIDE_TIME_NONE INT64_MIN

/* -------------------------------------------------------------- options */

enum tide_option_type {
    TIDE_OPTION_STRING = 0,
    TIDE_OPTION_BOOL = 1,
    TIDE_OPTION_INTEGER = 2,
    TIDE_OPTION_SIZE = 3,     /* bytes, given with a unit: 16MiB */
    TIDE_OPTION_DURATION = 4, /* microseconds, given with a unit: 2s */
    TIDE_OPTION_PATH = 5,
    TIDE_OPTION_ENUM = 6,     /* choices: "a|b|c" */
};

#define TIDE_OPTION_REQUIRED 1u
#define TIDE_OPTION_SECRET 2u /* comes as KEY_file, KEY_command or from the environment; never printed */

/* The configuration parser, --help and tidemark.conf(5) come from this table. */
struct tide_option {
    const char *key;
    uint32_t type;  /* enum tide_option_type */
    uint32_t flags;
    const char *def;     /* NULL: none */
    const char *choices; /* TIDE_OPTION_ENUM */
    const char *help;    /* one sentence */
};

/* ----------------------------------------------------------------- host */

struct tide_progress {
    uint32_t struct_size;
    uint32_t reserved;
    const char *phase;
    uint64_t bytes_done, bytes_total; /* total 0: unknown */
    struct tide_pos position;         /* during replay */
    int64_t time_us;                  /* during replay: "replayed to"; TIDE_TIME_NONE */
};

/* What the core offers.  Thread-safe. */
struct tide_host {
    uint32_t struct_size, abi;
    void *ctx; /* first argument of every call below */
    void (*log)(void *ctx, int level, const char *event, const char *message);
    /* fills err (message, hint or NULL) and returns status */
    int (*set_error)(void *ctx, struct tide_err *err, int status, int os_errno, const char *message,
                     const char *hint);
    void (*progress)(void *ctx, const struct tide_progress *p);
    bool (*cancelled)(void *ctx);
    int (*cancel_fd)(void *ctx); /* readable once cancelled */
    /* The value of one of the plugin's options as text in base units (bytes, microseconds, 0/1), or NULL.
     * Secrets too; the text is valid until close. */
    const char *(*option)(void *ctx, const char *key);
    const char *(*instance)(void *ctx); /* the instance's name in the configuration */
};

static inline int tide_plugin_fail(const struct tide_host *host, struct tide_err *err, int status, int os_errno,
                                   const char *fmt, ...) TIDE_PLUGIN_PRINTF(5, 6);
static inline int tide_plugin_fail(const struct tide_host *host, struct tide_err *err, int status, int os_errno,
                                   const char *fmt, ...)
{
    char message[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return host->set_error(host->ctx, err, status, os_errno, message, NULL);
}

/* ---------------------------------------------------- check and set-up */

/* One line of `check`, `init` or a preflight. */
struct tide_finding {
    uint32_t struct_size;
    uint32_t severity;   /* 0 ok, 1 warning, 2 critical */
    const char *code;    /* stable: "postgresql.slot.missing" */
    const char *message; /* one line */
    const char *fix;     /* the statement or command that mends it, or NULL */
};

struct tide_findings {
    uint32_t struct_size, reserved;
    void *ctx;
    void (*add)(void *ctx, const struct tide_finding *f);
};

struct tide_setup_params {
    uint32_t struct_size;
    uint32_t remove; /* 1: take back what set-up made on the server (slots) */
};

/* The server's clock and a log position with this promise: everything the server acknowledged before
 * clock_us lies below end. */
struct tide_clock {
    uint32_t struct_size;
    uint32_t standby; /* the server that answered is a standby: no promise is made, end is none */
    int64_t clock_us;
    struct tide_pos end;
    uint64_t held_back_bytes; /* log the server keeps for us */
    uint32_t synchronous;     /* enum tide_waiting: settings change while a stream goes on */
    uint32_t reserved;
    uint64_t branch;          /* that end belongs to, as tide_log_identity.branch; 0: unknown */
};

enum tide_waiting {
    TIDE_WAITING_UNKNOWN = 0, /* as tide_log_identity said */
    TIDE_WAITING_NO = 1,
    TIDE_WAITING_YES = 2, /* commits wait for our confirmation */
};

/* ------------------------------------------------------------------ log */

/*
 * The identity of a log, as found on a server or in a file of it.  evidence is
 * text, one key=value a line, kept in the lineage object; only the plugin
 * reads it.  Strings are the plugin's, valid until the next call on the handle.
 */
struct tide_log_identity {
    uint32_t struct_size;
    uint32_t standby;
    const char *evidence;
    const char *server_version;
    uint64_t branch;            /* the number by which the engine's file names tell lineages apart (timeline); 0: none */
    struct tide_pos current;    /* end of log now */
    struct tide_pos oldest;     /* where streaming can begin at the earliest; none: unknown */
    struct tide_pos stream_from;/* where shipping starts on a fresh lineage: the beginning of a log file */
    int64_t clock_us;
    uint32_t synchronous;       /* commits wait for our confirmation */
    uint32_t reserved;
};

enum tide_log_relation {
    TIDE_LOG_SAME = 0,    /* same branch; bytes still have to agree */
    TIDE_LOG_CHILD = 1,   /* the server's log forked from the stored one at fork */
    TIDE_LOG_FOREIGN = 2, /* no child of the stored one */
    TIDE_LOG_ANCESTOR = 3,/* the server is on a branch that the stored one left */
};

struct tide_log_kinship {
    uint32_t struct_size;
    uint32_t relation; /* enum tide_log_relation */
    struct tide_pos fork;
};

enum tide_log_event_kind {
    TIDE_EVENT_COMMIT = 1,
    TIDE_EVENT_ABORT = 2,
    TIDE_EVENT_RESTORE_POINT = 3, /* text: its name */
    TIDE_EVENT_SETTINGS = 4,      /* text: key=value lines that recovery insists on */
    TIDE_EVENT_BRANCH = 5,        /* a new branch begins here; number: its id */
    TIDE_EVENT_PREPARE = 6,
    TIDE_EVENT_BACKUP_END = 7,    /* position: the backup's start */
    TIDE_EVENT_CHECKPOINT = 8,
};

struct tide_log_event {
    uint32_t struct_size;
    uint32_t kind;
    struct tide_pos start, end; /* of the record */
    int64_t time_us;            /* the server's stamp, or TIDE_TIME_NONE */
    uint64_t number;            /* transaction id, branch id */
    struct tide_pos position;
    const char *text;
    size_t text_len;
};

/* A page that a record changes.  Five numbers suit every engine with physical log. */
struct tide_block_ref {
    uint32_t space, database, relation, fork, block;
};

struct tide_log_scan_sink {
    uint32_t struct_size, reserved;
    void *ctx;
    int (*event)(void *ctx, const struct tide_log_event *e, struct tide_err *err);
    int (*blocks)(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *err); /* NULL: not wanted */
};

/* Where a scanner stands.  Log may be cut at whole_end; what lies behind is a record still incomplete. */
struct tide_log_mark {
    uint32_t struct_size;
    uint32_t ended; /* nothing was written behind whole_end: zeros, or what an older file left there */
    struct tide_pos first_start; /* of the first record that begins in what was fed; none: none yet */
    struct tide_pos last_start;  /* of the last complete record */
    struct tide_pos whole_end;   /* behind the last complete record (and padding that nothing can follow) */
    struct tide_pos next_start;  /* where the next record begins at the earliest: the end of padding that whole_end lies
                                  * in; none: at whole_end */
};

struct tide_log_scan_params {
    uint32_t struct_size, reserved;
    const char *evidence;
    struct tide_pos start;        /* of the first byte that will be fed */
    struct tide_pos first_record; /* known start of a record at or after it, or none: the scanner finds it */
};

struct tide_log_stream_params {
    uint32_t struct_size, reserved;
    const char *evidence;   /* of the lineage to stream */
    struct tide_pos from;   /* first byte wanted */
    uint64_t branch;
};

struct tide_log_sink {
    uint32_t struct_size;
    int wake_fd; /* readable when durable() may have moved; the plugin reads it empty */
    void *ctx;
    /* Consecutive bytes [start,end).  Blocks for back-pressure.  end may lie beyond start + len only where
     * the engine itself skips positions (the next binlog file). */
    int (*bytes)(void *ctx, struct tide_pos start, struct tide_pos end, const void *data, size_t len,
                 struct tide_err *err);
    /* Everything below the result is durable and may be confirmed to the server. */
    struct tide_pos (*durable)(void *ctx);
    /* Called when the server had nothing to send for a moment. */
    int (*idle)(void *ctx, struct tide_err *err);
};

enum tide_log_stream_reason {
    TIDE_STREAM_CANCELLED = 0,
    TIDE_STREAM_BRANCH_END = 1, /* the branch ended at end; next_evidence and next_branch say what follows */
    TIDE_STREAM_REMOVED = 2,    /* the server no longer has the log at `from` */
    TIDE_STREAM_AHEAD = 3,      /* `from` lies past the server's fork or its end of log */
    TIDE_STREAM_FOREIGN = 4,    /* not the server that evidence describes */
};

struct tide_log_stream_end {
    uint32_t struct_size;
    uint32_t reason;
    struct tide_pos end;
    struct tide_pos oldest; /* TIDE_STREAM_REMOVED: the first byte that can still be had, or none */
    uint64_t next_branch;
    const char *next_evidence; /* the plugin's, valid until the next call */
};

enum tide_log_file_kind {
    TIDE_LOG_FILE_SEGMENT = 1, /* bytes [start,end) of a branch */
    TIDE_LOG_FILE_HISTORY = 2, /* the branch's history file: taken from evidence by log_file_content */
    TIDE_LOG_FILE_OTHER = 3,   /* a name the engine asks for that is never stored */
};

struct tide_log_file {
    uint32_t struct_size;
    uint32_t kind;
    uint64_t branch;
    struct tide_pos start, end;
    uint32_t partial; /* the file is known to be incomplete by its name */
    uint32_t reserved;
};

/* --------------------------------------------------------------- backup */

enum tide_file_kind { TIDE_FILE_REGULAR = 1, TIDE_FILE_DIRECTORY = 2, TIDE_FILE_SYMLINK = 3 };

#define TIDE_FILE_MAY_VANISH 1u /* gone or shorter while it is read is normal */
#define TIDE_FILE_INSPECT 2u    /* give its blocks to inspect() */
#define TIDE_FILE_CONFIG 4u     /* a configuration file from outside the data directory, kept for reference */
#define TIDE_FILE_TABLESPACE 8u /* a directory that may live elsewhere at restore; link: the source's path */
#define TIDE_FILE_STABLE 16u    /* re-read until two reads agree (small control files) */

struct tide_file {
    uint32_t struct_size;
    uint32_t kind; /* enum tide_file_kind */
    uint32_t flags;
    uint32_t mode; /* permission bits */
    const char *name;   /* in the backup: relative, '/'-separated, no "." or ".." */
    const char *source; /* where to read it now; NULL when its bytes are handed over */
    const char *link;   /* symlink's target */
    const char *owner, *group; /* names, or NULL */
    uint64_t size;      /* bytes that will be read at most */
    int64_t mtime_us;
    uint64_t inspect_number; /* the plugin's: number of the first page, segment, ... */
};

enum tide_snapshot_action { TIDE_SNAPSHOT_TAKE = 1, TIDE_SNAPSHOT_MOUNT = 2, TIDE_SNAPSHOT_RELEASE = 3 };

/*
 * Where a backup goes.  Thread-safe.  Files may be handed over by path (file),
 * whole (data), or as pieces of several files in turn (piece, piece_end); one
 * backup may mix them.  A later one of the same name wins.
 */
struct tide_backup_sink {
    uint32_t struct_size, reserved;
    void *ctx;
    int (*file)(void *ctx, const struct tide_file *f, struct tide_err *err); /* returns at once or blocks for room */
    int (*drain)(void *ctx, struct tide_err *err); /* returns when all files handed over have been read */
    int (*data)(void *ctx, const struct tide_file *f, const void *data, size_t len, struct tide_err *err);
    int (*piece)(void *ctx, const char *name, uint64_t offset, const void *data, size_t len, struct tide_err *err);
    int (*piece_end)(void *ctx, const struct tide_file *f, struct tide_err *err);
    /* Runs the configured snapshot commands.  MOUNT fills path with the place to read from. */
    int (*snapshot)(void *ctx, int action, char *path, size_t path_size, struct tide_err *err);
    /* Called once, when the start is known and before files are handed over. */
    int (*started)(void *ctx, struct tide_pos start, uint64_t branch, int64_t clock_us, struct tide_err *err);
    /* Before a file's first piece, when its blocks are to be inspected: name, flags and inspect_number count.  A host
     * of an older version has not got it. */
    int (*piece_begin)(void *ctx, const struct tide_file *f, struct tide_err *err);
};

struct tide_backup_params {
    uint32_t struct_size;
    uint32_t fast;         /* immediate checkpoint */
    const char *label;     /* shown on the server */
    uint32_t prefer_standby;
    uint32_t max_lag_s; /* a standby that is further behind is not preferred; 0: no limit */
    struct tide_pos parent_start; /* of the backup whose blocks are reused, or none */
};

struct tide_backup_result {
    uint32_t struct_size;
    uint32_t from_standby;
    struct tide_pos start;      /* the log that restoring needs begins here */
    struct tide_pos stop;       /* consistency point: every target lies at or after it */
    uint64_t branch;
    int64_t start_us, stop_us;  /* the server's clock; stop_us was read after stop was known */
    const char *evidence;       /* as tide_log_identity.evidence */
    const char *server_version;
    const char *metadata;       /* JSON object; only the plugin reads it (settings, tablespaces, libraries, ...) */
    const char *method;         /* "files", "stream", "snapshot" */
    uint64_t damaged_pages;
};

struct tide_block_view {
    uint32_t struct_size, reserved;
    const char *name;
    uint64_t inspect_number;
    uint64_t offset; /* of data in the file */
    const uint8_t *data;
    size_t len;
    struct tide_pos backup_start;
};

#define TIDE_BLOCK_FINE 0u
#define TIDE_BLOCK_TORN 1u /* read it again; when it stays so, damaged */
#define TIDE_BLOCK_MAX_PAGES 64u

struct tide_block_verdict {
    uint32_t struct_size;
    uint32_t verdict;
    uint32_t page_size, n_bad;
    struct tide_pos max_page_pos;             /* newest page stamp in the block, or none */
    uint32_t bad_pages[TIDE_BLOCK_MAX_PAGES]; /* index within the block */
};

/* Pages changed since the parent backup, for incremental backups. */
struct tide_changed_params {
    uint32_t struct_size, reserved;
    struct tide_pos since;
};

struct tide_changed_sink {
    uint32_t struct_size, reserved;
    void *ctx;
    int (*range)(void *ctx, const char *name, uint64_t offset, uint64_t len, struct tide_err *err);
    int (*whole)(void *ctx, const char *name, struct tide_err *err); /* cannot tell: read it all */
};

/* -------------------------------------------------------------- restore */

enum tide_target_kind {
    TIDE_TARGET_COMMIT = 1,    /* the record that starts at target_start is the last one replayed */
    TIDE_TARGET_CONSISTENT = 2,/* nothing past the consistency point */
};

struct tide_restore_params {
    uint32_t struct_size;
    uint32_t target_kind;
    const char *data_directory;
    const char *metadata;  /* tide_backup_result.metadata */
    const char *settings;  /* key=value lines from the log that supersede metadata's, or NULL */
    const char *evidence;  /* of the lineage at the target */
    const char *server_version;
    const char *bin_dir;   /* NULL: look for it */
    const char *os_user;   /* NULL: stay who we are */
    const char *listen;    /* NULL: 127.0.0.1 */
    const char *socket_directory; /* NULL: the plugin's choice */
    const char *fetch_command;    /* how the server gets a log file; "%f" name, "%p" path */
    const char *init_file;        /* SQL run before others may connect, or NULL */
    uint32_t port;         /* 0: the first free one */
    uint32_t no_start;
    struct tide_pos target_start;  /* of the last record to replay; none (TIDE_TARGET_CONSISTENT only): not known */
    struct tide_pos expected_end;  /* recovery is proved when the new branch forks exactly here */
    struct tide_pos backup_start, backup_stop;
    uint64_t branch;       /* of the target */
    uint64_t new_branch;   /* reserved for the restored instance; 0: engine has none */
    int64_t target_us;     /* for progress */
    const char *tablespaces; /* "NAME=DIR" lines: where core put each directory with TIDE_FILE_TABLESPACE */
};

struct tide_restore_result {
    uint32_t struct_size;
    uint32_t port;
    char host[256], socket_directory[256];
    struct tide_pos reached;
    uint64_t branch;
    char start_command[1024], stop_command[1024];
    char prepared[4096]; /* in-doubt transactions, one a line */
};

/* --------------------------------------------------------------- plugin */

#define TIDE_CAP_BACKUP_FILES 1u     /* hands files over by path */
#define TIDE_CAP_BACKUP_STREAM 2u    /* hands over pieces */
#define TIDE_CAP_BACKUP_SNAPSHOT 4u
#define TIDE_CAP_LOG_STREAM 8u
#define TIDE_CAP_LOG_FILES 16u       /* log_file_*: log put and log get */
#define TIDE_CAP_CHANGED_PAGES 32u
#define TIDE_CAP_RECOVER 64u
#define TIDE_CAP_INSPECT 128u
#define TIDE_CAP_SYNCHRONOUS 256u    /* can make a commit wait for our durability */

struct tide_plugin {
    uint32_t struct_size, abi;
    const char *name, *version;
    uint64_t caps;
    const struct tide_option *options;
    uint32_t n_options, options_stride;

    int (*open)(const struct tide_host *host, void **inst, struct tide_err *err);
    void (*close)(void *inst); /* close(NULL) does nothing */

    int (*check)(void *inst, const struct tide_findings *out, struct tide_err *err);
    int (*setup)(void *inst, const struct tide_setup_params *params, const struct tide_findings *out,
                 struct tide_err *err);
    int (*clock)(void *inst, struct tide_clock *out, struct tide_err *err);

    /* log */
    int (*log_identify)(void *inst, struct tide_log_identity *out, struct tide_err *err);
    /* how the server's log (current) stands to a stored one that ends at stored_end; pure */
    int (*log_relate)(const struct tide_host *host, const char *stored, struct tide_pos stored_end,
                      const char *current, struct tide_log_kinship *out, struct tide_err *err);
    int (*log_stream)(void *inst, const struct tide_log_stream_params *params, const struct tide_log_sink *sink,
                      struct tide_log_stream_end *end, struct tide_err *err);
    int (*log_scan_open)(const struct tide_host *host, const struct tide_log_scan_params *params, void **scan,
                         struct tide_err *err);
    /* Consecutive bytes; a damaged record is TIDE_CORRUPT and mark says what was whole before it. */
    int (*log_scan_feed)(void *scan, const void *data, size_t len, const struct tide_log_scan_sink *sink,
                         struct tide_log_mark *mark, struct tide_err *err);
    void (*log_scan_close)(void *scan);
    /* which part of the log a file name means; evidence of any lineage of the instance gives the sizes */
    int (*log_file_locate)(const struct tide_host *host, const char *evidence, const char *name,
                           struct tide_log_file *out, struct tide_err *err);
    /* the identity told by a log file itself, for `log put`; identity strings are written to buf */
    int (*log_file_identify)(const struct tide_host *host, const char *path, const char *name, char *buf,
                             size_t buf_size, struct tide_log_identity *out, struct tide_err *err);
    /* content of a history file for evidence; *len is the size used of buf */
    int (*log_file_content)(const struct tide_host *host, const char *evidence, const struct tide_log_file *file,
                            void *buf, size_t size, size_t *len, struct tide_err *err);
    /* text of a position in the engine's own words ("0/3000028"), and back */
    void (*pos_format)(struct tide_pos pos, char *buf, size_t size);
    int (*pos_parse)(const char *text, struct tide_pos *pos);

    /* backup */
    int (*backup)(void *inst, const struct tide_backup_params *params, const struct tide_backup_sink *sink,
                  struct tide_backup_result *result, struct tide_err *err);
    void (*inspect)(const struct tide_block_view *block, struct tide_block_verdict *verdict);
    int (*changed_pages)(void *inst, const struct tide_changed_params *params, const struct tide_changed_sink *sink,
                         struct tide_err *err);

    /* restore: check -> (files are there) -> prepare -> recover; activate later, by hand */
    int (*restore_check)(const struct tide_host *host, const struct tide_restore_params *params,
                         const struct tide_findings *out, char *bin_dir, size_t bin_dir_size, struct tide_err *err);
    int (*restore_prepare)(const struct tide_host *host, const struct tide_restore_params *params,
                           struct tide_err *err);
    /* Starts privately, replays, proves the reached position, restarts on the port.  TIDE_CORRUPT: recovery ended
     * elsewhere; the server was stopped. */
    int (*recover)(const struct tide_host *host, const struct tide_restore_params *params,
                   struct tide_restore_result *result, struct tide_err *err);
    int (*activate)(const struct tide_host *host, const char *data_directory, const struct tide_findings *out,
                    struct tide_err *err);
};

typedef const struct tide_plugin *tide_plugin_entry_fn(uint32_t host_abi);

#endif
