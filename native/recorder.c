/* The flight recorder: the twin of src/backstay/observe/recorder/_pure.py.
 *
 * It stands in for `loop.call_soon`, by which asyncio schedules every step of every task, and wraps each
 * callback: so it sees when one became ready, when it began and ended, and who has woken it. An event is
 * five numbers in a ring that was allocated before; nothing is formatted here, and no task is kept alive.
 */
#include "accel.h"
#include <stdint.h>
#include <string.h>
#include <structmember.h>
#include <time.h>

/* Names of tasks kept, those that have ended included. A power of two; more tasks than this within the
 * time that the ring spans have no name. */
#define LABELS 65536
/* Added to the number of a region's name, which stands where the waker does. */
#define REGION (UINT64_C(1) << 63)
#define OPEN_REGIONS 65536 /* at once; one too many is not recorded */
#define BUCKETS 64 /* of a duration: by the number of its bits in nanoseconds */

typedef struct {
    uint64_t ready, begin, end; /* nanoseconds of the monotonic clock */
    uint64_t task, waker;       /* serial numbers; 0 for what is no task */
} Event;

typedef struct {
    uint64_t serial;
    PyObject *name, *code, *site, *lasti, *owner, *trace;
} Label;

typedef struct {
    PyObject *task; /* compared only */
    PyObject *ref;  /* a weak reference: an address may be used again */
    uint64_t serial;
} Known;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *original; /* the call_soon that we stand in for */
    PyTypeObject *step_type;
    PyObject *tracked; /* the task class that has slots for site and owner */
    PyObject *task_type, *get_coro;
    PyObject *str_self, *str_get_name, *str_cr_code, *str_site, *str_lasti, *str_owner, *str_name, *str_trace_id;
    const PyMethodDef *wakeup;   /* learned at its first sight */
    PyTypeObject *wrapper;       /* of first steps, likewise */
    PyObject *weakrefs;
    Event *ring;
    Label *labels;
    Known *known;
    size_t capacity, known_size, known_used;
    PyObject *open; /* regions that have not ended: by key, task, name and begin */
    int running_fresh; /* whether the step under way is the first that is seen of its task */
    uint64_t total, serials, running, running_since, regions, keys;
    uint64_t ready_counts[BUCKETS], step_counts[BUCKETS], ready_sum, step_sum;
} Recorder;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *callback;
    Recorder *recorder;
    uint64_t ready, task, waker;
    int fresh; /* the first step that is seen of its task */
} Step;

static inline uint64_t
clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline int
bucket(uint64_t ns)
{
    return ns == 0 ? 0 : 63 - __builtin_clzll(ns);
}

/* -- who is who ------------------------------------------------------------- */

static inline int
is_still(PyObject *ref, PyObject *task)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *found = NULL;
    int there = PyWeakref_GetRef(ref, &found);
    Py_XDECREF(found);
    return there == 1 && found == task;
#else
    return PyWeakref_GET_OBJECT(ref) == task;
#endif
}

static inline size_t
place_of(const Recorder *self, const PyObject *task)
{
    return ((uintptr_t)task >> 4) * 0x9E3779B97F4A7C15u & (self->known_size - 1);
}

static int
grow(Recorder *self)
{
    size_t living = 0, old_size = self->known_size;
    Known *old = self->known;
    for (size_t i = 0; i < old_size; i++) {
        living += old[i].task != NULL && is_still(old[i].ref, old[i].task);
    }
    size_t size = 1024;
    while (size < living * 4) {
        size *= 2;
    }
    Known *made = PyMem_Calloc(size, sizeof(Known));
    if (made == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->known = made;
    self->known_size = size;
    self->known_used = 0;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].task == NULL) {
            continue;
        }
        if (!is_still(old[i].ref, old[i].task)) {
            Py_DECREF(old[i].ref);
            continue;
        }
        size_t at = place_of(self, old[i].task);
        while (made[at].task != NULL) {
            at = (at + 1) & (size - 1);
        }
        made[at] = old[i];
        self->known_used++;
    }
    PyMem_Free(old);
    return 0;
}

static PyObject *
attribute_or_none(PyObject *from, PyObject *name)
{
    PyObject *found = PyObject_GetAttr(from, name);
    if (found == NULL) {
        PyErr_Clear();
        found = Py_NewRef(Py_None);
    }
    return found;
}

