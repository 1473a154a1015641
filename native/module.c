/* backstay._accel: the module, and the names that its parts need. */
#include "accel.h"

/* Take an attribute; what is not written in C the way we know it is not ours to call. */
static PyObject *
take(PyObject *from, const char *name, PyTypeObject *kind)
{
    PyObject *found = from == NULL ? NULL : PyObject_GetAttrString(from, name);
    if (found != NULL && !PyObject_TypeCheck(found, kind)) {
        PyErr_Format(PyExc_ImportError, "%s is a %s here, expected a %s: pure Python does the work",
                     name, Py_TYPE(found)->tp_name, kind->tp_name);
        Py_CLEAR(found);
    }
    return found;
}

static int
know_asyncio(AccelState *state)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio");
    if (asyncio == NULL) {
        return -1;
    }
    int known =
        (state->loop_type = take(asyncio, "AbstractEventLoop", &PyType_Type)) != NULL &&
        (state->task_type = take(asyncio, "Task", &PyType_Type)) != NULL &&
        (state->future_type = take(asyncio, "Future", &PyType_Type)) != NULL &&
        (state->future_done = take(state->future_type, "done", &PyMethodDescr_Type)) != NULL &&
        (state->task_get_coro = take(state->task_type, "get_coro", &PyMethodDescr_Type)) != NULL &&
        (state->task_get_loop = take(state->task_type, "get_loop", &PyMethodDescr_Type)) != NULL &&
        (state->task_fut_waiter = take(state->task_type, "_fut_waiter", &PyGetSetDescr_Type)) !=
            NULL &&
        (state->task_must_cancel = take(state->task_type, "_must_cancel", &PyGetSetDescr_Type)) !=
            NULL;
    Py_DECREF(asyncio);
    return known ? 0 : -1;
}

static int
make_state(PyObject *module)
{
    AccelState *state = PyModule_GetState(module);
    int made = (state->loop_keyword = Py_BuildValue("(s)", "loop")) != NULL &&
               (state->str_context = PyUnicode_InternFromString("context")) != NULL &&
               (state->str_eager_start = PyUnicode_InternFromString("eager_start")) != NULL &&
               (state->str_raw_spawned = PyUnicode_InternFromString("raw_spawned")) != NULL &&
               (state->one = PyLong_FromLong(1)) != NULL && know_asyncio(state) == 0 &&
               (state->task_factory_type = PyType_FromModuleAndSpec(
                    module, &accel_task_factory_spec, NULL)) != NULL &&
               (state->recorder_type = PyType_FromModuleAndSpec(module, &accel_recorder_spec, NULL)) !=
                   NULL &&
               (state->step_type = PyType_FromModuleAndSpec(module, &accel_step_spec, NULL)) != NULL;
    return made ? PyModule_AddIntConstant(module, "REVISION", ACCEL_REVISION) : -1;
}

/* The state is nothing but references. */
#define FIELDS (sizeof(AccelState) / sizeof(PyObject *))

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    PyObject **fields = PyModule_GetState(module);
    for (size_t i = 0; fields != NULL && i < FIELDS; i++) {
        Py_VISIT(fields[i]);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    PyObject **fields = PyModule_GetState(module);
    for (size_t i = 0; fields != NULL && i < FIELDS; i++) {
        Py_CLEAR(fields[i]);
    }
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear((PyObject *)module);
}

static PyMethodDef methods[] = {
    {"task_factory", (PyCFunction)(void (*)(void))accel_task_factory, METH_VARARGS | METH_KEYWORDS,
     accel_task_factory_doc},
    {"judge", (PyCFunction)(void (*)(void))accel_judge, METH_VARARGS | METH_KEYWORDS, accel_judge_doc},
    {"recorder", accel_recorder, METH_VARARGS, accel_recorder_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, make_state},
#if PY_VERSION_HEX >= 0x030C0000
    /* Interpreters with a GIL of their own would run this code at the same time. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "backstay._accel",
    .m_doc = "Parts of Backstay in C; what they do is defined by their twins in Python.",
    .m_size = sizeof(AccelState),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__accel(void)
{
    return PyModuleDef_Init(&definition);
}
