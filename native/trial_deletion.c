/* The graph part of a proof: the twin of `_Trial` in src/backstay/leak/_trial_deletion.py, where the
 * algorithm and its limits are explained. Same steps, same order, same verdicts, same count of nodes.
 *
 * From the first look at a task to the last nothing here makes or frees a Python object, runs code
 * of anybody else, or lets go of the GIL. So pointers need no references of ours to stay valid, and
 * reference counts are what the program made them; other threads stand still meanwhile.
 */
#include "accel.h"
#include "tables.h"

#include <stdint.h>

enum { LIVE = 0, HELD = 1, UNHELD = 2 };

/* What a type means to the walk; 0 is a type that was not asked yet. */
enum sort { UNASKED = 0, SKIPPED, PLAIN, FUNCTION, FUTURE, TASK, GENERATOR };

enum {
    LIVELY = 1,      /* alive by what it is: done, running, held weakly */
    ALIVE = 2,
    GATED = 4,       /* a blocked task */
    BODY = 8,        /* the coroutine of a blocked task */
    REFERRED = 16,   /* a gated task that something alive refers to */
    IS_GENERATOR = 32, /* an asynchronous one, known weakly to the loop */
};

typedef struct {
    PyObject *thing; /* borrowed */
    int32_t edges;   /* references to it from nodes that were looked into */
    int32_t waiter;  /* the first gate that waits for it, or -1 */
    int32_t gate;    /* of a blocked task, or of its coroutine */
    int32_t weak;    /* of a weak reference: the node it refers to, or -1 */
    int32_t first;   /* the node that stands for this thing: itself, unless a task was asked twice */
    uint32_t flags;
} Node;

/* Bits of the address are here as well, so that looking for what is not there seldom reads a node. */
typedef struct {
    uint32_t bits;
    int32_t number; /* of the node, and one more; zero where empty */
} Slot;

typedef struct {
    PyObject *future, *coroutine; /* borrowed */
    int32_t node;
    int32_t body;        /* the node of the coroutine, or -1 */
    int32_t next_waiter; /* for the same future, or -1 */
    int32_t next_opened; /* while gates are being opened */
} Gate;

#define KINDS 1024 /* types that are remembered, by the bits of their address */

typedef struct {
    AccelState *state;
    PyObject *loop;
    PyObject *registry; /* the callback by which the loop knows its async generators, or None */
    PyObject *rosters;  /* a tuple of the callbacks of our own lists of the living */
    Node *nodes;
    int32_t count, room;
    Gate *gates;
    int32_t gate_count, gate_room;
    Slot *slots; /* a hash table of nodes; as many again stay empty */
    uint32_t mask, first_size;
    PyObject **passed; /* a hash table of namespaces that are never looked into */
    uint32_t passed_mask, passed_count;
    PyObject **barred;
    uint32_t barred_mask, barred_count;
    int32_t *stack;
    int32_t depth, stack_room;
    int spreading; /* which of the two walks `visit` belongs to */
    struct {
        PyTypeObject *type;
        enum sort sort;
    } kinds[KINDS];
} Trial;

/* -- nodes --------------------------------------------------------------------- */

static inline Slot *
slot_of(const Trial *trial, Slot *slots, uint32_t mask, const PyObject *thing)
{
    uint32_t bits = scatter(thing), at = bits & mask;
    while (slots[at].number != 0 &&
           (slots[at].bits != bits || trial->nodes[slots[at].number - 1].thing != thing)) {
        at = (at + 1) & mask;
    }
    return &slots[at];
}

/* Return the number of a thing's node, or -1. */
static inline int32_t
find(const Trial *trial, const PyObject *thing)
{
    return slot_of(trial, trial->slots, trial->mask, thing)->number - 1;
}

static int
grow_slots(Trial *trial)
{
    uint32_t size = trial->slots == NULL ? trial->first_size : (trial->mask + 1) * 2;
    Slot *fresh = PyMem_RawCalloc(size, sizeof(Slot));
    if (fresh == NULL) {
        return -1;
    }
    for (uint32_t i = 0; trial->slots != NULL && i <= trial->mask; i++) {
        if (trial->slots[i].number != 0) {
            uint32_t at = trial->slots[i].bits & (size - 1);
            while (fresh[at].number != 0) {
                at = (at + 1) & (size - 1);
            }
            fresh[at] = trial->slots[i];
        }
    }
    PyMem_RawFree(trial->slots);
    trial->slots = fresh;
    trial->mask = size - 1;
    return 0;
}

