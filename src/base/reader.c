/* The buffered reader: plain bytes, or the inflated ones of a gzip file (all members in a row). */
#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/vfs.h"

#include <string.h>
#include <zlib.h>

enum {
    BUFFER = 1 << 16,
    LINE_MAX_BYTES = 1 << 26 /* no text we read has longer ones; a gzip bomb could */
};

struct kl__reader {
    char *path;
    int file; /* -1: not open */
    bool gz, member_open, at_end;
    kl_status failed;
    uint64_t at;
    size_t pos, end;   /* what `out` holds and was not given yet */
    uint8_t *in, *out; /* `in`: packed bytes, gz only */
    z_stream z;
    char *line;
    size_t line_cap;
};

static void *z_alloc(void *user, uInt n, uInt size)
{
    (void)user;
    return kl__calloc(n, size);
}

static void z_free(void *user, void *p)
{
    (void)user;
    kl__free(p);
}

/* Fills the packed buffer when it is empty; *some is false at the end of the file. */
static kl_status more_packed(kl__reader *r, bool *some)
{
    if (!r->z.avail_in) {
        const int64_t got = kl__vfs_read(r->file, r->in, BUFFER);
        if (got < 0) {
            return kl__fail_errno(r->path, "be read", got);
        }
        r->z.next_in = r->in;
        r->z.avail_in = (uInt)got;
    }
    *some = r->z.avail_in != 0;
    return KL_OK;
}

/* One step of inflation into the rest of `out`; sets at_end after the last member. */
static kl_status inflate_some(kl__reader *r)
{
    bool some = false;
    kl_status st = more_packed(r, &some);
    if (st) {
        return st;
    }
    if (!some) {
        r->at_end = !r->member_open;
        return r->at_end ? KL_OK
                         : kl__fail(KL_E_FORMAT, "%s: the gzip data ends too early", r->path);
    }
    r->member_open = true;
    const int rc = inflate(&r->z, Z_NO_FLUSH);
    if (rc == Z_STREAM_END) {
        r->member_open = false;
        inflateReset(&r->z);
    } else if (rc == Z_MEM_ERROR) {
        return kl__fail_in(KL_E_MEMORY, "%s", r->path);
    } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
        return kl__fail(KL_E_FORMAT, "%s: the gzip data is damaged (%s)", r->path,
                        r->z.msg ? r->z.msg : "no reason given");
    }
    return KL_OK;
}

/* Gets at least one more byte into `out` when all of it was given, or at_end. */
static kl_status fill(kl__reader *r)
{
    if (r->failed) {
        return kl__fail(r->failed, "%s: an earlier read failed", r->path);
    }
    r->pos = r->end = 0;
    if (!r->gz) {
        const int64_t got = kl__vfs_read(r->file, r->out, BUFFER);
        if (got < 0) {
            return r->failed = kl__fail_errno(r->path, "be read", got);
        }
        r->end = (size_t)got;
        r->at_end = !got;
        return KL_OK;
    }
    while (!r->end && !r->at_end) {
        r->z.next_out = r->out;
        r->z.avail_out = BUFFER;
        r->failed = inflate_some(r);
        if (r->failed) {
            return r->failed;
        }
        r->end = BUFFER - r->z.avail_out;
    }
    return KL_OK;
}

/* The first bytes say whether it is gzip: 1f 8b, and 08 for the only method there is. */
static kl_status begin(kl__reader *r)
{
    kl_status st = fill(r);
    r->at_end = false; /* an empty file is found so again */
    if (st || r->end < 3 || r->out[0] != 0x1f || r->out[1] != 0x8b || r->out[2] != 8) {
        return st;
    }
    r->in = kl__alloc(BUFFER);
    if (!r->in) {
        return KL_E_MEMORY;
    }
    memcpy(r->in, r->out, r->end);
    r->z.next_in = r->in;
    r->z.avail_in = (uInt)r->end;
    r->z.zalloc = z_alloc;
    r->z.zfree = z_free;
    r->end = 0;
    const int rc = inflateInit2(&r->z, 16 + MAX_WBITS);
    r->gz = rc == Z_OK;
    if (rc == Z_MEM_ERROR) {
        return kl__fail_in(KL_E_MEMORY, "%s", r->path);
    }
    return r->gz ? KL_OK
                 : kl__fail(KL_E_UNSUPPORTED, "%s: zlib %s refused", r->path, zlibVersion());
}

