/* backstay._accel: the module, and the names that its parts need. */
#include "accel.h"

static int
make_state(PyObject *module)
{
    AccelState *state = PyModule_GetState(module);
    state->loop_keyword = Py_BuildValue("(N)", PyUnicode_InternFromString("loop"));
    state->str_context = PyUnicode_InternFromString("context");
    state->str_eager_start = PyUnicode_InternFromString("eager_start");
    state->str_raw_spawned = PyUnicode_InternFromString("raw_spawned");
    state->one = PyLong_FromLong(1);
    if (state->loop_keyword == NULL || state->str_context == NULL || state->str_eager_start == NULL ||
        state->str_raw_spawned == NULL || state->one == NULL) {
        return -1;
    }
    state->task_factory_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &accel_task_factory_spec, NULL);
    if (state->task_factory_type == NULL) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "REVISION", ACCEL_REVISION);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    AccelState *state = PyModule_GetState(module);
    Py_VISIT(state->task_factory_type);
    Py_VISIT(state->loop_keyword);
    return 0;
}

static int
module_clear(PyObject *module)
{
    AccelState *state = PyModule_GetState(module);
    Py_CLEAR(state->task_factory_type);
    Py_CLEAR(state->loop_keyword);
    Py_CLEAR(state->str_context);
    Py_CLEAR(state->str_eager_start);
    Py_CLEAR(state->str_raw_spawned);
    Py_CLEAR(state->one);
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