/* Make a node; return its number, or -1 without memory. The caller knows that there is none yet, or
 * that `first` stands for the thing. */
static int32_t
add_node(Trial *trial, PyObject *thing, int32_t edges, int32_t first)
{
    if ((trial->slots == NULL || (uint32_t)trial->count * 2 > trial->mask) && grow_slots(trial) < 0) {
        return -1;
    }
    Node *nodes = with_room(trial->nodes, trial->count, &trial->room, sizeof(Node));
    if (nodes == NULL) {
        return -1;
    }
    trial->nodes = nodes;
    int32_t number = trial->count++;
    nodes[number] = (Node){
        .thing = thing, .edges = edges, .waiter = -1, .gate = -1, .weak = -1,
        .first = first < 0 ? number : first, .flags = 0,
    };
    if (first < 0) {
        *slot_of(trial, trial->slots, trial->mask, thing) =
            (Slot){.bits = scatter(thing), .number = number + 1};
    }
    return number;
}

/* -- what things are ------------------------------------------------------------- */

static enum sort
ask_type(const Trial *trial, PyTypeObject *type)
{
    const AccelState *state = trial->state;
    if (!PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC) || PyType_IsSubtype(type, &PyModule_Type) ||
        PyType_IsSubtype(type, &PyType_Type) ||
        PyType_IsSubtype(type, (PyTypeObject *)state->loop_type)) {
        return SKIPPED;
    }
    if (PyType_IsSubtype(type, (PyTypeObject *)state->task_type)) {
        return TASK;
    }
    if (PyType_IsSubtype(type, (PyTypeObject *)state->future_type)) {
        return FUTURE;
    }
    if (type == &PyFunction_Type) {
        return FUNCTION;
    }
    return type == &PyAsyncGen_Type ? GENERATOR : PLAIN;
}

static inline enum sort
sort_of(Trial *trial, PyObject *thing)
{
    PyTypeObject *type = Py_TYPE(thing);
    uint32_t at = scatter(type) % KINDS;
    if (trial->kinds[at].type != type) {
        trial->kinds[at].type = type;
        trial->kinds[at].sort = ask_type(trial, type);
    }
    return trial->kinds[at].sort;
}

/* Call a method of asyncio's own classes, past what a subclass overrides. All of them return what is
 * there already, so the answer is given back at once and only compared. */
static PyObject *
answer(PyObject *method, PyObject *self)
{
    PyObject *found = PyObject_CallOneArg(method, self);
    if (found == NULL) {
        PyErr_Clear(); /* a task that was never initialised */
        return NULL;
    }
    Py_DECREF(found);
    return found;
}

/* Read an attribute by the descriptor of asyncio's own class. */
static PyObject *
attribute(PyObject *descriptor, PyObject *self)
{
    PyObject *found =
        Py_TYPE(descriptor)->tp_descr_get(descriptor, self, (PyObject *)Py_TYPE(self));
    if (found == NULL) {
        PyErr_Clear();
        return NULL;
    }
    Py_DECREF(found);
    return found;
}

/* The twin of `awaited_by`: the pending future of a blocked task, or NULL. */
static PyObject *
awaited_by(Trial *trial, PyObject *task)
{
    const AccelState *state = trial->state;
    if (answer(state->future_done, task) != Py_False ||
        answer(state->task_get_loop, task) != trial->loop) {
        return NULL;
    }
    PyObject *future = attribute(state->task_fut_waiter, task);
    if (future == NULL || future == Py_None ||
        attribute(state->task_must_cancel, task) != Py_False) {
        return NULL;
    }
    enum sort sort = sort_of(trial, future);
    if ((sort != TASK && sort != FUTURE) || answer(state->future_done, future) != Py_False) {
        return NULL;
    }
    return future;
}