static PyObject *
text_or_none(PyObject *from, PyObject *name)
{
    PyObject *found = attribute_or_none(from, name);
    if (!PyUnicode_Check(found)) {
        Py_SETREF(found, Py_NewRef(Py_None));
    }
    return found;
}

static void
forget_label(Label *label)
{
    Py_CLEAR(label->name);
    Py_CLEAR(label->code);
    Py_CLEAR(label->site);
    Py_CLEAR(label->lasti);
    Py_CLEAR(label->owner);
    Py_CLEAR(label->trace);
}

static inline int
has_trace(const Label *label)
{
    return label->trace != NULL && label->trace != Py_None;
}

/* Keep the words of a task's owner, not itself: it could hold anything. */
static void
write_owner(Recorder *self, PyObject *task, Label *label)
{
    if (!PyObject_TypeCheck(task, (PyTypeObject *)self->tracked)) {
        return;
    }
    PyObject *owner = attribute_or_none(task, self->str_owner);
    if (owner != Py_None) {
        Py_XSETREF(label->owner, text_or_none(owner, self->str_name));
        Py_XSETREF(label->trace, text_or_none(owner, self->str_trace_id));
    }
    Py_DECREF(owner);
}

static void
write_label(Recorder *self, PyObject *task, uint64_t serial)
{
    Label made = {.serial = serial};
    made.name = PyObject_CallMethodNoArgs(task, self->str_get_name);
    if (made.name == NULL) {
        PyErr_Clear();
    }
    PyObject *coro = PyObject_CallOneArg(self->get_coro, task);
    if (coro == NULL) {
        PyErr_Clear();
    }
    else {
        if (PyCoro_CheckExact(coro)) {
            made.code = attribute_or_none(coro, self->str_cr_code);
        }
        Py_DECREF(coro);
    }
    if (PyObject_TypeCheck(task, (PyTypeObject *)self->tracked)) {
        made.site = attribute_or_none(task, self->str_site);
        made.lasti = attribute_or_none(task, self->str_lasti);
        write_owner(self, task, &made);
    }
    /* Whoever stood there goes only now: its end may run code that comes back to us. */
    Label before = self->labels[serial & (LABELS - 1)];
    self->labels[serial & (LABELS - 1)] = made;
    forget_label(&before);
}

/* Return the number of a task; 0, without an exception, when there is no memory for it. */
static uint64_t
serial_of(Recorder *self, PyObject *task, int *fresh)
{
    size_t at = place_of(self, task);
    while (self->known[at].task != NULL && self->known[at].task != task) {
        at = (at + 1) & (self->known_size - 1);
    }
    Known *there = &self->known[at];
    if (there->task == task) {
        if (is_still(there->ref, task)) {
            return there->serial;
        }
        PyObject *ref = PyWeakref_NewRef(task, NULL); /* another one, at an address that is used again */
        if (ref == NULL) {
            PyErr_Clear();
            return 0;
        }
        Py_SETREF(there->ref, ref);
        *fresh = 1;
        return there->serial = ++self->serials;
    }
    if ((self->known_used + 1) * 4 > self->known_size * 3 && grow(self) < 0) {
        PyErr_Clear();
        return 0;
    }
    PyObject *ref = PyWeakref_NewRef(task, NULL);
    if (ref == NULL) {
        PyErr_Clear();
        return 0;
    }
    uint64_t serial = ++self->serials;
    at = place_of(self, task);
    while (self->known[at].task != NULL) {
        at = (at + 1) & (self->known_size - 1);
    }
    self->known[at] = (Known){task, ref, serial};
    self->known_used++;
    *fresh = 1;
    return serial;
}

static int
is_first_step(const char *name)
{
    const char *dot = strrchr(name, '.'); /* from 3.12 on the type has a module */
    return strcmp(dot == NULL ? name : dot + 1, "TaskStepMethWrapper") == 0;
}

