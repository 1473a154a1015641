/* The task factory: the twin of `_fast_factory` in src/backstay/tasks/_tracking.py.
 *
 * It runs for every task of the program. What it saves against Python is the frame of the factory
 * itself, the integers that ids of namespaces are there, and most look-ups in sets.
 */
#include "accel.h"
#include <structmember.h>

/* Offsets beyond the table belong to functions of 2,000 instructions; those are not shared. */
#define OFFSETS 4096

/* Namespaces that were judged already, by the bits of their address. A miss costs a look into the
 * sets of `Machinery`, which stay the truth; 256 modules that start tasks are a large program. */
#define JUDGED 256

enum judgement { UNKNOWN = 0, USER, SKIP, FLOOR };

typedef struct {
    const PyObject *globals; /* borrowed, compared only: at worst a site is a frame off, as in Python */
    enum judgement judgement;
} Judged;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *make;     /* the task class, whose four slots we fill */
    PyObject *uncommon; /* makes tasks with keywords: called as we were */
    PyObject *user, *skip, *floor; /* sets of ids of namespaces */
    PyObject *learn;    /* judges a namespace met for the first time */
    PyObject *tick;     /* a list of one: the slow clock */
    PyObject *owner;    /* the context variable */
    PyObject *tracking; /* attribute `_tracking`: who put us on the loop lives as long as we do */
    PyObject *weakrefs;
    Py_ssize_t site_at, lasti_at, owner_at, born_at; /* where the slots are in a task */
    int skip_caller; /* the frame that calls us is the loop's own create_task */
    Judged judged[JUDGED];
    PyObject *offsets[OFFSETS]; /* integers that tasks share */
} TaskFactory;

static int
factory_traverse(TaskFactory *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->make);
    Py_VISIT(self->uncommon);
    Py_VISIT(self->user);
    Py_VISIT(self->skip);
    Py_VISIT(self->floor);
    Py_VISIT(self->learn);
    Py_VISIT(self->tick);
    Py_VISIT(self->owner);
    Py_VISIT(self->tracking);
    return 0;
}

static int
factory_clear(TaskFactory *self)
{
    /* What a call needs stays until the end: a finalizer in our cycle may still start a task. */
    Py_CLEAR(self->tracking);
    return 0;
}

