/* What the trial deletion keeps its things in: sets of addresses (open addressing, never more than half
 * full), and blocks that grow. Addresses are compared and never looked at, so nothing needs a reference.
 */
#ifndef BACKSTAY_TABLES_H
#define BACKSTAY_TABLES_H

#include "accel.h"

#include <stdint.h>

/* Things lie all over the memory: ask for those whose turn comes soon. */
#define AHEAD 8
#if defined(__GNUC__) || defined(__clang__)
#define fetch(pointer) __builtin_prefetch(pointer)
#else
#define fetch(pointer) ((void)0)
#endif

static inline uint32_t
scatter(const void *pointer)
{
    uint64_t bits = (uint64_t)(uintptr_t)pointer >> 4; /* objects are 16 bytes apart */
    return (uint32_t)((bits * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

static int
set_grow(PyObject ***set, uint32_t *mask)
{
    uint32_t old_size = *set == NULL ? 0 : *mask + 1;
    uint32_t size = old_size == 0 ? 64 : old_size * 2;
    PyObject **fresh = PyMem_RawCalloc(size, sizeof(PyObject *));
    if (fresh == NULL) {
        return -1;
    }
    for (uint32_t i = 0; i < old_size; i++) {
        PyObject *one = (*set)[i];
        if (one != NULL) {
            uint32_t at = scatter(one) & (size - 1);
            while (fresh[at] != NULL) {
                at = (at + 1) & (size - 1);
            }
            fresh[at] = one;
        }
    }
    PyMem_RawFree(*set);
    *set = fresh;
    *mask = size - 1;
    return 0;
}

static int
set_add(PyObject ***set, uint32_t *mask, uint32_t *count, PyObject *one)
{
    if ((*set == NULL || *count * 2 > *mask) && set_grow(set, mask) < 0) {
        return -1;
    }
    uint32_t at = scatter(one) & *mask;
    while ((*set)[at] != NULL) {
        if ((*set)[at] == one) {
            return 0;
        }
        at = (at + 1) & *mask;
    }
    (*set)[at] = one;
    ++*count;
    return 0;
}

static inline int
set_has(PyObject *const *set, uint32_t mask, const PyObject *one)
{
    if (set == NULL) {
        return 0;
    }
    uint32_t at = scatter(one) & mask;
    while (set[at] != NULL) {
        if (set[at] == one) {
            return 1;
        }
        at = (at + 1) & mask;
    }
    return 0;
}

/* Take the ids out of any collection of integers. */
static int
set_fill(PyObject ***set, uint32_t *mask, uint32_t *count, PyObject *ids)
{
    PyObject *list = PySequence_List(ids);
    if (list == NULL) {
        return -1;
    }
    int failed = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && !failed; i++) {
        void *one = PyLong_AsVoidPtr(PyList_GET_ITEM(list, i));
        if (one == NULL) {
            failed = PyErr_Occurred() != NULL; /* zero is nobody's id */
        }
        else if (set_add(set, mask, count, one) < 0) {
            PyErr_NoMemory();
            failed = 1;
        }
    }
    Py_DECREF(list);
    return failed ? -1 : 0;
}

/* Return `block` with room for one more, or NULL; half as much again each time. */
static void *
with_room(void *block, int32_t used, int32_t *room, size_t each)
{
    if (used < *room) {
        return block;
    }
    if (used > INT32_MAX / 4) {
        return NULL;
    }
    int32_t wanted = used < 256 ? 512 : used * 2;
    void *fresh = PyMem_RawRealloc(block, (size_t)wanted * each);
    if (fresh != NULL) {
        *room = wanted;
    }
    return fresh;
}

#endif