/* Return the task whose step a callback is, borrowed, or NULL. */
static PyObject *
task_of(Recorder *self, PyObject *callback)
{
    PyObject *task = NULL;
    if (PyCFunction_CheckExact(callback)) {
        const PyMethodDef *method = ((PyCFunctionObject *)callback)->m_ml;
        if (method != self->wakeup) {
            if (self->wakeup != NULL || strcmp(method->ml_name, "task_wakeup") != 0) {
                return NULL;
            }
            self->wakeup = method;
        }
        task = PyCFunction_GET_SELF(callback);
    }
    else if (Py_TYPE(callback) == self->wrapper ||
             (self->wrapper == NULL && is_first_step(Py_TYPE(callback)->tp_name))) {
        self->wrapper = Py_TYPE(callback);
        task = PyObject_GetAttr(callback, self->str_self);
        if (task == NULL) {
            PyErr_Clear();
            return NULL;
        }
        Py_DECREF(task); /* the callback holds it */
    }
    return task != NULL && PyObject_TypeCheck(task, (PyTypeObject *)self->task_type) ? task : NULL;
}

/* -- a step -------------------------------------------------------------------- */

static PyObject *
step_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Step *step = (Step *)callable;
    Recorder *self = (Recorder *)Py_NewRef(step->recorder);
    PyObject *callback = Py_NewRef(step->callback); /* the handle may drop us meanwhile */
    Event event = {.ready = step->ready, .task = step->task, .waker = step->waker};
    int fresh = step->fresh;
    uint64_t before = self->running, before_since = self->running_since;
    if (fresh) { /* and not when it was scheduled: who makes a task names it after that */
        PyObject *task = task_of(self, callback);
        if (task != NULL) {
            write_label(self, task, event.task);
        }
    }
    event.begin = clock_ns();
    int before_fresh = self->running_fresh;
    self->running_fresh = fresh;
    self->running = event.task;
    self->running_since = event.begin;
    PyObject *result = PyObject_Vectorcall(callback, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames);
    event.end = clock_ns();
    self->running = before;
    self->running_fresh = before_fresh;
    self->running_since = before_since;
    self->ring[self->total++ % self->capacity] = event;
    self->ready_counts[bucket(event.begin - event.ready)]++;
    self->step_counts[bucket(event.end - event.begin)]++;
    self->ready_sum += event.begin - event.ready;
    self->step_sum += event.end - event.begin;
    if (fresh) { /* a server's task belongs to a request only from within its first step on */
        PyObject *raised_type, *raised, *traceback;
        PyErr_Fetch(&raised_type, &raised, &traceback);
        PyObject *task = task_of(self, callback);
        Label *label = &self->labels[event.task & (LABELS - 1)];
        if (task != NULL && label->serial == event.task && !has_trace(label)) {
            write_owner(self, task, label);
        }
        PyErr_Restore(raised_type, raised, traceback);
    }
    Py_DECREF(callback);
    Py_DECREF(self);
    return result;
}

static PyObject *
step_getattro(PyObject *callable, PyObject *name)
{
    return PyObject_GetAttr(((Step *)callable)->callback, name);
}

static PyObject *
step_repr(PyObject *callable)
{
    return PyObject_Repr(((Step *)callable)->callback);
}

static PyObject *
step_compare(PyObject *one, PyObject *other, int how)
{
    if (how != Py_EQ && how != Py_NE) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    if (Py_TYPE(other) == Py_TYPE(one)) {
        other = ((Step *)other)->callback;
    }
    return PyObject_RichCompare(((Step *)one)->callback, other, how);
}

static Py_hash_t
step_hash(PyObject *callable)
{
    return PyObject_Hash(((Step *)callable)->callback);
}

static int
step_traverse(Step *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->callback);
    Py_VISIT(self->recorder);
    return 0;
}

static int
step_clear(Step *self)
{
    /* What a call needs stays until the end; the cycle is cut where the handle or the task are. */
    (void)self;
    return 0;
}

static void
step_dealloc(Step *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->recorder);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef step_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Step, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot step_slots[] = {
    {Py_tp_doc, "A callback of the loop that is recorded; it passes for the callback itself."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, step_getattro},
    {Py_tp_repr, step_repr},
    {Py_tp_richcompare, step_compare},
    {Py_tp_hash, step_hash},
    {Py_tp_traverse, step_traverse},
    {Py_tp_clear, step_clear},
    {Py_tp_dealloc, step_dealloc},
    {Py_tp_members, step_members},
    {0, NULL},
};

PyType_Spec accel_step_spec = {
    .name = "backstay._accel.Step",
    .basicsize = sizeof(Step),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = step_slots,
};