static void
factory_dealloc(TaskFactory *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    Py_CLEAR(self->tracking);
    Py_CLEAR(self->make);
    Py_CLEAR(self->uncommon);
    Py_CLEAR(self->user);
    Py_CLEAR(self->skip);
    Py_CLEAR(self->floor);
    Py_CLEAR(self->learn);
    Py_CLEAR(self->tick);
    Py_CLEAR(self->owner);
    for (Py_ssize_t i = 0; i < OFFSETS; i++) {
        Py_CLEAR(self->offsets[i]);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

/* Put `value` into a slot of the task; takes the reference. */
static void
fill(PyObject *task, Py_ssize_t at, PyObject *value)
{
    PyObject **slot = (PyObject **)((char *)task + at);
    PyObject *former = *slot;
    *slot = value;
    Py_XDECREF(former);
}

/* Look a namespace up in the sets, and have it judged when it is in none. */
static int
judge(TaskFactory *self, PyObject *globals, enum judgement *judgement)
{
    PyObject *id = PyLong_FromVoidPtr(globals);
    if (id == NULL) {
        return -1;
    }
    int found = PySet_Contains(self->user, id);
    if (found == 0) {
        found = PySet_Contains(self->skip, id);
        if (found == 0) {
            PyObject *is_user = PyObject_CallOneArg(self->learn, globals);
            found = is_user == NULL ? -1 : PyObject_IsTrue(is_user);
            Py_XDECREF(is_user);
            if (found > 0) {
                *judgement = USER;
                Py_DECREF(id);
                return 0;
            }
        }
        if (found >= 0) {
            found = PySet_Contains(self->floor, id);
            *judgement = found > 0 ? FLOOR : SKIP;
        }
    }
    else if (found > 0) {
        *judgement = USER;
    }
    Py_DECREF(id);
    return found < 0 ? -1 : 0;
}

/* Say whose code runs in a frame. */
static int
judgement_of(TaskFactory *self, PyFrameObject *frame, enum judgement *judgement)
{
    PyObject *globals = PyFrame_GetGlobals(frame);
    if (globals == NULL) {
        return -1;
    }
    size_t bits = (size_t)globals >> 4;
    Judged *entry = &self->judged[(bits ^ (bits >> 8)) % JUDGED];
    int failed = 0;
    if (entry->globals != globals || entry->judgement == UNKNOWN) {
        enum judgement fresh = UNKNOWN;
        failed = judge(self, globals, &fresh);
        if (!failed) {
            entry->globals = globals;
            entry->judgement = fresh;
        }
        *judgement = fresh;
    }
    else {
        *judgement = entry->judgement;
    }
    Py_DECREF(globals);
    return failed;
}

/* Return a new reference to the integer, one object for all tasks that were started there. */
static PyObject *
shared_offset(TaskFactory *self, int lasti)
{
    if (lasti < 0 || lasti >= OFFSETS) {
        return PyLong_FromLong(lasti);
    }
    if (self->offsets[lasti] == NULL) {
        self->offsets[lasti] = PyLong_FromLong(lasti);
    }
    return Py_XNewRef(self->offsets[lasti]);
}

static int
stamp_site(TaskFactory *self, PyObject *task)
{
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef(PyEval_GetFrame());
    if (frame != NULL && self->skip_caller) {
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    while (frame != NULL) {
        enum judgement judgement;
        if (judgement_of(self, frame, &judgement) < 0) {
            Py_DECREF(frame);
            return -1;
        }
        if (judgement == USER) {
            PyObject *lasti = shared_offset(self, PyFrame_GetLasti(frame));
            if (lasti != NULL) {
                fill(task, self->site_at, (PyObject *)PyFrame_GetCode(frame));
                fill(task, self->lasti_at, lasti);
            }
            Py_DECREF(frame);
            return lasti == NULL ? -1 : 0;
        }
        if (judgement == FLOOR) {
            break; /* started by a bare callback: no line of the program is to blame */
        }
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    PyObject *nowhere = PyLong_FromLong(-1);
    if (nowhere == NULL) {
        return -1;
    }
    fill(task, self->site_at, Py_NewRef(Py_None));
    fill(task, self->lasti_at, nowhere);
    return 0;
}

/* Owner, birth, and the count of those that were not started by the owner's own door. */
static int
stamp_owner(TaskFactory *self, AccelState *state, PyObject *task)
{
    if (PyList_GET_SIZE(self->tick) < 1) {
        PyErr_SetString(PyExc_IndexError, "the cell of the slow clock is empty");
        return -1;
    }
    fill(task, self->born_at, Py_NewRef(PyList_GET_ITEM(self->tick, 0)));
    PyObject *owner = NULL;
    if (PyContextVar_Get(self->owner, NULL, &owner) < 0) {
        return -1;
    }
    if (owner == NULL) { /* the variable has a default; without one nobody owns the task */
        owner = Py_NewRef(Py_None);
    }
    fill(task, self->owner_at, Py_NewRef(owner));
    int failed = 0;
    if (owner != Py_None) {
        PyObject *before = PyObject_GetAttr(owner, state->str_raw_spawned);
        PyObject *after = before == NULL ? NULL : PyNumber_InPlaceAdd(before, state->one);
        failed = after == NULL ? -1 : PyObject_SetAttr(owner, state->str_raw_spawned, after);
        Py_XDECREF(before);
        Py_XDECREF(after);
    }
    Py_DECREF(owner);
    return failed;
}

static int
is_false(PyObject *value)
{
    if (value == Py_None || value == Py_False) {
        return 1;
    }
    int truth = PyObject_IsTrue(value);
    return truth < 0 ? -1 : !truth;
}

/* Say whether a keyword asks for nothing; uvloop sends two of them, mostly as None. */
static int
asks_nothing(AccelState *state, PyObject *name, PyObject *value)
{
    if (name == state->str_context || PyUnicode_Compare(name, state->str_context) == 0) {
        return value == Py_None;
    }
    if (name == state->str_eager_start || PyUnicode_Compare(name, state->str_eager_start) == 0) {
        return is_false(value);
    }
    return 0;
}

/* Say whether a call asks for a task like any other: a loop, a coroutine and nothing else. */
static int
is_usual(AccelState *state, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs < 2 || nargs > 4 || (nargs > 2 && args[2] != Py_None)) {
        return 0;
    }
    if (nargs > 3) {
        int nothing = is_false(args[3]);
        if (nothing <= 0) {
            return nothing;
        }
    }
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < keywords; i++) {
        int nothing = asks_nothing(state, PyTuple_GET_ITEM(kwnames, i), args[nargs + i]);
        if (nothing <= 0) {
            return nothing;
        }
    }
    return 1;
}

static PyObject *
factory_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    TaskFactory *self = (TaskFactory *)callable;
    AccelState *state = PyType_GetModuleState(Py_TYPE(self));
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *task;
    int usual = is_usual(state, args, nargs, kwnames);
    if (usual < 0) {
        return NULL;
    }
    if (usual) {
        PyObject *call[3] = {NULL, args[1], args[0]};
        task = PyObject_Vectorcall(
            self->make, call + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, state->loop_keyword);
    }
    else {
        task = PyObject_Vectorcall(self->uncommon, args, nargs, kwnames);
    }
    if (task == NULL) {
        return NULL;
    }
    if (!PyObject_TypeCheck(task, (PyTypeObject *)self->make)) {
        PyErr_Format(
            PyExc_TypeError, "expected a %s, got a %s: it has no place for the stamp",
            ((PyTypeObject *)self->make)->tp_name, Py_TYPE(task)->tp_name);
        Py_DECREF(task);
        return NULL;
    }
    if (stamp_site(self, task) < 0 || stamp_owner(self, state, task) < 0) {
        Py_DECREF(task);
        return NULL;
    }
    return task;
}

/* Find where a slot of the task class lies, so that filling it is one store. */
static Py_ssize_t
slot_at(PyTypeObject *type, const char *name)
{
    Py_ssize_t at = -1;
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found == NULL) {
        return -1;
    }
    if (Py_IS_TYPE(found, &PyMemberDescr_Type)) {
        PyMemberDescrObject *slot = (PyMemberDescrObject *)found;
        if (slot->d_member->type == T_OBJECT_EX && !(slot->d_member->flags & READONLY) &&
            PyType_IsSubtype(type, PyDescr_TYPE(slot))) {
            at = slot->d_member->offset;
        }
    }
    Py_DECREF(found);
    if (at < 0) {
        PyErr_Format(PyExc_TypeError, "%s.%s is no slot: expected a class with the four slots of a "
                     "tracked task", type->tp_name, name);
    }
    return at;
}