/* Put a gate before the body of a task, if it is blocked; else it counts as alive. */
static int
shut(Trial *trial, int32_t number)
{
    int32_t first = trial->nodes[number].first;
    PyObject *task = trial->nodes[number].thing;
    PyObject *future = NULL;
    if (sort_of(trial, task) == TASK && !set_has(trial->barred, trial->barred_mask, task)) {
        future = awaited_by(trial, task);
    }
    PyObject *coroutine = future == NULL ? NULL : answer(trial->state->task_get_coro, task);
    if (coroutine == NULL) {
        trial->nodes[first].flags |= LIVELY;
        return 0;
    }
    if (first != number) {
        return 0; /* it has its gate */
    }
    Gate *gates = with_room(trial->gates, trial->gate_count, &trial->gate_room, sizeof(Gate));
    if (gates == NULL) {
        return -1;
    }
    trial->gates = gates;
    trial->nodes[number].flags |= GATED;
    trial->nodes[number].gate = trial->gate_count;
    gates[trial->gate_count++] = (Gate){
        .future = future, .coroutine = coroutine, .node = number, .body = -1, .next_waiter = -1,
        .next_opened = -1,
    };
    return 0;
}

/* -- 1: closure ------------------------------------------------------------------ */

/* Remember of a new node what the later steps ask for. */
static int
note(Trial *trial, int32_t number, enum sort sort)
{
    PyObject *thing = trial->nodes[number].thing;
    switch (sort) {
    case FUNCTION:
        return set_add(&trial->passed, &trial->passed_mask, &trial->passed_count,
                       PyFunction_GET_GLOBALS(thing));
    case TASK:
        return shut(trial, number);
    case GENERATOR:
        trial->nodes[number].flags |= IS_GENERATOR;
        return 0;
    case FUTURE:
        if (answer(trial->state->future_done, thing) != Py_False) {
            trial->nodes[number].flags |= LIVELY;
        }
        return 0;
    default:
        return 0;
    }
}

static int
meet(PyObject *thing, void *arg)
{
    Trial *trial = arg;
    int32_t known = find(trial, thing);
    if (known >= 0) {
        trial->nodes[known].edges++;
        return 0;
    }
    enum sort sort = sort_of(trial, thing);
    if (sort == SKIPPED || set_has(trial->passed, trial->passed_mask, thing)) {
        return 0;
    }
    int32_t number = add_node(trial, thing, 1, -1);
    return number < 0 ? -1 : note(trial, number, sort);
}

static int
walk(Trial *trial, PyObject *thing, visitproc visit)
{
    traverseproc traverse = Py_TYPE(thing)->tp_traverse;
    return traverse == NULL || !PyObject_IS_GC(thing) ? 0 : traverse(thing, visit, trial);
}

/* Collect what the tasks reach; return how many of the nodes were looked into, or -1. */
static int32_t
close_over(Trial *trial, Py_ssize_t budget)
{
    int32_t at = 0;
    for (; at < trial->count && at < budget; at++) {
        if (at + AHEAD < trial->count) {
            fetch(trial->nodes[at + AHEAD].thing);
        }
        if (walk(trial, trial->nodes[at].thing, meet) != 0) {
            return -1;
        }
    }
    return at;
}

/* Tie gates to the nodes of their futures and coroutines. */
static void
tie(Trial *trial)
{
    for (int32_t number = trial->gate_count - 1; number >= 0; number--) {
        Gate *gate = &trial->gates[number];
        gate->body = find(trial, gate->coroutine);
        if (gate->body >= 0) {
            trial->nodes[gate->body].flags |= BODY;
        }
        int32_t future = find(trial, gate->future);
        if (future >= 0) {
            gate->next_waiter = trial->nodes[future].waiter;
            trial->nodes[future].waiter = number;
        }
    }
}

/* -- 2: seeds -------------------------------------------------------------------- */

static int
push(Trial *trial, int32_t number)
{
    int32_t *stack = with_room(trial->stack, trial->depth, &trial->stack_room, sizeof(int32_t));
    if (stack == NULL) {
        return -1;
    }
    trial->stack = stack;
    stack[trial->depth++] = number;
    return 0;
}