/* -- the stand-in for call_soon --------------------------------------------------- */

#define MOST_ARGUMENTS 8

static PyObject *
call_soon(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Recorder *self = (Recorder *)callable;
    Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    Py_ssize_t count = positional + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    if (positional < 1 || count > MOST_ARGUMENTS) {
        return PyObject_Vectorcall(self->original, args, nargsf, kwnames);
    }
    Step *step = (Step *)self->step_type->tp_alloc(self->step_type, 0);
    if (step == NULL) {
        return NULL;
    }
    step->vectorcall = step_call;
    step->callback = Py_NewRef(args[0]);
    step->recorder = (Recorder *)Py_NewRef(self);
    PyObject *task = task_of(self, args[0]);
    step->fresh = 0;
    step->task = task == NULL ? 0 : serial_of(self, task, &step->fresh);
    step->waker = self->running;
    PyObject *given[MOST_ARGUMENTS + 1];
    given[1] = (PyObject *)step;
    memcpy(given + 2, args + 1, (size_t)(count - 1) * sizeof(PyObject *));
    step->ready = clock_ns();
    PyObject *handle = PyObject_Vectorcall(self->original, given + 1,
                                           (size_t)positional | PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames);
    Py_DECREF(step);
    return handle;
}

static PyObject *
recorder_events(Recorder *self, PyObject *args)
{
    unsigned long long since;
    Py_ssize_t most;
    if (!PyArg_ParseTuple(args, "Kn:events", &since, &most)) {
        return NULL;
    }
    uint64_t first = self->total > self->capacity ? self->total - self->capacity : 0;
    uint64_t at = self->total;
    while (at > first && (most < 0 || self->total - at < (uint64_t)most) &&
           self->ring[(at - 1) % self->capacity].end >= since) {
        at--;
    }
    uint64_t count = self->total - at, start = at % self->capacity;
    PyObject *found = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * sizeof(Event)));
    if (found == NULL) {
        return NULL;
    }
    uint64_t whole = start + count <= self->capacity ? count : self->capacity - start;
    char *to = PyBytes_AS_STRING(found);
    memcpy(to, self->ring + start, whole * sizeof(Event));
    memcpy(to + whole * sizeof(Event), self->ring, (count - whole) * sizeof(Event));
    return found;
}

/* Keep the words of the owner that the task under way has had within its first step. In a later one whose
 * it is was seen already, and a scope that it has opened and closed is not all of its life. */
static PyObject *
recorder_attribute(Recorder *self, PyObject *args)
{
    PyObject *owner, *trace;
    if (!PyArg_ParseTuple(args, "UU:attribute", &owner, &trace)) {
        return NULL;
    }
    Label *label = &self->labels[self->running & (LABELS - 1)];
    if (self->running != 0 && self->running_fresh && label->serial == self->running && !has_trace(label)) {
        Py_XSETREF(label->owner, Py_NewRef(owner));
        Py_XSETREF(label->trace, Py_NewRef(trace));
    }
    Py_RETURN_NONE;
}

/* -- regions --------------------------------------------------------------------- */

static PyObject *
recorder_begin_region(Recorder *self, PyObject *args)
{
    PyObject *task;
    unsigned long long name;
    if (!PyArg_ParseTuple(args, "OK:begin_region", &task, &name)) {
        return NULL;
    }
    int fresh = 0;
    uint64_t serial = 0;
    if (PyDict_GET_SIZE(self->open) < OPEN_REGIONS && PyObject_TypeCheck(task, (PyTypeObject *)self->task_type)) {
        serial = serial_of(self, task, &fresh);
    }
    if (serial == 0) {
        return PyLong_FromLong(0);
    }
    if (fresh) {
        write_label(self, task, serial);
    }
    PyObject *key = PyLong_FromUnsignedLongLong(++self->keys);
    PyObject *region = Py_BuildValue("(KKK)", serial, name, clock_ns());
    if (key == NULL || region == NULL || PyDict_SetItem(self->open, key, region) < 0) {
        Py_CLEAR(key);
    }
    Py_XDECREF(region);
    return key;
}