const char accel_task_factory_doc[] =
    "task_factory(make, uncommon, user, skip, floor, learn, tick, owner, skip_caller)\n--\n\n"
    "Return a task factory that stamps each task at birth.";

PyObject *
accel_task_factory(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"make", "uncommon", "user",  "skip",        "floor",
                            "learn", "tick",    "owner", "skip_caller", NULL};
    AccelState *state = PyModule_GetState(module);
    PyObject *make, *uncommon, *user, *skip, *floor, *learn, *tick, *owner;
    int skip_caller;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!OO!O!O!OO!O!p:task_factory", names, &PyType_Type, &make, &uncommon,
            &PySet_Type, &user, &PySet_Type, &skip, &PySet_Type, &floor, &learn, &PyList_Type, &tick,
            &PyContextVar_Type, &owner, &skip_caller)) {
        return NULL;
    }
    PyTypeObject *type = (PyTypeObject *)make;
    Py_ssize_t site_at = slot_at(type, "_site");
    Py_ssize_t lasti_at = site_at < 0 ? -1 : slot_at(type, "_lasti");
    Py_ssize_t owner_at = lasti_at < 0 ? -1 : slot_at(type, "_owner");
    Py_ssize_t born_at = owner_at < 0 ? -1 : slot_at(type, "_born");
    if (born_at < 0) {
        return NULL;
    }
    PyTypeObject *factory_type = (PyTypeObject *)state->task_factory_type;
    TaskFactory *self = (TaskFactory *)factory_type->tp_alloc(factory_type, 0); /* all zero */
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = factory_call;
    self->make = Py_NewRef(make);
    self->uncommon = Py_NewRef(uncommon);
    self->user = Py_NewRef(user);
    self->skip = Py_NewRef(skip);
    self->floor = Py_NewRef(floor);
    self->learn = Py_NewRef(learn);
    self->tick = Py_NewRef(tick);
    self->owner = Py_NewRef(owner);
    self->site_at = site_at;
    self->lasti_at = lasti_at;
    self->owner_at = owner_at;
    self->born_at = born_at;
    self->skip_caller = skip_caller;
    return (PyObject *)self;
}

static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(TaskFactory, vectorcall), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TaskFactory, weakrefs), READONLY, NULL},
    {"_tracking", T_OBJECT_EX, offsetof(TaskFactory, tracking), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "Makes and stamps tasks; see backstay.tasks._tracking."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, factory_traverse},
    {Py_tp_clear, factory_clear},
    {Py_tp_dealloc, factory_dealloc},
    {Py_tp_members, members},
    {0, NULL},
};

PyType_Spec accel_task_factory_spec = {
    .name = "backstay._accel.TaskFactory",
    .basicsize = sizeof(TaskFactory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = type_slots,
};