/* Open the gate of a task that may be woken, and those of tasks that wait for it. */
static int
open_gate(Trial *trial, int32_t number)
{
    int32_t opened = -1;
    for (;;) {
        Gate *gate = &trial->gates[number];
        Node *task = &trial->nodes[gate->node];
        if (task->flags & GATED) {
            task->flags &= ~(uint32_t)GATED;
            task->flags |= ALIVE;
            if (gate->body >= 0) {
                trial->nodes[gate->body].flags &= ~(uint32_t)BODY;
            }
            if (push(trial, gate->node) < 0) {
                return -1;
            }
            for (int32_t next = task->waiter; next >= 0; next = trial->gates[next].next_waiter) {
                trial->gates[next].next_opened = opened;
                opened = next;
            }
        }
        if (opened < 0) {
            return 0;
        }
        number = opened;
        opened = trial->gates[number].next_opened;
    }
}

static int
open_waiters(Trial *trial, int32_t future)
{
    for (int32_t gate = trial->nodes[future].waiter; gate >= 0;
         gate = trial->gates[gate].next_waiter) {
        if (open_gate(trial, gate) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Say whether a weak reference is one of those by which Backstay lists objects; nobody is woken by these. */
static int
is_of_roster(Trial *trial, PyWeakReference *reference)
{
    for (Py_ssize_t place = 0; place < PyTuple_GET_SIZE(trial->rosters); place++) {
        if (reference->wr_callback == PyTuple_GET_ITEM(trial->rosters, place)) {
            return 1;
        }
    }
    return 0;
}

/* Say whether somebody outside of the graph may get hold of a node weakly. A weak reference within
 * the graph is an edge like any other, but not a counted one. */
static int
is_weakly_held(Trial *trial, int32_t number)
{
    Node *node = &trial->nodes[number];
    int held = 0;
    if (!PyType_SUPPORTS_WEAKREFS(Py_TYPE(node->thing))) {
        return 0;
    }
    PyWeakReference *reference = *(PyWeakReference **)PyObject_GET_WEAKREFS_LISTPTR(node->thing);
    for (; reference != NULL; reference = reference->wr_next) {
        int32_t within = find(trial, (PyObject *)reference);
        if (within >= 0) {
            trial->nodes[within].weak = number;
        }
        else if ((!(node->flags & IS_GENERATOR) || trial->registry == Py_None ||
                  reference->wr_callback != trial->registry) &&
                 !is_of_roster(trial, reference)) {
            held = 1;
        }
    }
    return held;
}

/* Find what is alive for reasons of its own. */
static int
sow(Trial *trial, int32_t expanded, int32_t asked)
{
    for (int32_t number = 0; number < trial->count; number++) {
        if (number + AHEAD < trial->count) {
            fetch(trial->nodes[number + AHEAD].thing);
        }
        Node *node = &trial->nodes[trial->nodes[number].first];
        /* The list of those asked refers to each of them; nothing of ours refers to the others. */
        Py_ssize_t references = Py_REFCNT(node->thing) - (number < asked ? 1 : 0);
        int elsewhere = references != node->edges;
        if (node->flags & GATED) {
            if (elsewhere) {
                node->flags |= REFERRED;
            }
            if (number >= expanded) { /* never looked into, so neither was its body */
                node->flags |= LIVELY;
            }
        }
        else if (!(node->flags & BODY) && (is_weakly_held(trial, node->first) || elsewhere ||
                                           number >= expanded || node->flags & LIVELY)) {
            node->flags |= ALIVE;
            if (push(trial, number) < 0) {
                return -1;
            }
        }
    }
    for (int32_t number = 0; number < trial->gate_count; number++) {
        Gate *gate = &trial->gates[number];
        int32_t future = find(trial, gate->future);
        int may_wake = trial->nodes[gate->node].flags & LIVELY || future < 0 ||
                       trial->nodes[future].flags & ALIVE;
        if (may_wake && open_gate(trial, number) < 0) {
            return -1;
        }
    }
    return 0;
}

/* -- 3: spread ------------------------------------------------------------------- */

static int
enliven(Trial *trial, int32_t number)
{
    Node *node = &trial->nodes[number];
    if (node->flags & (ALIVE | BODY)) {
        return 0;
    }
    if (node->flags & GATED) {
        node->flags |= REFERRED;
        return 0;
    }
    node->flags |= ALIVE;
    if (push(trial, number) < 0) {
        return -1;
    }
    return open_waiters(trial, number);
}

static int
reach(PyObject *thing, void *arg)
{
    Trial *trial = arg;
    int32_t number = find(trial, thing);
    return number < 0 ? 0 : enliven(trial, number);
}

static int
spread(Trial *trial)
{
    while (trial->depth > 0) {
        int32_t source = trial->stack[--trial->depth];
        int32_t weak = trial->nodes[source].weak;
        if (walk(trial, trial->nodes[source].thing, reach) != 0 ||
            (weak >= 0 && enliven(trial, weak) < 0)) {
            return -1;
        }
    }
    return 0;
}

/* -- all of it --------------------------------------------------------------------- */

/* Do all four steps; on failure nothing but memory can have been wanting. */
static int
run(Trial *trial, PyObject *tasks, Py_ssize_t budget, char *verdicts)
{
    int32_t asked = (int32_t)PyList_GET_SIZE(tasks);
    /* About 14 nodes a task, at most half of the slots full; a guess that is wrong costs little. */
    for (trial->first_size = 1024; trial->first_size < (1u << 20) &&
                                   trial->first_size / 32 < (uint32_t)asked;) {
        trial->first_size *= 2;
    }
    for (int32_t place = 0; place < asked; place++) {
        PyObject *task = PyList_GET_ITEM(tasks, place);
        int32_t first = trial->slots == NULL ? -1 : find(trial, task);
        if (add_node(trial, task, 0, first) < 0) {
            return -1;
        }
    }
    for (int32_t place = 0; place < asked; place++) {
        if (shut(trial, place) < 0) {
            return -1;
        }
    }
    int32_t expanded = close_over(trial, budget);
    if (expanded < 0) {
        return -1;
    }
    if (trial->count > 0) {
        tie(trial);
        if (sow(trial, expanded, asked) < 0 || spread(trial) < 0) {
            return -1;
        }
    }
    for (int32_t place = 0; place < asked; place++) {
        uint32_t flags = trial->nodes[trial->nodes[place].first].flags;
        verdicts[place] = !(flags & GATED) ? LIVE : flags & REFERRED ? HELD : UNHELD;
    }
    return 0;
}

const char accel_judge_doc[] =
    "judge(tasks, loop, barred, budget, passed_by, registry, rosters)\n--\n\n"
    "Return the verdicts as bytes, and the number of objects that were met.";

PyObject *
accel_judge(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"tasks", "loop", "barred", "budget", "passed_by", "registry",
                            "rosters", NULL};
    AccelState *state = PyModule_GetState(module);
    PyObject *tasks, *loop, *barred, *passed_by, *registry, *rosters;
    Py_ssize_t budget;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOnOOO!:judge", names, &PyList_Type, &tasks,
                                     &loop, &barred, &budget, &passed_by, &registry,
                                     &PyTuple_Type, &rosters)) {
        return NULL;
    }
    if (PyList_GET_SIZE(tasks) > INT32_MAX / 8) {
        PyErr_SetString(PyExc_OverflowError, "too many tasks were asked: sample them");
        return NULL;
    }
    PyObject *result = NULL;
    PyObject *verdicts = PyBytes_FromStringAndSize(NULL, PyList_GET_SIZE(tasks));
    Trial *trial = PyMem_RawCalloc(1, sizeof(Trial));
    if (trial == NULL || verdicts == NULL) {
        if (trial == NULL) {
            PyErr_NoMemory();
        }
        goto done;
    }
    trial->state = state;
    trial->loop = loop;
    trial->registry = registry;
    trial->rosters = rosters;
    if (set_fill(&trial->barred, &trial->barred_mask, &trial->barred_count, barred) < 0 ||
        set_fill(&trial->passed, &trial->passed_mask, &trial->passed_count, passed_by) < 0) {
        goto done;
    }
    if (run(trial, tasks, budget, PyBytes_AS_STRING(verdicts)) < 0) {
        PyErr_NoMemory();
        goto done;
    }
    result = Py_BuildValue("(On)", verdicts, (Py_ssize_t)trial->count);
done:
    if (trial != NULL) {
        PyMem_RawFree(trial->nodes);
        PyMem_RawFree(trial->gates);
        PyMem_RawFree(trial->slots);
        PyMem_RawFree(trial->passed);
        PyMem_RawFree(trial->barred);
        PyMem_RawFree(trial->stack);
        PyMem_RawFree(trial);
    }
    Py_XDECREF(verdicts);
    return result;
}