static PyObject *
recorder_end_region(Recorder *self, PyObject *key)
{
    PyObject *region = PyDict_GetItemWithError(self->open, key);
    if (region == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    Event event = {.task = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(region, 0)),
                   .waker = REGION + PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(region, 1)),
                   .begin = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(region, 2))};
    if (PyDict_DelItem(self->open, key) < 0) {
        return NULL;
    }
    event.ready = event.begin;
    event.end = clock_ns();
    self->ring[self->total++ % self->capacity] = event;
    self->regions++;
    Py_RETURN_NONE;
}

static PyObject *
recorder_open_regions(Recorder *self, PyObject *Py_UNUSED(none))
{
    return PyDict_Values(self->open);
}

static PyObject *
or_none(PyObject *found)
{
    return found == NULL ? Py_None : found;
}

static PyObject *
recorder_label(Recorder *self, PyObject *number)
{
    uint64_t serial = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Label *label = &self->labels[serial & (LABELS - 1)];
    if (serial == 0 || label->serial != serial) {
        Py_RETURN_NONE;
    }
    return PyTuple_Pack(6, or_none(label->name), or_none(label->code), or_none(label->site),
                        or_none(label->lasti), or_none(label->owner), or_none(label->trace));
}

static PyObject *
recorder_living(Recorder *self, PyObject *Py_UNUSED(none))
{
    PyObject *found = PyDict_New();
    for (size_t i = 0; found != NULL && i < self->known_size; i++) {
        Known one = self->known[i];
        if (one.task == NULL || !is_still(one.ref, one.task)) {
            continue;
        }
        PyObject *task = Py_NewRef(one.task);
        PyObject *serial = PyLong_FromUnsignedLongLong(one.serial);
        if (serial == NULL || PyDict_SetItem(found, serial, task) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(serial);
        Py_DECREF(task);
    }
    return found;
}

static PyObject *
counts_of(const uint64_t *counts)
{
    PyObject *made = PyTuple_New(BUCKETS);
    for (int i = 0; made != NULL && i < BUCKETS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(counts[i]);
        if (count == NULL) {
            Py_CLEAR(made);
            break;
        }
        PyTuple_SET_ITEM(made, i, count);
    }
    return made;
}

static PyObject *
recorder_state(Recorder *self, PyObject *Py_UNUSED(none))
{
    PyObject *ready = counts_of(self->ready_counts), *step = counts_of(self->step_counts);
    if (ready == NULL || step == NULL) {
        Py_XDECREF(ready);
        Py_XDECREF(step);
        return NULL;
    }
    uint64_t lost = self->total > self->capacity ? self->total - self->capacity : 0;
    return Py_BuildValue("{sKsKsKsKsKsNsNsKsK}", "total", self->total, "regions", self->regions, "lost", lost, "running", self->running,
                         "running_since", self->running_since, "ready", ready, "step", step, "ready_sum",
                         self->ready_sum, "step_sum", self->step_sum);
}

static int
recorder_traverse(Recorder *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->original);
    Py_VISIT(self->step_type);
    Py_VISIT(self->tracked);
    Py_VISIT(self->task_type);
    Py_VISIT(self->get_coro);
    Py_VISIT(self->open);
    /* Labels hold strings, numbers and code, which are no part of any cycle; there are many of them. */
    return 0;
}

static int
recorder_clear(Recorder *self)
{
    for (size_t i = 0; self->labels != NULL && i < LABELS; i++) {
        forget_label(&self->labels[i]);
    }
    return 0;
}