kl__reader *kl__reader_open(const char *path)
{
    kl__reader *r = kl__calloc(1, sizeof *r);
    if (!r) {
        return NULL;
    }
    r->file = -1;
    r->path = kl__strdup(path);
    r->out = kl__alloc(BUFFER);
    if (!r->path || !r->out) {
        goto fail;
    }
    r->file = kl__vfs_open_read(path);
    if (r->file < 0) {
        kl__fail_errno(path, "be opened", r->file);
        goto fail;
    }
    if (begin(r)) {
        goto fail;
    }
    return r;
fail:
    kl__reader_close(r);
    return NULL;
}

kl_status kl__reader_some(kl__reader *r, void *dst, size_t n, size_t *got)
{
    *got = 0;
    while (*got < n) {
        if (r->pos == r->end) {
            if (r->at_end) {
                break;
            }
            const kl_status st = fill(r);
            if (st) {
                return st;
            }
            continue;
        }
        const size_t have = r->end - r->pos, want = n - *got, k = have < want ? have : want;
        memcpy((char *)dst + *got, r->out + r->pos, k);
        r->pos += k;
        r->at += k;
        *got += k;
    }
    return KL_OK;
}

kl_status kl__reader_exact(kl__reader *r, void *dst, size_t n)
{
    size_t got;
    const kl_status st = kl__reader_some(r, dst, n, &got);
    if (!st && got < n) {
        return kl__fail(KL_E_FORMAT, "%s: ends after %llu bytes, %zu more are needed", r->path,
                        (unsigned long long)r->at, n - got);
    }
    return st;
}

/* Appends what is in `out` up to a newline (taken, not kept) to the line. */
static kl_status take_line(kl__reader *r, size_t *len, bool *done)
{
    const uint8_t *from = r->out + r->pos;
    const size_t have = r->end - r->pos;
    const uint8_t *nl = memchr(from, '\n', have);
    const size_t k = nl ? (size_t)(nl - from) : have;
    if (memchr(from, 0, k)) {
        return kl__fail(KL_E_FORMAT, "%s: is no text: a zero byte near byte %llu", r->path,
                        (unsigned long long)r->at);
    }
    if (k > LINE_MAX_BYTES - *len) {
        return kl__fail(KL_E_FORMAT, "%s: a line has more than %d bytes", r->path, LINE_MAX_BYTES);
    }
    const kl_status st = kl__grow(&r->line, &r->line_cap, *len + k + 1, 1);
    if (st) {
        return st;
    }
    memcpy(r->line + *len, from, k);
    *len += k;
    *done = nl != NULL;
    r->pos += k + *done;
    r->at += k + *done;
    return KL_OK;
}

kl_status kl__reader_line(kl__reader *r, char **line, bool *more)
{
    size_t len = 0;
    bool done = false, any = false;
    *line = NULL;
    *more = false;
    while (!done) {
        kl_status st = KL_OK;
        if (r->pos < r->end) {
            st = take_line(r, &len, &done);
            any = true;
        } else if (r->at_end) {
            break;
        } else {
            st = fill(r);
        }
        if (st) {
            return r->failed = st;
        }
    }
    if (any) {
        len -= len && r->line[len - 1] == '\r';
        r->line[len] = '\0';
        *line = r->line;
        *more = true;
    }
    return KL_OK;
}

uint64_t kl__reader_at(const kl__reader *r)
{
    return r->at;
}

void kl__reader_close(kl__reader *r)
{
    if (!r) {
        return;
    }
    if (r->gz) {
        inflateEnd(&r->z);
    }
    if (r->file >= 0) {
        kl__vfs_close(r->file);
    }
    kl__free(r->path);
    kl__free(r->in);
    kl__free(r->out);
    kl__free(r->line);
    kl__free(r);
}
