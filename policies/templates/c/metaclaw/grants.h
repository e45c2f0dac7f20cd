// What a policy asks its operator for. Calling a function of `kv` or `files` needs `import metaclaw:policy/kv@1.0.0;` (or `files`) in
// wit/policy.wit; `files` also needs its grants named in `MC_POLICY`. Each function says whether it succeeded; `mc_last_problem` why not.
#ifndef METACLAW_GRANTS_H
#define METACLAW_GRANTS_H

static mc_problem mc_last_problem;

typedef struct { mc_str name, kind; uint64_t size; } mc_entry; // `file` or `folder`; a folder's size is 0.
typedef struct { const mc_entry *ptr; size_t len; } mc_entries;

#define MC_RESULT_(kind) struct { uint8_t failed; union { kind ok; mc_problem problem; }; }
#define MC_TAKE_(result, to) \
    if ((result).failed) { mc_last_problem = (result).problem; return false; } \
    *(to) = (result).ok; \
    return true

// ---- kv: values that are kept from call to call

MC_HOST_("kv", "get") void mc_kv_get_(const char *, size_t, void *);
MC_HOST_("kv", "set") void mc_kv_set_(const char *, size_t, const char *, size_t, void *);
MC_HOST_("kv", "delete") void mc_kv_delete_(const char *, size_t, void *);
MC_HOST_("kv", "keys") void mc_kv_keys_(const char *, size_t, void *);

// The value of `key`, empty when there is none.
static inline bool mc_kv_get(mc_str key, mc_str *value) {
    typedef struct { uint8_t some; mc_str value; } found;
    MC_RESULT_(found) result;
    mc_kv_get_(key.ptr, key.len, &result);
    if (result.failed) { mc_last_problem = result.problem; return false; }
    *value = result.ok.some ? result.ok.value : (mc_str){0, 0};
    return true;
}
static inline bool mc_kv_set(mc_str key, mc_str value) {
    MC_RESULT_(char) result;
    char done;
    mc_kv_set_(key.ptr, key.len, value.ptr, value.len, &result);
    MC_TAKE_(result, &done);
}
static inline bool mc_kv_delete(mc_str key) {
    MC_RESULT_(char) result;
    char done;
    mc_kv_delete_(key.ptr, key.len, &result);
    MC_TAKE_(result, &done);
}
static inline bool mc_kv_keys(mc_str prefix, mc_strs *keys) {
    MC_RESULT_(mc_strs) result;
    mc_kv_keys_(prefix.ptr, prefix.len, &result);
    MC_TAKE_(result, keys);
}

// ---- files: this agent's own folders. The root is `skills`, `shared` or `lora`.

MC_HOST_("files", "list") void mc_files_list_(const char *, size_t, const char *, size_t, void *);
MC_HOST_("files", "stat") void mc_files_stat_(const char *, size_t, const char *, size_t, void *);
MC_HOST_("files", "read") void mc_files_read_(const char *, size_t, const char *, size_t, uint64_t, uint32_t, void *);
MC_HOST_("files", "write") void mc_files_write_(const char *, size_t, const char *, size_t, const char *, size_t, void *);
MC_HOST_("files", "remove") void mc_files_remove_(const char *, size_t, const char *, size_t, void *);

static inline bool mc_files_list(mc_str root, mc_str path, mc_entries *entries) {
    MC_RESULT_(mc_entries) result;
    mc_files_list_(root.ptr, root.len, path.ptr, path.len, &result);
    MC_TAKE_(result, entries);
}
static inline bool mc_files_stat(mc_str root, mc_str path, mc_entry *entry) {
    MC_RESULT_(mc_entry) result;
    mc_files_stat_(root.ptr, root.len, path.ptr, path.len, &result);
    MC_TAKE_(result, entry);
}
// At most `len` bytes (512 KiB) from `offset` on; fewer at the end.
static inline bool mc_files_read(mc_str root, mc_str path, uint64_t offset, uint32_t len, mc_str *bytes) {
    MC_RESULT_(mc_str) result;
    mc_files_read_(root.ptr, root.len, path.ptr, path.len, offset, len, &result);
    MC_TAKE_(result, bytes);
}
static inline bool mc_files_write(mc_str root, mc_str path, mc_str bytes) {
    MC_RESULT_(char) result;
    char done;
    mc_files_write_(root.ptr, root.len, path.ptr, path.len, bytes.ptr, bytes.len, &result);
    MC_TAKE_(result, &done);
}
static inline bool mc_files_remove(mc_str root, mc_str path) {
    MC_RESULT_(char) result;
    char done;
    mc_files_remove_(root.ptr, root.len, path.ptr, path.len, &result);
    MC_TAKE_(result, &done);
}
#endif