static void
recorder_dealloc(Recorder *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    recorder_clear(self);
    for (size_t i = 0; self->known != NULL && i < self->known_size; i++) {
        Py_XDECREF(self->known[i].ref);
    }
    PyMem_Free(self->known);
    PyMem_RawFree(self->labels);
    PyMem_RawFree(self->ring);
    Py_CLEAR(self->original);
    Py_CLEAR(self->step_type);
    Py_CLEAR(self->tracked);
    Py_CLEAR(self->task_type);
    Py_CLEAR(self->get_coro);
    Py_CLEAR(self->open);
    Py_CLEAR(self->str_self);
    Py_CLEAR(self->str_get_name);
    Py_CLEAR(self->str_cr_code);
    Py_CLEAR(self->str_site);
    Py_CLEAR(self->str_lasti);
    Py_CLEAR(self->str_owner);
    Py_CLEAR(self->str_name);
    Py_CLEAR(self->str_trace_id);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef recorder_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Recorder, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Recorder, weakrefs), READONLY, NULL},
    {"original", T_OBJECT_EX, offsetof(Recorder, original), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef recorder_methods[] = {
    {"events", (PyCFunction)(void (*)(void))recorder_events, METH_VARARGS,
     "events(since, most, /): the events that ended at `since` or later, at most so many, oldest first."},
    {"label", (PyCFunction)(void (*)(void))recorder_label, METH_O,
     "label(serial, /): name, code, site, lasti, owner and trace id of a task, or None."},
    {"living", (PyCFunction)(void (*)(void))recorder_living, METH_NOARGS,
     "living(): the tasks that are alive, by their numbers."},
    {"attribute", (PyCFunction)(void (*)(void))recorder_attribute, METH_VARARGS,
     "attribute(owner, trace, /): keep the words of an owner that was there within this first step."},
    {"begin_region", (PyCFunction)(void (*)(void))recorder_begin_region, METH_VARARGS,
     "begin_region(task, name, /): a key; 0 for one that is not recorded."},
    {"end_region", (PyCFunction)(void (*)(void))recorder_end_region, METH_O,
     "end_region(key, /): record a region that began."},
    {"open_regions", (PyCFunction)(void (*)(void))recorder_open_regions, METH_NOARGS,
     "open_regions(): task, name and begin of those that have not ended."},
    {"state", (PyCFunction)(void (*)(void))recorder_state, METH_NOARGS, "state(): counters."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot recorder_slots[] = {
    {Py_tp_doc, "Stands in for call_soon and records; see backstay.observe.recorder."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, recorder_traverse},
    {Py_tp_clear, recorder_clear},
    {Py_tp_dealloc, recorder_dealloc},
    {Py_tp_members, recorder_members},
    {Py_tp_methods, recorder_methods},
    {0, NULL},
};

PyType_Spec accel_recorder_spec = {
    .name = "backstay._accel.Recorder",
    .basicsize = sizeof(Recorder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = recorder_slots,
};

const char accel_recorder_doc[] =
    "recorder(original, capacity, tracked, /)\n--\n\n"
    "Return a stand-in for the bound method `call_soon` of a loop that records up to `capacity` events.";

PyObject *
accel_recorder(PyObject *module, PyObject *args)
{
    AccelState *state = PyModule_GetState(module);
    PyObject *original, *tracked;
    Py_ssize_t capacity;
    if (!PyArg_ParseTuple(args, "OnO!:recorder", &original, &capacity, &PyType_Type, &tracked)) {
        return NULL;
    }
    if (capacity < 1) {
        PyErr_SetString(PyExc_ValueError, "a recorder needs room for one event at least");
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)state->recorder_type;
    Recorder *self = (Recorder *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = call_soon;
    self->original = Py_NewRef(original);
    self->step_type = (PyTypeObject *)Py_NewRef(state->step_type);
    self->tracked = Py_NewRef(tracked);
    self->task_type = Py_NewRef(state->task_type);
    self->get_coro = Py_NewRef(state->task_get_coro);
    self->capacity = (size_t)capacity;
    self->ring = PyMem_RawCalloc(self->capacity, sizeof(Event));
    self->labels = PyMem_RawCalloc(LABELS, sizeof(Label));
    self->open = PyDict_New();
    if (self->ring == NULL || self->labels == NULL || self->open == NULL) {
        PyErr_NoMemory();
    }
    else if ((self->str_self = PyUnicode_InternFromString("__self__")) != NULL &&
             (self->str_get_name = PyUnicode_InternFromString("get_name")) != NULL &&
             (self->str_cr_code = PyUnicode_InternFromString("cr_code")) != NULL &&
             (self->str_site = PyUnicode_InternFromString("_site")) != NULL &&
             (self->str_lasti = PyUnicode_InternFromString("_lasti")) != NULL &&
             (self->str_owner = PyUnicode_InternFromString("_owner")) != NULL &&
             (self->str_name = PyUnicode_InternFromString("name")) != NULL &&
             (self->str_trace_id = PyUnicode_InternFromString("trace_id")) != NULL && grow(self) == 0) {
        return (PyObject *)self;
    }
    Py_DECREF(self);
    return NULL;
}
